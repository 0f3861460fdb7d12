"""DICOM files to the store: all of ``preprocess`` (discovery, hashes, reading back) beside a plain reader."""

import os
import shutil

import numpy as np

from benchmarks import reference
from benchmarks.measure import by_turns, ratio, require_close
from benchmarks.setting import Setting
from lib.artifacts.files import file_sha256
from lib.data.store.build import build_store
from lib.data.workers import cores

ROUNDS = 3


def run(setting: Setting) -> dict:
    """Slices per second and bytes per slice of both; leaves the store where the other parts read it."""
    out, plain = setting.study().paths.volumes, setting.folder / "plain"
    files = sorted(path for path in setting.dicom.rglob("*") if path.suffix.lower() in (".ima", ".dcm"))
    for path in files:
        path.read_bytes()  # into the page cache, for both

    def clean() -> None:
        os.sync()

    def ours() -> None:
        build_store(setting.dicom, out, jobs=cores())

    rounds, seconds = setting.pick(ROUNDS, 1), {"ours": [], "reference": []}
    for _ in range(rounds):
        for folder in (out, plain):
            shutil.rmtree(folder, ignore_errors=True)
        turn = by_turns({"ours": ours, "reference": lambda: reference.store(files, plain)}, 1, between=clean)
        for name, values in turn.items():
            seconds[name] += values
    difference = _compare(setting, files, out, plain)
    size = {name: sum(path.stat().st_size for path in folder.glob("*.npy")) / len(files)
            for name, folder in (("ours", out), ("reference", plain))}
    shutil.rmtree(plain)
    return {
        "store_ratio": ratio(seconds["reference"], seconds["ours"]), "slices": len(files), "children": cores(),
        **{f"{name}_slices_per_s": len(files) / min(values) for name, values in seconds.items()},
        **{f"{name}_bytes_a_slice": size[name] for name in size},
        "bytes_ratio": size["reference"] / size["ours"], "largest_difference_hu": difference,
    }


def _compare(setting: Setting, files, out, plain) -> float:
    """Largest difference in HU of some slices: there must be none."""
    from lib.data.store.reading import load_manifest, open_volume

    rows = load_manifest(out).set_index("source_sha256")
    differences = []
    for number in np.linspace(0, len(files) - 1, setting.pick(50, 5)).astype(int):
        found = rows.loc[[file_sha256(files[number])]].iloc[0]
        ours = open_volume(out, found["volume"]).slice(found["index"])
        differences.append(require_close("HU in the store", ours, np.load(plain / f"{number}.npy")))
    return max(differences)
