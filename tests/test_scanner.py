"""The scanner: projection and reconstruction against known answers, photon statistics, and the noise of a patient."""

import numpy as np
import pytest
from skimage.transform import radon

from lib.simulation.abdomen import Abdomen
from lib.simulation.anatomy import ORGANS
from lib.simulation.exposure import I0_RANGE, draw_i0, expose, thin
from lib.simulation.liver_noise import REAL, compare_liver_noise
from lib.simulation.phantom import draw
from lib.simulation.scanner import ROLL_OFF, Scanner
from lib.simulation.series import DOSES, scan, thicken

SMALL = Scanner(size=96, views=135)


def disc(scanner: Scanner, radius_mm: float, centre_mm=(0.0, 0.0), hu: float = 0.0) -> np.ndarray:
    """One antialiased disc in air, shape (1, size, size); `centre_mm` is (row, column)."""
    place = (np.arange(scanner.size) - (scanner.size - 1) / 2) * scanner.pixel_mm
    distance = np.hypot(place[:, None] - centre_mm[0], place[None, :] - centre_mm[1]) - radius_mm
    return ((hu + 1000) * np.clip(0.5 - distance / scanner.pixel_mm, 0, 1) - 1000)[None].astype(np.float32)


@pytest.mark.parametrize("size", [96, 101])
def test_projection_of_a_disc_is_its_chord(size):
    scanner = Scanner(size=size, views=37)
    row, column, radius = 22.0, -41.0, 80.0
    lines = scanner.project(disc(scanner, radius, (row, column)))[0]
    assert lines.shape == (37, scanner.bins) and lines.dtype == np.float32 and scanner.bins % 2 == 1
    angle = np.pi * np.arange(37)[:, None] / 37
    s = (np.arange(scanner.bins) - scanner.bins // 2) * scanner.pixel_mm
    offset = s - (column * np.cos(angle) + row * np.sin(angle))
    chord = 2 * np.sqrt(np.clip(radius**2 - offset**2, 0, None)) * scanner.mu_water
    calm = np.abs(np.abs(offset) - radius) > 4 * scanner.pixel_mm
    assert np.abs(lines - chord)[calm].max() < 0.02 * chord.max()
    assert np.abs(lines - chord)[calm].mean() < 0.003 * chord.max()


def test_projector_agrees_with_scikit_image():
    scanner = Scanner(size=128, views=9)
    image = disc(scanner, 120) + 0.3 * (disc(scanner, 30, (40, -50)) + 1000) + (disc(scanner, 20, (-60, 20)) + 1000)
    ours = scanner.project(image)[0]
    turned = -np.degrees(np.pi * np.arange(9) / 9)  # scikit-image turns the other way
    theirs = radon(image[0] / 1000 + 1, theta=turned, circle=False).T * scanner.pixel_mm * scanner.mu_water
    # scikit-image's axis is the pixel size // 2 and ours the centre of the image: compare mass and shape
    np.testing.assert_allclose(ours.sum(axis=1), theirs.sum(axis=1), rtol=2e-3)
    s_ours = np.arange(ours.shape[1]) - ours.shape[1] // 2
    s_theirs = np.arange(theirs.shape[1]) - theirs.shape[1] // 2
    for k, angle in enumerate(np.pi * np.arange(9) / 9):
        shift = 0.5 * (np.cos(angle) + np.sin(angle))
        resampled = np.interp(s_ours - shift, s_theirs, theirs[k])
        mirrored = np.interp(s_ours, s_theirs, theirs[k])
        error = min(np.sqrt(np.mean((ours[k] - r) ** 2)) for r in (resampled, mirrored))
        assert error < 0.015 * ours.max()


def test_water_is_zero_and_air_is_minus_1000():
    scanner = Scanner()
    assert (scanner.views, Scanner(size=256).views) == (720, 360)
    water = disc(scanner, 100.0)
    hu = scanner.reconstruct(scanner.project(water), "D45")
    soft = scanner.soften(hu)
    centre, air = disc(scanner, 60)[0] > -1, disc(scanner, 125)[0] < -999
    for image, ringing in ((hu[0], 10.0), (soft[0], 2.0)):  # the sharp kernel rings at an edge one pixel wide
        assert abs(image[centre].mean()) < 0.5 and np.abs(image[centre]).max() < ringing
        assert abs(image[air].mean() + 1000) < 0.5


def test_soft_image_equals_reconstruction_with_the_soft_kernel():
    image = disc(SMALL, 90, (5, -7))
    lines = SMALL.project(image)
    direct, derived = SMALL.reconstruct(lines, "B30"), SMALL.soften(SMALL.reconstruct(lines, "D45"))
    assert np.abs(direct - derived)[:, 4:-4, 4:-4].mean() < 1.0
    noise = np.random.default_rng(0).normal(0, 30, image.shape).astype(np.float32)
    assert Scanner(size=512).soften(np.tile(noise, (1, 6, 6))[:, :512, :512]).std() < 15


def test_odd_stacks_equal_their_slices():
    image = np.concatenate([disc(SMALL, r, (r / 4, -r / 5)) for r in (40, 70, 100)])
    lines = SMALL.project(image)
    np.testing.assert_allclose(lines[2:], SMALL.project(image[2:]), atol=1e-4)
    np.testing.assert_allclose(SMALL.reconstruct(lines)[1:2], SMALL.reconstruct(lines[1:2]), atol=0.2)


def test_thinning_has_the_variance_of_the_theory():
    scanner = Scanner(size=96, views=201, electronic_variance=0.0, bowtie=0.0, modulation=0.0)
    ideal = np.full((1, *scanner.sinogram_shape), 2.0, np.float32)
    i0, fraction = 2.0e4, 0.25
    full, low = expose(scanner, ideal, np.random.default_rng(1), i0, fraction)
    counts = i0 * np.exp(-2.0)
    assert full.mean() == pytest.approx(2.0, abs=1e-3)
    assert full.var() == pytest.approx(1 / counts, rel=0.03)
    assert low.var() / full.var() == pytest.approx(1 / fraction, rel=0.04)
    assert np.corrcoef(full.ravel(), low.ravel())[0, 1] == pytest.approx(np.sqrt(fraction), abs=0.02)


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("electronic", [0.0, 400.0])
def test_thinning_measured_counts_adds_just_what_the_low_dose_lacks(fraction, electronic):
    """Yu et al. 2012; and a measured full dose that is thinned has the variance of a low dose acquired as such."""
    scanner = Scanner(size=96, views=301, electronic_variance=electronic, bowtie=0.0, modulation=0.0)
    ideal = np.full((1, *scanner.sinogram_shape), 2.0, np.float32)
    i0, counts = 2.0e4, 2.0e4 * np.exp(-2.0)
    added = thin(scanner, ideal, np.random.default_rng(1), i0, fraction)
    theory = (1 - fraction) / (fraction * counts) * (1 + (1 + fraction) * electronic / (fraction * counts))
    assert added.dtype == np.float32 and added.shape == ideal.shape
    assert added.var() == pytest.approx(theory, rel=0.04) and abs(added.mean()) < 0.1 * added.std()
    full, low = expose(scanner, ideal, np.random.default_rng(2), i0, fraction)
    thinned = full + thin(scanner, full, np.random.default_rng(3), i0, fraction)
    assert thinned.var() == pytest.approx(low.var(), rel=0.06)
    assert np.corrcoef((thinned - full).ravel(), full.ravel())[0, 1] == pytest.approx(0, abs=0.03)


def test_thinning_gives_each_slice_its_own_noise_whatever_the_threads():
    lines = SMALL.project(np.concatenate([disc(SMALL, radius) for radius in (40, 70, 100)]))
    runs = [thin(Scanner(size=96, views=135, threads=threads), lines, np.random.default_rng(4), 1e5) for threads in (1, 3)]
    np.testing.assert_array_equal(*runs)
    np.testing.assert_array_equal(runs[0][:1], thin(SMALL, lines[:1], np.random.default_rng(4), 1e5))


def test_starved_bins_stay_finite():
    starved = np.full((1, *SMALL.sinogram_shape), 14.0, np.float32)
    full, low = expose(SMALL, starved, np.random.default_rng(0), 1e4)
    assert np.isfinite(full).all() and np.isfinite(low).all()
    assert np.isfinite(thin(SMALL, starved, np.random.default_rng(0), 1e4)).all()


def test_same_seed_is_bit_identical_whatever_the_threads_and_other_seeds_differ():
    z = 0.8 * np.arange(5)
    volume = np.repeat(disc(SMALL, 90), 5, axis=0)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    runs = [
        scan(volume, z, Scanner(size=96, views=135, threads=threads), np.random.default_rng(seed), 1.5e5)
        for threads, seed in ((1, 7), (3, 7), (1, 8))
    ]
    for key, (_, hu) in runs[0].items():
        np.testing.assert_array_equal(hu, runs[1][key][1])
        assert not np.array_equal(hu, runs[2][key][1])
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_scan_gives_eight_series_and_thick_slices_where_they_fit():
    z = -40.0 - 0.8 * np.arange(11)  # the slab reaches from -39.6 to -48.4
    series = scan(np.repeat(disc(SMALL, 90), 11, axis=0), z, SMALL, np.random.default_rng(0), 1.5e5)
    assert set(series) == {(d, k, t) for d in DOSES for k in ROLL_OFF for t in (1.0, 3.0)}
    thick_z, thick = series["low", "B30", 3.0]
    np.testing.assert_allclose(thick_z, [-42.9, -44.9, -46.9])
    assert thick.shape == (3, 96, 96) and thick.dtype == np.float32
    np.testing.assert_array_equal(series["full", "D45", 1.0][0], z)


def test_thick_slice_is_the_weighted_mean_over_its_window():
    z = np.arange(4) * 1.0
    centres, thick = thicken(z, (z**2)[:, None, None].astype(np.float32), 3.0, 0.5)
    np.testing.assert_allclose(centres, [1.0, 1.5, 2.0])
    np.testing.assert_allclose(thick.ravel(), [5 / 3, (0.5 * 0 + 1 + 4 + 0.5 * 9) / 3, 14 / 3], rtol=1e-6)
    assert len(thicken(z[:2], np.zeros((2, 3, 3)))[0]) == 0
    with pytest.raises(ValueError, match="evenly spaced"):
        thicken(np.array([0.0, 1.0, 3.0]), np.zeros((3, 2, 2)))


def test_patients_get_photons_within_the_range():
    values = [draw_i0(seed) for seed in range(50)]
    assert values[3] == draw_i0(3) and I0_RANGE[0] <= min(values) < 1.1e5 < 2.0e5 < max(values) <= I0_RANGE[1]


@pytest.mark.parametrize("settings", [{"size": 8}, {"views": 3}, {"fov_mm": 0.0}, {"threads": 0}, {"bowtie": -1.0}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match="expected at least|must be positive"):
        Scanner(**settings)


def test_wrong_inputs_are_refused():
    lines = np.zeros((1, *SMALL.sinogram_shape), np.float32)
    with pytest.raises(ValueError, match="96, 96"):
        SMALL.project(np.zeros((2, 95, 96)))
    with pytest.raises(ValueError, match="line integrals"):
        SMALL.reconstruct(lines[0])
    with pytest.raises(ValueError, match="B30, D45"):
        SMALL.reconstruct(lines, "B31")
    for i0, fraction in ((0.0, 0.25), (1e5, 1.0)):
        for function in (expose, thin):
            with pytest.raises(ValueError, match="dose_fraction"):
                function(SMALL, lines, np.random.default_rng(0), i0, fraction)


def test_noise_of_a_patient_is_near_the_real_one():
    z = -70.0 + 0.8 * np.arange(5)
    hu, labels = draw(Abdomen.random(5), z)
    series = scan(hu, z, Scanner(), np.random.default_rng(5), draw_i0(5))
    table = compare_liver_noise(series, labels)
    value = table.set_index("quantity")["simulated"]
    assert list(table.columns) == ["quantity", "real", "simulated"]
    for kernel in ROLL_OFF:
        assert 1.6 < value[f"quarter / full SD, {kernel}, 1 mm"] < 2.4
    assert 2.2 < value["D45 / B30 SD, full dose, 1 mm"] < 3.2
    assert 0.3 < value["full-to-quarter noise correlation, B30, 1 mm"] < 0.6
    for quantity in list(REAL)[:2]:
        assert value[quantity] == pytest.approx(REAL[quantity], rel=0.35)
    assert compare_liver_noise(series, np.full_like(labels, ORGANS.index("fat"))).empty  # too little liver
    with pytest.raises(ValueError, match="labels of shape"):
        compare_liver_noise(series, labels[1:])
