"""Scans as they come from scanners and archives: whose they are, where their slices lie, how their doses are named."""

from dataclasses import dataclass, replace

import numpy as np

from tests.unusual_slices import choose

PEOPLE = [
    ("ISO_IR 100", "Müßiggänger^Jürgen"), ("ISO_IR 192", "Яковенко^Ольга"), ("ISO_IR 144", "Люксембург^Роза"),
    ("GB18030", "王小东^方方方"), ("", "Zyxwell^Hildegund"),
    ("ISO 2022 IR 6\\ISO 2022 IR 87", "Yamadera^Tarouji=山田寺^太郎次"),
]  # fmt: skip
SECRETS = {"InstitutionName": "Wolkenklinik", "ReferringPhysicianName": "Ruhmkorff^Dora", "AccessionNumber": "ACC7788",
           "StudyDescription": "Geheimstudie", "PatientBirthDate": "19710307", "StationName": "STATIONXY"}  # fmt: skip
NOBODY = ("REMOVED", "", "Anonymous")
DOSES = FULL, LOW = "full", "quarter"
WORDS = [DOSES, ("FD", "QD"), ("NDCT", "LDCT"), ("Full dose", "low dose"), ("full_1mm", "quarter_1mm")]  # of folders
PLANES = {
    "axial": (1, 0, 0, 0, 1, 0), "flipped": (-1, 0, 0, 0, -1, 0), "feet first": (-1, 0, 0, 0, 1, 0),
    "upside down": (1, 0, 0, 0, -1, 0), "turned": (0, 1, 0, -1, 0, 0), "sagittal plane": (0, 1, 0, 0, 0, -1),
    "coronal plane": (1, 0, 0, 0, 0, -1),
}  # fmt: skip
OFTEN = {"axial": 12, "tilted": 3, "oblique plane": 1} | {name: 1 for name in PLANES if name != "axial"}


@dataclass(frozen=True)
class Scan:
    """What the slices of one scan, in one study, share."""

    number: int
    patient: str  # who is meant, in whatever words
    header: dict
    folder: str
    doses: tuple[str, ...]
    words: str | tuple[str, str] | None  # how doses are stated: in folders' names, 'series' for its description, or not
    studies: dict[str, str]  # by dose
    frames: dict[str, str]
    shape: tuple[int, int]
    spacing: tuple[float, float]
    origin: tuple[float, float]
    z: tuple[float, ...]
    refusal: str

    @property
    def grid(self) -> str:
        """Equal for slices on one grid."""
        return f"{self.header['ImageOrientationPatient']} {self.origin} {self.spacing} {self.shape}"


def scan(rng, number: int, person: tuple[str, str], collection: str, uid, again: Scan | None) -> Scan:
    """A new patient, or with `again` another study of that one, perhaps by the same protocol."""
    charset, name, identity = _identity(rng, number, person, collection)
    nobody = collection == "other" and identity in NOBODY
    plane, share = choose(rng, OFTEN), choose(rng, {"both": 5, "study": 2, "frame": 2, "neither": 1})
    cosines, tilt = _plane(rng, plane)
    words = choose(rng, {"folder": 3, "series": 1, None: 1}) if collection == "other" else "series"
    doses = choose(rng, {DOSES: 12, (FULL,): 2, (LOW,): 2}) if words else (FULL,)
    thickness = choose(rng, {"1": 6, "2.5": 3, "0.625": 3, "5.00 ": 3, "": 1 if collection == "other" else 0})
    header = {
        "SpecificCharacterSet": charset.split("\\"), "PatientName": name, "PatientID": identity, **SECRETS,
        "Manufacturer": "SIMULATED CT, NOT A PATIENT" if collection == "simulated" else "ACME",
        "ImageOrientationPatient": list(cosines), "GantryDetectorTilt": tilt,
        "PatientPosition": "FFS" if plane == "feet first" else "HFS", "SliceThickness": thickness,
        "ConvolutionKernel": choose(rng, {"B30f": 2, "STANDARD": 1, "FC08-H": 1, "Br40d\\3": 1, "": 1}).split("\\"),
    }  # fmt: skip
    study, frame = uid(), uid()
    spacing = rng.choice([0.3, 0.5, 0.7421875, 0.976562, 1.5], 2 if rng.random() < 0.1 else 1)
    new = Scan(
        number, f"study {study}" if nobody else f"patient {number}", header,
        f"{name.split('=')[0].replace('^', ', ')} {number}", doses,
        WORDS[rng.integers(len(WORDS))] if words == "folder" else words,
        {FULL: study, LOW: study if nobody or share in ("both", "study") else uid()},
        {FULL: frame, LOW: frame if share in ("both", "frame") else uid()}, tuple(map(int, rng.integers(6, 21, 2))),
        (float(spacing[0]), float(spacing[-1])),
        tuple(float(x) for x in np.round(rng.uniform(-250, 250, 2), rng.integers(0, 6))), _places(rng),
        plane if plane.endswith("plane") else "",
    )  # fmt: skip
    if again is None or nobody or again.patient.startswith("study"):
        return new
    if rng.random() < 0.5:  # the same protocol at the same places
        like = replace(again, number=number, doses=new.doses, words=new.words, studies=new.studies, frames=new.frames)
    else:
        like = new
    who = {key: again.header[key] for key in ("SpecificCharacterSet", "PatientName", "PatientID")}
    return replace(like, patient=again.patient, header=like.header | who, folder=f"{again.folder} Verlauf {number}")


def _identity(rng, number: int, person: tuple[str, str], collection: str) -> tuple[str, str, str]:
    """Character set, PatientName, PatientID."""
    if collection == "mayo2016":
        return "", f"L06{number}", "Anonymous" if rng.random() < 0.5 else f"L06{number}"
    if collection == "tcia":
        return "", f"{'LNC'[number]}00{number}", f"{'LNC'[number]}00{number}"
    if collection == "simulated":
        return "", f"SIM0{number}", f"SIM0{number}"
    if rng.random() < 0.2:
        return "", NOBODY[rng.integers(3)], NOBODY[rng.integers(3)]
    return *person, f"MRN-9021{number}"


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
