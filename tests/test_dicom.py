"""One slice: what is written is read back bit by bit, and every unusable file says why in one line."""

import errno
import types
from pathlib import Path

import numpy as np
import pydicom
import pytest

from lib.data.dicom import pixels
from lib.data.dicom.mayo import mayo_file_name, mayo_folder, write_series, write_slice
from lib.data.dicom.slice import NotCtImageError, read_header, read_hu
from lib.errors import DicomError, OutputError
from tests import trees

KEYS = {"patient": "SIM01", "dose": "quarter", "kernel": "D45", "thickness_mm": 3.0}


def one_line(error) -> str:
    """The line of an error whose parts are there."""
    what, where, remedy = error.value.what, error.value.where, error.value.remedy
    assert str(error.value) == f"{where}: {what}; {remedy}" and what and where.is_file() and remedy
    assert "\n" not in str(error.value) and str(where) not in what + remedy
    return str(error.value)


def raw(path, stored, **changes):
    """A file with these stored values (int16, signed)."""
    trees.one(path, hu=np.zeros(stored.shape))
    return trees.edit(
        path, PixelRepresentation=1, BitsStored=16, HighBit=15, PixelData=stored.astype("<i2").tobytes(), **changes
    )


def test_round_trip_is_exact(tmp_path):
    hu = trees.image()
    path = write_slice(tmp_path / "a.IMA", hu, z_mm=-12.25, instance=3, pixel_spacing_mm=0.6836, **KEYS)
    again = read_hu(path)
    assert again.dtype == np.int16 and np.array_equal(again, hu)
    header = read_header(path)
    assert (header.patient, header.dose, header.kernel, header.thickness_mm) == ("SIM01", "quarter", "D45", 3.0)
    assert (header.z_mm, header.grid.rows, header.grid.columns, header.instance) == (-12.25, 24, 20, 3)
    assert header.grid.spacing_mm == (0.6836, 0.6836) and header.collection == "simulated"


def test_same_call_same_bytes(tmp_path):
    paths = [write_slice(tmp_path / name, trees.image(), z_mm=1.0, instance=1, **KEYS) for name in ("a", "b")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]  # no temporary file is left


def test_hu_are_rounded_and_clipped_to_twelve_bits(tmp_path):
    path = write_slice(tmp_path / "a", np.array([[-3000.0, 0.4, 0.6, 9000.0]]), z_mm=0, instance=1, **KEYS)
    assert read_hu(path).tolist() == [[-1024, 0, 1, 3071]]


def test_header_is_complete_and_says_simulated(tmp_path):
    doses = [{**KEYS, "dose": dose} for dose in ("full", "quarter")]
    full, quarter = (
        pydicom.dcmread(write_slice(tmp_path / k["dose"], trees.image(), z_mm=0, instance=1, **k)) for k in doses
    )
    type_1 = (
        "SOPClassUID SOPInstanceUID StudyInstanceUID Modality SeriesInstanceUID FrameOfReferenceUID PixelSpacing "
        "ImageOrientationPatient ImagePositionPatient ImageType SamplesPerPixel PhotometricInterpretation Rows Columns "
        "BitsAllocated BitsStored HighBit PixelRepresentation PixelData RescaleIntercept RescaleSlope RescaleType "
        "PatientPosition SpecificCharacterSet"
    )
    type_2 = (
        "PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime ReferringPhysicianName StudyID "
        "AccessionNumber SeriesNumber PositionReferenceIndicator Manufacturer InstanceNumber SliceThickness KVP "
        "AcquisitionNumber"
    )
    for ds in (full, quarter):
        assert all(ds[name].value not in (None, "") for name in type_1.split())
        assert all(name in ds for name in type_2.split())
        for name in ("ImageComments", "PatientComments", "Manufacturer"):
            assert "simulated" in str(ds[name].value).lower()
        assert ds.ImageType[0] == "DERIVED" and ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
        assert (ds.WindowCenter, ds.WindowWidth) == (40, 400) and ds.BitsStored == 12
    assert (full.PatientName, quarter.PatientName) == ("SIM01_FD_3_SHARP", "SIM01_QD_3_SHARP")
    assert full.ConvolutionKernel == "D45f" and full.SliceThickness == 3
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert full[name].value != quarter[name].value


