"""Whole, valid, unusual scans: each is read right, refused with one line, or counted, and nothing is mixed."""

import logging
import os
import struct
import subprocess

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from lib.artifacts.files import folder_digest
from lib.check.report import Report
from lib.check.scans import check_split, find_scans
from lib.data import split
from lib.data.dicom.discovery import discover
from lib.data.dicom.identity import counts
from lib.data.dicom.kinds import NotCtImageError
from lib.data.dicom.slice import read_header, read_hu
from lib.data.store.build import build_store
from lib.data.store.reading import open_volume
from lib.errors import CohortError, DicomError
from lib.log import to_file
from lib.private import label, names
from lib.simulation.insertion import insert
from lib.study.sections import Cohort
from lib.workflow.lines import in_a_line
from tests import trees

AXIAL, FLIPPED = [1, 0, 0, 0, 1, 0], [-1, 0, 0, 0, -1, 0]
STUDY, SERIES, FRAME = "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"


def stored(path, values, signed=True, bits=16, padding=(None, None), **changes):
    """A slice with these stored values; `padding`: PixelPaddingValue and PixelPaddingRangeLimit."""
    values = np.asarray(values)
    trees.one(path, hu=np.zeros(values.shape), PixelRepresentation=int(signed), BitsStored=bits, HighBit=bits - 1, **changes)
    ds = pydicom.dcmread(path)
    ds.PixelData = values.astype("<i2" if signed else "<u2").tobytes()
    for tag, value in zip((0x00280120, 0x00280121), padding, strict=True):
        if value is not None:
            ds.add_new(tag, "SS" if signed else "US", value)
    ds.save_as(path, enforce_file_format=True)
    return path


def tilted(degrees: float) -> list[float]:
    radians = np.radians(degrees)
    return [1, 0, 0, 0, round(float(np.cos(radians)), 6), round(float(-np.sin(radians)), 6)]


# Padding


@pytest.mark.parametrize(("signed", "padding"), [(True, -2000), (False, 63536)])
@pytest.mark.parametrize("intercept", ["0", "-1024", "-8192"])
def test_the_convention_of_minus_2000_is_air_signed_or_not(tmp_path, signed, padding, intercept):
    path = stored(tmp_path / "a", [[padding, 1000]], signed, RescaleIntercept=intercept)
    assert read_hu(path).tolist() == [[-1024, 1000 + int(intercept)]]


@pytest.mark.parametrize(("value", "limit"), [(-3024, None), (-3024, -3000), (-3000, -3024), (3000, None)])
def test_declared_padding_is_air(tmp_path, value, limit):
    path = stored(tmp_path / "a", [[value, value], [value, 40], [50, 60]], padding=(value, limit), RescaleIntercept="0")
    assert read_hu(path).tolist() == [[-1024, -1024], [-1024, 40], [50, 60]]


def test_padding_that_could_be_water_is_none_inside_the_image(tmp_path):
    values = np.full((7, 8), 30)
    values[:, :2] = values[3, 5] = 0  # a margin, and a pixel of water
    path = stored(tmp_path / "a", values, padding=(0, None), RescaleIntercept="0")
    hu = read_hu(path)
    assert (hu[:, :2] == -1024).all() and hu[3, 5] == 0 and (hu == 30).sum() == 7 * 6 - 1


@pytest.mark.parametrize("signed", [True, False])
def test_the_convention_is_tissue_where_tissue_has_its_value(tmp_path, signed):
    """At a slope of a quarter, stored -2000 is a lung of -500 HU, and 63536 is metal: padding only at the border."""
    value, intercept = (-2000, 0) if signed else (63536, -1024)
    values = np.full((5, 6), 200 if signed else 4400)
    values[0, 0] = values[2, 3] = value
    hu = read_hu(stored(tmp_path / "a", values, signed, RescaleSlope="0.25", RescaleIntercept=str(intercept)))
    assert hu[0, 0] == -1024 and hu[2, 3] == value * 0.25 + intercept and (hu == values[1, 1] * 0.25 + intercept).sum() == 28


def test_padding_beyond_the_bits_stored_and_an_image_of_nothing_else(tmp_path):
    assert read_hu(stored(tmp_path / "a", [[-2000, 5]], bits=12, RescaleIntercept="0")).tolist() == [[-1024, 5]]
    assert read_hu(stored(tmp_path / "b", [[-2000, -2000]])).tolist() == [[-1024, -1024]]
    fraction = stored(tmp_path / "c", [[-2000, 3]], RescaleSlope="0.5", RescaleIntercept="0.25")
    assert read_hu(fraction).tolist() == [[-1024.0, 1.75]]


