"""One CT slice as one DICOM file: its header and its Hounsfield units."""

import io
import math
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder

from lib.errors import DicomError
from lib.patients import pseudonym

PADDING = -2000
"""Stored value outside the reconstruction circle; it becomes 0 before rescaling (the authors' rule)."""

SIMULATED = "SIMULATED CT, NOT A PATIENT"
INSERTED = "NOISE INSERTION COHORT, RE-ENCODED"
"""Manufacturer of the slices that this package writes: wholly simulated, or real with an inserted low dose."""

PATIENT = r"(?:L\d{3}|SIM\d{2,}|P[0-9a-f]{8})"
MAYO_NAME = re.compile(rf"^({PATIENT})_(FD|QD)_(\d+(?:\.\d+)?)(_SHARP)?(?=_|\.|\s|\^|$)", re.IGNORECASE)
"""PatientName and the start of a file name: patient, dose, thickness in mm and, for the sharp kernel, SHARP."""

TCIA_ID = re.compile(r"^[NCL]\d{3}$")
TCIA_DOSE = re.compile(r"\b(full|low) dose images?\b", re.IGNORECASE)
DOSES = {"fd": "full", "full": "full", "full dose": "full", "qd": "quarter", "quarter": "quarter", "low": "quarter"}

_ANONYMOUS = {"", "anonymous", "anonymized", "anonymised", "anon", "unknown", "none", "0"}
_DOSE_FRACTION = re.compile(r"\bdose fraction (\d*\.?\d+(?:e-?\d+)?)", re.IGNORECASE)
_RAW_DATA = "1.2.840.10008.5.1.4.1.1.66"  # SOP class of DICOM-CT-PD files
_PROJECTION_TAGS = (0x70291010, 0x70291011, 0x70311001, 0x70331013, 0x70371009)  # private groups of DICOM-CT-PD
_HEADER_TAGS = [
    "SOPClassUID", "ImageType", "Modality", "Manufacturer", "DerivationDescription", "SeriesDescription", "PatientName",
    "PatientID",
    "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "InstanceNumber", "ConvolutionKernel",
    "SliceThickness", "ImagePositionPatient", "Rows", "Columns", "NumberOfFrames", "BitsAllocated", "PixelSpacing",
    "RescaleSlope", "RescaleIntercept", *_PROJECTION_TAGS,
]  # fmt: skip


class NotCtImageError(DicomError):
    """A DICOM file of another kind (projection data, localizer, report, other modality); `kind` names it."""

    def __init__(self, message: str, kind: str):
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Header:
    """What pairing needs of one slice; `patient` is a challenge or simulation id, else a pseudonym."""

    patient: str
    identified: bool  # False: nothing in the header names the patient, `patient` is only a fallback
    collection: str  # 'mayo2016', 'tcia', 'simulated', 'inserted' or 'other'
    dose: str | None  # 'full', 'quarter' (any low dose) or None
    kernel: str | None  # 'B30', 'D45', 'Br38', ...
    thickness_mm: float | None
    z_mm: float
    rows: int
    columns: int
    pixel_spacing_mm: tuple[float, float] | None  # between rows, between columns
    series_uid: str
    instance: int | None
    modality: str
    dose_fraction: float | None = None  # of the full dose, 1.0 for it; None where nothing tells


