"""Real series through a network whose answer is known: what is written is a new, valid series, the input stays as it is."""

import gzip
import hashlib
import shutil
import subprocess
import tracemalloc
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    RLELossless,
)

from lib.data.dicom.derived import derive, source_header
from lib.data.dicom.parsing import parse
from lib.data.dicom.slice import decode, read_hu
from lib.deploy import model as models
from lib.deploy import whole
from lib.deploy.dicom_series import derivation
from lib.deploy.model import Model
from lib.deploy.trained_range import Reason, Scan, TrainedRange, trained_range
from lib.errors import CohortError, DicomError, OutputError, StageError, WeightsError
from lib.report.labels import Labels
from lib.study.runs import Run
from tests import trees
from tests.named_scans import HOSTILE
from tests.oracle import judge
from tests.unusual_series import cohort
from tests.unusual_slices import AIR, AXIAL, Encoding, pixels, write

SEEN = TrainedRange(("B30",), (1.0, 1.0), (0.7, 0.7))
MOMENT = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
GEOMETRY = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "Rows", "Columns",
            "RescaleSlope", "RescaleIntercept", "PixelRepresentation", "FrameOfReferenceUID", "StudyInstanceUID",
            "PatientName", "PatientID", "StudyDate", "ConvolutionKernel", "InstanceNumber")
SHAPE = (37, 51)


def stand_in(network=lambda hu: hu - 3, name="E1, seed 5", sha256="ab" * 32) -> Model:
    """A network that is a known function."""
    return Model(network, name, sha256, "0123abc", {"made_from": "smoke profile | SIMULATED cohort | λ: published"})


def run(source: Path, output: Path, model: Model | None = None, **options) -> whole.Report:
    return whole.denoise(source, output, model or stand_in(), options.pop("seen", SEEN), moment=MOMENT, **options)


def files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def written(output: Path, number: int = 1) -> list[Path]:
    return sorted((output / f"series-{number}").iterdir())


def series(folder: Path, count: int = 3, **changes) -> list[Path]:
    """A series of odd size in a folder."""
    return [trees.one(folder / f"Zyxwell {i}.dcm", hu=trees.image(i, *SHAPE) // 4, z_mm=float(i), instance=count - i,
                      SOPInstanceUID=f"1.2.3.4.{i}", **changes) for i in range(count)]


FORMS = {
    "signed": (True, 16, 1, 0, ExplicitVRLittleEndian, "", None),
    "signed, 12 bits, implicit": (True, 12, 1, 0, ImplicitVRLittleEndian, "lowest", (-2048, None)),
    "unsigned, 12 bits, padding is air's value": (False, 12, 1, -1024, ExplicitVRLittleEndian, "lowest", (0, None)),
    "unsigned, 12 bits, from -1000": (False, 12, 1, -1000, ExplicitVRBigEndian, "", None),
    "big endian, -2000 undeclared": (True, 16, 1, -1024, ExplicitVRBigEndian, "convention", None),
    "deflated, a range of padding": (False, 16, 1, -8192, DeflatedExplicitVRLittleEndian, "range", (0, 9)),
    "RLE, fractions": (False, 16, 0.25, -1024, RLELossless, "range", (0, 9)),
    "RLE, coarse": (False, 16, 10, -10240, RLELossless, "convention", None),
    "JPEG 2000": (False, 12, 1, -1024, JPEG2000Lossless, "water", (1024, None)),
    "odd scale": (True, 16, 1.2207, -37.5, ExplicitVRLittleEndian, "range of water", (25, 37)),
}


@pytest.mark.parametrize("name", FORMS)
def test_hu_geometry_and_padding_survive_in_every_form(tmp_path, name):
    signed, bits, slope, intercept, syntax, padding, declared = FORMS[name]
    form = Encoding(signed, bits, slope, intercept, syntax, AXIAL, "HU", padding, declared, "circle", "")
    rng, truth = np.random.default_rng(7), {}
    for place in range(2):
        path, native = tmp_path / "in" / f"{place}", replace(form, syntax=ExplicitVRLittleEndian)
        hu, stored = pixels(rng, form, *SHAPE)
        write(path, stored, native if syntax == JPEG2000Lossless else form, {
            "SOPInstanceUID": f"1.2.3.{place}", "SeriesInstanceUID": "1.2.3", "StudyInstanceUID": "1.2", "PatientID": "x^y",
            "FrameOfReferenceUID": "1.2.4", "ConvolutionKernel": ["B30f", "2"], "SliceThickness": "1", "PatientName": "A^B",
            "ImagePositionPatient": [-10, 4, place], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "PixelSpacing": [0.7, 0.7], "InstanceNumber": place})
        if syntax == JPEG2000Lossless:
            ds = pydicom.dcmread(path)
            ds.compress(JPEG2000Lossless, generate_instance_uid=False)
            ds.save_as(path)
        truth[f"1.2.3.{place}"] = (path, hu, stored)
    before = files(tmp_path / "in")
    report = run(tmp_path / "in", tmp_path / "out")
    assert files(tmp_path / "in") == before
    assert [(row.state, row.slices, row.rows, row.columns, row.reasons) for row in report.series] == [
        ("denoised", 2, *SHAPE, ())]
    lowest, highest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    reserved = [-2000 if signed else 2**16 - 2000] * 2
    if declared:
        reserved = sorted(end if end is not None else declared[0] for end in declared)
    for path in written(tmp_path / "out"):
        ds = pydicom.dcmread(path)
        source, hu, stored = truth[ds.SourceImageSequence[0].ReferencedSOPInstanceUID]
        original, outside = pydicom.dcmread(source), hu == AIR
        assert ds.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert {each: ds[each].value for each in GEOMETRY} == {each: original[each].value for each in GEOMETRY}
        values = ds.pixel_array.astype(int)
        assert (values == stored)[outside].all()
        exact = np.clip(np.rint((hu - 3 - intercept) / slope), lowest, highest).astype(int)
        clash = (exact >= reserved[0]) & (exact <= reserved[1])
        assert (values == exact)[~outside & ~clash].all() and (~outside & ~clash).sum() > 1000
        assert not ((values >= reserved[0]) & (values <= reserved[1]))[~outside].any()
        again = read_hu(path)
        assert np.abs(again - (hu - 3))[~outside & ~clash & (exact > lowest)].max() <= slope / 2 + 1e-3
        assert (again == AIR)[outside].all()


