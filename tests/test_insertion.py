"""Low-dose insertion: noise as theory has it, a normal dose untouched, no identity, and a run that can be killed."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.data import get_testdata_file

from lib.data.dicom.discovery import PairKey, discover
from lib.data.dicom.mayo import write_series
from lib.data.dicom.slice import read_header, read_hu
from lib.data.patients import pseudonym
from lib.errors import CohortError, DicomError, OutputError
from lib.simulation import insertion, low_dose_series
from lib.simulation.contents import INSERTION_REPORT
from lib.simulation.exposure import expose
from lib.simulation.insertion import insert
from lib.simulation.low_dose_series import added_noise
from lib.simulation.noise import I0_BOUNDS, I0_DEFAULT, calm_squares, estimate_i0, square_variances
from lib.simulation.scanner import Scanner
from tests import trees

PIXEL_MM = 5.0
SCANNER = Scanner(size=64, fov_mm=64 * PIXEL_MM)
I0 = 2e5


def body(rows=64, columns=64, slices=3, i0=I0, seed=0, radius_mm=120.0) -> np.ndarray:
    """A noisy full-dose scan of a water cylinder of 40 HU in air, kernel B30, whole HU, (slices, rows, columns)."""
    size = max(rows, columns)
    scanner = Scanner(size=size, fov_mm=size * PIXEL_MM)
    place = (np.arange(size) - (size - 1) / 2) * PIXEL_MM
    inside = np.clip(0.5 - (np.hypot(place[:, None], place[None, :]) - radius_mm) / PIXEL_MM, 0, 1)
    ideal = scanner.project(np.repeat((1040 * inside - 1000)[None], slices, axis=0))
    hu = scanner.reconstruct(expose(scanner, ideal, np.random.default_rng(seed), i0)[0], "B30")
    top, left = (size - rows) // 2, (size - columns) // 2
    return np.rint(np.clip(hu, -1024, 3071))[:, top : top + rows, left : left + columns]


def write(root, hu, folder="scan", patient_id="4711", kernel="Br38f", **changes) -> list[Path]:
    """The scan as a hospital's DICOM files, 3 mm apart; `changes` as in `trees.one`."""
    header = {"PatientName": "Doe^Jane", "PatientID": patient_id, "Manufacturer": "ACME", "ConvolutionKernel": kernel,
              "PixelSpacing": [PIXEL_MM] * 2, **changes}  # fmt: skip
    return [
        trees.one(root / folder / f"Doe_{i}.dcm", hu=image, z_mm=3.0 * i, thickness_mm=3.0, instance=i + 1, **header)
        for i, image in enumerate(hu)
    ]


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.IMA")}


def test_the_normal_dose_is_kept_to_the_bit_and_only_noise_is_added(tmp_path, caplog):
    hu = body()
    paths = write(tmp_path / "in", hu)
    report = insert(tmp_path / "in", tmp_path / "out")
    found = discover(tmp_path / "out")
    key = PairKey(pseudonym("4711"), "Br38", 3.0)
    assert found.collection == "inserted" and list(found.pairs) == [key] and not found.problems
    (warning,) = caplog.messages
    assert "normal dose" in warning and "(3 files)" in warning
    for (z, full, quarter), source, image in zip(found.pairs[key], paths, hu, strict=True):
        assert read_header(source).z_mm == z
        np.testing.assert_array_equal(read_hu(full), image)
        added = read_hu(quarter).astype(float) - image
        inside = image > -200
        assert 10 < added[inside].std() < 100 and abs(added[inside].mean()) < 0.1 * added[inside].std()
    assert report.equals(pd.read_csv(tmp_path / "out" / INSERTION_REPORT))
    row = report.iloc[0]
    assert (row["patient"], row["kernel"], row["thickness_mm"], row["slices"], row["left_out"]) == (*key[:3], 3, 0)
    assert row["ratio"] == pytest.approx(2.0, abs=0.25) and row["sd_low_hu"] > row["sd_full_hu"]
    assert row["i0_source"].startswith("noise of") and "squares" in row["noise_kernel"] and len(row["sha256"]) == 64


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_the_added_noise_has_the_variance_of_the_theory(fraction):
    """Full dose has variance V, so what is added has V (1 - a) / a, and the sum V / a."""
    hu = body(slices=8, i0=1e7)
    scanner = Scanner(size=64, fov_mm=64 * PIXEL_MM, electronic_variance=0.0)
    added = added_noise(scanner, hu, np.random.default_rng(1), I0, fraction, "B30")
    ideal = scanner.project(hu)
    full = scanner.reconstruct(expose(scanner, ideal, np.random.default_rng(2), I0)[0] - ideal, "B30") + 1000
    inside = hu[0] > -200
    assert added[:, inside].var() / full[:, inside].var() == pytest.approx((1 - fraction) / fraction, rel=0.08)
    assert abs(added[:, inside].mean()) < 0.05 * added[:, inside].std()