def read_header(path: Path) -> Header:
    """Read one CT slice's header without its pixels.

    Raises NotCtImageError for another kind of DICOM file and DicomError for a file that is damaged, truncated,
    multi-frame, or lacks what HU and pairing need (rescale slope and intercept, image position, matrix size).
    """
    path = Path(path)
    with path.open("rb") as file:
        ds = _parse(file, path, stop_before_pixels=True, specific_tags=_HEADER_TAGS)
        _check_kind(ds, path)
        rows, columns = _matrix(ds, path)
        _rescale(ds, path)
        position = _numbers(ds, "ImagePositionPatient", 3, path, required=True)
        _check_pixels_follow(file, ds, path, rows * columns * int(ds.get("BitsAllocated") or 16) // 8)
    patient, collection, dose, identified, thickness = _identity(ds, path)
    stated = _numbers(ds, "SliceThickness", 1, path)
    return Header(
        patient=patient,
        identified=identified,
        collection=collection,
        dose=dose,
        kernel=_kernel(ds),
        thickness_mm=round(stated[0], 2) if stated and stated[0] > 0 else thickness,
        z_mm=position[2],
        rows=rows,
        columns=columns,
        pixel_spacing_mm=_numbers(ds, "PixelSpacing", 2, path),
        series_uid=str(ds.get("SeriesInstanceUID") or ""),
        instance=int(ds.InstanceNumber) if ds.get("InstanceNumber") not in (None, "") else None,
        modality="CT",
        dose_fraction=_dose_fraction(ds, collection),
    )


def read_hu(path: Path) -> np.ndarray:
    """Read one CT slice in HU, (rows, columns): int16 if that is lossless, else float32. Raises DicomError."""
    path = Path(path)
    return decode_hu(path.read_bytes(), path)


def decode_hu(data: bytes, path: Path) -> np.ndarray:
    """As `read_hu`, from the file's bytes; `path` only names the file in messages."""
    ds = _parse(io.BytesIO(data), path)
    _check_kind(ds, path)
    rows, columns = _matrix(ds, path)
    slope, intercept = _rescale(ds, path)
    stored = _stored_values(ds, path, rows, columns)
    if stored.dtype.kind == "i" and stored.min() <= PADDING:
        stored = np.where(stored == PADDING, 0, stored)
    ends = [float(end) * slope + intercept for end in (stored.min(), stored.max())]
    limits = np.iinfo(np.int16)
    if slope.is_integer() and intercept.is_integer() and limits.min <= min(ends) and max(ends) <= limits.max:
        # modulo 2^16 throughout, so exact: the HU themselves fit
        return stored.astype(np.int16) * np.int64(slope).astype(np.int16) + np.int64(intercept).astype(np.int16)
    return (stored.astype(np.float64) * slope + intercept).astype(np.float32)


def normal_kernel(name: str) -> str:
    """Kernel without Siemens's trailing f or s: B30f -> B30, Br38f -> Br38; other names are kept."""
    name = name.strip()
    match = re.fullmatch(r"([A-Za-z]{1,2}\d{2})[a-z]", name)
    return match[1] if match else name


def _parse(file, path: Path, **options) -> Dataset:
    try:
        with warnings.catch_warnings():  # pydicom warns of odd values in fields that nobody reads here
            warnings.simplefilter("ignore")
            return pydicom.dcmread(file, **options)
    except pydicom.errors.InvalidDicomError:
        raise DicomError(f"{path}: not a DICOM file (no DICM at byte 128); remove it or export it again") from None
    except Exception as error:  # pydicom raises many kinds for damaged bytes
        raise DicomError(f"{path}: truncated or damaged DICOM file ({error}); copy it again") from None


def _check_kind(ds: Dataset, path: Path) -> None:
    modality = str(ds.get("Modality") or "")
    private = any(tag in ds for tag in _PROJECTION_TAGS) or ds.get("SOPClassUID") == _RAW_DATA
    if "ImagePositionPatient" not in ds and private:
        text = f"{path}: projection data (DICOM-CT-PD), not a CT image; use the image folders"
        raise NotCtImageError(text, "projection data")
    if modality != "CT":
        kind = f"modality {modality or 'missing'}"
        raise NotCtImageError(f"{path}: {kind}, expected CT; use the CT images", kind)
    if "LOCALIZER" in [str(value).upper() for value in _several(ds.get("ImageType"))]:
        raise NotCtImageError(f"{path}: a localizer (scout view), not an axial slice; leave it out", "localizer")
    if (frames := ds.get("NumberOfFrames")) and int(frames) > 1:
        raise DicomError(f"{path}: multi-frame image with {frames} frames; export it as one file a slice")


def _matrix(ds: Dataset, path: Path) -> tuple[int, int]:
    rows, columns = int(ds.get("Rows") or 0), int(ds.get("Columns") or 0)
    if not rows or not columns:
        raise DicomError(f"{path}: no matrix size (Rows, Columns); truncated or not an image, copy it again")
    return rows, columns


def _rescale(ds: Dataset, path: Path) -> tuple[float, float]:
    slope = _numbers(ds, "RescaleSlope", 1, path, required=True)[0]
    if slope == 0:
        raise DicomError(f"{path}: RescaleSlope is 0; export the file again")
    return slope, _numbers(ds, "RescaleIntercept", 1, path, required=True)[0]


def _numbers(ds: Dataset, name: str, count: int, path: Path, required: bool = False) -> tuple[float, ...] | None:
    try:
        values = tuple(float(value) for value in _several(ds.get(name)))
    except (TypeError, ValueError) as error:
        raise DicomError(f"{path}: {name} is not a number ({error}); export the file again") from None
    if not values and not required:
        return None
    if not values:
        raise DicomError(f"{path}: no {name} in the header; expected a CT image with HU and position, export it again")
    if len(values) < count or not all(map(math.isfinite, values)):
        raise DicomError(f"{path}: {name} is {values}, expected {count} finite number(s); export the file again")
    return values[:count]


def _several(value) -> list:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple, pydicom.multival.MultiValue)) else [value]


