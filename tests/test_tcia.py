"""TCIA's LDCT-and-Projection-data as its downloaders leave it, and the dose fraction of every collection."""

import pydicom
import pytest

from lib.data.dicom import discovery
from lib.data.dicom.discovery import discover
from lib.data.dicom.identity import counts, identify
from lib.data.dicom.mayo import write_slice
from lib.data.dicom.pairing import PairKey
from lib.data.dicom.slice import NotCtImageError, read_header
from tests import trees

ROOT = "manifest-1648648375084/LDCT-and-Projection-data"
PAIR = PairKey("L004", "B30", 3.0)


def beside(root):
    """What NBIA Data Retriever writes next to the images."""
    (root / "manifest-1648648375084" / "metadata.csv").write_text("Series UID,Collection,File Location\n1.2,LDCT,./x\n")
    (root / ROOT / "LICENSE").write_text("CC BY 4.0")


def projections(root, dose: str, count=3, patient="L004"):
    """A folder of projection data beside the images; the files need not even be DICOM to be told by their folder."""
    folder = root / patient / "08-21-2018-NA-NA-10971" / f"1.000000-{dose} dose projections-24362"
    folder.mkdir(parents=True)
    for i in range(count):
        (folder / f"1-{i + 1:05d}.dcm").write_bytes(b"\0" * 128 + b"DICM, not opened")
    return folder


def test_descriptive_download(tmp_path):
    trees.tcia(tmp_path / ROOT, "L004")
    trees.tcia(tmp_path / ROOT, "N012")
    beside(tmp_path)
    found = discover(tmp_path)
    assert found.collection == "tcia" and not found.problems and found.ignored == {".csv": 1, "file without extension": 1}
    assert list(found.pairs) == [PAIR, PairKey("N012", "B30", 3.0)]


def test_classic_download_has_nothing_but_uids_in_its_path(tmp_path):
    for i, path in enumerate(trees.tcia(tmp_path / "descriptive", "L004")):
        ds = pydicom.dcmread(path)
        place = tmp_path / ROOT / "L004" / ds.StudyInstanceUID / ds.SeriesInstanceUID / f"1-{i % 2 + 1:02d}.dcm"
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
    beside(tmp_path)
    found = discover(tmp_path / "manifest-1648648375084")
    assert found.collection == "tcia" and list(found.pairs) == [PAIR] and not found.problems


@pytest.mark.parametrize("spelling", ["Full Dose Images", "Full dose images"])
def test_both_spellings_of_the_series(tmp_path, spelling):
    for path in trees.tcia(tmp_path / ROOT):
        if "Full" in str(path):
            trees.edit(path, SeriesDescription=spelling)
    assert list(discover(tmp_path).pairs) == [PAIR]


def test_projections_beside_the_images_are_counted_and_never_opened(tmp_path, monkeypatch):
    trees.tcia(tmp_path / ROOT)
    for dose in ("Full", "Low"):
        projections(tmp_path / ROOT, dose)
    opened = []
    monkeypatch.setattr(discovery, "read_header", lambda path: opened.append(path) or read_header(path))
    found = discover(tmp_path)
    assert found.ignored == {"projection data": 6} and list(found.pairs) == [PAIR] and len(opened) == 4
    assert [(problem.kind, problem.count) for problem in found.problems] == [("other image", 6)]


def test_projections_in_other_folders_are_told_by_their_class(tmp_path):
    path = trees.one(tmp_path / "1-00001.dcm", ImagePositionPatient=None, SOPClassUID="1.2.840.10008.5.1.4.1.1.66")
    with pytest.raises(NotCtImageError) as error:
        read_header(path)
    assert error.value.code == "projection data"


def test_a_general_electric_patient_has_full_dose_images_only(tmp_path):
    trees.tcia(tmp_path / ROOT, "L004")
    for path in trees.tcia(tmp_path / ROOT, "L170"):
        if "Low" in path.parent.name:
            path.unlink()
    found = discover(tmp_path)
    assert list(found.pairs) == [PAIR] and counts(found.problems) == {"no partner": 2}


@pytest.mark.parametrize(("patient", "low"), [("C002", 0.1), ("L004", 0.25), ("N012", 0.25)])
def test_dose_fraction_of_tcia(tmp_path, patient, low):
    trees.tcia(tmp_path, patient)
    found = discover(tmp_path)
    assert {header.dose: header.dose_fraction for header in found.headers.values()} == {"full": 1.0, "quarter": low}
    assert ("tenth dose" in counts(found.problems)) == (patient[0] == "C")


@pytest.mark.parametrize("make", [trees.simulated, lambda root: [trees.mayo(root, d, dose=d) for d in ("full", "quarter")]])
def test_dose_fraction_of_mayo_and_of_the_simulation(tmp_path, make):
    make(tmp_path)
    fractions = {header.dose: header.dose_fraction for header in discover(tmp_path).headers.values()}
    assert fractions == {"full": 1.0, "quarter": 0.25}


def test_another_dose_fraction_of_a_simulation_is_read_from_its_header(tmp_path):
    keys = {"patient": "SIM01", "dose": "quarter", "kernel": "B30", "thickness_mm": 1.0, "z_mm": 0.0, "instance": 1}
    path = write_slice(tmp_path / "a.IMA", trees.image(), dose_fraction=0.1, **keys)
    assert identify(read_header(path), path, tmp_path)[1].dose_fraction == 0.1


def test_an_unknown_low_dose_is_not_guessed(tmp_path):
    for dose in ("LDCT", "NDCT"):
        trees.foreign(tmp_path, f"hospital/{dose}", DerivationDescription="dose fraction 0.25")
    fractions = {header.dose: header.dose_fraction for header in discover(tmp_path).headers.values()}
    assert fractions == {"full": 1.0, "quarter": None}