def test_i0_is_found_from_the_noise_of_the_scan():
    for true in (5e4, 1e6):
        found = estimate_i0(SCANNER, body(slices=6, i0=true), "B30", np.random.default_rng(3))
        assert found.i0 == pytest.approx(true, rel=0.25) and "squares of soft tissue" in found.source


def test_i0_that_cannot_be_measured_is_said_and_bounded():
    air = np.full((2, 64, 64), -1000.0)
    found = estimate_i0(SCANNER, air, "B30", np.random.default_rng(0))
    assert found.i0 == I0_DEFAULT and "not measurable (0 squares" in found.source
    noiseless = np.repeat(np.where(body(slices=1) > -200, 40.0, -1000.0), 6, axis=0)
    found = estimate_i0(SCANNER, noiseless, "B30", np.random.default_rng(0))
    assert found.i0 == I0_BOUNDS[1] and found.source.startswith("bounded")


def test_squares_are_freed_of_a_tilted_plane_and_hold_calm_tissue():
    rows, columns = np.mgrid[:50, :50]
    noise = np.random.default_rng(0).normal(0, 12, (50, 50))
    plane = 40 + 0.3 * rows - 0.2 * columns
    np.testing.assert_allclose(square_variances(plane + noise, 1.0), square_variances(noise, 1.0), rtol=1e-6)
    assert np.sqrt(square_variances(plane + noise, 1.0).mean()) == pytest.approx(12, rel=0.05)
    image = plane + noise
    image[:10, :10], image[10:20, :10] = -1000, 1000  # air, metal
    image[20:30, :10] += 60 * (columns[20:30, :10] > 5)  # an edge
    calm = calm_squares(image, 1.0).reshape(5, 5)
    assert not calm[:3, 0].any() and calm[:, 1:].mean() > 0.7


def test_no_identity_gets_into_the_output(tmp_path):
    secrets = {"ReferringPhysicianName": "Who^Doctor", "InstitutionName": "Saint Elsewhere", "StationName": "CTROOM9",
               "AccessionNumber": "ACC777", "StudyDate": "19991231", "PatientBirthDate": "19501122",
               "StudyInstanceUID": "1.2.3.444.555", "SeriesInstanceUID": "1.2.3.444.556", "StudyDescription": "Thorax Doe",
               "FrameOfReferenceUID": "1.2.3.444.557", "PatientComments": "Jane's scan"}  # fmt: skip
    write(tmp_path / "in", body(), patient_id="KEY4711", **secrets)
    insert(tmp_path / "in", tmp_path / "out")
    forbidden = ["Doe", "Jane", "KEY4711", *secrets.values(), "Doctor", "Elsewhere", str(tmp_path)]
    for path in (tmp_path / "out").rglob("*"):
        text = path.relative_to(tmp_path / "out").as_posix().encode() + (path.read_bytes() if path.is_file() else b"")
        assert not [word for word in forbidden if word.encode() in text], path


def test_headers_say_what_is_real_and_what_is_inserted(tmp_path):
    write(tmp_path / "in", body())
    insert(tmp_path / "in", tmp_path / "out", dose_fraction=0.1)
    for _, full, quarter in discover(tmp_path / "out").pairs[pseudonym("4711"), "Br38", 3.0, 1]:
        full_ds, low_ds = pydicom.dcmread(full), pydicom.dcmread(quarter)
        assert full_ds.DerivationDescription.startswith("Normal dose: real scan, re-encoded")
        assert "inserted by simulation, dose fraction 0.1, not an acquisition" in low_ds.DerivationDescription
        assert "SIMULATED" in low_ds.ImageType and "SIMULATED" not in full_ds.ImageType
        assert full_ds.Manufacturer == low_ds.Manufacturer == "NOISE INSERTION COHORT, RE-ENCODED"
        assert full_ds.StudyDate == "" and full_ds.KVP is None and list(full_ds.PixelSpacing) == [PIXEL_MM] * 2
        assert full_ds.file_meta.MediaStorageSOPInstanceUID == full_ds.SOPInstanceUID != low_ds.SOPInstanceUID
    fractions = {header.dose: header.dose_fraction for header in discover(tmp_path / "out").headers.values()}
    assert fractions == {"full": 1.0, "quarter": 0.1}