def test_the_header_says_what_was_done_by_what_to_which_image(tmp_path):
    series(tmp_path / "in", DerivationDescription="resampled", ImageComments="calm", SeriesNumber=7,
           PatientName="Zyxwell^H", TimezoneOffsetFromUTC="-0330",
           SeriesDescription="Abdomen, a description that is as long as it may be, to the end.")
    run(tmp_path / "in", tmp_path / "out")
    original = {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, (tmp_path / "in").iterdir())}
    found = [pydicom.dcmread(path) for path in written(tmp_path / "out")]
    assert len({ds.SOPInstanceUID for ds in found} | set(original)) == 6 and len({ds.SeriesInstanceUID for ds in found}) == 1
    for ds in found:
        image, maker = ds.SourceImageSequence[0], ds.ContributingEquipmentSequence[0]
        before = original[image.ReferencedSOPInstanceUID]
        assert ds.SeriesInstanceUID != before.SeriesInstanceUID and ds.StudyInstanceUID == before.StudyInstanceUID
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID and ds.SOPClassUID == CTImageStorage
        assert ds.ImagePositionPatient == before.ImagePositionPatient and ds.InstanceNumber == before.InstanceNumber
        assert list(ds.ImageType[:3]) == ["DERIVED", "SECONDARY", "AXIAL"] and ds.ImageType[-1] == "DENOISED"
        assert image.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        assert ds.DerivationCodeSequence[0].CodeMeaning == "Smoothing"
        assert ds.DerivationDescription.endswith("lambda: published | before: resampled")
        assert "ab" * 32 in ds.DerivationDescription
        assert maker.SoftwareVersions == "commit 0123abc" and "ab" * 32 in maker.ContributionDescription
        assert maker.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Processing Equipment"
        for text in (ds.ImageComments, ds.DerivationDescription, maker.ContributionDescription):
            assert "RESEARCH USE ONLY" in text and "OUTSIDE" not in text
        assert ds.SeriesDescription.endswith("[denoised E1, seed 5, research only]") and len(ds.SeriesDescription) <= 64
        assert (ds.SeriesNumber, ds.PatientName) == (10007, "Zyxwell^H")
        assert (ds.InstanceCreationDate, ds.InstanceCreationTime) == ("20310203", "003506")


@pytest.mark.parametrize("stated", [True, False])
def test_lossy_compression_of_the_source_is_not_forgotten(tmp_path, stated):
    said = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "9"} if stated else {}
    path = series(tmp_path / "in", 1, **said)[0]
    elements = parse(path.read_bytes(), path)
    decoded = decode(elements)
    elements.syntax = elements.syntax if stated else JPEGExtended12Bit
    elements.size = elements.pixels.offset + 1000
    header, lost = source_header(parse(path.read_bytes(), path), "a")
    ds = derive(header, elements, decoded.stored, derivation(stand_in(), [], MOMENT))
    assert (ds.LossyImageCompression, ds.LossyImageCompressionRatio, lost) == (
        ("01", 9, []) if stated else ("01", 3.774, []))  # 37 x 51 x 2 bytes out of 1,000


def test_memory_does_not_grow_with_the_series(tmp_path):
    peaks = []
    for count in (3, 13):
        for place in range(count):
            trees.one(tmp_path / f"{count}" / f"{place}", hu=trees.image(place, 200, 201), z_mm=float(place))
        tracemalloc.start()
        run(tmp_path / f"{count}", tmp_path / f"out-{count}", evidence=lambda each: each.volume(2).shape)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 2 * 200 * 201 * 4  # two slices of ten more, float32


