"""Simulated slices, and real ones with an inserted low dose, as DICOM files in the Mayo challenge's form: its folders,
names and kind of header. No header is copied from anywhere."""

import hashlib
import re
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DSfloat

from lib.artifacts.files import atomic
from lib.data.dicom.geometry import AXIAL, Grid
from lib.data.dicom.names import OWN_MANUFACTURERS
from lib.data.doses import DOSES, FULL, LOW

STATEMENT = "Simulated CT slice: computed from a numerical phantom or by noise insertion. Not for diagnosis."
REAL_STATEMENT = "Normal dose: real scan, re-encoded. Not for diagnosis."
LOW_STATEMENT = "Low dose inserted by simulation, dose fraction {:g}, not an acquisition. Not for diagnosis."
IMAGES = "Training_Image_Data"  # the folder of all series
DOSE_FRACTION = 0.25  # the challenge's; another one is stated in the header


def write_slice(path: Path, hu: np.ndarray, *, patient: str, dose: str, kernel: str, thickness_mm: float, z_mm: float,
                instance: int, pixel_spacing_mm: float = 0.7, kvp: float = 120.0, collection: str = "simulated",
                dose_fraction: float = DOSE_FRACTION, number: int = 1, grid: Grid | None = None) -> Path:
    """Write one slice as a CT Image Storage file with Mayo's kind of header. The same call gives the same bytes. Raises
    ValueError (another name of a patient or a dose, HU that are not finite, no image) or OutputError (the disk refuses).

    Parameters
    ----------
    hu : (rows, columns), rounded and clipped to [-1024, 3071] (12 bits, slope 1, intercept -1024); those of the collection
        'inserted', whose full dose is a real scan, to [-1024, 64511] (16 bits)
    patient : SIM and two digits or more, or a pseudonym (P and 8 hex digits): no slice poses as one of Mayo's
    dose, kernel, collection : one of `DOSES`; 'B30', 'D45' or another; 'simulated' or 'inserted'
    instance : rises as z falls, as Siemens numbers them (`write_series` does that)
    dose_fraction : of the low dose
    number : of the series among the patient's of this kernel and thickness
    grid : where the pixels lie in the patient; by default axial, around the axis
    """
    path, hu = Path(path), np.asarray(hu)
    if not re.fullmatch(r"SIM\d{2,}|P[0-9a-f]{8}", patient) or dose not in DOSES or collection not in OWN_MANUFACTURERS:
        expected = f"SIM01 or P1a2b3c4d, one of {DOSES}, one of {tuple(OWN_MANUFACTURERS)}"
        raise ValueError(f"patient {patient!r}, dose {dose!r}, collection {collection!r}: expected {expected}")
    if hu.ndim != 2 or 0 in hu.shape or not np.isfinite(hu).all():
        raise ValueError(f"HU of shape {hu.shape}: expected finite numbers of shape (rows, columns)")
    bits = 16 if collection == "inserted" else 12
    stored = np.clip(np.rint(np.asarray(hu, np.float64)) + 1024, 0, 2**bits - 1).astype("<u2")
    ds = _simulated_header(patient, dose, kernel, thickness_mm, number, instance, kvp)
    if collection == "inserted":
        _mark_inserted(ds, dose, dose_fraction, (patient, number))
    elif dose == LOW and dose_fraction != DOSE_FRACTION:
        ds.DerivationDescription = f"{STATEMENT} Low dose: dose fraction {dose_fraction:g}."
    origin = grid.origin_mm if grid else [-pixel_spacing_mm * (n - 1) / 2 for n in (hu.shape[1], hu.shape[0])]
    ds.ImagePositionPatient = [_ds(each) for each in (*origin, z_mm)]
    ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    if grid:
        ds.ImageOrientationPatient = [_ds(each) for each in (*grid.row, *grid.column)]
    if grid and grid.tilt > AXIAL:
        ds.GantryDetectorTilt = _ds(grid.tilt)
    ds.SliceLocation, ds.PixelSpacing = _ds(z_mm), [_ds(pixel_spacing_mm)] * 2
    ds.Rows, ds.Columns = hu.shape
    ds.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    with atomic(path, durable=False) as temporary:
        ds.save_as(temporary, enforce_file_format=True)
    return path


def write_series(root: Path, hu: np.ndarray, z_mm, **series) -> list[Path]:
    """Write a series, HU of shape (slices, rows, columns), below `root` in Mayo's folders and file names, its positions
    `z_mm` in any order; InstanceNumber rises as z falls. `series` are `write_slice`'s other keywords. Returns the files."""
    key = {name: series[name] for name in ("patient", "dose", "kernel", "thickness_mm", "number") if name in series}
    folder = Path(root) / mayo_folder(**key)
    instance = {int(index): n for n, index in enumerate(np.argsort(-np.asarray(z_mm, float), kind="stable"), start=1)}
    return [write_slice(folder / mayo_file_name(**key, instance=instance[i]), hu[i], z_mm=float(z), instance=instance[i],
                        **series) for i, z in enumerate(z_mm)]