def test_a_simulated_cohort_has_the_bytes_it_always_had(tmp_path):
    hu = np.arange(2 * 24 * 20).reshape(2, 24, 20) - 1100
    found = hashlib.sha256()
    for dose in ("full", "quarter"):
        for path in write_series(tmp_path, hu, [0.0, 0.8], patient="SIM01", dose=dose, kernel="D45", thickness_mm=1.0):
            found.update(path.relative_to(tmp_path).as_posix().encode() + path.read_bytes())
    assert found.hexdigest() == "8184ed73fa56b9df1b548beb82ab08c0d2a3426b6f54200cd953a41b644e6081"


def test_equal_seed_equal_bytes_whatever_the_processes(tmp_path, monkeypatch):
    for folder, patient in (("a", "1"), ("b", "2")):
        write(tmp_path / "in", body(seed=int(patient)), folder, patient)
    reports = [insert(tmp_path / "in", tmp_path / "one")]
    monkeypatch.setattr(insertion, "READS_A_SLICE", 10_000)
    reports.append(insert(tmp_path / "in", tmp_path / "two", jobs=2))
    assert contents(tmp_path / "one") == contents(tmp_path / "two") and reports[0].equals(reports[1])
    shutil.rmtree(tmp_path / "in" / "b")
    insert(tmp_path / "in", tmp_path / "single")
    single = contents(tmp_path / "single")
    assert len(single) == 6 and single.items() <= contents(tmp_path / "one").items()
    insert(tmp_path / "in", tmp_path / "seed", seed=6)
    other = contents(tmp_path / "seed")
    assert other.keys() == single.keys() and {("_QD_" in name) == (other[name] != single[name]) for name in single} == {True}


def test_a_killed_run_goes_on_where_it_stopped(tmp_path, monkeypatch):
    for folder, patient in (("a", "1"), ("b", "2")):
        write(tmp_path / "in", body(seed=int(patient)), folder, patient)
    expected = insert(tmp_path / "in", tmp_path / "undisturbed")
    write_slice, calls = low_dose_series.write_slice, []

    def killed(path, *arguments, **keywords):
        calls.append(path)
        if len(calls) == 10:
            (path.parent / ".partial-xyz.IMA").write_bytes(b"half")
            raise KeyboardInterrupt
        return write_slice(path, *arguments, **keywords)

    monkeypatch.setattr(low_dose_series, "write_slice", killed)
    with pytest.raises(KeyboardInterrupt):
        insert(tmp_path / "in", tmp_path / "out")
    assert len(list((tmp_path / "out" / "series").glob("*.json"))) == 1
    assert not (tmp_path / "out" / INSERTION_REPORT).exists()
    assert insert(tmp_path / "in", tmp_path / "out").equals(expected)
    assert len(calls) == 10 + 6 and contents(tmp_path / "out") == contents(tmp_path / "undisturbed")
    insert(tmp_path / "in", tmp_path / "out")
    assert len(calls) == 16


def test_other_options_and_other_scans_leave_nothing_stale(tmp_path):
    paths = write(tmp_path / "in", body(), "a", "1")
    write(tmp_path / "in", body(), "b", "2")
    insert(tmp_path / "in", tmp_path / "out")
    shutil.rmtree(tmp_path / "in" / "b")
    paths[-1].unlink()
    report = insert(tmp_path / "in", tmp_path / "out", dose_fraction=0.5)
    assert len(report) == 1 and report["slices"][0] == 2 and report["dose_fraction"][0] == 0.5
    assert len(contents(tmp_path / "out")) == 4
    assert {header.dose_fraction for header in discover(tmp_path / "out").headers.values()} == {1.0, 0.5}


def test_a_simulated_normal_dose_never_poses_as_a_real_one(tmp_path):
    trees.simulated(tmp_path / "in", doses=("full",))
    insert(tmp_path / "in", tmp_path / "out", i0=1e5, dose_fraction=0.1)
    found = discover(tmp_path / "out")
    assert found.collection == "simulated" and len(found.pairs[pseudonym("SIM01"), "B30", 1.0, 1]) == 3
    assert {header.dose_fraction for header in found.headers.values()} == {1.0, 0.1}
    assert not [name for name, data in contents(tmp_path / "out").items() if b"real scan" in data]


