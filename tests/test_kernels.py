"""The roll-off of inserted noise: by the names of the vendors' families, and by the noise of a scan itself."""

import numpy as np
import pytest

from lib.data.dicom.slice import kernel_name
from lib.simulation.exposure import expose
from lib.simulation.insertion import insert, remarks
from lib.simulation.kernels import BOUNDS, SHARP, SOFT, family, like, measured_half, noise_kernel
from lib.simulation.scanner import ROLL_OFF, RollOff, Scanner, roll_off
from tests import trees

SIZE = 128


def scan(half: float, pixel_mm=0.8, slices=3, i0=2e4, seed=0) -> np.ndarray:
    """A water cylinder of 40 HU, four fifths of the image across, with a tilted background: HU with the noise of such a
    kernel, (slices, 128, 128)."""
    scanner = Scanner(size=SIZE, fov_mm=SIZE * pixel_mm)
    place = np.arange(SIZE) - (SIZE - 1) / 2
    inside = np.clip(0.5 - (np.hypot(place[:, None], place[None, :]) - 0.4 * SIZE), 0, 1)
    hu = np.repeat(((1040 + 0.1 * place) * inside - 1000)[None], slices, axis=0)
    ideal = scanner.project(hu)
    noisy = expose(scanner, ideal, np.random.default_rng(seed), i0)[0]
    return np.rint(hu + scanner.reconstruct(noisy - ideal, like(half)) + 1000)


@pytest.mark.parametrize(("name", "kind"), [
    ("B30f", "soft"), ("B10s", "soft"), ("Br38", "soft"), ("Br40d", "soft"), ("I31f", "soft"), ("Qr36", "soft"),
    ("B41f", "sharp"), ("D45f", "sharp"), ("Bl57d", "sharp"), ("B70f", "sharp"), ("I70f", "sharp"), ("Ur77u", "sharp"),
    ("SOFT", "soft"), ("STANDARD", "soft"), ("CHEST", "soft"), ("DETAIL", "sharp"), ("LUNG", "sharp"), ("BONE", "sharp"),
    ("BONE PLUS", "sharp"), ("BONEPLUS2", "sharp"), ("EDGE", "sharp"),
    ("A", "soft"), ("B", "soft"), ("UB", "soft"), ("L", "sharp"), ("D", "sharp"), ("YA", "sharp"), ("YC", "sharp"),
    ("FC08", "soft"), ("FC13", "soft"), ("FC08-H", "soft"), ("FC3", "soft"), ("FC26", "soft"), ("FC30", "sharp"),
    ("FC52", "sharp"), ("FC81", "sharp"), ("11", None), ("unknown", None), ("H_SHARP_C", None), ("b30", None),
    ("STANDARDISED", None),
])  # fmt: skip
def test_names_of_the_vendors_families(name, kind):
    found = family(kernel_name(name))
    assert (found and found[1]) == {"soft": SOFT, "sharp": SHARP, None: None}[kind]


@pytest.mark.parametrize("pixel_mm", [0.5, 0.8])
@pytest.mark.parametrize("half", [2.5, 3.4, 5.0, 7.6])
def test_the_roll_off_of_noise_is_found(half, pixel_mm):
    """Nyquist is at 10 and 6.25 line pairs a cm: what noise has far beyond it no image shows."""
    found, count = measured_half(scan(half, pixel_mm), pixel_mm)
    assert count >= 20 and found == pytest.approx(half, rel=0.05 if half < 4 / pixel_mm else 0.15)


def test_white_noise_and_a_constant_are_at_the_bounds_or_not_measurable():
    rng = np.random.default_rng(0)
    assert measured_half(40 + rng.normal(0, 10, (2, SIZE, SIZE)), 0.8)[0] == BOUNDS[1]
    assert measured_half(np.full((2, SIZE, SIZE), 40.0), 0.8)[0] is None


def test_the_shape_of_a_roll_off_lies_between_those_that_were_fitted():
    assert [like(each.half) for each in (SOFT, SHARP)] == [SOFT, SHARP]
    assert like(2.0).power == SOFT.power < like(5.0).power < SHARP.power == like(12.0).power
    for half in (2.0, 5.0, 12.0):
        assert roll_off(like(half), np.array([0.0, half])) == pytest.approx([1.0, 0.5])


