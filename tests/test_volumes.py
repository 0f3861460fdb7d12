"""The store holds exactly the HU of the files, partners share an index, and a failing run leaves nothing half-written."""

import errno
import hashlib
import json
import os
import shutil
import signal

import numpy as np
import pandas as pd
import pytest

from benchmarks.cohort import paper_size
from lib.artifacts import files
from lib.data import workers
from lib.data.dicom.slice import read_hu
from lib.data.hu import denormalise, normalise
from lib.data.store import build, parts, reading, volume_file, writing
from lib.data.store.build import build_store
from lib.data.store.reading import completeness, count_table, load_manifest, load_problems, load_summary, open_volume, pairs
from lib.errors import CohortError, OutputError, StageError, VolumeError
from lib.paper import published
from lib.stages.preprocess import prepare
from tests import trees


@pytest.fixture
def store(tmp_path):
    """Two patients, one with both kernels, in `data`, preprocessed to `out`."""
    trees.simulated(tmp_path / "data", "SIM01", "B30")
    trees.simulated(tmp_path / "data", "SIM01", "D45", z=(0.0, 0.8))
    trees.simulated(tmp_path / "data", "SIM02", "B30", thickness_mm=3.0)
    build_store(tmp_path / "data", tmp_path / "out")
    return tmp_path / "out"


def names(folder) -> list[str]:
    """Files of a store without the records."""
    return sorted(path.name for path in folder.iterdir() if path.name != "parts")


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_manifest_and_volumes_hold_exactly_the_files(store):
    manifest = load_manifest(store)
    assert list(manifest.columns) == list(reading.COLUMNS) and len(manifest) == 16 and manifest["paired"].all()
    by_hash = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in (store.parent / "data").rglob("*.IMA")}
    assert len(by_hash) == 16
    for row in manifest.itertuples():
        volume = open_volume(store, row.volume)
        assert volume.dtype == np.int16 and volume.shape[1:] == (row.rows, row.columns) == (24, 20)
        assert np.array_equal(volume.slice(row.index), read_hu(by_hash[row.source_sha256]))
    assert "SIM01_full_B30_1mm.npy" in set(manifest["volume"])


def test_slices_are_read_in_any_order_and_only_those_that_there_are(store):
    volume = open_volume(store, "SIM01_full_B30_1mm.npy")
    whole = np.load(volume.path)
    assert volume.shape == whole.shape == (3, 24, 20)
    assert np.array_equal(volume.slices([2, 0, 2]), whole[[2, 0, 2]]) and volume.slices([]).shape == (0, 24, 20)
    volume.slice(1)[:] = 0
    assert np.array_equal(volume.slice(1), whole[1]), "what is done to an image does not reach the store"
    for wrong in (-1, 3):
        with pytest.raises(ValueError, match=f"slices .{wrong}. of 3 in .*_1mm.npy"):
            volume.slice(wrong)
    volume.path.write_bytes(volume.path.read_bytes()[:-1])
    with pytest.raises(VolumeError, match="damaged"):
        volume.slice(2)


def test_pairs_share_index_and_z(store):
    table = pairs(load_manifest(store))
    assert list(table.columns) == ["patient", "kernel", "thickness_mm", "scan", "index", "z_mm", "pixel_mm", "ldct", "ndct"]
    assert (
        len(table) == 8 and table["ldct"].str.contains("_quarter_").all() and table["ndct"].str.contains("_full_").all()
    )
    assert table[table["kernel"] == "D45"]["z_mm"].tolist() == [0.0, 0.8]


def test_partners_are_partners_when_slices_are_missing_and_shuffled(tmp_path):
    trees.mayo(tmp_path / "data", "a", dose="full", z=[2.4, 0.0, 1.6, 0.8], name="{i}.IMA")
    low = trees.mayo(tmp_path / "data", "b", dose="quarter", z=[0.8, 5.0, 2.4], name="{i}.IMA")
    for path, value in zip(low, (8, 50, 24), strict=True):
        trees.edit(path, PixelData=np.full((24, 20), value + 1024, "<u2").tobytes())
    manifest = build_store(tmp_path / "data", tmp_path / "out")
    table = pairs(manifest)
    assert table["z_mm"].tolist() == [0.8, 2.4] and table["index"].tolist() == [0, 1]
    assert open_volume(tmp_path / "out", table["ldct"][0]).slices([0, 1])[:, 0, 0].tolist() == [8, 24]
    problems = load_problems(tmp_path / "out")
    assert problems["kind"].tolist() == ["no partner"] * 3 and problems["file"].tolist() == [
        "a/2.IMA",
        "a/3.IMA",
        "b/2.IMA",
    ]
    assert load_summary(tmp_path / "out")["problems"] == {"no partner": 3}


