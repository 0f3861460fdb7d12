"""Damaged DICOM files: a clear error or the right image, in bounded time and memory, and never a wrong store.

`pytest tests/test_fuzz.py --faults=full` tries thousands; a test's name ends in the seed that makes its file.
"""

import contextlib
import faulthandler
import io
import resource
import signal
import warnings

import numpy as np
import pydicom

from lib.cohort.dicom import PADDING, Header, decode_hu, read_header, read_hu
from lib.cohort.pixels import LARGEST_HU
from lib.errors import DicomError
from tests import damages
from tests.damages import EVERYTHING, Damaged, Source

FILES = {"short": 4, "full": 70}
"""Files of each kind of damage."""

SECONDS, BYTES = 5, 512 * 2**20
IMAGE = {"TransferSyntaxUID", "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated",
         "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "PixelData"}  # fmt: skip
NAMING = {"PatientName", "PatientID", "Manufacturer", "SpecificCharacterSet", "SeriesDescription", "StudyInstanceUID",
          "FrameOfReferenceUID", "DerivationDescription"}  # fmt: skip
DEFINED_BY = {
    "z_mm": {"ImagePositionPatient"}, "pixel_spacing_mm": {"PixelSpacing"}, "rows": {"Rows"}, "columns": {"Columns"},
    "kernel": {"ConvolutionKernel"}, "thickness_mm": {"SliceThickness", "PatientName"}, "instance": {"InstanceNumber"},
    "series_uid": {"SeriesInstanceUID"}, "patient": NAMING, "collection": NAMING, "dose": NAMING, "identified": NAMING,
    "dose_fraction": NAMING, "modality": set(),
}  # fmt: skip


def pytest_generate_tests(metafunc):
    if "seed" in metafunc.fixturenames:
        kinds = list(damages.KINDS)
        seeds = range(len(kinds) * FILES[metafunc.config.getoption("--faults")])
        metafunc.parametrize("seed", seeds, ids=[f"{kinds[seed % len(kinds)]}-{seed}" for seed in seeds])


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
        text = str(error)
        assert text.isprintable() and text.startswith(f"{path}: ") and "; " in text and len(text) < len(str(path)) + 300
        return None


def read_plainly(data: bytes) -> np.ndarray:
    """What pydicom alone makes of a file: the oracle where a damage changed what the header validly says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(io.BytesIO(data))
        stored = ds.pixel_array.astype(np.float64)
        stored[(stored == PADDING) & bool(ds.PixelRepresentation)] = 0
        return stored * float(ds.RescaleSlope) + float(ds.RescaleIntercept)


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
        assert (read_header(path).rows, read_header(path).columns) == (damages.ROWS, damages.COLUMNS)
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
        assert hu.shape == (header.rows, header.columns)
    if header is not None:
        check_header(header, source, damage, path)