def test_uids_hang_on_input_model_and_code(tmp_path, monkeypatch):
    series(tmp_path / "in")
    runs = {"once": stand_in(), "again": stand_in(), "other": stand_in(sha256="cd" * 32), "code": stand_in()}
    for name, model in runs.items():
        if name == "code":  # which the commit does not tell outside git
            monkeypatch.setattr("lib.deploy.dicom_series.code_hash", lambda modules: "another")
        run(tmp_path / "in", tmp_path / name, model)
    found = {name: [pydicom.dcmread(path).SOPInstanceUID for path in written(tmp_path / name)] for name in runs}
    assert [path.read_bytes() for path in written(tmp_path / "once")] == [
        path.read_bytes() for path in written(tmp_path / "again")]
    assert not set(found["once"]) & set(found["other"]) and not set(found["once"]) & set(found["code"])


@pytest.mark.parametrize("source", ["CT_small.dcm", "J2K_pixelrep_mismatch.dcm", "own"])
@pytest.mark.parametrize("pseudonymise", [False, True])
def test_dciodvfy_finds_no_error_that_the_input_has_not(tmp_path, source, pseudonymise):
    if not (checker := shutil.which("dciodvfy")):
        pytest.skip("dciodvfy is not installed (apt install dicom3tools)")
    (tmp_path / "in").mkdir()
    if source == "own":
        series(tmp_path / "in", 1)
    else:
        shutil.copy(get_testdata_file(source, download=False), tmp_path / "in" / "a.dcm")
    run(tmp_path / "in", tmp_path / "out", force=True, pseudonymise=pseudonymise)

    def errors(path: Path) -> Counter:
        printed = subprocess.run([checker, str(path)], capture_output=True, text=True, check=False)
        lines = (printed.stderr + printed.stdout).splitlines()
        assert any("CTImage" in line for line in lines) or "Error" in "".join(lines)
        return Counter(line for line in lines if line.startswith("Error"))

    assert errors(written(tmp_path / "out")[0]) - errors(next((tmp_path / "in").iterdir())) == Counter()


@pytest.mark.parametrize(("name", "value", "expected"), [
    ("SeriesNumber", b"1\\2 ", 10_000), ("SeriesNumber", b"seven ", 10_000), ("SeriesNumber", b"2147483647", 2**31 - 1),
    ("TimezoneOffsetFromUTC", b"+9900 ", b"+9900 "), ("BodyPartExamined", b"ARM\\LEG ", b"ARM\\LEG "),
    ("SeriesDescription", b"calm\\mild ", "calm mild [denoised E1, seed 5, research only]"),
    ("SOPInstanceUID", b"1.2\\1.3 ", None)])
def test_values_that_a_header_may_not_have_stop_nothing(tmp_path, name, value, expected):
    path = series(tmp_path / "in", 1)[0]
    ds, tag = pydicom.dcmread(path), pydicom.tag.Tag(name)
    kind = pydicom.datadict.dictionary_VR(tag)
    ds._dict[tag] = pydicom.dataelem.RawDataElement(tag, kind, len(value), value, 0, False, True)
    ds.save_as(path)
    run(tmp_path / "in", tmp_path / "out")
    made = pydicom.dcmread(written(tmp_path / "out")[0])
    found = made[name].value if not isinstance(expected, bytes) else made.get_item(name).value
    assert found == expected if expected else pydicom.uid.UID(found).is_valid


def test_a_header_without_uids_gets_its_own(tmp_path):
    """As in files whose anonymiser emptied them: the file's, or new ones that are the same each time."""
    paths = series(tmp_path / "in", SOPClassUID="", StudyInstanceUID="", SeriesInstanceUID="", FrameOfReferenceUID="")
    for path in paths:
        ds = pydicom.dcmread(path)
        ds.SOPInstanceUID = ""
        ds.save_as(path)
    for name in ("out", "again"):
        run(tmp_path / "in", tmp_path / name)
    found = [pydicom.dcmread(path) for path in written(tmp_path / "out")]
    assert [path.read_bytes() for path in written(tmp_path / "out")] == [
        path.read_bytes() for path in written(tmp_path / "again")]
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID"):
        count = 3 if name.startswith("SOP") else 1
        assert len({ds[name].value for ds in found} - {""}) == count