def test_a_series_without_partner_is_stored_unpaired(tmp_path):
    trees.simulated(tmp_path / "data", doses=("full",))
    manifest = build_store(tmp_path / "data", tmp_path / "out")
    assert len(manifest) == 3 and not manifest["paired"].any() and manifest["paired"].dtype == bool
    assert pairs(manifest).empty and count_table(manifest).loc["total", "total"] == 0


def test_fractional_slope_makes_a_float32_volume(tmp_path):
    paths = trees.foreign(tmp_path / "data")
    trees.edit(paths[1], RescaleSlope="0.5")
    manifest = build_store(tmp_path / "data", tmp_path / "out")
    volume = open_volume(tmp_path / "out", manifest["volume"][0])
    assert volume.dtype == np.float32 and all(np.array_equal(volume.slice(i), read_hu(paths[i])) for i in range(2))


def test_a_series_is_wide_only_if_a_slice_that_is_kept_needs_it(tmp_path):
    made = trees.simulated(tmp_path / "data")
    trees.edit(made["full"][1], RescaleSlope="0.5")
    trees.undecodable(made["quarter"][1])
    manifest = build_store(tmp_path / "data", tmp_path / "out")
    assert [open_volume(tmp_path / "out", name).dtype for name in manifest["volume"].unique()] == [np.int16] * 2
    assert pairs(manifest)["z_mm"].tolist() == [0.0, 1.6]


def test_odd_kernels_get_volumes_of_their_own(tmp_path):
    for kernel in ("A/1", "A-1"):
        folder = f"scan {kernel[1] == '/'}"
        trees.foreign(tmp_path / "data", folder, ConvolutionKernel=kernel, SeriesInstanceUID=f"1.2.{ord(kernel[1])}")
    manifest = build_store(tmp_path / "data", tmp_path / "out")
    assert manifest["volume"].nunique() == 2 and manifest["volume"].str.fullmatch(r"[\w.-]+").all()


def test_no_identity_of_unknown_patients_in_the_store(tmp_path):
    trees.foreign(tmp_path / "data", "Jane Doe", patient_id="MRN-4711", name="doe{i}.dcm")
    (tmp_path / "data" / "Jane Doe" / "bad-doe.dcm").write_text("no")
    build_store(tmp_path / "data", tmp_path / "out")
    texts = [path.name + path.read_text() for path in (tmp_path / "out").iterdir() if path.suffix in (".csv", ".json")]
    assert not [text for text in texts if "doe" in text.lower() or "MRN" in text]
    files = load_problems(tmp_path / "out")["file"]
    assert len(files) == 3 and files.str.startswith("sha256:").all()


def test_an_undecodable_slice_is_left_out_of_both_doses(tmp_path):
    made = trees.simulated(tmp_path / "data")
    bad = trees.undecodable(made["quarter"][1])
    manifest = build_store(tmp_path / "data", tmp_path / "out")
    assert pairs(manifest)["z_mm"].tolist() == [0.0, 1.6]
    assert np.array_equal(open_volume(tmp_path / "out", "SIM01_full_B30_1mm.npy").slice(1), read_hu(made["full"][2]))
    problems = load_problems(tmp_path / "out")
    assert problems["kind"].tolist() == ["undecodable"] and problems["file"][0].endswith(bad.name)


