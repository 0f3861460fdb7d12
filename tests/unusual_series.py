"""Unusual but valid scans: one number makes one folder of one to three scans of a few tiny slices, and what is true of each.

What no header could decide is not made: two phases whose slices continue each other's on one grid, and
a phase at one dose beside another phase, of the same places, at the other dose only."""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tests.oracle import Slice
from tests.unusual_slices import Encoding, choose, encoding, pixels, write

PEOPLE = [("ISO_IR 100", "Müßiggänger^Jürgen"), ("ISO_IR 192", "Яковенко^Ольга"), ("ISO_IR 144", "Люксембург^Роза"),
          ("GB18030", "王小东^方方方"), ("ISO 2022 IR 6\\ISO 2022 IR 87", "Yamadera^Tarouji=山田寺^太郎次"), ("", "Zyxwell^Hildegund")]
UIDS = "1.2.826.0.1.3680043.99"
TCIA_UIDS = "1.2.840.113713.4.100.1.2"
SECRETS = {"InstitutionName": "Wolkenklinik", "ReferringPhysicianName": "Ruhmkorff^Dora", "AccessionNumber": "ACC7788",
           "StudyDescription": "Geheimstudie", "PatientBirthDate": "19710307", "StationName": "STATIONXY"}  # fmt: skip
NOBODY = ("REMOVED", "", "Anonymous")
DOSES = FULL, LOW = "full", "quarter"
DOSE_FOLDERS = [("full", "quarter"), ("FD", "QD"), ("NDCT", "LDCT"), ("Full dose", "low dose"), ("full_1mm", "quarter_1mm")]
AXIAL = (1, 0, 0, 0, 1, 0)
PLANES = {"axial": AXIAL, "flipped": (-1, 0, 0, 0, -1, 0), "feet first": (-1, 0, 0, 0, 1, 0), "upside down": (1, 0, 0, 0, -1, 0),
          "turned": (0, 1, 0, -1, 0, 0), "sagittal plane": (0, 1, 0, 0, 0, -1), "coronal plane": (1, 0, 0, 0, 0, -1)}


@dataclass
class Cohort:
    """A folder, and what is true of it."""

    root: Path
    other_studies: bool
    slices: list[Slice] = field(default_factory=list)
    clutter: Counter = field(default_factory=Counter)
    secrets: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Scan:
    """What the slices of one scan, in one study, share."""

    number: int
    patient: str
    header: dict
    folder: str
    doses: tuple
    words: str | None  # how the dose is stated: names of folders, 'series' for SeriesDescription, None for not at all
    studies: dict
    frames: dict
    rows: int
    columns: int
    spacing: tuple
    origin: tuple
    z: tuple
    refusal: str


def cohort(seed: int, root: Path) -> Cohort:
    """Make the folder of this number below `root`."""
    rng = np.random.default_rng([20166, seed])
    collection = choose(rng, {"other": 14, "mayo2016": 3, "tcia": 2, "simulated": 1})
    made, scans = Cohort(root / "data", collection != "other"), []
    people = rng.permutation(len(PEOPLE))
    numbers = iter(range(1, 10_000))

    def uid() -> str:
        value = f"{TCIA_UIDS if collection == 'tcia' else UIDS}.{seed}.{next(numbers)}"
        made.secrets.add(value.rsplit(".", 1)[0])
        return value

    for number in range(rng.integers(1, 4)):
        again = scans[-1] if scans and collection == "other" and rng.random() < 0.35 else None
        scans.append(_scan(rng, number, PEOPLE[people[number]], collection, uid, again))
        _deliver(rng, made, scans[-1], collection, uid)
    _beside(rng, made, scans[-1], uid)
    made.secrets |= {text for text in SECRETS.values() for text in text.split("^")}
    for scan in scans:
        made.secrets |= {part for part in _parts(scan.header["PatientName"]) if collection == "other" and part not in NOBODY}
    if collection == "other":
        made.secrets |= {part for scan in scans for part in (scan.header["PatientID"], scan.folder) if len(part) > 4} - {*NOBODY}
    return made


def _parts(name: str) -> list[str]:
    return name.replace("=", "^").split("^")


