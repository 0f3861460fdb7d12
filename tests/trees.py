"""Small DICOM trees for tests. Mayo's, TCIA's and foreign files are simulated slices whose header was rewritten here."""

from pathlib import Path

import numpy as np
import pydicom

from lib.data.dicom.mayo import mayo_file_name, write_series, write_slice
from lib.data.dicom.names import TCIA_UID_ROOT

ROWS, COLUMNS = 24, 20


def image(seed: int = 0, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    """Whole HU in [-1024, 3071], (rows, columns), int16."""
    return np.random.default_rng(seed).integers(-1024, 3072, (rows, columns), dtype=np.int16)


def simulated(
    root: Path, patient="SIM01", kernel="B30", thickness_mm=1.0, z=(0.0, 0.8, 1.6), doses=("full", "quarter")
):
    """A paired series in the simulator's layout; returns {dose: paths in the order of z}."""
    keys = {"patient": patient, "kernel": kernel, "thickness_mm": thickness_mm}
    return {
        dose: write_series(root, np.stack([image(seed=1000 * n + i) for i in range(len(z))]), z, dose=dose, **keys)
        for n, dose in enumerate(doses)
    }


def one(path: Path, *, hu=None, z_mm=0.0, dose="full", kernel="B30", thickness_mm=1.0, instance=1, **changes) -> Path:
    """One slice at `path`; `changes` sets header fields by keyword, None deletes one."""
    hu = image(instance) if hu is None else hu
    write_slice(
        path, hu, patient="SIM01", dose=dose, kernel=kernel, thickness_mm=thickness_mm, z_mm=z_mm, instance=instance
    )
    return edit(path, **changes) if changes else path


def edit(path: Path, **changes) -> Path:
    """Rewrite header fields of a file in place; None deletes."""
    ds = pydicom.dcmread(path)
    for name, value in changes.items():
        if value is None:
            delattr(ds, name)
        else:
            setattr(ds, name, value)
    ds.save_as(path, enforce_file_format=True)
    return path


def undecodable(path: Path) -> Path:
    """A header that reads well, over stored values that it cannot have."""
    return edit(path, PixelData=b"\xff" * len(pydicom.dcmread(path).PixelData))


def mayo(
    root: Path,
    folder: str,
    *,
    patient="L067",
    dose="full",
    kernel="B30",
    thickness_mm=1.0,
    z=(0.0, 0.8),
    name="{mayo}",
    **changes,
):
    """Slices with Mayo's headers in `folder` of `root`; `name` is the file name's form ({mayo}, {i})."""
    paths = []
    for i, position in enumerate(z):
        instance = len(z) - i
        mayo_name = mayo_file_name(patient, dose, kernel, thickness_mm, instance)
        path = root / folder / name.format(mayo=mayo_name, i=i + 1)
        tag = "FD" if dose == "full" else "QD"
        header = {
            "PatientName": f"{patient}_{tag}_{thickness_mm:g}" + ("_SHARP" if kernel == "D45" else ""),
            "PatientID": "Anonymous",
            "Manufacturer": "SIEMENS",
            **changes,
        }
        paths.append(
            one(path, z_mm=position, dose=dose, kernel=kernel, thickness_mm=thickness_mm, instance=instance, **header)
        )
    return paths


def tcia(root: Path, patient="L004", z=(0.0, 3.0)):
    """Both doses of one patient as TCIA's downloader writes them."""
    paths = []
    for dose, word, tail in (("full", "Full", "67226"), ("quarter", "Low", "39882")):
        folder = root / patient / "08-21-2018-NA-NA-70001" / f"1.000000-{word} Dose Images-{tail}"
        for i, position in enumerate(z):
            paths.append(
                one(
                    folder / f"1-{i + 1:03d}.dcm", z_mm=position, dose=dose, kernel="B30", thickness_mm=3.0,
                    instance=i + 1, PatientName=patient, PatientID=patient, Manufacturer="SIEMENS",
                    SeriesDescription=f"{word} Dose Images", StudyInstanceUID=f"{TCIA_UID_ROOT}1{patient[1:]}",
                    SeriesInstanceUID=f"{TCIA_UID_ROOT}2{tail}",
                )
            )  # fmt: skip
    return paths


def foreign(root: Path, folder: str = "scan", patient_id="4711", z=(0.0, 1.0), name="{i}", **changes):
    """Slices of an unknown patient, no dose in the header."""
    header = {"PatientName": "Doe^Jane", "PatientID": patient_id, "Manufacturer": "ACME", **changes}
    return [
        one(root / folder / name.format(i=i + 1), z_mm=position, instance=i + 1, **header)
        for i, position in enumerate(z)
    ]


def projection(path: Path) -> Path:
    """A DICOM-CT-PD view: modality CT, detector rows for Rows, no image position."""
    one(path, ImagePositionPatient=None, ImageOrientationPatient=None)
    ds = pydicom.dcmread(path)
    for group, offset in ((0x7029, 0x10), (0x7031, 0x01)):
        block = ds.private_block(group, "TEST CT PD", create=True)
        block.add_new(offset, "FL", 1.0)
    ds.save_as(path, enforce_file_format=True)
    return path