def test_nothing_decodable_is_an_error_and_leaves_nothing(tmp_path):
    for path in trees.simulated(tmp_path / "data")["quarter"]:
        trees.undecodable(path)
    with pytest.raises(CohortError, match="no slice could be decoded"):
        build_store(tmp_path / "data", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_second_run_removes_the_stale_store_and_nothing_else(store):
    (store / "notes.npy").write_bytes(b"mine")
    (store / f"{files.TEMPORARY}12.npy").write_bytes(b"killed run")
    (store / "parts" / f"{files.TEMPORARY}12.json").write_bytes(b"killed run")
    (store / "parts" / "0123.json").write_bytes(b"cut off")
    other = store.parent / "other"
    trees.simulated(other, "SIM03")
    build_store(other, store)
    assert names(store) == [
        "SIM03_full_B30_1mm.npy", "SIM03_quarter_B30_1mm.npy", "manifest.csv", "notes.npy", "problems.csv", "summary.json",
    ]  # fmt: skip


def test_the_same_data_give_the_same_store(store):
    before = contents(store)
    build_store(store.parent / "data", store)
    assert contents(store) == before


def test_a_wrong_folder_leaves_the_earlier_store_alone(store, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CohortError, match="no usable CT slice"):
        build_store(tmp_path / "empty", store)
    assert len(load_manifest(store)) == 16


def finished(store) -> list[str]:
    """Volumes that the records of a store without a manifest vouch for, all of them whole; nothing else is there."""
    vouched = sorted(name for path in (store / "parts").glob("*.json") for name in json.loads(path.read_text())["volumes"])
    assert vouched == names(store) and parts.intact(store)
    return vouched


@pytest.mark.parametrize("stop_at", [0, 3, 5])
def test_a_full_disk_is_one_line_and_the_run_goes_on_after_it(store, monkeypatch, stop_at):
    expected, allocate, calls = contents(store), writing.allocate, []
    shutil.rmtree(store)

    def full(*arguments):
        calls.append(arguments)
        if len(calls) > stop_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return allocate(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(writing, "allocate", full)
        with pytest.raises(OutputError, match="the disk is full.*free some space") as error:
            build_store(store.parent / "data", store)
    assert "\n" not in str(error.value) and (not store.exists() or len(finished(store)) <= stop_at // 2 * 2)
    with pytest.raises(VolumeError, match="no manifest"):
        load_manifest(store)
    build_store(store.parent / "data", store)
    assert contents(store) == expected


def test_too_little_space_is_told_before_anything_is_written(store, monkeypatch):
    monkeypatch.setattr(build.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 6 * 480 * 2 - 1}))
    for path in (store.parent / "data").rglob("SIM02*.IMA"):
        trees.edit(path, PatientComments="changed")
    with pytest.raises(OutputError, match="are free"):
        build_store(store.parent / "data", store)
    assert len(finished(store)) == 4, "those that are there need no space"


def test_an_interrupted_run_leaves_what_is_finished(store, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    shutil.rmtree(store)
    monkeypatch.setattr(writing, "settle", stop)
    with pytest.raises(KeyboardInterrupt):
        build_store(store.parent / "data", store)
    assert not store.exists()


def test_only_what_changed_is_read_again(store, monkeypatch):
    before, read = contents(store), []
    decode = volume_file.decode_hu
    monkeypatch.setattr(volume_file, "decode_hu", lambda data, path: read.append(path.name) or decode(data, path))
    build_store(store.parent / "data", store)
    assert not read and contents(store) == before
    (store / "SIM01_full_D45_1mm.npy").write_bytes(before["SIM01_full_D45_1mm.npy"][:-1] + b"\x7f")
    build_store(store.parent / "data", store)
    assert len(read) == 4 and all("SHARP" in name for name in read) and contents(store) == before
    os.utime(store / "SIM01_full_D45_1mm.npy")
    build_store(store.parent / "data", store)
    assert len(read) == 4, "another time, the same contents"
    os.utime(next((store.parent / "data").rglob("SIM02*.IMA")))
    build_store(store.parent / "data", store)
    assert len(read) == 4 + 6 and contents(store) == before


def test_records_hold_no_file_names(tmp_path):
    paths = trees.foreign(tmp_path / "data", "Jane Doe", name="doe{i}.dcm", z=(0.0, 1.0, 2.0))
    trees.undecodable(paths[1])
    build_store(tmp_path / "data", tmp_path / "out")
    first = contents(tmp_path / "out")
    (record,) = (tmp_path / "out" / "parts").iterdir()
    assert "undecodable" in first["problems.csv"].decode() and "doe" not in (record.name + record.read_text()).lower()
    build_store(tmp_path / "data", tmp_path / "out")
    assert contents(tmp_path / "out") == first, "a slice that was left out is told again"


@pytest.mark.parametrize(("place", "where"), [(5, "the header"), (128, "slice 0"), (128 + 960 * 3 - 1, "slice 2")])
def test_a_disk_that_returns_other_bytes_is_an_error(tmp_path, monkeypatch, place, where):
    trees.simulated(tmp_path / "data")

    def decay(path):
        if path.suffix == ".npy":
            with path.open("r+b") as file:
                file.seek(place)
                old = file.read(1)
                file.seek(place)
                file.write(bytes([old[0] ^ 1]))

    monkeypatch.setattr(volume_file, "sync", decay)
    with pytest.raises(VolumeError, match=f"_B30_1mm.npy: {where} was read back other than it was written"):
        build_store(tmp_path / "data", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("block", [16, 4096, 2**20])
def test_volumes_are_read_back_in_blocks_of_any_size(tmp_path, monkeypatch, block):
    trees.simulated(tmp_path / "data")
    monkeypatch.setattr(volume_file, "BLOCK", block)
    monkeypatch.setattr(volume_file.os, "O_DIRECT", 0)
    build_store(tmp_path / "data", tmp_path / "out")
    for path in (tmp_path / "out" / "parts").iterdir():
        for name, known in json.loads(path.read_text())["volumes"].items():
            assert known == files.fingerprint(tmp_path / "out" / name)


def test_a_killed_worker_is_one_line(tmp_path, monkeypatch):
    trees.simulated(tmp_path / "data")
    monkeypatch.setattr(workers, "POOL_FROM", 1)
    monkeypatch.setattr(writing, "write_slices", killed)
    with pytest.raises(StageError, match="ended from outside .out of memory.*fewer jobs") as error:
        build_store(tmp_path / "data", tmp_path / "out", jobs=2)
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def killed(*arguments):
    """What the kernel does to a process when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_damaged_store_is_refused(store):
    volume = store / "SIM01_full_B30_1mm.npy"
    whole = volume.read_bytes()
    volume.write_bytes(whole[:-10])
    with pytest.raises(VolumeError, match="damaged"):
        load_manifest(store)
    np.save(volume, np.zeros((3, 24, 21), np.int16))
    with pytest.raises(VolumeError, match=r"shape \(3, 24, 21\), the manifest expects \(3, 24, 20\)"):
        load_manifest(store)
    np.save(volume, np.array([[[None]]], dtype=object), allow_pickle=True)
    with pytest.raises(VolumeError, match="damaged"):
        load_manifest(store)
    volume.unlink()
    with pytest.raises(VolumeError, match="missing"):
        load_manifest(store)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("z_mm", "depth"), "z_mm are missing"),
        (lambda text: text.replace("True", "perhaps", 1), "not a manifest"),
        (lambda text: text.replace(",0,", ",zero,", 1), "not a manifest"),
        (lambda text: text.splitlines()[0] + "\n", "not a manifest"),
        (lambda text: "\n".join(text.splitlines()[:-1]) + "\n", "the manifest expects"),
        (lambda text: text.replace("SIM01_full", "../SIM01_full"), "missing"),
    ],
)
def test_a_damaged_manifest_is_refused(store, change, message):
    path = store / "manifest.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(VolumeError, match=message):
        load_manifest(store)


def test_pairs_refuses_a_slice_without_its_partner(store):
    manifest = load_manifest(store)
    with pytest.raises(VolumeError, match="1 slice.s. marked as paired have no partner"):
        pairs(manifest.drop(index=manifest[manifest["dose"] == "quarter"].index[0]))


def test_count_table_has_totals(store):
    table = count_table(load_manifest(store))
    assert table.columns.tolist() == ["B30 1 mm", "B30 3 mm", "D45 1 mm", "total"]
    assert table.loc["SIM01"].tolist() == [3, 0, 2, 5] and table.loc["total"].tolist() == [3, 3, 2, 8]


def test_normalise_is_exact_and_inverts():
    hu = np.array([-1024, 0, 3072, 3071, -2048], np.int16)
    image = normalise(hu)
    assert image.dtype == np.float32 and image.tolist()[:3] == [0.0, 0.25, 1.0] and image[4] == -0.25
    back = denormalise(image)
    assert back.dtype == np.float32 and np.array_equal(back, hu)


def test_processes_give_the_same_store(tmp_path, monkeypatch):
    trees.simulated(tmp_path / "data", z=[i * 0.8 for i in range(20)])
    monkeypatch.setattr(workers, "POOL_FROM", 1)
    for jobs in (1, 2):
        build_store(tmp_path / "data", tmp_path / f"out{jobs}", jobs=jobs)
    assert contents(tmp_path / "out1") == contents(tmp_path / "out2")


def mayo_manifest(patients: dict[str, tuple[int, int]], kernels=("B30", "D45"), collection="mayo2016") -> pd.DataFrame:
    """Rows as of a store: (1 mm, 3 mm) pairs by patient."""
    rows = [
        (patient, dose, kernel, thickness, 1, index, index * 1.0, f"{patient}_{dose}_{kernel}_{thickness:g}mm.npy", True)
        for patient, counts in patients.items() for kernel in kernels
        for thickness, count in zip((1.0, 3.0), counts, strict=True)
        for dose in ("full", "quarter") for index in range(count)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(reading.COLUMNS)[:9]).assign(collection=collection, pixel_mm=0.7)


def test_completeness_compares_with_the_published_counts():
    size = paper_size()
    counts = zip(size["slices_1mm"], size["slices_3mm"], strict=True)
    whole = dict(zip(published.SLICES_3MM_BY_PATIENT, counts, strict=True))
    assert sum(published.SLICES_3MM_BY_PATIENT.values()) == published.SLICES_3MM
    assert sum(published.PAIRS_BY_SERIES.values()) == published.PAIRS
    assert published.PAIRS == published.KERNELS * (published.SLICES_1MM + published.SLICES_3MM)
    assert completeness(mayo_manifest(whole)) == "complete: 10 patients, 16,628 pairs"
    assert completeness(mayo_manifest(whole, collection="simulated")) is None
    two = dict.fromkeys(("L067", "L506"), (600, 0))
    assert completeness(mayo_manifest(two, kernels=["B30"])) == (
        "partial: 2 of 10 patients, 1 mm B30 only, 1,200 of 16,628 pairs")
    assert completeness(mayo_manifest(whole, kernels=["D45"])) == (
        "partial: 1 mm D45 and 3 mm D45 only, 8,314 of 16,628 pairs")
    thin, thick = whole["L067"]
    assert completeness(mayo_manifest(whole | {"L067": (thin - 1, thick)})) == (
        "partial: not slice for slice as published, 16,626 of 16,628 pairs")
    swapped = mayo_manifest(whole | {"L067": whole["L333"], "L333": whole["L067"]})
    assert "not slice for slice as published, 16,628" in completeness(swapped)


def test_summary_says_what_the_collection_should_have(tmp_path, store):
    summary = load_summary(store)
    assert summary["pairs_by_series"] == {"B30 1 mm": 3, "B30 3 mm": 3, "D45 1 mm": 2}
    assert [summary[name] for name in ("expected_by_series", "complete", "completeness")] == [None] * 3
    trees.mayo(tmp_path / "mayo", "a", dose="full")
    trees.mayo(tmp_path / "mayo", "b", dose="quarter")
    build_store(tmp_path / "mayo", tmp_path / "other")
    summary = load_summary(tmp_path / "other")
    assert summary["expected_by_series"]["B30 1 mm"] == 5936 and summary["complete"] is False
    assert summary["completeness"] == "partial: 1 of 10 patients, 1 mm B30 only, 2 of 16,628 pairs"


def test_dose_fraction_of_every_slice(tmp_path, store):
    manifest = load_manifest(store)
    assert manifest.groupby("dose")["dose_fraction"].unique().map(list).to_dict() == {"full": [1.0], "quarter": [0.25]}
    for dose in ("full", "quarter"):
        trees.foreign(tmp_path / "scan", dose)
    unknown = build_store(tmp_path / "scan", tmp_path / "other")
    assert unknown.loc[unknown["dose"] == "quarter", "dose_fraction"].isna().all()
    assert ",,0.7\n" in (tmp_path / "other" / "manifest.csv").read_text()


def test_pixel_size_is_the_headers_and_may_be_unknown(tmp_path, store):
    assert set(load_manifest(store)["pixel_mm"]) == {0.7}
    for dose in ("full", "quarter"):
        trees.foreign(tmp_path / "scan", dose, PixelSpacing=None)
    manifest = build_store(tmp_path / "scan", tmp_path / "other")
    assert manifest["pixel_mm"].isna().all() and reading.pairs(manifest)["pixel_mm"].isna().all()


def test_prepare_keeps_the_store_until_a_volume_changes(tmp_path, study):
    trees.simulated(tmp_path / "data")
    cohort = study.cohort.model_copy(update={"simulation": None, "data": tmp_path / "data"})
    study = study.model_copy(update={"cohort": cohort})
    manifest, store = prepare(study), study.paths.volumes
    stamp = json.loads((store / "stamp.json").read_text())
    assert len(manifest) == 6 and stamp["speed"]["slices"] == 6 and stamp["speed"]["slices_per_s"] > 0
    prepare(study)
    assert json.loads((store / "stamp.json").read_text()) == stamp
    path = store / manifest["volume"][0]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"\x7f")
    prepare(study)
    assert path.read_bytes() == whole and json.loads((store / "stamp.json").read_text())["speed"]["slices"] == 6