def test_every_series_has_a_folder_and_what_is_no_ct_is_listed(tmp_path):
    source = tmp_path / "in"
    series(source / "a", SeriesInstanceUID="1.2.3.9.1")
    series(source / "b", 2, SeriesInstanceUID="1.2.3.9.2", ConvolutionKernel="D45f")
    trees.one(source / "pet.dcm", Modality="PT")
    trees.one(source / "scout.dcm", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    (source / "Befund.txt").write_text("nothing")
    seen = []
    report = run(source, tmp_path / "out", evidence=seen.append)
    assert [(row.kernel, row.state, row.folder, row.slices) for row in report.series] == [
        ("B30", "denoised", "series-1", 3), ("D45", "refused", "", 2)]
    assert Counter(problem.what.split(",")[0] for problem in report.left_out) == {
        "modality PT": 1, "a localizer by its ImageType": 1}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".series", "denoised.json", "series-1"]
    assert [each.label for each in seen] == ["series 1: kernel B30, 1 mm, 3 slices"] and "Zyxwell" not in str(seen)
    report = run(source, tmp_path / "out", force=True, evidence=lambda each: each.label)
    assert [row.state for row in report.series] == ["kept", "denoised"] and len(report.evidence) == 2
    flagged = pydicom.dcmread(written(tmp_path / "out", 2)[0])
    reason = "OUTSIDE THE TRAINED RANGE: kernel D45 (trained: B30)."
    assert reason in flagged.ImageComments and reason in flagged.DerivationDescription
    text = (tmp_path / "out" / "denoised.json").read_text()
    assert '"trained": [\n      "B30"\n     ]' in text and "Zyxwell" not in text and str(tmp_path) not in text
    assert [line.rpartition(": ")[2].split(",")[0] for line in report.lines()] == ["kept", "denoised"]


def test_two_slices_at_one_place_are_left_out_by_number_and_nobodys_name(tmp_path):
    series(tmp_path / "in", 2, SeriesInstanceUID="1.2.3.9.1", PatientID="4711")
    for place in range(2):
        trees.one(tmp_path / "in" / f"b{place}", hu=trees.image(place, *SHAPE), SeriesInstanceUID="1.2.3.9.2",
                  PatientID="4712")
    report = run(tmp_path / "in", tmp_path / "out")
    what = "2 different slices at z = 0 mm in series patient 1 any dose B30 1 mm, so the series is left out"
    assert [row.state for row in report.series] == ["denoised"] and {each.what for each in report.left_out} == {what}


@pytest.mark.parametrize("number", [5, 16, 64])
def test_unusual_series_come_back_as_they_were(tmp_path, number):
    """Through a network that changes nothing; what the readers' oracle says of each file holds of what is made of it."""
    made = cohort(number, tmp_path)
    sources = {pydicom.dcmread(each.path).SOPInstanceUID: each.path for each in made.slices}
    report = run(made.root, tmp_path / "out", stand_in(lambda hu: hu), force=True)
    found = [path for number in range(1, len(report.series) + 1) for path in written(tmp_path / "out", number)]
    assert len(found) == sum(row.slices for row in report.series) > 3
    for path in found:
        ds = pydicom.dcmread(path)
        original = pydicom.dcmread(source := sources[ds.SourceImageSequence[0].ReferencedSOPInstanceUID])
        step, difference = float(original.RescaleSlope), np.abs(read_hu(path) - judge(source).hu)
        assert (difference > step / 2 + 1e-3).sum() <= 1 and difference.max() <= 7 * step  # the one tissue like padding
        assert [ds.PatientName, ds.PatientID] == [original.PatientName, original.PatientID]


def test_evidence_sees_the_middle_of_a_series_and_the_network(tmp_path):
    series(tmp_path / "in", 5, PixelSpacing=[0.71, 0.72])
    seen = []
    run(tmp_path / "in", tmp_path / "out", evidence=seen.append)
    volume = seen[0].volume(3)
    expected = [read_hu(tmp_path / "in" / f"Zyxwell {i}.dcm") for i in (1, 2, 3)]
    assert volume.dtype == np.float32 and np.array_equal(volume, expected) and seen[0].volume().shape == (5, *SHAPE)
    assert seen[0].spacing_mm == (1.0, 0.71, 0.72) and seen[0].share_outside == 0 and seen[0].reasons == ()
    assert np.array_equal(seen[0].denoise(volume), volume - 3)
    assert seen[0].image_type == "DERIVED/SECONDARY/AXIAL/SIMULATED"


def test_what_was_denoised_is_not_denoised_again(tmp_path):
    series(tmp_path / "in")
    run(tmp_path / "in", tmp_path / "out")
    with pytest.raises(CohortError, match="image denoised already"):
        run(tmp_path / "out" / "series-1", tmp_path / "twice")
    run(tmp_path / "out" / "series-1", tmp_path / "twice", force=True)
    ds = pydicom.dcmread(written(tmp_path / "twice")[0])
    assert list(ds.ImageType).count("DENOISED") == 1 and len(ds.ContributingEquipmentSequence) == 2


def test_voxels_that_the_network_cannot_give_back_keep_their_value():
    shapes = []

    def network(hu):
        shapes.append(hu.shape)
        assert hu.min() >= -1024 and hu.max() <= 3072
        return hu - 3

    hu = np.array([[[-2000, -1024, 0], [3072, 3073, 9000]]] * 3, np.float32)
    before = hu.copy()
    assert stand_in(network).denoise(hu).tolist() == [[[-2000, -1027, -3], [3069, 3073, 9000]]] * 3
    assert shapes == [(2, 3)] * 3 and np.array_equal(hu, before)  # one slice at a time