def _check_pixels_follow(file, ds: Dataset, path: Path, expected: int) -> None:
    """The reader stands before the pixel data: are they there, and as long as they say?"""
    syntax = ds.file_meta.get("TransferSyntaxUID")
    if syntax is None or not syntax.is_transfer_syntax or syntax.is_deflated or not syntax.is_little_endian:
        return  # the position in the file says nothing here; reading the pixels checks them
    left = os.fstat(file.fileno()).st_size - file.tell()
    if file.read(4) not in (b"\xe0\x7f\x10\x00", b"\xe0\x7f\x08\x00", b"\xe0\x7f\x09\x00"):
        raise DicomError(f"{path}: no pixel data after the header; truncated or not an image, copy it again")
    if not syntax.is_compressed and left < expected:
        raise DicomError(f"{path}: truncated, {left} bytes of pixel data where {expected} are expected; copy it again")


def _stored_values(ds: Dataset, path: Path, rows: int, columns: int) -> np.ndarray:
    if "PixelData" not in ds:
        raise DicomError(f"{path}: no pixel data; the file is truncated or not an image, copy it again")
    syntax = ds.file_meta.get("TransferSyntaxUID")
    if syntax is None or not syntax.is_transfer_syntax:
        raise DicomError(f"{path}: transfer syntax {syntax} is no standard one; export as Explicit VR Little Endian")
    if syntax.is_encapsulated:
        try:
            available, missing = get_decoder(syntax).is_available, get_decoder(syntax).missing_dependencies
        except NotImplementedError:
            available, missing = False, []
        if not available:
            package = "pylibjpeg-openjpeg" if "2000" in syntax.name else "pylibjpeg-libjpeg"
            raise DicomError(
                f"{path}: compressed as {syntax.name}, no decoder is installed; run 'pip install pylibjpeg {package}'"
                + (f" (any of: {'; '.join(missing)})" if missing else "")
            )
    else:
        expected = rows * columns * int(ds.get("SamplesPerPixel", 1)) * int(ds.get("BitsAllocated", 16)) // 8
        if not expected <= len(ds.PixelData) <= expected + expected % 2:
            raise DicomError(
                f"{path}: {len(ds.PixelData)} bytes of pixel data, expected {expected}; damaged, copy it again"
            )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stored = ds.pixel_array
    except Exception as error:  # pydicom's decoders raise many kinds
        text = " ".join(str(error).split())
        raise DicomError(f"{path}: the pixel data cannot be decoded ({text}); copy it again") from None
    if stored.shape != (rows, columns):
        raise DicomError(f"{path}: pixel data of shape {stored.shape}, expected ({rows}, {columns}); export it in grey")
    return stored


def _identity(ds: Dataset, path: Path) -> tuple[str, str, str | None, bool, float | None]:
    """Patient, collection, dose, whether the patient is known, and thickness as far as the name holds it."""
    name, patient_id = str(ds.get("PatientName") or "").strip(), str(ds.get("PatientID") or "").strip()
    written = _written_here(ds)
    description = TCIA_DOSE.search(str(ds.get("SeriesDescription") or ""))
    dose = DOSES[description[1].lower()] if description else None
    if match := MAYO_NAME.match(name):
        patient = match[1] if match[1].startswith("P") else match[1].upper()
        collection = written or ("mayo2016" if patient.startswith("L") else "simulated")
        return patient, collection, DOSES[match[2].lower()], True, float(match[3])
    for identity in (patient_id, name):
        if TCIA_ID.match(identity):
            return identity, "tcia", dose, True, None
    for identity in (patient_id, name):
        if identity.lower() not in _ANONYMOUS:
            return pseudonym(identity), written or "other", dose, True, None
    fallback = ds.get("StudyInstanceUID") or ds.get("FrameOfReferenceUID") or path.resolve().parent
    return pseudonym(str(fallback)), written or "other", dose, False, None


def _written_here(ds: Dataset) -> str | None:
    """Collection of a slice that this package wrote."""
    manufacturer = str(ds.get("Manufacturer") or "")
    return "inserted" if INSERTED in manufacturer else "simulated" if SIMULATED in manufacturer else None


def _dose_fraction(ds: Dataset, collection: str) -> float | None:
    """As `lib.cohort.mayo` states it; other slices state none that can be relied on."""
    stated = _DOSE_FRACTION.search(str(ds.get("DerivationDescription") or ""))
    return float(stated[1]) if stated and collection in ("simulated", "inserted") else None


def _kernel(ds: Dataset) -> str | None:
    names = _several(ds.get("ConvolutionKernel"))
    return normal_kernel(str(names[0])) or None if names else None
