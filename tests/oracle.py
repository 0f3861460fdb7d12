"""A slow, plain oracle: what one DICOM file is and which HU it holds, and what must become of each file of a folder. It
imports nothing of `lib`, and nothing here is clever."""

import re
import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom

AIR = -1024.0
LARGEST = 40_000  # HU of any CT scale
DOSES = ("full", "quarter")
ERROR = "error"  # a reason without a kind of its own: missing, damaged, or of a form that CT does not have
UNREAD = "unread"  # pydicom stops at it: who reads on may find another reason
NO_AXIAL_HU = {
    "localizer": "LOCALIZER SCOUT TOPOGRAM SCANOGRAM",
    "intensity projection": "MIP MINIP MAXIP MAX_IP MIN_IP RAYSUM",
    "perfusion map": "PERFUSION CBF CBV MTT TTP TMAX RCBF RCBV PBV PERMEABILITY",
    "material map": "Z_EFF ZEFF EFFECTIVE_Z IODINE VNC VIRTUAL_NON_CONTRAST MATERIAL ELECTRON_DENSITY MAT_SPECIFIC "
                    "MAT_REMOVED MAT_FRACTIONAL MAT_MODIFIED MAT_VALUE_BASED",
    "rendering": "VRT SSD RENDERED RENDERING VOLUME_RENDERED SCREEN SCREENSAVE CURVED",
    "subtraction image": "SUBTRACTION SUBTRACTED",
}  # fmt: skip
CLASSES = {"1.2.840.10008.5.1.4.1.1.7": "secondary capture", "1.2.840.10008.5.1.4.1.1.66": "raw data"}
CT, ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"


@dataclass
class Verdict:
    """Of one file: why its header or its image must be refused (one of the reasons is to be given), and its HU if not."""

    header: set[str] = field(default_factory=set)
    image: set[str] = field(default_factory=set)
    hu: np.ndarray | None = None