@pytest.mark.parametrize(("scan", "found"), [
    (Scan("B30", 1.0, (0.7, 0.7), 0.0), []), (Scan("B30", 1.0, (0.76, 0.64), 0.001), []),
    (Scan("B31", 1.0, (0.7, 0.7), 0.0), ["kernel B31 (trained: B30)"]),
    (Scan("B30", 5.0, (0.7, 0.7), 0.0), ["slice thickness 5 mm (trained: 1 mm)"]),
    (Scan("B30", 1.0, (0.7, 0.78), 0.0), ["pixel spacing 0.78 mm (trained: 0.7 mm)"]),
    (Scan("B30", 1.0, (0.7, 0.7), 0.02), ["voxels outside the HU range 2 % (trained: 0 to 0.1 %)"]),
    (Scan(None, None, None, 0.0), ["kernel not stated (trained: B30)", "slice thickness not stated (trained: 1 mm)",
                                   "pixel spacing not stated (trained: 0.7 mm)"]),
])
def test_reasons_are_values_in_words(scan, found):
    reasons = SEEN.reasons(scan)
    assert list(map(str, reasons)) == found and [each.refuses for each in reasons] == [scan.kernel is not None] * len(found)


def test_a_training_whose_spacing_nobody_knows_refuses_none():
    reasons = SEEN._replace(pixel_mm=(float("nan"),) * 2).reasons(Scan("B30", 1.0, (5.0, 5.0), 0.0))
    assert [(str(each), each.refuses) for each in reasons] == [("pixel spacing not stated (trained: not known)", False)]


def test_what_lies_outside_is_refused_by_name(tmp_path, caplog):
    series(tmp_path / "in", SliceThickness="5", ConvolutionKernel="Br38f")
    with pytest.raises(CohortError, match=r"kernel Br38 \(trained: B30\); slice thickness 5 mm \(trained: 1 mm\).*--force"):
        run(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    series(tmp_path / "in" / "more", ConvolutionKernel="Hr60f", SeriesInstanceUID="1.2.3.9.7")
    with pytest.raises(CohortError, match=r"kernel Br38 .*and 1 more series"):
        run(tmp_path / "in", tmp_path / "out")
    assert "refused: series 2: kernel Hr60, 1 mm, 3 slices: kernel Hr60 (trained: B30)" in caplog.text
    metal = tmp_path / "metal"
    trees.one(metal / "a", hu=np.full(SHAPE, 3071), RescaleSlope="3", RescaleIntercept="-1024")
    with pytest.raises(CohortError, match=r"voxels outside the HU range 100 %"):
        run(metal, tmp_path / "out")


def test_unknown_is_said_and_refuses_nothing(tmp_path):
    series(tmp_path / "in", ConvolutionKernel=None)
    report = run(tmp_path / "in", tmp_path / "out")
    assert report.series[0].reasons == (Reason("kernel", None, ("B30",)),)
    assert "Not checked: kernel." in pydicom.dcmread(written(tmp_path / "out")[0]).ImageComments


@pytest.mark.parametrize("where", ["in/out", "in", "."])
def test_nothing_is_written_into_the_input(tmp_path, where):
    series(tmp_path / "in")
    before = files(tmp_path)
    with pytest.raises(OutputError, match="holds the other"):
        run(tmp_path / "in", tmp_path / where)
    assert files(tmp_path) == before


def test_a_folder_of_others_is_left_alone(tmp_path):
    series(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "diary.txt").write_text("mine")
    with pytest.raises(OutputError, match="the denoiser did not write"):
        run(tmp_path / "in", tmp_path / "out")
    scans = series(tmp_path / "theirs" / "series-1")
    with pytest.raises(OutputError, match="the denoiser did not write"):
        run(tmp_path / "in", tmp_path / "theirs")  # a name like ours makes no folder ours
    assert all(path.is_file() for path in scans)
    with pytest.raises(CohortError, match="does not exist"):
        run(tmp_path / "nowhere", tmp_path / "new")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CohortError, match="no CT series"):
        run(tmp_path / "empty", tmp_path / "new")


@pytest.mark.parametrize("damage", ["cut", "stored values"])
def test_a_slice_that_cannot_be_read_is_named_and_nothing_is_written(tmp_path, damage):
    bad = series(tmp_path / "in")[1]
    if damage == "cut":
        bad.write_bytes(bad.read_bytes()[:-99])
    else:
        trees.undecodable(bad)
    with pytest.raises(DicomError, match="Zyxwell 1.dcm"):
        run(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["cut", "empty", "stored values", "colour", "frames", "volume"])