@pytest.mark.parametrize(("rows", "columns"), [(40, 57), (57, 40), (33, 33)])
def test_other_shapes_and_odd_sizes(tmp_path, rows, columns):
    hu = body(rows, columns, slices=2, radius_mm=60.0)
    write(tmp_path / "in", hu)
    insert(tmp_path / "in", tmp_path / "out", i0=I0)
    ((_, full, quarter), _) = discover(tmp_path / "out").pairs[pseudonym("4711"), "Br38", 3.0, 1]
    np.testing.assert_array_equal(read_hu(full), hu[0])
    added = read_hu(quarter).astype(float) - hu[0]
    inside = hu[0] > -200
    assert added.shape == (rows, columns) and 3 < added[inside].std() < 100
    assert abs(added[inside].mean()) < 0.3 * added[inside].std()


def test_metal_beyond_twelve_bits_is_kept(tmp_path):
    hu = body(slices=1)
    hu[0, 30:33, 30:33] = 9000
    paths = write(tmp_path / "in", hu)
    trees.edit(paths[0], BitsStored=16, HighBit=15, PixelData=(hu[0] + 1024).astype("<u2").tobytes())
    insert(tmp_path / "in", tmp_path / "out")
    ((_, full, _),) = discover(tmp_path / "out").pairs[pseudonym("4711"), "Br38", 3.0, 1]
    np.testing.assert_array_equal(read_hu(full), hu[0])


def test_a_paired_cohort_gives_its_full_dose_only(tmp_path, caplog):
    trees.mayo(tmp_path / "in", "full", dose="full")
    trees.mayo(tmp_path / "in", "quarter", dose="quarter")
    report = insert(tmp_path / "in", tmp_path / "out", i0=1e5)
    assert "1 low-dose series" in caplog.text and report["patient"].tolist() == [pseudonym("L067")]
    found = discover(tmp_path / "out")
    assert found.collection == "inserted" and "L067" not in repr(contents(tmp_path / "out"))
    insert(tmp_path / "out", tmp_path / "again", i0=1e5)  # a pseudonym is kept
    assert list(discover(tmp_path / "again").series) == list(found.series)


def test_a_slice_that_cannot_be_decoded_is_left_out_and_counted(tmp_path, monkeypatch, caplog):
    paths = write(tmp_path / "in", body())
    bad = {paths[1]}

    def decoded(path):
        if path in bad:
            raise DicomError("the pixel data cannot be decoded", where=path, remedy="copy it again")
        return read_hu(path)

    monkeypatch.setattr(low_dose_series, "read_hu", decoded)
    report = insert(tmp_path / "in", tmp_path / "out")
    assert (report["slices"][0], report["left_out"][0]) == (2, 1) and len(contents(tmp_path / "out")) == 4
    assert f"left out: {paths[1]}: the pixel data cannot be decoded; copy it again" in caplog.messages
    bad |= set(paths)
    with pytest.raises(CohortError, match="no slice of any full-dose series"):
        insert(tmp_path / "in", tmp_path / "none")
    assert not (tmp_path / "none" / INSERTION_REPORT).exists()


@pytest.mark.parametrize(("spacing", "expected"), [(None, "no PixelSpacing"), ([5.0, 4.0], "square pixels")])
def test_a_series_without_square_pixels_is_left_out_with_its_file(tmp_path, spacing, expected, caplog):
    paths = write(tmp_path / "in", body(slices=2), PixelSpacing=spacing)
    with pytest.raises(CohortError, match=expected) as error:
        insert(tmp_path / "in", tmp_path / "out")
    assert str(paths[0]) in str(error.value) and "\n" not in str(error.value)
    write(tmp_path / "in", body(slices=2), "good", "4712")
    caplog.clear()
    assert len(insert(tmp_path / "in", tmp_path / "out", i0=I0)) == 1
    assert [text for text in caplog.messages if expected in text and text.startswith(f"left out: {paths[0]}")]


def test_what_cannot_work_is_refused_in_one_line(tmp_path):
    trees.mayo(tmp_path / "low", "quarter", dose="quarter")
    with pytest.raises(CohortError, match="no full-dose series among 1"):
        insert(tmp_path / "low", tmp_path / "out")
    write(tmp_path / "in", body(slices=1))
    for out in (tmp_path / "in" / "out", tmp_path, tmp_path / "in"):
        with pytest.raises(CohortError, match="holds the other"):
            insert(tmp_path / "in", out)
    with pytest.raises(OutputError, match="the noise insertion did not write"):
        insert(tmp_path / "in", tmp_path / "low")
    for options in ({"dose_fraction": 1.0}, {"dose_fraction": 0.0}, {"i0": -1.0}, {"i0": 0.0}, {"i0": np.inf}, {"i0": 1e30},
                    {"seed": -1}):
        with pytest.raises(ValueError, match="expected"):
            insert(tmp_path / "in", tmp_path / "out", **options)
    write(tmp_path / "small", np.zeros((1, 9, 9)))
    with pytest.raises(CohortError, match="9 x 9 pixels"):
        insert(tmp_path / "small", tmp_path / "out")


