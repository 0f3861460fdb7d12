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
from lib.data.dicom.names import ANONYMOUS, DOSE_OF_WORD, MAYO_NAME, OWN_MANUFACTURERS, TCIA_DOSE, TCIA_ID
from lib.data.dicom.parsing import LARGEST_FILE, LARGEST_HEADER, parse, too_large
from lib.data.dicom.pixels import PIXEL_TAGS, check_range, pixel_form, stored_values
from lib.data.patients import pseudonym
from lib.errors import DicomError

PADDING = -2000  # stored value outside the reconstruction circle; it becomes air, with Mayo's intercept the authors' 0
AIR = -1024  # HU
_DOSE_FRACTION = re.compile(r"\bdose fraction (\d*\.?\d+(?:e-?\d+)?)", re.IGNORECASE)
_RAW_DATA = "1.2.840.10008.5.1.4.1.1.66"  # SOP class of DICOM-CT-PD files
_PROJECTION_TAGS = (0x70291010, 0x70291011, 0x70311001, 0x70331013, 0x70371009)  # private groups of DICOM-CT-PD
_HEADER_TAGS = [*_PROJECTION_TAGS, *map(tag_for_keyword, (
    "SOPClassUID", "ImageType", "Modality", "Manufacturer", "DerivationDescription", "SeriesDescription", "PatientName",
    "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "InstanceNumber", "ConvolutionKernel",
    "SliceThickness", "ImagePositionPatient", "NumberOfFrames", "PixelSpacing", *PIXEL_TAGS))]  # fmt: skip
_BEGINNING = 32 * 1024  # bytes; most headers end before


class NotCtImageError(DicomError):
    """A DICOM file of another kind (projection data, localizer, report, other modality); `code` names it."""


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
    rows: int
    columns: int
    pixel_spacing_mm: tuple[float, float] | None  # between rows, between columns
    series_uid: str
    instance: int | None
    dose_fraction: float | None = None  # of the full dose, 1.0 for it; None where it is not known
    rescale: tuple[float, float] | None = None  # slope, intercept


def read_header(path: Path) -> Header:
    """Read one CT slice's header without its pixels. Raises NotCtImageError for another kind of DICOM file, and DicomError
    where the file cannot be read, is damaged, truncated or multi-frame, lacks what HU and pairing need (rescale slope and
    intercept, image position, matrix size), or has values that no CT slice has."""
    path = Path(path)
    elements = _beginning(path)
    _check_kind(elements)
    form = pixel_form(elements)
    if elements.size > LARGEST_FILE:
        raise too_large(path)
    position = elements.decimals("ImagePositionPatient", 3, required=True)
    stated, spacing = elements.decimals("SliceThickness", 1), elements.decimals("PixelSpacing", 2)
    patient, collection, dose, identified, thickness = _identity(elements, path)
    thickness = round(stated[0], 2) if stated and stated[0] else thickness
    kernels = _several(elements.get("ConvolutionKernel"))
    kernel = re.sub(r"^([A-Za-z]{1,2}\d{2})[a-z]$", r"\1", kernels[0].strip()) or None if kernels else None  # B30f -> B30
    share = _DOSE_FRACTION.search(str(elements.get("DerivationDescription") or ""))  # only ours can be relied on
    fraction = float(share[1]) if share and collection in OWN_MANUFACTURERS else None
    for name, sane in (
        ("ImagePositionPatient", max(map(abs, position)) <= 10_000),
        ("SliceThickness", thickness is None or 0.01 <= thickness <= 100),
        ("PixelSpacing", spacing is None or (min(spacing) >= 0.001 and max(spacing) <= 20)),
        ("ConvolutionKernel", kernel is None or (len(kernel) <= 32 and kernel.isprintable())),
        ("DerivationDescription", fraction is None or 0 < fraction <= 1),
    ):
        if not sane:
            raise elements.error(f"{name} is none that a CT slice can have")
    return Header(
        patient, identified, collection, dose, kernel, thickness, z_mm=position[2], rows=form.rows, columns=form.columns,
        pixel_spacing_mm=spacing, series_uid=str(elements.get("SeriesInstanceUID") or ""),
        instance=elements.integer("InstanceNumber"), dose_fraction=fraction, rescale=(form.slope, form.intercept),
    )  # fmt: skip


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
    elements = parse(data, path, _HEADER_TAGS)
    _check_kind(elements)
    form = pixel_form(elements)
    stored = stored_values(elements, form)
    lowest, highest = int(stored.min()), int(stored.max())
    if form.signed and lowest <= PADDING:
        half = 2 ** (form.bits_stored - 1)
        air = np.int16(np.clip(round((AIR - form.intercept) / form.slope), -half, half - 1))
        stored = np.where(stored == PADDING, air, stored)
        lowest, highest = int(stored.min()), int(stored.max())
    ends = check_range(elements, form, lowest, highest)
    limits = np.iinfo(np.int16)
    if not (form.slope.is_integer() and form.intercept.is_integer() and limits.min <= ends[0] and ends[1] <= limits.max):
        return (stored.astype(np.float64) * form.slope + form.intercept).astype(np.float32)
    hu = stored.astype(np.int16)  # modulo 2^16 throughout, so exact: the HU themselves fit
    hu *= np.int16(form.slope)
    hu += np.int64(form.intercept).astype(np.int16)
    return hu


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
                    _check_kind(elements)
            except DicomError as error:
                if isinstance(error, NotCtImageError):  # any other may only be for want of the rest
                    raise
            data += file.read(min(size, LARGEST_HEADER) - len(data))
    return parse(data, path, _HEADER_TAGS, size)