def test_a_file_that_cannot_be_read_takes_its_series_with_it_and_no_other(tmp_path, damage):
    series(tmp_path / "in" / "a", SeriesInstanceUID="1.2.3.9.1")
    bad = series(tmp_path / "in" / "b", SeriesInstanceUID="1.2.3.9.2", StudyInstanceUID="1.2.3.8")[1]
    if damage == "cut":
        bad = bad.rename(tmp_path / "in" / "a" / "strayed.dcm")  # it names its series still
        bad.write_bytes(bad.read_bytes()[:-99])
    elif damage == "empty":
        bad.write_bytes(b"")  # it names none: that of its folder
    elif damage == "stored values":
        trees.undecodable(bad)
    elif damage == "volume":
        shutil.rmtree(tmp_path / "in" / "b")
        (bad := tmp_path / "in" / "Zyxwell.nii").write_bytes(b"no volume")
    else:
        changes = {"colour": {"PhotometricInterpretation": "RGB"}, "frames": {"NumberOfFrames": 2}}[damage]
        trees.edit(bad, SeriesInstanceUID="1.2.3.9.3", **changes)  # a series of its own: nothing else has a hole
    report = run(tmp_path / "in", tmp_path / "out")
    kept = 2 if damage in ("colour", "frames") else 1
    assert [(row.state, row.slices) for row in report.series] == [("denoised", 3), ("denoised", 2)][:kept]
    assert bad in {each.file for each in report.left_out}
    assert len(report.left_out) == (2 if damage in ("cut", "empty") else 1)
    assert "Zyxwell" not in (tmp_path / "out" / "denoised.json").read_text()


def test_what_has_no_name_of_a_slice_and_is_none_is_listed(tmp_path):
    for path in series(tmp_path / "in"):
        path.rename(path.with_suffix(""))
    (tmp_path / "in" / "Zyxwell 1").write_bytes(b"")
    report = run(tmp_path / "in", tmp_path / "out")
    assert [row.slices for row in report.series] == [2]
    assert [each.what for each in report.left_out] == ["file without extension that is no DICOM file"]


def test_a_run_that_was_stopped_leaves_nothing_half_written_and_the_next_ends_alike(tmp_path):
    series(tmp_path / "in" / "a", SeriesInstanceUID="1.2.3.9.1")
    series(tmp_path / "in" / "b", SeriesInstanceUID="1.2.3.9.2", StudyInstanceUID="1.2.3.8")
    run(tmp_path / "in", tmp_path / "whole")
    calls = []

    def stops(hu):
        calls.append(hu)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return hu - 3

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "in", tmp_path / "out", stand_in(stops))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".series", "series-1"]
    (tmp_path / "out" / "evidence.html").write_text("of an earlier run")
    (tmp_path / "out" / ".partial-series-2").mkdir()  # as after a power cut
    (tmp_path / "out" / ".partial-series-2" / "image-0001.dcm").write_bytes(b"half")
    report = run(tmp_path / "in", tmp_path / "out")
    assert [row.state for row in report.series] == ["kept", "denoised"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".series", "denoised.json", "series-1", "series-2"]
    for number in (1, 2):
        assert files(tmp_path / "out" / f"series-{number}") == files(tmp_path / "whole" / f"series-{number}")
    trees.edit(tmp_path / "in" / "a" / "Zyxwell 0.dcm", PatientComments="another")
    shutil.rmtree(tmp_path / "in" / "b")
    assert [row.state for row in run(tmp_path / "in", tmp_path / "out").series] == ["denoised"]
    assert not (tmp_path / "out" / "series-2").exists()


def test_pseudonymised_series_hold_nothing_of_a_person(tmp_path):
    secrets = {name: form.format(3) for name, form in HOSTILE.items() if not name.startswith("SOP")}
    people = {"PatientName": "Zyxwell^Hildegund", "PatientComments": "Zyxwell", "PatientAge": "047Y",
              "PatientWeight": "61.25", "OperatorsName": "Quirkmann",
              "AcquisitionDateTime": "20191103141516", "DeviceSerialNumber": "SN-60064",
              "SeriesDate": "20191103", "ContentTime": "141516", "ProtocolName": "Vexley protocol",
              "IssuerOfPatientID": "Umbrov",
              "DerivationDescription": "by Ottokarine", "ImageComments": "of Januszka"}
    for place, path in enumerate([*series(tmp_path / "in" / "a"), *series(tmp_path / "in" / "b", ConvolutionKernel="D45f")]):
        uid = f"1.2.826.0.1.3680043.99.2.{place // 3}"
        trees.edit(path, **secrets | people | {"SeriesInstanceUID": uid})
        ds = pydicom.dcmread(path)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.99.4.{place}"
        ds.private_block(0x0009, "IDABELLE", create=True).add_new(1, "LO", "Idabelle")
        item = pydicom.Dataset()
        item.ReferencedSOPInstanceUID, item.PatientName = "1.2.826.0.1.3680043.99.5", "Nested^Ruhmkorff"
        ds.ReferencedImageSequence = [item]
        ds.save_as(path, enforce_file_format=True)
    for name in ("out", "again"):
        run(tmp_path / "in", tmp_path / name, pseudonymise=True, force=True)
    everything = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()).lower()
    words = {part for text in [*secrets.values(), *people.values(), "Idabelle", "Nested"] for part in text.split("^")}
    assert not [word for word in words | {"1.2.826.0.1.3680043.99", "ruhmkorff"} if word.lower().encode() in everything]
    assert str(tmp_path).encode() not in everything
    found = {name: [pydicom.dcmread(path) for number in (1, 2) for path in written(tmp_path / name, number)]
             for name in ("out", "again")}
    for name, count in {"PatientID": 1, "StudyInstanceUID": 1, "FrameOfReferenceUID": 1, "SeriesInstanceUID": 2,
                        "SOPInstanceUID": 6}.items():
        here, there = ({ds[name].value for ds in found[each]} for each in ("out", "again"))
        assert len(here) == len(there) == count and not here & there
    for ds in found["out"]:
        assert ds.PatientIdentityRemoved == "YES" and ds.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert not [element for element in ds.iterall() if element.tag.is_private]
        assert ds.SourceImageSequence[0].ReferencedSOPInstanceUID and ds.ContributingEquipmentSequence
    assert not list((tmp_path / "out" / ".series").iterdir())