def _scan(rng, number: int, person: tuple, collection: str, uid, again: Scan | None) -> Scan:
    """A new patient, or with `again` another study of that one, perhaps by the same protocol."""
    charset, name = person
    identity, plane = f"MRN-9021{number}", choose(rng, {
        "axial": 12, "flipped": 2, "feet first": 2, "upside down": 1, "turned": 1, "tilted": 3, "oblique plane": 1,
        "sagittal plane": 1, "coronal plane": 1})  # fmt: skip
    nobody = collection == "other" and rng.random() < 0.2
    if nobody:
        charset, name, identity = "", NOBODY[rng.integers(3)], NOBODY[rng.integers(3)]
    elif collection == "mayo2016":
        charset, identity = "", "Anonymous" if rng.random() < 0.5 else f"L06{number}"
        name = f"L06{number}"
    elif collection == "tcia":
        charset, identity = "", f"{'LNC'[number]}00{number}"
        name = identity
    elif collection == "simulated":
        charset, identity, name = "", f"SIM0{number}", f"SIM0{number}"
    cosines, tilt = _plane(rng, plane)
    share = choose(rng, {"both": 5, "study": 2, "frame": 2, "neither": 1})
    one_study = share in ("both", "study") or nobody
    study, frame = uid(), uid()
    doses = choose(rng, {DOSES: 12, (FULL,): 2, (LOW,): 2})
    words = choose(rng, {"folder": 3, "series": 1, None: 1}) if collection == "other" else "series"
    doses = (FULL,) if words is None else doses
    header = {
        "SpecificCharacterSet": charset.split("\\"), "PatientName": name, "PatientID": identity, **SECRETS,
        "Manufacturer": "SIMULATED CT, NOT A PATIENT" if collection == "simulated" else "ACME",
        "ImageOrientationPatient": list(cosines), "GantryDetectorTilt": tilt, "PatientPosition": "FFS" if "feet" in plane else "HFS",
        "ConvolutionKernel": choose(rng, {"B30f": 2, "STANDARD": 1, "FC08-H": 1, "Br40d\\3": 1, "": 1}).split("\\"),
        "SliceThickness": choose(rng, {"1": 2, "2.5": 1, "0.625": 1, "5.00 ": 1}),
    }  # fmt: skip
    z = _places(rng)
    size, spacing = rng.integers(6, 21, 2), rng.choice([0.3, 0.5, 0.7421875, 0.976562, 1.5], 2 if rng.random() < 0.1 else 1)
    scan = Scan(
        number, f"study {study}" if nobody else f"patient {number}", header,
        f"{name.split('=')[0].replace('^', ', ')} {number}", doses,
        words, {FULL: study, LOW: study if one_study else uid()},
        {FULL: frame, LOW: frame if share in ("both", "frame") else uid()}, *map(int, size),
        (float(spacing[0]), float(spacing[-1])), tuple(float(x) for x in np.round(rng.uniform(-250, 250, 2), rng.integers(0, 6))),
        z, plane if plane.endswith("plane") else "")  # fmt: skip
    if again is None or nobody:
        return scan
    who = {key: again.header[key] for key in ("SpecificCharacterSet", "PatientName", "PatientID")}
    known = again.patient if not again.patient.startswith("study") else f"study {study}"
    if rng.random() < 0.5:  # the same protocol at the same places
        scan = replace(again, number=number, doses=doses, words=words, studies=scan.studies, frames=scan.frames)
    return replace(scan, patient=known, header=scan.header | who, folder=f"{again.folder} Verlauf {number}",
                   studies=scan.studies if known == again.patient else dict.fromkeys(DOSES, study))  # fmt: skip


def _plane(rng, plane: str) -> tuple[tuple, str]:
    """Direction cosines, and GantryDetectorTilt."""
    if plane in PLANES:
        return PLANES[plane], choose(rng, {"": 1, "0": 1})
    degrees = int(rng.integers(2, 30)) * int(rng.choice([-1, 1]))
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    stated = choose(rng, {f"{degrees}": 1, f"{-degrees}": 1}) if plane == "tilted" else choose(rng, {"": 1, "0": 1})
    return (1, 0, 0, 0, round(float(cosine), 6), round(float(-sine), 6)), stated


def _places(rng) -> tuple[float, ...]:
    """Two to five, rising, 0.4 to 5 mm apart; sometimes with a hole."""
    step, count = float(rng.choice([0.4, 0.625, 0.8, 1.0, 2.5, 5.0])), int(rng.integers(2, 6))
    start, places = round(float(rng.uniform(-1500, 1500)), int(rng.integers(0, 4))), list(range(count))
    if rng.random() < 0.15:
        places[-1] += 2
    return tuple(round(start + step * place, 4) for place in places)


def _deliver(rng, made: Cohort, scan: Scan, collection: str, uid) -> None:
    """Write all phases and doses of a scan in one of the ways in which they come."""
    phase = choose(rng, {"": 7, "other grid": 2, "between": 2, "same places": 2})
    words = DOSE_FOLDERS[rng.integers(len(DOSE_FOLDERS))] if scan.words == "folder" else ("a", "b")
    one_uid = phase in ("other grid", "same places") and rng.random() < 0.3
    different = choose(rng, {"": 8, "grid": 1, "place": 1, "rounded": 1, "missing": 1})  # of the low dose
    forms: dict[int, Encoding] = {}
    for dose in scan.doses:
        shared = uid()
        for number in range(2 if phase else 1):
            form = encoding(rng)
            while scan.refusal and form.refusal:  # one reason is enough
                form = encoding(rng)
            like = forms.setdefault(number, form)  # both doses of a phase are images of one kind
            form = replace(form, image_type=like.image_type, unit=like.unit, refusal=like.refusal)
            z = np.array(scan.z)
            header = scan.header | {"FrameOfReferenceUID": scan.frames[dose], "StudyInstanceUID": scan.studies[dose]}
            origin, grid = scan.origin, f"{scan.header['ImageOrientationPatient']} {scan.origin} {scan.spacing} {scan.rows, scan.columns}"
            if number and phase == "other grid":
                origin, grid = (origin[0] + 7, origin[1]), f"{grid} moved"
            elif number and phase == "between":
                z = z + min(np.diff(z)) * 0.4
            if dose == LOW and different == "grid":
                origin, grid = (origin[0], origin[1] - 3), f"{grid} low"
            elif dose == LOW and different == "place":
                z = z + min(np.diff(z)) * 0.2
            elif dose == LOW and different == "rounded":
                origin = (origin[0] + scan.spacing[0] * 0.02, origin[1])
            elif dose == LOW and different == "missing":
                z = z[1:]
            kernel = scan.header["ConvolutionKernel"][0].strip()
            series = Slice(Path(), scan.patient, f"scan {scan.number} phase {number}", (kernel, scan.header["SliceThickness"]), grid, dose, 0.0,
                           (header["StudyInstanceUID"], header["FrameOfReferenceUID"], ""), scan.refusal or form.refusal, np.empty(0))
            header |= {"PatientName": _named(scan, dose, collection), "SeriesDescription": _described(scan, dose)}
            folder = made.root / scan.folder / f"Aufnahme {number} {words[dose == LOW]}"
            if scan.words == "folder":
                folder = made.root / scan.folder / f"Aufnahme {number}" / words[dose == LOW]
            _series(rng, made, scan, series, header, form, z, origin, folder, [shared] if one_uid else None, uid, phase)