def test_names_and_folders_have_mayos_form():
    keys = {"patient": "SIM01", "dose": "full", "kernel": "D45", "thickness_mm": 1.0}
    name = mayo_file_name(**keys, instance=87)
    assert name.startswith("SIM01_FD_1_SHARP_1.CT.0001.0087.2020.") and name.endswith(".IMA")
    assert mayo_folder(**keys).as_posix() == "Training_Image_Data/1mm D45/full_1mm_sharp/SIM01/full_1mm_sharp"
    soft = mayo_folder("SIM02", "quarter", "B30", 3.0)
    assert soft.as_posix() == "Training_Image_Data/3mm B30/quarter_3mm/SIM02/quarter_3mm"


def test_instance_rises_as_z_falls(tmp_path):
    z = [5.0, 1.0, 3.0]
    paths = write_series(tmp_path, np.stack([trees.image(i) for i in range(3)]), z, **KEYS)
    assert [read_header(path).instance for path in paths] == [1, 3, 2]
    assert [read_header(path).z_mm for path in paths] == z


@pytest.mark.parametrize("patient", ["L067", "Jane Doe", "SIM1"])
def test_a_simulated_slice_never_poses_as_a_real_patient(tmp_path, patient):
    with pytest.raises(ValueError, match="SIM01"):
        write_slice(tmp_path / "a", trees.image(), z_mm=0, instance=1, **{**KEYS, "patient": patient})


def test_values_that_are_not_finite_are_refused(tmp_path):
    for hu in (np.full((3, 2), np.nan), np.zeros((0, 4)), np.zeros(5)):
        with pytest.raises(ValueError, match="finite numbers of shape"):
            write_slice(tmp_path / "a", hu, z_mm=0, instance=1, **KEYS)
    assert not list(tmp_path.iterdir())


def test_padding_becomes_zero_before_rescaling(tmp_path):
    path = raw(tmp_path / "a", np.array([[-2000, 0, 1024], [-1999, 5, 30000]]))
    assert read_hu(path).tolist() == [[-1024, -1024, 0], [-3023, -1019, 28976]]


@pytest.mark.parametrize(("intercept", "air"), [("0", -1024), ("-1024", -1024), ("-1000", -1024), ("4000", -1024)])
def test_padding_is_air_whatever_the_intercept(tmp_path, intercept, air):
    path = raw(tmp_path / "a", np.array([[-2000, 7]]), RescaleIntercept=intercept)
    assert read_hu(path).tolist() == [[air, 7 + int(intercept)]]


def test_fractional_slope_is_kept_in_float32(tmp_path):
    path = raw(tmp_path / "a", np.array([[-2000, 3, 1001]]), RescaleSlope="0.5", RescaleIntercept="-1024")
    hu = read_hu(path)
    assert hu.dtype == np.float32 and hu.tolist() == [[-1024.0, -1022.5, -523.5]]


def test_unsigned_values_beyond_int16_are_exact_if_their_hu_fit(tmp_path):
    path = trees.one(tmp_path / "a", hu=np.zeros((1, 3)), BitsStored=16, HighBit=15, RescaleIntercept="-32768")
    trees.edit(path, PixelData=np.array([0, 40000, 65535], "<u2").tobytes())
    assert read_hu(path).dtype == np.int16 and read_hu(path).tolist() == [[-32768, 7232, 32767]]


def test_values_beyond_int16_become_float32(tmp_path):
    hu = read_hu(raw(tmp_path / "a", np.array([[0, 16384]]), RescaleSlope="2", RescaleIntercept="0"))
    assert hu.dtype == np.float32 and hu.tolist() == [[0.0, 32768.0]]


@pytest.mark.parametrize(
    ("stored", "normal"), [("B30f", "B30"), ("D45f", "D45"), (["Br38f", "3"], "Br38"), ("STANDARD", "STANDARD")]
)
def test_kernels_are_normalised(tmp_path, stored, normal):
    assert read_header(trees.one(tmp_path / "a", ConvolutionKernel=stored)).kernel == normal


def test_thickness_is_not_the_spacing_and_falls_back_on_the_name(tmp_path):
    assert read_header(trees.one(tmp_path / "a", thickness_mm=3.0, SpacingBetweenSlices="2")).thickness_mm == 3.0
    assert read_header(trees.one(tmp_path / "b", thickness_mm=3.0, SliceThickness="")).thickness_mm == 3.0


def test_an_unknown_patient_gets_a_pseudonym(tmp_path):
    a, b = trees.foreign(tmp_path, patient_id="4711")
    c = trees.foreign(tmp_path, "other", patient_id="4712")[0]
    headers = [read_header(path) for path in (a, b, c)]
    assert headers[0].patient == headers[1].patient != headers[2].patient
    assert headers[0].collection == "other" and headers[0].dose is None
    assert "Doe" not in repr(headers) and "4711" not in repr(headers)


