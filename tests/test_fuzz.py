"""Damaged DICOM files: a clear error or the right image, in bounded time and memory, and never a wrong store.

`pytest tests/test_fuzz.py --faults=full` tries thousands; a test's name ends in the seed that makes its file.
"""

import contextlib
import faulthandler
import io
import itertools
import os
import resource
import shutil
import signal
import warnings

import numpy as np
import pandas as pd
import pydicom
import pytest

from lib.data.dicom.padding import AIR, CONVENTION
from lib.data.dicom.pixels import LARGEST_HU
from lib.data.dicom.slice import Header, decode_hu, read_header, read_hu
from lib.data.store.build import build_store
from lib.data.store.reading import load_manifest, load_problems
from lib.errors import DicomError
from lib.private import label, names
from tests import damages, trees
from tests.damages import EVERYTHING, Damaged, Source

FILES = {"short": 4, "full": 70}
"""Files of each kind of damage."""

FOLDERS = {"short": 5, "full": 100}

SECONDS, BYTES = 5, 512 * 2**20
IMAGE = {"TransferSyntaxUID", "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated",
         "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "PixelData"}  # fmt: skip
NAMING = {"PatientName", "PatientID", "Manufacturer", "SpecificCharacterSet", "SeriesDescription", "StudyInstanceUID",
          "SeriesInstanceUID",          "FrameOfReferenceUID", "DerivationDescription"}  # fmt: skip
DEFINED_BY = {
    "z_mm": {"ImagePositionPatient"}, "study_uid": {"StudyInstanceUID"}, "frame_uid": {"FrameOfReferenceUID"},
    "grid": {"ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"},
    "kernel": {"ConvolutionKernel"}, "thickness_mm": {"SliceThickness", "PatientName"}, "instance": {"InstanceNumber"},
    "series_uid": {"SeriesInstanceUID"}, "patient": NAMING, "collection": NAMING, "dose": NAMING, "identified": NAMING,
    "dose_fraction": NAMING,
}  # fmt: skip


def pytest_generate_tests(metafunc):
    if "seed" in metafunc.fixturenames:
        kinds = list(damages.KINDS)
        seeds = range(len(kinds) * FILES[metafunc.config.getoption("--faults")])
        metafunc.parametrize("seed", seeds, ids=[f"{kinds[seed % len(kinds)]}-{seed}" for seed in seeds])
    if "folder" in metafunc.fixturenames:
        metafunc.parametrize("folder", range(FOLDERS[metafunc.config.getoption("--faults")]))


class TooLong(BaseException):
    """No Exception, so that the reader does not take it for a damaged file."""


@contextlib.contextmanager
def bounded(seconds: float = SECONDS, size: int = BYTES):
    """Raises if what is inside takes too long, or more memory than this; ends the process if even that cannot be done."""

    def too_long(*_):
        raise TooLong(f"not done in {seconds} s")

    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    before, limits = signal.signal(signal.SIGALRM, too_long), resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + size, limits[1]))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(10 * seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def attempt(read, path) -> Header | np.ndarray | None:
    """What `read` returns; None for a clear error."""
    try:
        with bounded():
            return read(path)
    except DicomError as error:
        check_error(error, path)
        return None


def check_error(error: DicomError, path) -> None:
    """One printable line of bounded length: the file, what is wrong with it, and what to do."""
    text = str(error)
    assert text.isprintable() and text == f"{path}: {error.what}; {error.remedy}" and len(text) < len(str(path)) + 300
    assert error.what and error.remedy and error.where == path


def read_plainly(data: bytes) -> np.ndarray:
    """What pydicom alone makes of a file: the oracle where a damage changed what the header validly says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(io.BytesIO(data))
        stored = ds.pixel_array
        hu = stored * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        return np.where(stored.astype(np.int16) == CONVENTION, AIR, hu)


def check_image(hu: np.ndarray, source: Source, damage: Damaged) -> None:
    """The undamaged image, save where bytes of the pixel data were hit, or what the header now says."""
    assert hu.dtype in (np.int16, np.float32) and hu.ndim == 2 and np.isfinite(hu).all() and abs(hu).max() <= LARGEST_HU
    good = decode_hu(source.data, "undamaged")
    if np.array_equal(hu, good):
        return
    if damage.touched == EVERYTHING or damage.touched & IMAGE:
        np.testing.assert_allclose(hu, read_plainly(damage.data), rtol=1e-6)
        return
    assert hu.shape == good.shape and hu.dtype == good.dtype
    if damage.pixel_bytes and source.name in ("jpeg2000", "rle"):
        return  # no checksum: a damaged stream may decode to another image
    wrong = set(np.flatnonzero(hu != good))
    assert wrong <= {place // 2 for place in damage.pixel_bytes}, "pixels changed whose bytes were not hit"


def check_header(header: Header, source: Source, damage: Damaged, path) -> None:
    """The undamaged header, save where what defines a field was hit."""
    if damage.touched == EVERYTHING:
        return
    path.write_bytes(source.data)
    good = read_header(path)
    for name, defined_by in DEFINED_BY.items():
        if not damage.touched & defined_by:
            assert getattr(header, name) == getattr(good, name), f"{name} changed, its element was not hit"


def test_undamaged_files_are_read(tmp_path):
    images = {}
    for name, source in damages.sources().items():
        path = tmp_path / name
        path.write_bytes(source.data)
        assert (read_header(path).grid.rows, read_header(path).grid.columns) == (damages.ROWS, damages.COLUMNS)
        images[name] = read_hu(path)
        np.testing.assert_allclose(images[name], read_plainly(source.data), rtol=1e-6)
    assert all(np.array_equal(image, images["plain"]) for name, image in images.items() if name != "signed")


def test_a_damaged_file_gives_an_error_or_the_right_slice(tmp_path, seed):
    _, source, damage = damages.damaged(seed)
    path = tmp_path / "a.IMA"
    path.write_bytes(damage.data)
    header, hu = attempt(read_header, path), attempt(read_hu, path)
    if hu is not None:
        check_image(hu, source, damage)
    if header is not None and hu is not None:
        assert hu.shape == (header.grid.rows, header.grid.columns)
    if header is not None:
        check_header(header, source, damage, path)


def outcome(path, good: bytes) -> str:
    """Of a damaged slice: 'unusable', 'usable', or 'another' if its header now validly places or names it elsewhere."""
    header, hu = attempt(read_header, path), attempt(read_hu, path)
    if header is None or hu is None:
        return "unusable"
    damaged_bytes = path.read_bytes()
    path.write_bytes(good)
    before = read_header(path)
    path.write_bytes(damaged_bytes)
    names = [*DEFINED_BY.keys() - {"instance", "series_uid", "study_uid", "frame_uid"}, "rescale"]
    return "usable" if all(getattr(header, name) == getattr(before, name) for name in names) else "another"


def stored(out) -> tuple[dict[str, bytes], pd.DataFrame]:
    """Every volume's bytes, and the manifest."""
    return {path.name: path.read_bytes() for path in out.glob("*.npy")}, load_manifest(out)


def test_a_folder_with_damaged_slices_gives_the_store_of_the_others(tmp_path, folder):
    """Damages that leave no usable slice are told, one row each; the store is that of a folder without these files."""
    rng = np.random.default_rng([folder, 20162])
    data, without = tmp_path / "data", tmp_path / "without"
    made = [trees.simulated(data, kernel=kernel, z=[0.8 * i for i in range(8)]) for kernel in ("B30", "D45")]
    pairs = [pair for doses in made for pair in zip(doses["full"], doses["quarter"], strict=True)]
    partner = {path: other for pair in pairs for path, other in (pair, pair[::-1])}
    unusable, seeds = set(), itertools.count(1000 * folder + 1)
    for path in rng.permutation(sorted(partner))[:10]:
        good = path.read_bytes()
        for seed in seeds:
            path.write_bytes(damages.damage(seed, good)[1].data)
            if (what := outcome(path, good)) != "another":
                break
        if what == "unusable":
            unusable.add(path)
    shutil.copytree(data, without)
    for path in unusable:
        (without / path.relative_to(data)).unlink()
    with bounded(60):
        build_store(data, tmp_path / "a")
        build_store(without, tmp_path / "b")
    (volumes, manifest), (expected, expected_manifest) = stored(tmp_path / "a"), stored(tmp_path / "b")
    pd.testing.assert_frame_equal(manifest, expected_manifest)
    assert volumes == expected and set(volumes) == set(manifest["volume"])
    problems = load_problems(tmp_path / "a")
    told = problems[problems["kind"].isin(["unreadable", "undecodable", "other image"])]
    with names(shown=False):  # two that were emptied have one checksum
        labels = [(label(path), path) for path in partner]
    named = {path for name in told["file"] for known, path in labels if name in (known, path.relative_to(data).as_posix())}
    untold = [path for path in unusable - named if partner[path] not in unusable]  # of a damaged pair one is enough
    assert named <= unusable and len(untold) <= (told["count"] - 1).sum()  # rows that stand for several files
    assert not [path for path in (tmp_path / "a").rglob("*") if "tmp" in path.name or path.name.startswith(".")]


def test_a_slice_that_contradicts_its_series_is_left_out(tmp_path):
    """Flipped bytes in values that stay valid: another slope, another patient, another kernel, another collection."""
    paths = trees.simulated(tmp_path / "data", z=[0.8 * i for i in range(50)])["full"]
    changes = {"RescaleSlope": "9", "PatientName": "SIM07_FD_1", "ConvolutionKernel": "B38f", "Manufacturer": "ACME"}
    for path, (name, value) in zip(paths[3:], changes.items(), strict=False):
        trees.edit(path, **{name: value})
    trees.edit(paths[20], PatientName="Doe^Jane", PatientID="4711", Manufacturer="ACME")
    build_store(tmp_path / "data", tmp_path / "out")
    odd = load_problems(tmp_path / "out").query("kind == 'odd header'")
    assert odd["count"].sum() == 5 and "rescale other than" in odd["what"].to_string()
    assert load_manifest(tmp_path / "out").groupby("dose").size().tolist() == [45, 45]


def test_what_is_no_file_does_not_stop_the_run(tmp_path):
    trees.simulated(tmp_path / "data")
    os.mkfifo(tmp_path / "data" / "pipe.dcm")
    (tmp_path / "data" / "gone.dcm").symlink_to("nowhere")
    for name in ("new\nline.dcm", "quote\".dcm"):
        (tmp_path / "data" / name).write_bytes(b"no")
    with bounded(20):
        build_store(tmp_path / "data", tmp_path / "out")
    assert load_problems(tmp_path / "out")["kind"].tolist() == ["unreadable"] * 3


def test_a_file_name_that_is_no_utf8_is_told(tmp_path):
    full = trees.simulated(tmp_path / "data", z=(0.0, 0.8, 1.6))["full"]
    full[1].rename(tmp_path / "data" / os.fsdecode(b"latin-\xe9.dcm"))
    trees.undecodable(tmp_path / "data" / os.fsdecode(b"latin-\xe9.dcm"))
    build_store(tmp_path / "data", tmp_path / "out")
    problems = load_problems(tmp_path / "out")
    assert problems["kind"].tolist() == ["undecodable"] and problems["file"].tolist() == ["latin-\\xe9.dcm"]


@pytest.mark.parametrize("begin", ["a slice", "", "DICM"])
@pytest.mark.parametrize("name", ["huge.IMA", "huge", "huge.raw"])
def test_a_huge_file_among_the_scans_is_passed_over(name, begin, tmp_path):
    """Its checksum, which stands for its name in the table of problems, was of all 16 GiB."""
    trees.foreign(tmp_path / "data", "NDCT")
    huge = trees.one(tmp_path / "data" / name) if begin == "a slice" else tmp_path / "data" / name
    with huge.open("ab") as file:
        file.write(bytes(128) + b"DICM" if begin == "DICM" else b"")
        file.truncate(2**34)
    before = bytes_read()
    build_store(tmp_path / "data", tmp_path / "out")
    assert bytes_read() - before < 2**28
    problems = load_problems(tmp_path / "out").query("kind == 'unreadable'")
    assert len(problems) == (name == "huge.IMA" or begin != "")
    assert problems["file"].str.fullmatch("sha256:[0-9a-f]{16}").all()
    assert len(load_manifest(tmp_path / "out")) == 2


def bytes_read() -> int:
    """By this process, so far."""
    with open("/proc/self/io", encoding="ascii") as file:
        return int(file.readline().removeprefix("rchar: "))


def test_a_huge_file_is_not_read(tmp_path):
    path = trees.one(tmp_path / "a.IMA")
    with path.open("r+b") as file:
        file.truncate(2**36)  # sparse: 64 GiB of nothing behind a good slice
    for read in (read_header, read_hu):
        assert attempt(read, path) is None