@pytest.mark.parametrize("degrees", [0.0, 22.0])
def test_the_slices_lie_in_the_patient_as_they_did(tmp_path, degrees):
    """From the other side, off the axis, with a tilted gantry: left stays left, and both doses are read and paired."""
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    paths = write(tmp_path / "in", body(), ImageOrientationPatient=[-1, 0, 0, 0, round(-cosine, 6), round(sine, 6)],
                  GantryDetectorTilt=f"{-degrees:g}")  # fmt: skip
    for i, path in enumerate(paths):
        trees.edit(path, ImagePositionPatient=[170.5, 33.25, 3.0 * i])
    insert(tmp_path / "in", tmp_path / "out")
    (pairs,) = discover(tmp_path / "out").pairs.values()
    for source, (z, *both) in zip(paths, pairs, strict=True):
        for path in both:
            assert read_header(path).grid == read_header(source).grid and read_header(path).z_mm == z


def test_metal_beyond_all_measure_ends_no_insertion(tmp_path):
    hu = body(slices=2)
    hu[:, 28:31, 12:22] = hu[:, 28:31, 42:52] = 25_000  # two blocks of 15 x 50 mm
    write(tmp_path / "in", hu, PixelRepresentation=0)
    for path, image in zip(sorted((tmp_path / "in").rglob("*.dcm")), hu, strict=True):
        ds = pydicom.dcmread(path)
        ds.BitsStored, ds.HighBit, ds.PixelData = 16, 15, (image + 1024).astype("<u2").tobytes()
        ds.save_as(path, enforce_file_format=True)
    assert insert(tmp_path / "in", tmp_path / "out", jobs=1)["slices"].tolist() == [2]


def test_what_a_run_that_was_killed_left_of_a_patient_that_is_gone_goes_too(tmp_path):
    for patient in ("stays", "goes"):
        write(tmp_path / "in", body(slices=2), folder=patient, patient_id=patient)
    insert(tmp_path / "in", tmp_path / "out")
    (tmp_path / "out" / "series" / f"{pseudonym('goes')}_Br38_3mm.json").unlink()  # killed before it
    shutil.rmtree(tmp_path / "in" / "goes")
    insert(tmp_path / "in", tmp_path / "out")
    assert discover(tmp_path / "out").patients == [pseudonym("stays")]
    assert not [path for path in (tmp_path / "out").rglob("*.IMA") if pseudonym("goes") in path.name]


def test_a_slice_that_goes_while_we_look_is_left_out(tmp_path, monkeypatch, caplog):
    paths = write(tmp_path / "in", body())
    found = insertion.discover(tmp_path / "in")
    monkeypatch.setattr(insertion, "discover", lambda *_, **__: found)
    paths[1].unlink()
    row = insert(tmp_path / "in", tmp_path / "out", jobs=1).iloc[0]
    assert (row["slices"], row["left_out"]) == (2, 1) and "left out" in caplog.text


def test_a_real_slice_gets_the_noise_of_a_quarter_dose(tmp_path):
    (tmp_path / "in").mkdir()
    source = shutil.copy(get_testdata_file("J2K_pixelrep_mismatch.dcm", download=False), tmp_path / "in")
    row = insert(tmp_path / "in", tmp_path / "out").iloc[0]
    assert row["i0_source"].startswith("noise of") and 1e5 < row["i0"] < 1e7
    assert 1.9 < row["ratio"] < 2.1 and row["sd_full_hu"] < 15
    ((_, full, _),) = next(iter(discover(tmp_path / "out").pairs.values()))
    np.testing.assert_array_equal(read_hu(full), np.maximum(read_hu(Path(source)), -1024))


def test_the_padding_around_the_circle_stays_as_the_scanner_left_it(tmp_path):
    hu = body()
    place = np.arange(64) - 31.5
    outside = np.hypot(place[:, None], place[None, :]) > 32
    hu[:, outside] = -1024
    write(tmp_path / "in", hu)
    insert(tmp_path / "in", tmp_path / "out")
    for _, full, quarter in discover(tmp_path / "out").pairs[pseudonym("4711"), "Br38", 3.0, 1]:
        assert (read_hu(quarter)[outside] == -1024).all() and (read_hu(full)[outside] == -1024).all()
        assert (read_hu(quarter)[~outside] != read_hu(full)[~outside]).mean() > 0.8
    assert not low_dose_series.padding(body()).any(), "air of a scan without padding"