def mayo_folder(patient: str, dose: str, kernel: str, thickness_mm: float, number: int = 1) -> Path:
    """Folder of one series as a fresh unzip has it: `Training_Image_Data/1mm B30/full_1mm/SIM01/full_1mm`, with
    `_2` behind the dose for a second one."""
    leaf = f"{dose}_{thickness_mm:g}mm" + ("_sharp" if kernel == "D45" else "") + (f"_{number}" if number > 1 else "")
    return Path(IMAGES) / f"{thickness_mm:g}mm {kernel}" / leaf / patient / leaf


def mayo_file_name(patient: str, dose: str, kernel: str, thickness_mm: float, instance: int, number: int = 1) -> str:
    """File name in Mayo's form; series number, time and UID tail differ between doses, as in the real data."""
    parts = "|".join(map(str, (*_series(patient, dose, kernel, thickness_mm, number), instance)))
    tail = int(hashlib.sha256(parts.encode()).hexdigest()[:8], 16) % 10**9
    series, moment = ("0001", "2020.01.01.10.00.00") if dose == FULL else ("0004", "2020.01.01.12.30.00")
    name = _patient_name(patient, dose, kernel, thickness_mm)
    return f"{name}_1.CT.{series}.{instance:04d}.{moment}.000000.{tail:09d}.IMA"


def _series(patient, dose, kernel, thickness_mm, number) -> tuple:
    """What the names and UIDs of a series are made from; a kind's first has no number, as Mayo's."""
    return (patient, dose, kernel, thickness_mm, *([f"series {number}"] if number > 1 else []))


def _simulated_header(patient, dose, kernel, thickness_mm, number, instance, kvp) -> Dataset:
    """Every Type 1 and 2 attribute of the CT Image IOD's mandatory modules, save those that depend on the pixels."""
    hour = "100000" if dose == FULL else "123000"
    series = _series(patient, dose, kernel, thickness_mm, number)
    instance_uid = _uid(*series, instance)
    ds, meta = Dataset(), FileMetaDataset()
    ds.file_meta = meta
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, instance_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = _uid("implementation"), "PERCEPTUAL_1"
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL", "SIMULATED"]
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, instance_uid
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20200101"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = hour
    ds.AccessionNumber, ds.Modality, ds.Manufacturer = "", "CT", OWN_MANUFACTURERS["simulated"]
    ds.ReferringPhysicianName, ds.ManufacturerModelName = "", "numerical simulation"
    ds.DerivationDescription = STATEMENT
    ds.PatientName, ds.PatientID = _patient_name(patient, dose, kernel, thickness_mm), patient
    ds.PatientBirthDate, ds.PatientSex, ds.PatientComments = "", "", STATEMENT
    ds.PatientIdentityRemoved, ds.DeidentificationMethod = "YES", "no patient: simulated"
    ds.SliceThickness, ds.KVP, ds.PatientPosition = _ds(thickness_mm), _ds(kvp), "HFS"
    ds.ConvolutionKernel = f"{kernel}f" if re.fullmatch(r"[A-Za-z]{1,2}\d{2}", kernel) else kernel
    ds.StudyInstanceUID = _uid("study", patient, dose)
    ds.SeriesInstanceUID = _uid("series", *series)
    ds.FrameOfReferenceUID = _uid("frame of reference", patient, dose)
    ds.StudyID, ds.SeriesNumber, ds.AcquisitionNumber = "1", 1 if dose == FULL else 4, 1
    ds.InstanceNumber, ds.PositionReferenceIndicator, ds.ImageComments = int(instance), "", STATEMENT
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.WindowCenter, ds.WindowWidth = "40", "400"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
    return ds


def _mark_inserted(ds: Dataset, dose: str, dose_fraction: float, scan: tuple[str, int]) -> None:
    """Say what is real and what is not, and leave empty what is not known of the scan (dates, kVp, position). Both doses are
    in one frame of reference: they are one scan."""
    statement = REAL_STATEMENT if dose == FULL else LOW_STATEMENT.format(dose_fraction)
    ds.Manufacturer, ds.ManufacturerModelName = OWN_MANUFACTURERS["inserted"], "noise insertion"
    ds.DerivationDescription = ds.PatientComments = ds.ImageComments = statement
    ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL", *(["SIMULATED"] if dose == LOW else [])]
    ds.DeidentificationMethod = "header not copied"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = ""
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = ds.KVP = ds.PatientPosition = ""
    ds.BitsStored, ds.HighBit = 16, 15
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(ds, name, _uid("inserted", dose_fraction, ds[name].value))
    ds.FrameOfReferenceUID = _uid("inserted frame of reference", dose_fraction, *scan)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID


def _patient_name(patient: str, dose: str, kernel: str, thickness_mm: float) -> str:
    return f"{patient}_{'FD' if dose == 'full' else 'QD'}_{thickness_mm:g}" + ("_SHARP" if kernel == "D45" else "")


def _uid(*entropy) -> str:
    return generate_uid(entropy_srcs=["simulated low-dose CT", *map(str, entropy)])


def _ds(value: float) -> DSfloat:
    return DSfloat(float(value), auto_format=True)