def nifti(path: Path, kind=np.int16, axes: str = "LPS", slope: float | None = None, seed: int = 1) -> np.ndarray:
    """A volume of odd size with this orientation of its axes; returns its values as read back, float64."""
    values = np.random.default_rng(seed).integers(-1024, 1000, (13, 11, 5)).astype(kind)
    spacing = np.array([0.7, 0.7, 2.5])
    affine = np.zeros((4, 4))
    for axis, letter in enumerate(axes):
        affine[["LR", "PA", "IS"].index(next(pair for pair in ("LR", "PA", "IS") if letter in pair)), axis] = (
            spacing[axis] * (1 if letter in "RAS" else -1))
    affine[:, 3] = (3.5, -40.25, 7, 1)
    image = nibabel.Nifti1Image(values, affine)
    image.header["descrip"], image.header["aux_file"] = b"Zyxwell", b"Hildegund"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Zyxwell"))
    if slope:
        image.header.set_slope_inter(slope, 0.5)
    path.parent.mkdir(exist_ok=True)
    nibabel.save(image, path)
    return np.asarray(nibabel.load(path).dataobj, np.float64)


@pytest.mark.parametrize(("ending", "kind", "slope", "result"), [
    (".nii", np.int16, None, np.int16), (".nii.gz", np.int32, None, np.int16), (".nii", np.float32, None, np.float32),
    (".nii.gz", np.int16, 0.5, np.float32)])
def test_nifti_keeps_its_affine_and_its_hu(tmp_path, ending, kind, slope, result):
    source = tmp_path / "in" / f"Zyxwell{ending}"
    values = nifti(source, kind, slope=slope)
    before = files(tmp_path / "in")
    report = run(source, tmp_path / "out")
    made = nibabel.load(tmp_path / "out" / "series-1" / f"volume{ending}")
    np.testing.assert_array_equal(made.affine, nibabel.load(source).affine)
    assert made.get_data_dtype() == result and made.header.get_zooms() == nibabel.load(source).header.get_zooms()
    found = np.asarray(made.dataobj)
    expected = np.where((values >= -1024), values - 3, values)
    np.testing.assert_allclose(found, expected, atol=0 if slope is None else 1e-3)
    assert b"RESEARCH USE ONLY; E1, seed 5" in bytes(made.header["descrip"]) and files(tmp_path / "in") == before
    data = written(tmp_path / "out")[0].read_bytes()
    assert b"Zyxwell" not in (gzip.decompress(data) if ending.endswith("gz") else data)
    assert [(row.form, row.slices, row.rows, row.columns) for row in report.series] == [("NIfTI", 5, 11, 13)]
    assert {each.quantity for each in report.series[0].reasons} == {"kernel", "slice thickness"}
    assert run(source, tmp_path / "out").series[0].state == "kept"


@pytest.mark.parametrize("axes", ["LPS", "RAS", "PLI", "ARS", "LAS"])
def test_networks_see_nifti_slices_as_a_scanner_lays_them_out(tmp_path, axes):
    """A network that adds ten times the row and the column: rows count to the back, columns to the left."""
    values = nifti(tmp_path / "in" / "a.nii", np.float32, axes) / 1.6
    image = nibabel.load(tmp_path / "in" / "a.nii")
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), image.affine), tmp_path / "in" / "a.nii")
    seen = []
    run(tmp_path / "in", tmp_path / "out", stand_in(
        lambda hu: hu + np.arange(hu.shape[0])[:, None] * 10 + np.arange(hu.shape[1])), evidence=seen.append)
    added = np.asarray(nibabel.load(tmp_path / "out" / "series-1" / "volume.nii").dataobj) - values
    places = np.indices(values.shape)
    back, left = ((places[axis] if axes[axis] in "PL" else values.shape[axis] - 1 - places[axis])
                  for axis in (next(k for k, letter in enumerate(axes) if letter in pair) for pair in ("PA", "LR")))
    np.testing.assert_allclose(added, 10 * back + left, atol=1e-2)
    assert seen[0].volume(3).shape == (3, back.max() + 1, left.max() + 1)


