"""One slice in an unusual but valid form: how HU are stored, what is padding, which words its header has."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

AIR = -1024.0
SYNTAXES = {ExplicitVRLittleEndian: 4, ImplicitVRLittleEndian: 2, ExplicitVRBigEndian: 1, DeflatedExplicitVRLittleEndian: 1,
            RLELossless: 1}  # fmt: skip
SCALES = {(True, 12): [(1, 0), (2, -1024)], (True, 16): [(1, 0), (1, -1024), (0.5, 0.25), (1.2207, -37.5), (1, 37)],
          (False, 12): [(1, -1024), (1, -1000), (2, -1024)],
          (False, 16): [(1, -1024), (1, -8192), (0.25, -1024), (1, -1500.5), (10, -10240)]}  # fmt: skip
AXIAL = ("ORIGINAL", "PRIMARY", "AXIAL")
WORDS = {AXIAL: 8, (*AXIAL, "CT_SOM5 SPI"): 3, (*AXIAL, "HELIX"): 2, ("DERIVED", "SECONDARY", "AXIAL"): 3}
REFUSED_WORDS = {"CSA MIP": "intensity projection", "CBF": "perfusion map", "VNC": "material map", "Z_EFF": "material map",
                 "MPR\\CURVED": "rendering", "SUBTRACTION": "subtraction image", "SCREEN SAVE": "rendering"}  # fmt: skip
UNITS = {"HU": 8, None: 4, "": 1}
REFUSED_UNITS = ("US", "Z_EFF", "MGML", "OD")


def choose(rng, weights: dict):
    """One of the keys, by weight."""
    keys, shares = list(weights), np.array(list(weights.values()), float)
    return keys[rng.choice(len(keys), p=shares / shares.sum())]


@dataclass(frozen=True)
class Encoding:
    """Of the slices of one series."""

    signed: bool
    bits: int
    slope: float
    intercept: float
    syntax: str
    image_type: tuple[str, ...]
    unit: str | None
    padding: str
    declared: tuple[int, int | None] | None  # PixelPaddingValue, PixelPaddingRangeLimit
    margin: str
    refusal: str

    def like(self, other: "Encoding") -> "Encoding":
        """The same for an image of the other's kind."""
        return replace(self, image_type=other.image_type, unit=other.unit, refusal=other.refusal)


def encoding(rng) -> Encoding:
    """A random one."""
    signed, bits = bool(rng.integers(2)), int(choose(rng, {12: 1, 16: 2}))
    slope, intercept = SCALES[signed, bits][rng.integers(len(SCALES[signed, bits]))]
    lowest, highest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    brightest = min(highest, round((3071 - intercept) / slope))
    water = min(max(round(-intercept / slope), lowest + 20), highest - 20)
    paddings = {"lowest": (lowest, None), "water": (water, None), "brightest": (brightest, None),
                "range": (lowest, lowest + 9), "range of water": (water - 6, water + 6)}  # fmt: skip
    padding = choose(rng, {"": 4, "convention": 3 if signed or bits == 16 else 0} | dict.fromkeys(paddings, 2))
    declared = paddings.get(padding)
    if declared and declared[1] is not None and rng.random() < 0.3:
        declared = declared[::-1]
    words, unit, refusal = choose(rng, WORDS), choose(rng, UNITS), ""
    if rng.random() < 0.04:
        word = list(REFUSED_WORDS)[rng.integers(len(REFUSED_WORDS))]
        words, refusal = (*words[:3], *word.split("\\")), REFUSED_WORDS[word]
    elif rng.random() < 0.04:
        unit = REFUSED_UNITS[rng.integers(len(REFUSED_UNITS))]
        refusal = f"RescaleType {unit}"
    margin = choose(rng, {"circle": 3, "columns": 1, "frame": 1, "corner": 1, "none": 1})
    return Encoding(signed, bits, slope, intercept, choose(rng, SYNTAXES), words, unit, padding, declared, margin, refusal)


def pixels(rng, form: Encoding, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """HU as they must be read, and the stored values: a body of noise, a margin of padding, and one pixel of the padding's
    value in the middle, which is tissue where tissue has that value."""
    convention = -2000 if form.signed else 2**16 - 2000
    stored = np.rint((rng.integers(-1000, 1000, (rows, columns)) - form.intercept) / form.slope).astype(int)
    low, high = sorted(end if end is not None else form.declared[0] for end in form.declared) if form.declared else (1, 0)
    filler = round((333 - form.intercept) / form.slope)
    stored[((stored >= low) & (stored <= high)) | (stored == convention)] = filler
    hu = stored * form.slope + form.intercept
    if form.padding:
        row, column = np.indices((rows, columns))
        radius = min(rows, columns) / 2
        outside = {
            "circle": (row - rows / 2 + 0.5) ** 2 + (column - columns / 2 + 0.5) ** 2 > radius**2, "columns": column < 2,
            "frame": (row % (rows - 1) == 0) | (column % (columns - 1) == 0), "corner": row + column < 2,
            "none": np.zeros((rows, columns), bool),
        }[form.margin]  # fmt: skip
        values = [convention] if form.padding == "convention" else [low, high]
        stored[outside] = rng.choice(values, outside.sum())
        hu[outside] = AIR
        middle = rows // 2, columns // 2
        stored[middle] = values[-1]
        value = values[-1] * form.slope + form.intercept
        hu[middle] = AIR if value <= AIR or (form.padding == "convention" and value > 40_000) else value
    return hu.astype(np.float32), stored


def write(path: Path, stored: np.ndarray, form: Encoding, header: dict) -> None:
    """A CT Image Storage file with every mandatory attribute."""
    ds, ds.file_meta = Dataset(), FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if form.syntax == RLELossless else form.syntax
    ds.SOPClassUID, ds.Modality, ds.ImageType = CTImageStorage, "CT", list(form.image_type)
    ds.PatientSex, ds.StudyDate, ds.StudyTime, ds.StudyID, ds.SeriesNumber, ds.AcquisitionNumber = "", "", "", "", 1, 1
    ds.PositionReferenceIndicator, ds.KVP = "", "120"
    for name, value in header.items():
        setattr(ds, name, value)
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", int(form.signed)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, form.bits, form.bits - 1
    ds.Rows, ds.Columns = stored.shape
    ds.RescaleSlope, ds.RescaleIntercept = str(form.slope), str(form.intercept)
    if form.unit is not None:
        ds.RescaleType = form.unit
    for tag, value in zip((0x00280120, 0x00280121), form.declared or (), strict=False):
        if value is not None:
            ds.add_new(tag, "SS" if form.signed else "US", value)
    order = ">" if form.syntax == ExplicitVRBigEndian else "<"
    ds.add_new(0x7FE00010, "OW", stored.astype(f"{order}{'i' if form.signed else 'u'}2").tobytes())
    if form.syntax == RLELossless:
        ds.compress(RLELossless, generate_instance_uid=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