def judge(path: Path) -> Verdict:
    """Read one file with pydicom, decode it, and look at everything that the documentation names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds = pydicom.dcmread(path)
        except Exception:  # noqa: BLE001 - pydicom raises many kinds: no DICOM file, or one that is cut
            return Verdict({ERROR, UNREAD}, {ERROR, UNREAD})
        kinds, form, geometry = (asked(question, ds) for question in (kinds_of, form_of, geometry_of))
        verdict = Verdict(kinds | form | geometry, kinds | form)
        if not verdict.image:
            try:
                verdict.hu = hounsfield(ds, ds.pixel_array.astype(int))
            except Exception:  # noqa: BLE001 - no decoder, or no image that one could decode
                verdict.hu = None
            verdict.image |= {ERROR} if verdict.hu is None else set()
        return verdict


def asked(question, ds: pydicom.Dataset) -> set[str]:
    """What one of the questions below finds."""
    try:
        return question(ds) if len(ds) else {ERROR, UNREAD}
    except Exception:  # noqa: BLE001 - pydicom raises many kinds for an element that is damaged
        return {ERROR, UNREAD}


def kinds_of(ds) -> set[str]:
    """Why it is no axial CT slice in HU, by the words of its header."""
    found, modality, sop_class = set(), ds.get("Modality"), ds.get("SOPClassUID")
    if not modality:
        found.add(ERROR)
    elif modality != "CT":
        found.add(f"modality {modality}")
    if int(ds.get("NumberOfFrames") or 1) > 1 or sop_class == ENHANCED_CT:
        found.add(ERROR)
    values = ds.get("ImageType") or []
    for value in [values] if isinstance(values, str) else values:
        words = {value.upper(), *re.split("[^A-Z0-9_]+", value.upper())}
        found |= {kind for kind, listed in NO_AXIAL_HU.items() if words & set(listed.split())}
    if sop_class and sop_class != CT:
        found.add(CLASSES.get(sop_class, "another SOP class"))
    if ds.get("RescaleType") and ds.RescaleType != "HU":
        found.add(f"RescaleType {ds.RescaleType}")
    return found


def form_of(ds) -> set[str]:
    """Whether it is one grey image of 16 bits with a scale that CT has."""
    form = [ds.get(name) for name in ("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated")]
    good = form == [1, "MONOCHROME2", 16] and 8 <= ds.BitsStored <= 16 and ds.HighBit == ds.BitsStored - 1
    good = good and "PixelData" in ds and ds.get("RescaleIntercept") is not None and ds.get("RescaleSlope") is not None
    good = good and 0.001 <= ds.RescaleSlope <= 64 and abs(ds.RescaleIntercept) <= LARGEST
    if good and not ds.file_meta.TransferSyntaxUID.is_encapsulated:
        good = len(ds.PixelData) == 2 * ds.Rows * ds.Columns
    return set() if good else {ERROR}


def geometry_of(ds) -> set[str]:
    """Which plane it is, if not an axial one or that of the tilted gantry."""
    cosines, position = ds.get("ImageOrientationPatient"), ds.get("ImagePositionPatient")
    if not cosines or not position or len(cosines) != 6 or len(position) != 3:
        return {ERROR}
    row, column = np.array(cosines[:3], float), np.array(cosines[3:], float)
    if abs(row @ row - 1) > 2e-3 or abs(column @ column - 1) > 2e-3 or abs(row @ column) > 1e-3:
        return {ERROR}
    normal = np.cross(row, column)
    tilt = np.degrees(np.arccos(min(1, abs(normal[2]) / np.linalg.norm(normal))))
    stated = ds.get("GantryDetectorTilt")
    if tilt <= 0.1 or (tilt <= 35 and stated and abs(abs(stated) - tilt) <= 1):
        return set()
    return {f"{'sagittal' if abs(normal[0]) > 0.9 else 'coronal' if abs(normal[1]) > 0.9 else 'oblique'} plane"}


def hounsfield(ds, stored: np.ndarray) -> np.ndarray | None:
    """HU with padding as air, rounded to 32 bits; None for what no CT scale has."""
    slope, intercept = float(ds.RescaleSlope), float(ds.RescaleIntercept)
    outside = padded(ds, stored, slope, intercept)
    hu, bits = stored * slope + intercept, ds.BitsStored
    lowest, end = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if ds.PixelRepresentation else (0, 2**bits)
    for place in np.ndindex(stored.shape):
        if outside[place]:
            hu[place] = AIR
        elif not lowest <= stored[place] < end or abs(hu[place]) > LARGEST:
            return None
    return hu.astype(np.float32)


def padded(ds, stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Which pixels are padding: -2000, signed or not, and what is declared; where that could be tissue, what of it hangs
    together with the border, pixel by pixel over their sides."""
    usual = -2000 if ds.PixelRepresentation else 2**16 - 2000
    outside = stored == usual
    if AIR < usual * slope + intercept <= LARGEST:
        outside = bordering(stored, usual, usual)
    declared = [ds.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    ends = [as_stored(value, ds.PixelRepresentation) for value in declared if value is not None]
    if declared[0] is None:
        return outside
    if max(ends) * slope + intercept <= AIR:
        return outside | ((stored >= min(ends)) & (stored <= max(ends)))
    return outside | bordering(stored, min(ends), max(ends))


def bordering(stored: np.ndarray, low: int, high: int) -> np.ndarray:
    """Which pixels from `low` to `high` hang together with the border."""
    outside = np.zeros(stored.shape, bool)
    rows, columns = stored.shape
    waiting = [(row, column) for row in range(rows) for column in range(columns)
               if row in (0, rows - 1) or column in (0, columns - 1)]  # fmt: skip
    seen = set()
    while waiting:
        row, column = waiting.pop()
        if (row, column) in seen or not (0 <= row < rows and 0 <= column < columns):
            continue
        seen.add((row, column))
        if low <= stored[row, column] <= high:
            outside[row, column] = True
            waiting += [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
    return outside


def as_stored(value: int | bytes, signed: int) -> int:
    """A number of 16 bits as PixelRepresentation says, whatever a writer took for its VR."""
    number = (int.from_bytes(value, "little") if isinstance(value, bytes) else value) % 2**16
    return number - 2**16 if signed and number >= 2**15 else number


@dataclass(frozen=True)
class Slice:
    """What the maker of a file knows of it."""

    path: Path
    patient: str
    scan: str  # the acquisition, phase and reconstruction, and whose and from which study: what no two scans share
    kind: tuple  # kernel and thickness
    grid: str  # equal for slices on one grid
    dose: str
    z: float
    uids: tuple[str, str, str]  # of the study, the frame of reference, the series
    refusal: str  # the kind by which it is refused, '' if it is an axial slice in HU
    hu: np.ndarray = field(compare=False, repr=False)
    warned: tuple[str, ...] = ()  # kinds of the problems that say what was assumed of it

    @property
    def series(self) -> tuple:
        """What may stand in one volume."""
        return self.scan, self.kind, self.grid, self.dose


def fates(slices: list[Slice], other_studies: bool) -> dict[Path, set[str]]:
    """What may become of each file: 'paired', 'single', or the kind of the problem that leaves it out; more than one only
    where headers cannot decide. ``other_studies``: of a collection whose doses may have other studies."""
    found = {each.path: {each.refusal or "no thickness"} for each in slices if each.refusal or not each.kind[1]}
    good = [each for each in slices if each.path not in found]
    there, left = defaultdict(list), defaultdict(list)
    for each in good:
        there[each.series].append(each)
    for each in kept(good, found):
        left[each.series].append(each)
    for series, members in left.items():
        # What was left out counts, too: headers cannot say whose partner the other phase's is
        others = [key for key, rest in there.items() if key[-1] != series[-1] and fits(members, rest, other_studies)]
        partners = [key for key in others if key[0] == series[0] and fits(members, left.get(key, []), other_studies)]
        back = [key for key, rest in there.items() if key[-1] == series[-1] and partners
                and fits(rest, left[partners[0]], other_studies)]  # fmt: skip
        places = {round(each.z, 2) for key in partners for each in left[key]}
        for each in members:
            paired = "paired" if round(each.z, 2) in places else "no partner"
            certain = len(others) == len(back) == 1
            found[each.path] |= {"single"} if not partners else {paired} if certain else {paired, "single"}
    return found


def kept(slices: list[Slice], found: dict[Path, set[str]]) -> list[Slice]:
    """One of each place, of the series of which none is left out; what becomes of the others goes to `found`."""
    together, best = defaultdict(list), []
    for each in slices:
        together[each.patient, each.kind, each.dose, each.uids].append(each)
        found[each.path] = set()
    for members in together.values():
        for grid in {each.grid for each in members}:
            some = [each for each in members if each.grid == grid]
            lost = "odd geometry" if 3 * len(some) < len(members) else "same z" if clash(some) else ""
            for each in some:
                same = [other for other in some if round(other.z, 2) == round(each.z, 2)]
                found[each.path] |= {lost} if lost else {"copy"} if len(same) > 1 else set()
                best += [each] if not lost and each is same[0] else []
    return best


def whole(slices: list[Slice]) -> set[tuple]:
    """The series that must not come in pieces: no other one of the same patient, study, dose and kind is on their grid. One
    of two places under two UIDs may: nothing says how far apart its slices are, nor may one whose third is lost."""
    alike, uids = defaultdict(set), defaultdict(set)
    for each in slices:
        alike[each.patient, each.dose, each.kind, each.grid, each.uids[:2]].add(each.series)
        uids[each.series].add(each.uids)
    scattered = {series for series, found in uids.items() if len(found) in (2, 3)}
    return {series for found in alike.values() for series in found if len(found) == 1} - scattered


def clash(members: list[Slice]) -> bool:
    """Whether two different files have one place."""
    return any(round(each.z, 2) == round(other.z, 2) and each.path.read_bytes() != other.path.read_bytes()
               for each in members for other in members)  # fmt: skip


def fits(some: list[Slice], others: list[Slice], other_studies: bool) -> bool:
    """Whether two series of other doses could be taken for a pair by all that headers say."""
    if not others:
        return False
    one, other = some[0], others[0]
    linked = other_studies or one.uids[0] == other.uids[0] or one.uids[1] == other.uids[1]
    alike = (one.patient, one.kind, one.grid) == (other.patient, other.kind, other.grid)
    return alike and linked and bool({round(each.z, 2) for each in some} & {round(each.z, 2) for each in others})