def test_what_was_fitted_is_taken_and_the_rest_is_measured_or_known_by_its_name():
    sharp, air = scan(7.0), np.full((1, SIZE, SIZE), -1000.0)
    assert noise_kernel("B30", sharp, 0.8) == (ROLL_OFF["B30"], "fitted to B30")
    for name in ("Br38", "11", "L"):  # the noise decides, whatever the name says
        found = noise_kernel(name, sharp, 0.8)
        assert found.roll_off.half == pytest.approx(7.0, rel=0.15) and "squares of soft tissue" in found.source
    assert noise_kernel("L", air, 0.8) == (SHARP, "not measurable (0 squares of soft tissue): a sharp kernel of Philips")
    assert noise_kernel("FC08", air, 0.8).source.endswith("a soft kernel of Canon or Toshiba")
    assert noise_kernel("11", air, 0.8) == (SOFT, "not measurable (0 squares of soft tissue): taken as soft")


def test_sharp_noise_under_any_name_gets_a_quarter_dose(tmp_path, caplog):
    """With soft noise for a sharp scan I0 comes out far too low, and the SD's ratio is wrong."""
    for i, image in enumerate(scan(9.0, slices=4, i0=2e4)):
        trees.one(tmp_path / "in" / f"{i}", hu=image, z_mm=3.0 * i, thickness_mm=3.0, instance=i + 1, PatientID="4711",
                  PatientName="4711", Manufacturer="ACME", ConvolutionKernel="XYZ", PixelSpacing=[0.8, 0.8])  # fmt: skip
    row = insert(tmp_path / "in", tmp_path / "out", jobs=1).iloc[0]
    assert row["ratio"] == pytest.approx(2.0, abs=0.1) and row["i0"] == pytest.approx(2e4, rel=0.15)
    assert abs(row["shift_hu"]) < 1 and row["noise_half"] == pytest.approx(9, rel=0.15)
    warning = [text for text in caplog.messages if "family" in text]
    assert len(warning) == 1 and "XYZ" in warning[0] and f"{row['noise_half']:g} line pairs a cm" in warning[0]


def test_noise_that_is_not_right_is_said_with_its_reason():
    row = {"patient": "P1", "kernel": "B30", "thickness_mm": 3.0, "dose_fraction": 0.25, "noise_half": 3.4,
           "noise_kernel": "measured", "ratio": 2.0, "shift_hu": 0.1,
           "squares": 500.0, "i0": 1e5, "i0_source": "noise of 50 squares"}  # fmt: skip
    assert remarks(row) == remarks(row | {"ratio": 1.91}) == remarks(row | {"ratio": 1.0, "dose_fraction": 1.0}) == []
    for changes, words in (
        ({"ratio": 2.11}, ["2.11 times, 2.00 is right", "500 squares", "read-out noise"]),
        ({"ratio": 1.89}, ["1.89 times", "texture"]),
        ({"ratio": 1.6, "i0_source": "bounded: 5 squares ask for 5e3"}, ["1.60 times", "bounded: 5 squares ask for 5e3)"]),
        ({"ratio": 1.89, "dose_fraction": 0.1}, ["3.16 is right"]),
        ({"shift_hu": -1.2}, ["moved by -1.2 HU", "few photons"]),
        ({"ratio": np.nan, "shift_hu": np.nan, "squares": 0.0}, ["no homogeneous soft tissue"]),
        ({"noise_kernel": "bounded: smoother noise of 30 squares"}, ["smoother than back-projection", "3.4 line pairs"]),
        ({"kernel": "11"}, ["kernel 11 is of no family", "3.4 line pairs a cm"]),
    ):
        (found,) = remarks(row | changes)
        assert found.startswith("P1 ") and all(word in found for word in words), found


def test_a_roll_off_of_ones_own_is_one_of_the_scanner():
    scanner = Scanner(size=32, fov_mm=32.0)
    lines = scanner.project(np.zeros((1, 32, 32)))
    for name, kernel in ROLL_OFF.items():
        np.testing.assert_array_equal(scanner.reconstruct(lines, RollOff(*kernel)), scanner.reconstruct(lines, name))
