"""One CT slice as one DICOM file: its header and its Hounsfield units."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.datadict import tag_for_keyword

from lib.data.dicom.elements import Elements, unusable
from lib.data.dicom.geometry import Grid, read_grid
from lib.data.dicom.kinds import KIND_TAGS, NotCtImageError, check_kind
from lib.data.dicom.names import (
    ANONYMOUS,
    DOSE_OF_WORD,
    MAYO_NAME,
    OWN_MANUFACTURERS,
    TCIA_DOSE,
    TCIA_FOLDER,
    TCIA_ID,
    TCIA_UID_ROOT,
)
from lib.data.dicom.padding import AIR, padding
from lib.data.dicom.parsing import LARGEST_FILE, LARGEST_HEADER, parse, too_large
from lib.data.dicom.pixels import PIXEL_TAGS, PixelForm, check_range, pixel_form, stored_values
from lib.data.patients import pseudonym
from lib.errors import DicomError

_DOSE_FRACTION = re.compile(r"\bdose fraction (\d*\.?\d+(?:e-?\d+)?)", re.IGNORECASE)
_HEADER_TAGS = [*KIND_TAGS, *map(tag_for_keyword, (
    "Manufacturer", "DerivationDescription", "SeriesDescription", "PatientName", "PatientID", "StudyInstanceUID",
    "SeriesInstanceUID", "FrameOfReferenceUID", "InstanceNumber", "AcquisitionNumber", "ConvolutionKernel", "SliceThickness",
    "ImageOrientationPatient", "GantryDetectorTilt", "PixelSpacing", "PixelPaddingValue", "PixelPaddingRangeLimit",
    *PIXEL_TAGS))]
_BEGINNING = 32 * 1024  # bytes; most headers end before


@dataclass(frozen=True)
class Header:
    """What pairing needs of one slice; `patient` is a challenge or simulation id, else a pseudonym."""

    patient: str
    identified: bool  # False: nothing in the header names the patient, `patient` is only a fallback
    collection: str  # 'mayo2016', 'tcia', 'simulated', 'inserted' or 'other'
    dose: str | None  # FULL, LOW or None
    kernel: str | None  # 'B30', 'D45', 'Br38', ...
    thickness_mm: float | None
    z_mm: float
    grid: Grid  # of its pixels: orientation, place in the plane, spacing, size
    study_uid: str
    frame_uid: str  # of the frame of reference
    series_uid: str
    instance: int | None
    acquisition: int | None = None  # its number in the study
    dose_fraction: float | None = None  # of the full dose, 1.0 for it; None where it is not known
    rescale: tuple[float, float] | None = None  # slope, intercept


def read_header(path: Path) -> Header:
    """Read one CT slice's header without its pixels. Raises NotCtImageError for another kind of DICOM file, and DicomError
    where the file cannot be read, is damaged, truncated or multi-frame, lacks what HU and pairing need (rescale slope and
    intercept, image position, matrix size), or has values that no CT slice has."""
    path = Path(path)
    elements = _beginning(path)
    check_kind(elements)
    form = pixel_form(elements)
    if elements.size > LARGEST_FILE:
        raise too_large(path)
    grid = read_grid(elements, form.rows, form.columns)
    stated, position = elements.decimals("SliceThickness", 1), elements.decimals("ImagePositionPatient", 3, required=True)
    patient, collection, dose, identified, thickness = _identity(elements, path)
    thickness = round(stated[0], 3) if stated and stated[0] else thickness
    kernels = _several(elements.get("ConvolutionKernel"))
    kernel = kernel_name(kernels[0]) if kernels else None
    share = _DOSE_FRACTION.search(str(elements.get("DerivationDescription") or ""))  # only ours can be relied on
    fraction = float(share[1]) if share and collection in OWN_MANUFACTURERS else None
    for name, sane in (
        ("SliceThickness", thickness is None or 0.01 <= thickness <= 100),
        ("ConvolutionKernel", kernel is None or len(kernel) <= 32),
        ("DerivationDescription", fraction is None or 0 < fraction <= 1),
    ):
        if not sane:
            raise elements.error(f"{name} is none that a CT slice can have")
    study, frame, series = (str(elements.get(f"{name}UID") or "") for name in (
        "StudyInstance", "FrameOfReference", "SeriesInstance"))
    return Header(
        patient, identified, collection, dose, kernel, thickness, position[2], grid, study, frame, series,
        instance=elements.integer("InstanceNumber"),
        acquisition=elements.integer("AcquisitionNumber"), dose_fraction=fraction, rescale=(form.slope, form.intercept),
    )


def series_uid(path: Path) -> str | None:
    """The series that a file names which :func:`read_header` refuses; None where it cannot be found out."""
    try:
        return str(_beginning(Path(path)).get("SeriesInstanceUID") or "") or None
    except DicomError:
        return None


def kernel_name(stated: str) -> str | None:
    """A kernel as files, figures and tables can have it: B30f is B30, and what is no letter, digit, point, + or - becomes -,
    at the beginning nothing (a spreadsheet takes =, + and - for a formula)."""
    plain = re.sub(r"[^\w.+-]+", "-", stated.strip(), flags=re.ASCII).lstrip("+-").removesuffix("-")
    return re.sub(r"^([A-Za-z]{1,2}\d{2})[a-z]$", r"\1", plain) or None


def read_hu(path: Path) -> np.ndarray:
    """Read one CT slice in HU, (rows, columns): int16 if that is lossless, else float32. Raises DicomError."""
    return decode_hu(read_bytes(Path(path)), Path(path))


def read_bytes(path: Path) -> bytes:
    """A file's contents, of one that is too large only its beginning. Raises DicomError."""
    with readable(path), path.open("rb") as file:
        return file.read(min(os.fstat(file.fileno()).st_size, LARGEST_FILE + 1))


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """A file or a disk that refuses to be read raises DicomError."""
    try:
        yield
    except OSError as error:
        raise unusable(path, f"cannot be read ({error.strerror})", "check the file's permissions and the disk") from error