def _named(scan: Scan, dose: str, collection: str) -> str:
    name = scan.header["PatientName"]
    return f"{name}_{'FD' if dose == FULL else 'QD'}_1" if collection in ("mayo2016", "simulated") else name


def _described(scan: Scan, dose: str) -> str:
    return f"{'Full' if dose == FULL else 'Low'} Dose Images" if scan.words == "series" else "Vertraulich"


def _series(rng, made, scan, series, header, form: Encoding, z, origin, folder, shared, uid, phase) -> None:
    """The files of one series: whole, in several folders, or under several UIDs; with copies and clashes."""
    regular = len({round(float(step), 3) for step in np.diff(z)}) == 1
    way = choose(rng, {"whole": 7, "folders": 2, "halves": 2, "each": 2})
    if way in ("halves", "each") and (not regular or len(z) < 3 or shared or (way == "each" and phase == "between")):
        way = "whole"
    uids, own = {}, shared[0] if shared else uid()
    for place, height in enumerate(z):
        piece = place // 2 if way == "halves" else place if way == "each" else 0
        series_uid = own if way in ("whole", "folders") else uids.setdefault(piece, uid())
        path = folder / (f"Teil {place % 2}" if way == "folders" else "") / f"{scan.folder} {series.scan[-1]} {len(made.slices)}.dcm"
        hu, stored = pixels(rng, form, scan.rows, scan.columns)
        each = replace(series, path=path, z=float(height), uids=(*series.uids[:2], series_uid), hu=hu)
        write(path, stored, form, header | {
            "SeriesInstanceUID": series_uid, "SOPInstanceUID": uid(), "ImagePositionPatient": [*origin, float(height)],
            "PixelSpacing": list(scan.spacing), "InstanceNumber": len(z) - place})  # fmt: skip
        made.slices.append(each)
    kind = choose(rng, {"": 12, "copy": 1, "same z": 1})
    if kind == "copy":
        path = folder / f"Kopie {len(made.slices)}.dcm"
        path.write_bytes(each.path.read_bytes())
        made.slices.append(replace(each, path=path))
    elif kind == "same z":
        path = folder / f"Zweite {len(made.slices)}.dcm"
        hu, stored = pixels(rng, form, scan.rows, scan.columns)
        write(path, stored, form, header | {
            "SeriesInstanceUID": each.uids[2], "SOPInstanceUID": uid(), "ImagePositionPatient": [*origin, each.z],
            "PixelSpacing": list(scan.spacing), "InstanceNumber": 99})  # fmt: skip
        made.slices.append(replace(each, path=path, hu=hu))


def _beside(rng, made: Cohort, scan: Scan, uid) -> None:
    """What lies beside scans: a localizer, a report, a text, a directory."""
    if rng.random() < 0.3:
        form = replace(encoding(rng), image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"), unit="HU", refusal="localizer")
        hu, stored = pixels(rng, form, 9, 17)
        path = made.root / scan.folder / "Übersicht.dcm"
        header = scan.header | {"StudyInstanceUID": scan.studies[FULL], "FrameOfReferenceUID": scan.frames[FULL],
                                "SeriesInstanceUID": uid(), "SOPInstanceUID": uid(), "ImagePositionPatient": [0, 0, scan.z[0]],
                                "PixelSpacing": [1, 1], "InstanceNumber": 1, "ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}
        write(path, stored, form, header)
        made.slices.append(Slice(path, scan.patient, "localizer", (), "", "", 0.0, ("", "", ""), "localizer", hu))
    for name, kind in (("DICOMDIR", "DICOMDIR"), ("Befund Zyxwell.txt", ".txt"), ("Quittung", "file without extension")):
        if rng.random() < 0.15:
            (made.root / name).write_bytes(b"nothing")
            made.clutter[kind] += 1