@pytest.mark.parametrize("damage", ["a byte", "cut", "another format", "no affine", "NaN affine"])
def test_a_damaged_nifti_file_is_refused_and_its_name_is_in_no_output(tmp_path, damage):
    folder = tmp_path / "in"
    nifti(folder / "good.nii.gz")
    bad = folder / "Zyxwell.nii.gz"
    content = bytearray(gzip.decompress((folder / "good.nii.gz").read_bytes()))
    if damage in ("no affine", "NaN affine"):
        content[280:328] = (b"\0" if damage == "no affine" else b"\xff") * 48
        content[254:256] = b"\1\0"  # the code of the sform
    packed = bytearray(gzip.compress(bytes(content), 0))
    if damage == "a byte":
        packed[1000] ^= 1  # stored, so that it decompresses
    bad.write_bytes(packed[:-20] if damage == "cut" else packed if damage != "another format" else b"no archive")
    report = run(folder, tmp_path / "out")
    assert [row.state for row in report.series] == ["denoised"] and [each.file for each in report.left_out] == [bad]
    text = (tmp_path / "out" / "denoised.json").read_text()
    assert "so the series is left out" in text and "Zyxwell" not in text and str(tmp_path) not in text


def test_a_nifti_file_that_does_not_say_how_it_lies_is_said_not_to(tmp_path):
    nifti(tmp_path / "in" / "a.nii")
    image = nibabel.load(tmp_path / "in" / "a.nii")
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nibabel.save(image, tmp_path / "in" / "b.nii")
    report = run(tmp_path / "in", tmp_path / "out")
    assert [Reason("plane", None, ("axial",)) in row.reasons for row in report.series] == [False, True]


def test_nifti_that_is_no_axial_ct_is_refused(tmp_path):
    nifti(tmp_path / "sagittal" / "a.nii", axes="PSL")
    with pytest.raises(CohortError, match="plane sagittal, coronal or oblique"):
        run(tmp_path / "sagittal", tmp_path / "out")
    nibabel.save(nibabel.Nifti1Image(np.full((4, 5, 6), 90, np.uint8), np.diag([0.7, 0.7, 1, 1])), tmp_path / "mr.nii")
    with pytest.raises(CohortError, match=r"lowest number 90 HU \(trained: -1024 to -500 HU\)"):
        run(tmp_path / "mr.nii", tmp_path / "out")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6, 2), np.int16), np.eye(4)), tmp_path / "four.nii")
    with pytest.raises(CohortError, match=r"shape \(4, 5, 6, 2\), expected a volume"):
        run(tmp_path / "four.nii", tmp_path / "out")
    (tmp_path / "cut.nii").write_bytes((tmp_path / "mr.nii").read_bytes()[:400])
    (tmp_path / "none.nii.gz").write_bytes(b"no archive")
    for name in ("cut.nii", "none.nii.gz"):
        with pytest.raises(CohortError, match=name):
            run(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_network_that_was_not_trained_says_what_to_run(study):
    labels = Labels("provenance", study.paths.figures, {}, (5,), True, 0.5, {})
    with pytest.raises(StageError, match="run make paper PROFILE=smoke"):
        models.load(Run("E1", 5), study.paths, study.unet, labels)


def test_a_trained_network_denoises_a_series(smoke_study, tmp_path):
    study, run_ = smoke_study, Run("E1", smoke_study.seed)
    model = models.load(run_, study.paths, study.unet, Labels.of(study))
    seen = trained_range(study.paths.volumes, study.cohort.given_split, study.cohort.split_seed)
    assert seen.kernels == ("B30", "D45") and seen.thickness_mm == (1.0, 3.0)
    series(tmp_path / "in", PixelSpacing=[seen.pixel_mm[0]] * 2)
    run(tmp_path / "in", tmp_path / "out", model, seen=seen)
    for path in written(tmp_path / "out"):
        ds, hu = pydicom.dcmread(path), read_hu(path)
        source = next(each for each in (tmp_path / "in").iterdir()
                      if pydicom.dcmread(each).SOPInstanceUID == ds.SourceImageSequence[0].ReferencedSOPInstanceUID)
        assert hu.shape == SHAPE and model.sha256 in ds.DerivationDescription and "SIMULATED" in ds.DerivationDescription
        from lib.stages.train import load_unet

        padded = np.pad(read_hu(source), ((0, 11), (0, 13)), mode="reflect")[None, ..., None]
        expected = load_unet(study.unet, study.paths.weights(run_))((padded + np.float32(1024)) / np.float32(4096))
        expected = np.asarray(expected)[0, : SHAPE[0], : SHAPE[1], 0] * 4096 - 1024
        assert np.abs(hu - expected).max() <= 0.51 and np.std(hu - read_hu(source)) > 1
    weights = tmp_path / "artifacts" / "smoke" / "training" / "E1" / f"seed-{study.seed}"
    shutil.copytree(study.paths.training(run_), weights)
    with (weights / "unet.weights.h5").open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(WeightsError, match="not the weights that its training left"):
        models.load(run_, type(study.paths)(tmp_path, "smoke"), study.unet, Labels.of(study))