def decode_hu(data: bytes, path: Path) -> np.ndarray:
    """As `read_hu`, from the file's bytes; `path` only names the file in messages."""
    return decode(parse(data, path, _HEADER_TAGS)).hu


@dataclass(frozen=True)
class Decoded:
    """The pixels of one slice, arrays of (rows, columns)."""

    hu: np.ndarray  # int16 if that is lossless, else float32; air where padding is
    stored: np.ndarray  # the values that stand in the file, int16 or uint16, perhaps read-only
    outside: np.ndarray | None  # which of them are padding, bool; None for none
    form: PixelForm


def decode(elements: Elements) -> Decoded:
    """The pixels of a whole file that was parsed. Raises DicomError."""
    check_kind(elements)
    form = pixel_form(elements)
    stored = stored_values(elements, form)
    outside = padding(stored, elements, form)
    inside = stored if outside is None else stored[~outside]
    ends = check_range(elements, form, int(inside.min()), int(inside.max())) if inside.size else (AIR, AIR)
    limits = np.iinfo(np.int16)
    if form.slope.is_integer() and form.intercept.is_integer() and limits.min <= ends[0] and ends[1] <= limits.max:
        hu = stored.astype(np.int16)  # modulo 2^16 throughout, so exact: the HU themselves fit
        hu *= np.int16(form.slope)
        hu += np.int64(form.intercept).astype(np.int16)
    else:
        hu = (stored.astype(np.float64) * form.slope + form.intercept).astype(np.float32)
    if outside is not None:
        hu[outside] = AIR
    return Decoded(hu, stored, outside, form)


def _beginning(path: Path) -> Elements:
    """Parse a file from its first bytes; from more of it only if they do not hold the header."""
    with readable(path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(_BEGINNING)
        if size > len(data):
            try:
                elements = parse(data, path, _HEADER_TAGS, size)
                if elements.pixels:
                    return elements
                if elements.get("Modality"):
                    check_kind(elements)
            except DicomError as error:
                if isinstance(error, NotCtImageError):  # any other may only be for want of the rest
                    raise
            data += file.read(min(size, LARGEST_HEADER) - len(data))
    return parse(data, path, _HEADER_TAGS, size)


def _several(value: str | list[str] | None) -> list[str]:
    return value if isinstance(value, list) else [value] if value else []


def _identity(elements: Elements, path: Path) -> tuple[str, str, str | None, bool, float | None]:
    """Patient, collection, dose, whether the patient is known, and thickness as far as the name holds it."""
    name, patient_id, manufacturer, description = (
        str(elements.get(tag) or "").strip() for tag in ("PatientName", "PatientID", "Manufacturer", "SeriesDescription"))
    written = next((collection for collection, own in OWN_MANUFACTURERS.items() if own in manufacturer), None)  # by us
    dose = DOSE_OF_WORD[stated[1].lower()] if (stated := TCIA_DOSE.search(description)) else None
    if (match := MAYO_NAME.match(name)) and (written or match[1].startswith("L")):
        patient = match[1] if match[1].startswith("P") else match[1].upper()
        return patient, written or "mayo2016", DOSE_OF_WORD[match[2].lower()], True, float(match[3])
    uids = [str(elements.get(tag) or "") for tag in ("StudyInstanceUID", "SeriesInstanceUID")]
    tcias = any(uid.startswith(TCIA_UID_ROOT) for uid in uids) or TCIA_FOLDER in (part.lower() for part in path.parts)
    for identity in (patient_id, name):
        if TCIA_ID.match(identity) and tcias:
            return identity, "tcia", dose, True, None
    for identity in (patient_id, name):
        if identity.lower() not in ANONYMOUS:
            return pseudonym(identity), written or "other", dose, True, None
    fallback = elements.get("StudyInstanceUID") or elements.get("FrameOfReferenceUID") or path.resolve().parent
    return pseudonym(str(fallback)), written or "other", dose, False, None