@pytest.mark.parametrize("reader", [read_header, read_hu])
@pytest.mark.parametrize("name", ["RescaleSlope", "RescaleIntercept", "Rows"])
def test_missing_attribute(tmp_path, reader, name):
    with pytest.raises(DicomError, match=f"a.IMA: no .*{name}") as error:
        reader(trees.one(tmp_path / "a.IMA", **{name: None}))
    one_line(error)


def test_missing_position(tmp_path):
    with pytest.raises(DicomError, match="ImagePositionPatient") as error:
        read_header(trees.one(tmp_path / "a.IMA", ImagePositionPatient=None))
    one_line(error)


@pytest.mark.parametrize("reader", [read_header, read_hu])
def test_not_a_dicom_file(tmp_path, reader):
    (tmp_path / "a.dcm").write_bytes(b"hello" * 100)
    with pytest.raises(DicomError, match="a.dcm: not a DICOM file") as error:
        reader(tmp_path / "a.dcm")
    one_line(error)


@pytest.mark.parametrize("reader", [read_header, read_hu])
@pytest.mark.parametrize("keep", [-100, 1300, 700, 200, 132, 60])
def test_truncated_anywhere(tmp_path, reader, keep):
    path = trees.one(tmp_path / "a.IMA")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DicomError) as error:
        reader(path)
    assert "a.IMA" in one_line(error)


@pytest.mark.parametrize("reader", [read_header, read_hu])
def test_pixel_data_missing(tmp_path, reader):
    with pytest.raises(DicomError, match="no pixel data") as error:
        reader(trees.one(tmp_path / "a", PixelData=None))
    one_line(error)


@pytest.mark.parametrize("length", [24 * 20 * 2 - 2, 24 * 20 * 2 + 4])
def test_pixel_data_of_the_wrong_length(tmp_path, length):
    with pytest.raises(DicomError, match=f"{length} bytes of pixel data, expected 960") as error:
        read_hu(trees.one(tmp_path / "a", PixelData=b"\0" * length))
    one_line(error)


@pytest.mark.parametrize("reader", [read_header, read_hu])
def test_wrong_modality(tmp_path, reader):
    with pytest.raises(NotCtImageError, match="modality MR, expected CT") as error:
        reader(trees.one(tmp_path / "a", Modality="MR"))
    assert error.value.code == "modality MR"


def test_multi_frame(tmp_path):
    with pytest.raises(DicomError, match="multi-frame image with 3 frames") as error:
        read_header(trees.one(tmp_path / "a", NumberOfFrames=3))
    one_line(error)


def test_localizer_and_projection_are_told_apart_from_slices(tmp_path):
    for path, kind in (
        (trees.one(tmp_path / "a", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "localizer"),
        (trees.projection(tmp_path / "b"), "projection data"),
    ):
        with pytest.raises(NotCtImageError) as error:
            read_header(path)
        assert error.value.code == kind


def test_compressed_without_a_decoder_names_the_package(tmp_path, monkeypatch):
    path = trees.one(tmp_path / "a")
    ds = pydicom.dcmread(path)
    ds.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" * 10])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    ds.save_as(path, enforce_file_format=True)
    read_header(path)  # the header needs no decoder
    decoder = types.SimpleNamespace(is_available=False, missing_dependencies=[])
    monkeypatch.setattr(pixels, "get_decoder", lambda syntax: decoder)
    with pytest.raises(DicomError, match="pip install pylibjpeg pylibjpeg-openjpeg") as error:
        read_hu(path)
    one_line(error)
    decoder.is_available = True
    with pytest.raises(DicomError, match="cannot be decoded"):
        read_hu(path)


def test_rle_compression_is_lossless(tmp_path):
    path = trees.one(tmp_path / "a", hu=trees.image(7))
    ds = pydicom.dcmread(path)
    ds.compress(pydicom.uid.RLELossless)
    ds.save_as(path, enforce_file_format=True)
    assert np.array_equal(read_hu(path), trees.image(7))


def test_a_full_disk_is_one_line_and_leaves_no_slice(tmp_path, monkeypatch):
    def full(self, path, **options):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pydicom.Dataset, "save_as", full)
    with pytest.raises(OutputError, match="a.IMA: cannot be written .*free some space"):
        trees.one(tmp_path / "a.IMA")
    assert not list(tmp_path.iterdir())