def test_hitachis_padding_is_air():
    """Intercept 0, padding -2000 without a PixelPaddingValue: a fifth of pydicom's slice."""
    hu = read_hu(get_testdata_file("J2K_pixelrep_mismatch.dcm", download=False))
    assert 0.2 < (hu == -1024).mean() < 0.22 and (hu == 0).mean() < 0.01


# Compressed pixels in a file of their own


LARGER = (48, 40)  # pixels: what the encoder of the tests can halve as often as it must


def jp2(codestream: bytes, last: bool) -> bytes:
    """A JP2 file (ISO 15444-1, Annex I); the length of the last box may be 0, 'up to the end'."""
    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(content), kind) + content

    size = struct.pack(">IIHBBBB", *LARGER, 1, 15, 7, 0, 0)
    header = box(b"jp2h", box(b"ihdr", size) + box(b"colr", struct.pack(">BBBI", 1, 0, 0, 17)))
    stream = struct.pack(">I4s", 0, b"jp2c") + codestream if last else box(b"jp2c", codestream) + box(b"xml ", b"<a/>")
    return box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + header + stream


@pytest.mark.parametrize("last", [True, False])
def test_a_jpeg_2000_slice_in_the_boxes_of_a_jp2_file_is_read(tmp_path, last):
    path = trees.one(tmp_path / "a.dcm", hu=trees.image(0, *LARGER))
    ds = pydicom.dcmread(path)
    ds.compress(pydicom.uid.JPEG2000Lossless)
    (codestream,) = pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1)
    ds.PixelData = pydicom.encaps.encapsulate([jp2(codestream.rstrip(b"\0"), last)])
    ds.save_as(path, enforce_file_format=True)
    expected = pydicom.dcmread(path).pixel_array.astype(int) * int(ds.RescaleSlope) + int(ds.RescaleIntercept)
    assert np.array_equal(read_hu(path), trees.image(0, *LARGER)) and np.array_equal(expected, trees.image(0, *LARGER))


@pytest.mark.parametrize("boxes", [b"", struct.pack(">I4s", 0, b"xml "), struct.pack(">I4s", 4, b"free") * 4])
def test_a_jp2_file_without_an_image_is_one_line(tmp_path, boxes):
    path = trees.one(tmp_path / "a.dcm", hu=trees.image(0, *LARGER))
    ds = pydicom.dcmread(path)
    ds.compress(pydicom.uid.JPEG2000Lossless)
    ds.PixelData = pydicom.encaps.encapsulate([struct.pack(">I4s", 12, b"jP  ") + b"\r\n\x87\n" + boxes])
    ds.save_as(path, enforce_file_format=True)
    with pytest.raises(DicomError, match=r"cannot be decoded .a JP2 file without a codestream."):
        read_hu(path)


# What is no axial CT slice in HU


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"RescaleType": "US"}, "RescaleType US"),
        ({"RescaleType": "Z_EFF"}, "RescaleType Z_EFF"),
        ({"RescaleType": "MGML"}, "RescaleType MGML"),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "CBF"]}, "perfusion map"),
        ({"ImageType": ["DERIVED", "SECONDARY", "OTHER", "CSA MIP"]}, "intensity projection"),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "VNC"]}, "material map"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "rendering"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER", "CT_SOM5 TOP"]}, "localizer"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "secondary capture"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11"}, "another SOP class"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "sagittal plane"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "coronal plane"),
        ({"ImageOrientationPatient": tilted(45)}, "oblique plane"),
        ({"ImageOrientationPatient": tilted(15)}, "oblique plane"),
        ({"ImageOrientationPatient": tilted(15), "GantryDetectorTilt": "-3"}, "oblique plane"),
    ],
)
def test_what_is_no_axial_slice_in_hu_is_refused_by_its_name(tmp_path, changes, kind):
    trees.simulated(tmp_path)
    path = trees.one(tmp_path / "odd.dcm", z_mm=50, **changes)
    with pytest.raises(NotCtImageError) as error:
        read_header(path)
    assert error.value.code == kind and error.value.remedy and "\n" not in str(error.value)
    found = discover(tmp_path)
    assert found.ignored == {kind: 1} and counts(found.problems) == {"other image": 1}
    assert path not in found.headers


