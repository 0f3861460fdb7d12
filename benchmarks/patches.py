"""Patches a second in steady state: the tf.data pipeline beside two ``np.load`` of whole float64 slices a patch.

Both read from the page cache. The parts ``pipeline-1`` and ``pipeline-7`` measure the memory only, with so many patients.
"""

import time
from pathlib import Path

import numpy as np

from benchmarks import reference
from benchmarks.measure import by_turns, ratio, require_close
from benchmarks.setting import Setting
from lib.data.patches import Patches
from lib.data.store.reading import open_volume
from lib.stages import inputs

ROUNDS, EPOCHS = 5, 2
SLICES = 24  # pairs of slices that the reference reads, in turn
IDLE_S = 0.5  # until the prefetching has filled its buffers


def run(setting: Setting, patients: str = "") -> dict:
    """Patches a second of both, or only the memory where the number of training ``patients`` is given."""
    study = setting.study(train=int(patients or 7))
    patches, batch = inputs.patches(study, "train", study.seed), study.training.batch
    batches = iter(patches.dataset(batch, drop_remainder=True).repeat())
    epoch = patches.batches(batch, drop_remainder=True)

    def take(count: int) -> None:
        for _ in range(count):
            next(batches)

    if patients:
        take(EPOCHS * epoch)
        return {"patches": len(patches)}
    places, low, full = _plain_slices(setting, patches, study.paths.volumes)
    plain = [places[first : first + batch] for first in range(0, len(places) - batch + 1, batch)]
    side = study.training.patch_size
    differences = [require_close("patches", ours, theirs, atol=2e-7)
                   for ours, theirs in zip(next(batches), reference.batch(plain[0], low, full, side), strict=True)]
    drained = min(epoch, 8 * 1024 // batch)

    def settle() -> None:
        """No run starts with buffers that were filled before it, or beside the filling of them."""
        take(drained)

    count = EPOCHS * epoch
    seconds: dict[str, list[float]] = {"ours": [], "reference": []}
    for _ in range(setting.pick(ROUNDS, 1)):
        settle()
        seconds["ours"] += by_turns({"ours": lambda: take(count)}, 1)["ours"]
        time.sleep(IDLE_S)
        seconds["reference"] += by_turns(
            {"reference": lambda: [reference.batch(each, low, full, side) for each in plain]}, 1)["reference"]
    each = {"ours": count * batch, "reference": len(plain) * batch}
    rates = {name: [each[name] / value for value in values] for name, values in seconds.items()}
    return {
        "pipeline_ratio": ratio(rates["ours"], rates["reference"]),
        "pipeline_patches_per_s": float(np.median(rates["ours"])),
        **{f"{name}_patches_per_s_best": max(values) for name, values in rates.items()},
        "patches_an_epoch": len(patches), "largest_difference": max(differences),
    }


def _plain_slices(setting: Setting, patches: Patches, store: Path) -> tuple[np.ndarray, dict, dict]:
    """The first slices of the index as the reference's files: their places, the files of both doses by pair."""
    folder = setting.folder / "slices"
    folder.mkdir()
    chosen = list(dict.fromkeys(patches.index[:, 0].tolist()))[: setting.pick(SLICES, 4)]
    files: dict[str, dict] = {"ldct": {}, "ndct": {}}
    for pair in chosen:
        row = patches.pairs.iloc[pair]
        for dose, found in files.items():
            found[pair] = folder / f"{pair}_{dose}.npy"
            np.save(found[pair], open_volume(store, row[dose]).slice(row["index"]).astype(np.float64))
    return patches.index[np.isin(patches.index[:, 0], chosen)], files["ldct"], files["ndct"]