def _check_kind(elements: Elements) -> None:
    modality = str(elements.get("Modality") or "")
    private = any(tag in elements for tag in _PROJECTION_TAGS) or elements.get("SOPClassUID") == _RAW_DATA
    if "ImagePositionPatient" not in elements and private:
        raise NotCtImageError("projection data (DICOM-CT-PD), not a CT image", where=elements.path,
                              remedy="use the image folders", code="projection data")  # fmt: skip
    if not re.fullmatch(r"[A-Z0-9_ ]{1,16}", modality):
        raise elements.error("no readable Modality, expected CT", "truncated or damaged, copy it again")
    if modality != "CT":
        raise NotCtImageError(f"modality {modality}, expected CT", where=elements.path, remedy="use the CT images",
                              code=f"modality {modality}")  # fmt: skip
    if "LOCALIZER" in [value.upper() for value in _several(elements.get("ImageType"))]:
        raise NotCtImageError("a localizer (scout view), not an axial slice", where=elements.path, remedy="leave it out",
                              code="localizer")  # fmt: skip
    if (frames := elements.integer("NumberOfFrames") or 1) > 1:
        raise elements.error(f"multi-frame image with {frames} frames", "export one file per slice")


def _several(value: str | list[str] | None) -> list[str]:
    return value if isinstance(value, list) else [value] if value else []


def _identity(elements: Elements, path: Path) -> tuple[str, str, str | None, bool, float | None]:
    """Patient, collection, dose, whether the patient is known, and thickness as far as the name holds it."""
    name, patient_id, manufacturer, description = (
        str(elements.get(tag) or "").strip() for tag in ("PatientName", "PatientID", "Manufacturer", "SeriesDescription"))
    written = next((collection for collection, own in OWN_MANUFACTURERS.items() if own in manufacturer), None)  # by us
    dose = DOSE_OF_WORD[stated[1].lower()] if (stated := TCIA_DOSE.search(description)) else None
    if match := MAYO_NAME.match(name):
        patient = match[1] if match[1].startswith("P") else match[1].upper()
        collection = written or ("mayo2016" if patient.startswith("L") else "simulated")
        return patient, collection, DOSE_OF_WORD[match[2].lower()], True, float(match[3])
    for identity in (patient_id, name):
        if TCIA_ID.match(identity):
            return identity, "tcia", dose, True, None
    for identity in (patient_id, name):
        if identity.lower() not in ANONYMOUS:
            return pseudonym(identity), written or "other", dose, True, None
    fallback = elements.get("StudyInstanceUID") or elements.get("FrameOfReferenceUID") or path.resolve().parent
    return pseudonym(str(fallback)), written or "other", dose, False, None