@pytest.mark.parametrize("orientation", [[0] * 6, [1, 0, 0, 1, 0, 0], [2, 0, 0, 0, 1, 0], None, [1, 0, 0]])
def test_an_orientation_that_is_none_is_an_error(tmp_path, orientation):
    with pytest.raises(DicomError, match="ImageOrientationPatient"):
        read_header(trees.one(tmp_path / "a", ImageOrientationPatient=orientation))


@pytest.mark.parametrize("changes", [
    {"RescaleType": None}, {"SOPClassUID": ""}, {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"]},
    {"ImageOrientationPatient": FLIPPED}, {"ImageOrientationPatient": tilted(22), "GantryDetectorTilt": "-22"},
])  # fmt: skip
def test_unusual_axial_slices_are_read(tmp_path, changes):
    path = trees.one(tmp_path / "a", hu=trees.image(), **changes)
    assert read_header(path).z_mm == 0 and np.array_equal(read_hu(path), trees.image())


def test_a_codestream_of_fewer_bits_than_the_header_says_is_read(tmp_path):
    """Some writers round BitsStored up to what is allocated: the values are the same."""
    ds = pydicom.dcmread(get_testdata_file("693_J2KI.dcm", download=False))
    assert ds.BitsStored < 16
    ds.save_as(tmp_path / "as it is")
    ds.BitsStored, ds.HighBit = 16, 15
    ds.save_as(tmp_path / "rounded")
    assert np.array_equal(read_hu(tmp_path / "rounded"), read_hu(tmp_path / "as it is"))


def test_what_no_package_decodes_is_not_to_be_cured_by_one(tmp_path):
    ds = pydicom.dcmread(get_testdata_file("693_J2KI.dcm", download=False))
    ds.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
    ds.save_as(tmp_path / "a")
    with pytest.raises(DicomError, match="no decoder; export it as Explicit VR Little Endian$"):
        read_hu(tmp_path / "a")


# Series that must stay apart, and pieces that belong together


def test_phases_of_one_scan_stay_apart(tmp_path):
    """Arterial and venous, interleaved, with another field of view: two series, and each is paired with its own dose."""
    for dose in ("NDCT", "LDCT"):
        for phase, (spacing, offset) in {"a": ("0.7", 0.0), "v": ("0.8", 1.0)}.items():
            trees.foreign(tmp_path, f"{dose}/{phase}", z=[offset + 2 * i for i in range(4)],
                          PixelSpacing=[spacing] * 2, **{SERIES: f"1.2.{ord(phase)}.{len(dose)}"})  # fmt: skip
    found = discover(tmp_path)
    assert [len(pairs) for pairs in found.pairs.values()] == [4, 4] and not found.problems
    for pairs in found.pairs.values():
        assert len({path.parent.name for _, *both in pairs for path in both}) == 1
    assert [key.number for key in found.pairs] == [1, 2]


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_phases_on_one_grid_stay_apart(tmp_path, shift):
    for phase in (1, 2):
        trees.foreign(tmp_path, f"{phase}", z=[i + shift * (phase - 1) for i in range(4)], **{SERIES: f"1.2.{phase}"})
    assert [len(slices) for slices in discover(tmp_path).series.values()] == [4, 4]


def test_doses_that_fit_more_than_one_series_are_not_paired(tmp_path):
    trees.foreign(tmp_path, "NDCT")
    for phase in (1, 2):
        trees.foreign(tmp_path, f"LDCT/{phase}", **{SERIES: f"1.2.{phase}"})
    found = discover(tmp_path)
    assert not found.pairs and len(found.series) == 3
    assert all("more than one series of the other dose" in each.what for each in found.problems if "full" in each.what)


@pytest.mark.parametrize(("phases", "why"), [((0,), "the other dose is left out"), ((0, 1), "more than one series")])
def test_a_partner_that_is_left_out_is_not_replaced_by_another_phases(tmp_path, phases, why):
    """Of two phases at the same places, one is unusable at normal dose and the other one at low dose."""
    for number, dose in enumerate(("NDCT", "LDCT")):
        for phase in phases:
            z = [0, 1, 2, 2] if phase == number else [0, 1, 2]
            trees.foreign(tmp_path, f"{dose}/{phase}", z=z, **{SERIES: f"1.2.{number}.{phase}"})
    found = discover(tmp_path)
    assert not found.pairs and len(found.series) == len(phases) and counts(found.problems)["same z"] == 4 * len(phases)
    assert all(why in each.what for each in found.problems if each.kind == "no partner")


def test_studies_under_a_name_that_is_none_are_patients_of_their_own(tmp_path):
    for study in range(4):
        trees.foreign(tmp_path, f"{study}", patient_id="REMOVED", PatientName="removed",
                      **{STUDY: f"1.2.{study}", SERIES: f"1.3.{study}"})  # fmt: skip
    found = discover(tmp_path)
    assert len({key.patient for key in found.series}) == 4 and counts(found.problems)["patient assumed"] == 8


def test_two_studies_of_one_patient_are_two_series(tmp_path):
    for study in (1, 2):
        trees.foreign(tmp_path, f"{study}", **{STUDY: f"1.2.{study}", SERIES: f"1.3.{study}", FRAME: f"1.4.{study}"})
    found = discover(tmp_path)
    assert len({key.patient for key in found.series}) == 1 and [key.number for key in found.series] == [1, 2]


@pytest.mark.parametrize("pieces", [1, 2, 4])
def test_a_series_that_came_in_pieces_is_one_again(tmp_path, pieces):
    """Split in the middle, or with a UID for every slice; at 0.8 mm spacing of 1 mm slices."""
    for i in range(8):
        trees.foreign(tmp_path, f"{i}", z=[0.8 * i], **{SERIES: f"1.2.{i // pieces}"})
    found = discover(tmp_path)
    assert [len(slices) for slices in found.series.values()] == [8]
    ((z, *_), *_) = found.series.values()
    assert counts(found.problems)["pieces"] == 8 // pieces and z[0] == 0


@pytest.mark.parametrize("pieces", [1, 2])
def test_phases_at_the_same_places_that_came_in_pieces_are_not_mixed(tmp_path, pieces):
    """Each piece continues either phase's: nothing says which."""
    for phase in (0, 1):
        for i in range(4):
            uid = f"1.2.{(phase + i // pieces) % 2}.{i // pieces}.{phase}"  # in another order than the phases
            trees.foreign(tmp_path, f"{phase}/{i}", z=[i], **{SERIES: uid})
    found = discover(tmp_path)
    for slices in found.series.values():
        assert len({path.parent.parent for _, path in slices}) == 1
    assert sum(map(len, found.series.values())) == 8


def test_of_two_pieces_that_would_continue_a_series_none_does(tmp_path):
    for uid, z in enumerate(([0, 1], [2, 3], [2, 3])):
        trees.foreign(tmp_path, f"{uid}", z=z, **{SERIES: f"1.2.{uid}"})
    assert [len(slices) for slices in discover(tmp_path).series.values()] == [2, 2, 2]


def test_a_piece_goes_to_the_phase_whose_spacing_it_keeps(tmp_path):
    """Two phases, one 0.8 mm after the other, 2 mm apart, each in two pieces."""
    for phase in (0, 1):
        for i in range(4):
            trees.foreign(tmp_path, f"{phase}/{i}", z=[2 * i + 0.8 * phase], **{SERIES: f"1.2.{i // 2}.{phase}"})
    found = discover(tmp_path)
    assert [len(slices) for slices in found.series.values()] == [4, 4]
    assert all(len({path.parent.parent for _, path in slices}) == 1 for slices in found.series.values())


def test_two_slices_under_two_uids_are_two_series(tmp_path):
    """Nothing says how far apart slices of one series are: these could be one slice each of two phases."""
    for i in (0, 1):
        trees.foreign(tmp_path, f"{i}", z=[0.4 * i], **{SERIES: f"1.2.{i}"})
    assert [len(slices) for slices in discover(tmp_path).series.values()] == [1, 1]


def test_the_spacing_of_pieces_is_that_of_their_own_study(tmp_path):
    for study in (0, 1):
        for i in range(4):
            trees.foreign(tmp_path, f"{study}/{i}", z=[i + 0.2 * study],
                          **{STUDY: f"1.3.{study}", FRAME: f"1.4.{study}", SERIES: f"1.2.{study}.{i}"})  # fmt: skip
    assert [len(slices) for slices in discover(tmp_path).series.values()] == [4, 4]


def test_a_slice_whose_uid_is_another_fills_its_hole(tmp_path):
    paths = trees.foreign(tmp_path, z=range(12))
    trees.edit(paths[5], **{SERIES: "1.2.9"})
    (slices,) = discover(tmp_path).series.values()
    assert [z for z, _ in slices] == list(range(12))


@pytest.mark.parametrize(("shift", "sizes"), [(0.0, [4, 4]), (0.5, [4, 4]), (4.0, [8])])
def test_acquisitions_in_one_series_stay_apart_where_they_go_over_each_other(tmp_path, shift, sizes):
    """Two phases in one SeriesInstanceUID, at the same places or between them; but turns of one scan follow each other."""
    for number in (1, 2):
        trees.foreign(tmp_path, f"{number}", z=[i + shift * (number - 1) for i in range(4)], AcquisitionNumber=number,
                      SeriesInstanceUID="1.2.3")  # fmt: skip
    assert [len(slices) for slices in discover(tmp_path).series.values()] == sizes


@pytest.mark.parametrize("shift", [0.0, 0.5])
@pytest.mark.parametrize("doses", [("full",), ("full", "quarter")])
def test_phases_with_a_uid_for_every_slice_stay_apart_by_acquisition(tmp_path, shift, doses):
    """Two phases interleaved evenly look like one scan of twice the slices, but for AcquisitionNumber."""
    for dose in doses:
        for number in (1, 2):
            for i in range(4):
                trees.foreign(tmp_path, f"{'NDCT' if dose == 'full' else 'LDCT'}/{number}/{i}", z=[i + shift * (number - 1)],
                              AcquisitionNumber=number, **{SERIES: f"1.2.{dose == 'full':d}.{number}.{i}"})  # fmt: skip
    found = discover(tmp_path)
    assert [len(slices) for slices in found.series.values()] == [4] * 2 * len(doses)
    for pairs in found.pairs.values():  # phases at the same places fit two of the other dose: no pair is better than any
        assert all(full.parent.parent.name == low.parent.parent.name for _, full, low in pairs)
    assert len(found.pairs) == (2 if shift and len(doses) == 2 else 0)


def test_what_is_left_out_still_says_how_far_apart_slices_are(tmp_path):
    """Of three slices with a UID each the last has two versions: the other two are one series."""
    for i in (0, 1, 2):
        trees.foreign(tmp_path, f"{i}", z=[i], **{SERIES: f"1.2.{i}"})
    trees.foreign(tmp_path, "another", z=[2], **{SERIES: "1.2.2", "KVP": "80"})
    found = discover(tmp_path)
    assert [len(slices) for slices in found.series.values()] == [2] and "same z" in counts(found.problems)


def test_turns_of_one_scan_with_a_uid_for_every_slice_are_one_series(tmp_path):
    for i in range(6):
        trees.foreign(tmp_path, f"{i}", z=[i], AcquisitionNumber=1 + i // 2, **{SERIES: f"1.2.{i}"})
    assert [len(slices) for slices in discover(tmp_path).series.values()] == [6]


@pytest.mark.parametrize("z", [10.125, 1 / 3, 0.0])
@pytest.mark.parametrize("shift", [-1e-7, 1e-7, 0.004, -0.004, 0.006])
def test_a_place_has_no_edges(tmp_path, z, shift):
    """z as two writers round it: pairs wherever they lie, and two different slices at one place are one too many."""
    same = abs(shift) < 0.005
    trees.simulated(tmp_path / "pairs", z=(z,), doses=("full",))
    trees.simulated(tmp_path / "pairs", z=(z + shift,), doses=("quarter",))
    assert [len(pairs) for pairs in discover(tmp_path / "pairs").pairs.values()] == [1] * same
    trees.foreign(tmp_path / "one", z=[z, z + shift])
    trees.foreign(tmp_path / "one", "other", patient_id="another", **{STUDY: "1.9.1", SERIES: "1.9.2"})
    assert ("same z" in counts(discover(tmp_path / "one").problems)) == same


def test_thickness_and_kernel_keep_what_names_them(tmp_path):
    assert read_header(trees.one(tmp_path / "a", SliceThickness="0.625")).thickness_mm == 0.625
    path = trees.one(tmp_path / "b", SpecificCharacterSet="ISO_IR 192", ConvolutionKernel="\u03b1\u03b2")
    assert read_header(path).kernel is None


def test_no_name_stands_behind_a_dot(tmp_path):
    trees.simulated(tmp_path)
    for name in ("letter.doe", "scan.meyer", "notes.txt"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    assert discover(tmp_path).ignored == {".txt": 1, "other file": 2}


def test_a_strangers_file_among_public_scans_has_no_name(tmp_path):
    trees.simulated(tmp_path / "scans")
    (tmp_path / "scans" / "DOE^JOHN_19710301.dcm").write_bytes(b"damaged")
    build_store(tmp_path / "scans", tmp_path / "store")
    text = (tmp_path / "store" / "problems.csv").read_text(encoding="utf-8")
    assert "DOE" not in text and "sha256:" in text


def test_a_file_that_may_not_even_be_looked_at_has_a_label(tmp_path, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.is_dir", refused)
    with names(shown=False):
        assert label(tmp_path / "Doe^John") == "a file that cannot be read"


def test_an_error_in_the_log_has_no_names_of_files(tmp_path):
    handler, log = to_file(tmp_path / "log"), logging.getLogger("lib.tests")
    name = "nhoJ^eoD"[::-1]  # a traceback quotes this file
    try:
        (tmp_path / name).open(encoding="utf-8")
    except OSError as error:
        log.warning("failed: %s", in_a_line(error), exc_info=True)
    logging.getLogger("lib").removeHandler(handler)
    handler.close()
    text = (tmp_path / "log").read_text(encoding="utf-8")
    assert "Traceback" in text and "failed: FileNotFoundError: No such file or directory" in text and "John" not in text


def test_parts_of_the_body_far_apart_are_not_put_together(tmp_path):
    for part in (0, 1):
        trees.foreign(tmp_path, f"{part}", z=[300 * part + i for i in range(3)], **{SERIES: f"1.2.{part}"})
    assert len(discover(tmp_path).series) == 2


def test_two_fields_of_view_under_one_uid_are_two_series(tmp_path):
    paths = trees.foreign(tmp_path, z=range(6))
    for path in paths[:3]:
        trees.edit(path, PixelSpacing=["0.9", "0.9"])
    assert [len(slices) for slices in discover(tmp_path).series.values()] == [3, 3]


# Doses that do not match


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"PixelSpacing": ["0.71", "0.71"]}, "0.7 x 0.7 mm and 0.71 x 0.71 mm"),
        ({"ImagePositionPatient": [-6.0, -8.05, 0]}, "the first pixel at"),
        ({"ImageOrientationPatient": FLIPPED}, "another orientation"),
        ({STUDY: "1.2.3", FRAME: "1.2.4"}, "another study and frame of reference"),
    ],
)
def test_doses_of_other_geometry_or_another_study_are_not_paired(tmp_path, changes, says):
    trees.foreign(tmp_path, "NDCT", z=[0])
    (path,) = trees.foreign(tmp_path, "LDCT", z=[0])
    trees.edit(path, **changes)
    found = discover(tmp_path)
    assert not found.pairs and says in found.problems[0].what and counts(found.problems) == {"no partner": 2}


