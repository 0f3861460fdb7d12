"""Unusual but valid scans: one number makes one folder of one to three scans of a few tiny slices, and what is true of each.

What no header could decide is not made: two phases whose slices continue each other's on one grid, and a phase at one dose
beside another phase, of the same places, at the other dose only.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tests.oracle import Slice
from tests.unusual_protocols import FULL, LOW, NOBODY, PEOPLE, SECRETS, Scan, scan
from tests.unusual_slices import Encoding, choose, encoding, pixels, write

UIDS = "1.2.826.0.1.3680043.99"
TCIA_UIDS = "1.2.840.113713.4.100.1.2"
BESIDE = {  # files that are no slices, and what refuses them
    "localizer": {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1], "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
    "secondary capture": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "modality PT": {"Modality": "PT"},
}  # fmt: skip
CLUTTER = {"DICOMDIR": "DICOMDIR", "Befund Zyxwell.txt": ".txt", "Quittung": "file without extension"}


@dataclass
class Cohort:
    """A folder, and what is true of it."""

    root: Path
    rng: np.random.Generator
    collection: str
    number: int
    slices: list[Slice] = field(default_factory=list)
    clutter: Counter = field(default_factory=Counter)
    secrets: set[str] = field(default_factory=set)
    uids: int = 0

    def uid(self) -> str:
        """A new one."""
        self.uids += 1
        return f"{TCIA_UIDS if self.collection == 'tcia' else UIDS}.{self.number}.{self.uids}"

    def add(self, each: Slice, stored: np.ndarray, form: Encoding, header: dict) -> None:
        """Write a slice, and note what is true of it."""
        header = header | {"SOPInstanceUID": self.uid(), "SeriesInstanceUID": each.uids[2], "InstanceNumber": self.uids}
        write(each.path, stored, form, header)
        self.slices.append(each)


def cohort(number: int, root: Path) -> Cohort:
    """Make the folder of this number below `root`."""
    rng = np.random.default_rng([20166, number])
    made = Cohort(root / "data", rng, choose(rng, {"other": 14, "mayo2016": 3, "tcia": 2, "simulated": 1}), number)
    scans: list[Scan] = []
    people = rng.permutation(len(PEOPLE))
    for place in range(rng.integers(1, 4)):
        again = scans[-1] if scans and made.collection == "other" and rng.random() < 0.35 else None
        scans.append(scan(rng, place, PEOPLE[people[place]], made.collection, made.uid, again))
        _deliver(made, scans[-1])
    _beside(made, scans[-1])
    made.secrets = {f"{root}.{number}." for root in (UIDS, TCIA_UIDS)} | {
        part for text in SECRETS.values() for part in text.split("^")}  # fmt: skip
    if made.collection == "other":  # the others' names and folders are public, and are shown
        names = {each.header["PatientName"].replace("=", "^") for each in scans} - {*NOBODY}
        texts = {text for each in scans for text in (each.header["PatientID"], each.folder)} - {*NOBODY}
        made.secrets |= {part for name in names for part in name.split("^")} | {text for text in texts if len(text) > 4}
    return made


def _deliver(made: Cohort, scan: Scan) -> None:
    """Write all phases and doses of a scan."""
    rng = made.rng
    phases = choose(rng, {"": 7, "other grid": 2, "between": 2, "same places": 2})
    one_uid = phases in ("other grid", "same places") and rng.random() < 0.3
    low = choose(rng, {"": 8, "grid": 1, "place": 1, "rounded": 1, "missing": 1})  # how the low dose is different
    numbered = choose(rng, {"": 2, "phase": 2, "slice": 1}) if not one_uid else ""  # by AcquisitionNumber
    forms: dict[int, Encoding] = {}
    for dose in scan.doses:
        shared = made.uid() if one_uid else None
        for phase in range(2 if phases else 1):
            here, z, form = scan, np.array(scan.z), encoding(rng)
            while scan.refusal and form.refusal:  # one reason is enough
                form = encoding(rng)
            form = form.like(forms.setdefault(phase, form))  # both doses of a phase are images of one kind
            if phase and phases == "other grid":
                here = replace(here, origin=(here.origin[0] + 7, here.origin[1]))
            elif phase and phases == "between":
                z = z + min(np.diff(z)) * 0.4
            if dose == LOW and low == "grid":
                here = replace(here, origin=(here.origin[0], here.origin[1] - 3))
            elif dose == LOW and low == "place":
                z = z + min(np.diff(z)) * 0.2
            elif dose == LOW and low == "missing":
                z = z[1:]
            shift = 0.02 * min(scan.spacing) if dose == LOW and low == "rounded" else 0.0  # still the same grid
            one_each = phases != "between" or numbered == "phase"  # else nothing says which phase a slice is of
            _series(made, here, dose, phase, form, z, shift, shared, numbered, one_each)


def _series(made: Cohort, scan: Scan, dose: str, phase: int, form: Encoding, z, shift, shared, numbered, one_each) -> None:
    """The files of one series: whole, in several folders, or under several UIDs; with copies and clashes."""
    rng, ways = made.rng, {"whole": 7, "folders": 2}
    if len(z) > 2 and not shared and len({round(float(step), 3) for step in np.diff(z)}) == 1:
        ways |= {"halves": 2, "each": 2 if one_each else 0}
    way, extra = choose(rng, ways), choose(rng, {"": 12, "copy": 1, "same z": 1})
    folder, header = _described(made, scan, dose, phase)
    uids = [shared or made.uid()] * len(z) if way in ("whole", "folders") else [made.uid() for _ in z]
    warned = {"patient assumed": scan.patient.startswith("study"), "dose assumed": scan.words is None,
              "tenth dose": made.collection == "tcia" and scan.header["PatientID"][0] == "C" and dose == LOW}  # fmt: skip
    form_of_each = choose(rng, {False: 9, True: 1})
    kind = scan.header["ConvolutionKernel"][0], scan.header["SliceThickness"] or ("1" if "1mm" in folder.name else "")
    for place, height in enumerate([*z, z[-1]] if extra == "same z" else z):
        uid = uids[min(place, len(z) - 1) // 2 * 2 if way == "halves" else min(place, len(z) - 1)]
        path = folder / (f"Teil {place % 2}" if way == "folders" else "") / f"{scan.folder} {phase} {len(made.slices)}.dcm"
        form = encoding(rng).like(form) if form_of_each else form
        hu, stored = pixels(rng, form, *scan.shape)
        each = Slice(path, scan.patient, f"scan {scan.number} phase {phase}", kind, scan.grid, dose, float(height),
                     (scan.studies[dose], scan.frames[dose], uid), scan.refusal or form.refusal, hu,
                     tuple(kind for kind, said in warned.items() if said))  # fmt: skip
        number = {"": {}, "phase": {"AcquisitionNumber": phase + 1}, "slice": {"AcquisitionNumber": made.uids + 1}}[numbered]
        made.add(each, stored, form, header | number | {
            "ImagePositionPatient": [scan.origin[0] + shift, scan.origin[1], each.z], "PixelSpacing": list(scan.spacing)})
    if extra == "copy":
        copy = replace(each, path=folder / f"Kopie {len(made.slices)}.dcm")
        copy.path.write_bytes(each.path.read_bytes())
        made.slices.append(copy)


def _described(made: Cohort, scan: Scan, dose: str, phase: int) -> tuple[Path, dict]:
    """Folder of a series, and its header, which name its dose or do not."""
    header = scan.header | {
        "StudyInstanceUID": scan.studies[dose], "FrameOfReferenceUID": scan.frames[dose], "SeriesDescription": "Vertraulich"}
    folder = made.root / scan.folder / f"Aufnahme {phase}"
    if scan.words == "series":
        header["SeriesDescription"] = f"{'Full' if dose == FULL else 'Low'} Dose Images"
    if made.collection in ("mayo2016", "simulated"):
        header["PatientName"] += "_FD_1" if dose == FULL else "_QD_1"
    return (folder / scan.words[dose == LOW] if isinstance(scan.words, tuple) else folder / "ab"[dose == LOW]), header


def _beside(made: Cohort, scan: Scan) -> None:
    """What lies beside scans: a localizer, a screenshot, a PET slice; a text, a directory."""
    rng = made.rng
    for kind, changes in BESIDE.items():
        if rng.random() < 0.2:
            form = replace(encoding(rng), unit="HU")
            hu, stored = pixels(rng, form, 9, 17)
            _, header = _described(made, scan, FULL, 0)
            path = made.root / scan.folder / f"Übersicht {kind}.dcm"
            each = Slice(path, scan.patient, kind, (), "", "", 0.0, ("", "", made.uid()), kind, hu)
            form = replace(form, image_type=("ORIGINAL", "PRIMARY", "AXIAL"))
            made.add(each, stored, form, header | {
                "ImagePositionPatient": [0, 0, scan.z[0]], "PixelSpacing": [1, 1],
                "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]} | changes)  # fmt: skip
    for name, kind in CLUTTER.items():
        if rng.random() < 0.15:
            (made.root / name).write_bytes(b"nothing")
            made.clutter[kind] += 1