def test_a_rounded_position_is_the_same(tmp_path):
    trees.foreign(tmp_path, "NDCT", z=[0], ImagePositionPatient=[-6.65, -8.05, 0])
    trees.foreign(tmp_path, "LDCT", z=[0], ImagePositionPatient=[-6.61, -8.07, 0], PixelSpacing=["0.7002", "0.7002"])
    assert len(discover(tmp_path).pairs) == 1


# Whose scans they are


@pytest.mark.parametrize("code", ["C001", "N012", "L004"])
def test_a_patient_of_ones_own_with_a_public_code_is_not_tcias(tmp_path, code):
    for word in ("Full", "Low"):
        trees.foreign(tmp_path, f"{word} dose images", code, PatientName=code, SeriesDescription=f"{word} dose images")
    found = discover(tmp_path)
    assert found.collection == "other" and all(key.patient.startswith("P") for key in found.series)


def test_a_folder_alone_makes_nobody_public_or_simulated(tmp_path):
    for name in ("C001/full dose images", "L067", "SIM01"):
        uids = {STUDY: f"1.2.{len(name)}", SERIES: f"1.3.{len(name)}"}
        trees.foreign(tmp_path / "a", name, patient_id="", PatientName="", **uids)
    found = discover(tmp_path)
    assert found.collection == "other" and all(key.patient.startswith("P") for key in found.series)


def test_the_folder_of_the_collection_is_a_sign(tmp_path):
    paths = trees.tcia(tmp_path / "LDCT-and-Projection-data")
    for path in paths:
        trees.edit(path, **{STUDY: "1.2.3", SERIES: f"1.2.{len(path.parent.name)}"})
    assert discover(tmp_path).collection == "tcia"
    (tmp_path / "LDCT-and-Projection-data").rename(tmp_path / "mine")
    assert discover(tmp_path).collection == "other"


def test_nothing_usable_says_the_kind(tmp_path):
    trees.one(tmp_path / "a.dcm", RescaleType="Z_EFF")
    with pytest.raises(CohortError, match="1 RescaleType Z_EFF"):
        discover(tmp_path)


# What could be left out, go stale, or be divided twice


def test_a_folder_that_cannot_be_read_is_counted(tmp_path, monkeypatch):
    trees.simulated(tmp_path / "scans")
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    (tmp_path / "scans" / "closed").mkdir()
    monkeypatch.setattr(os, "scandir", refused)
    found = discover(tmp_path / "scans")
    assert counts(found.problems) == {"unreadable folder": 1} and found.problems[0].file.name == "closed"


def test_the_digest_sees_what_discovery_reads_through_links(tmp_path):
    trees.simulated(tmp_path / "disk")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "disk")
    before, path = folder_digest(tmp_path / "data"), min((tmp_path / "disk").rglob("*.IMA"))
    trees.edit(path, PatientComments="changed")
    assert folder_digest(tmp_path / "data") != before and len(discover(tmp_path / "data").headers) == 6


@pytest.fixture
def deep(tmp_path):
    """Folders nested deeper than shutil.rmtree can follow: pytest could never delete its temporary folder again."""
    root = tmp_path / "deep"
    root.mkdir()
    current = os.open(root, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=current)
        deeper = os.open("d", os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = deeper
    os.close(current)
    yield root
    subprocess.run(["rm", "-rf", root], check=True)
    assert not root.exists()


def test_folders_nested_beyond_pythons_recursion_are_read(deep):
    trees.one(deep / "a" / "1.dcm")
    assert len(discover(deep).headers) == 1


def test_a_patient_whose_pixels_cannot_be_decoded_moves_nobody_to_another_subset(tmp_path):
    """`check` divides the patients of the headers, and so does the run, whatever it can decode."""
    for number in range(1, 7):
        trees.simulated(tmp_path / "data", patient=f"SIM0{number}", z=(0.0, 0.8))
    for path in (tmp_path / "data").rglob("SIM02_*.IMA"):
        trees.undecodable(path)
    cohort = Cohort(data=tmp_path / "data")
    checked = check_split(cohort, find_scans(cohort, Report()), Report())
    manifest = build_store(tmp_path / "data", tmp_path / "out")
    assert "SIM02" not in set(manifest["patient"])
    assert "SIM02" in set(checked["train"]["patient"]), "else the run would have nothing left for a subset"
    used = split.subsets(tmp_path / "out", None, cohort.split_seed)
    assert {name: set(part["patient"]) for name, part in used.items()} == {
        name: set(part["patient"]) - {"SIM02"} for name, part in checked.items()}


@pytest.mark.parametrize(("stated", "name"), [("K$^$", "K"), ("=cmd|'A1'!A0", "cmd-A1-A0"), ("FC08-H", "FC08-H")])
def test_a_kernel_is_a_name_for_files_figures_and_tables(tmp_path, stated, name):
    assert read_header(trees.one(tmp_path / "a", ConvolutionKernel=stated)).kernel == name


def test_two_series_of_a_kind_stay_two_through_the_insertion(tmp_path):
    for phase in (1, 2):
        hu = 40 * phase + np.indices((20, 20)).sum(axis=0) % 2 * 3
        for i in range(2):
            trees.foreign(tmp_path / "in", f"{phase}", z=[i], name=f"{i}", hu=hu, **{SERIES: f"1.2.{phase}"})
    report = insert(tmp_path / "in", tmp_path / "out", i0=1e5, jobs=1)
    assert len(report) == 2
    manifest = build_store(tmp_path / "out", tmp_path / "store")
    assert manifest.groupby(["dose", "scan"]).size().tolist() == [2] * 4 and manifest["paired"].all()
    for scan, rows in manifest[manifest["dose"] == "full"].groupby("scan"):
        assert open_volume(tmp_path / "store", rows["volume"].iloc[0]).slice(0).flat[0] == 40 * scan
