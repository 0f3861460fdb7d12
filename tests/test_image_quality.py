"""Noise power, task transfer, the observer and VIF against theory; the simulator's truth; S6's table and claims."""

import numpy as np
import pandas as pd
import pytest
from scipy import fft, ndimage, stats

from lib.artifacts.files import write_json
from lib.data.doses import LARGEST_I0
from lib.errors import CohortError
from lib.metrics import noise_power, observer
from lib.metrics import task_transfer as edges
from lib.metrics.fidelity import vif
from lib.report import image_quality_figures as figures
from lib.report.image_quality import detectability, image_quality_table
from lib.report.image_quality_claims import UNKNOWN, image_quality_claims
from lib.report.labels import Labels
from lib.simulation.anatomy import LABEL
from lib.simulation.phantom import draw
from lib.simulation.series import scan
from lib.simulation.truth import Abdomen, Acquisition, noise_free, noise_free_slice, realisations
from lib.stages.image_quality import Lesions, Measured, measure_scene, measure_slice, residual_sd
from lib.stages.scenes import BETWEEN, CORE, CROP, LESION_MM, Scene, host, pairs_of_each

PIXEL = 0.7  # mm


def generator(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_white_noise_has_a_flat_spectrum_that_integrates_to_its_variance():
    noise = generator().normal(0, 3.0, (600, 18, 18))
    power = noise_power.spectrum(noise, PIXEL)
    ratio = power / (9 * PIXEL**2)
    assert np.abs(ratio - 1).max() < 5.5 / np.sqrt(600) and abs(ratio.mean() - 1) < 5 * np.sqrt(2 / noise.size)
    assert power.sum() / (18 * PIXEL) ** 2 == pytest.approx((noise**2).mean(), rel=1e-12)
    frequency, rings = noise_power.radial(power, PIXEL)
    assert frequency == pytest.approx(np.arange(1, 10) / (18 * PIXEL)) and np.abs(rings / (9 * PIXEL**2) - 1).max() < 0.15
    found = noise_power.summary(power, PIXEL)
    assert found.sd == pytest.approx(3, rel=0.02) and found.mean == pytest.approx(frequency.mean(), rel=0.02)


def test_filtered_noise_has_the_filters_squared_modulus():
    """A band around 0.25 / mm, where the peak is then; its mean frequency by the filter itself."""
    radius = noise_power.radii(32, PIXEL)
    response = np.exp(-(((radius - 0.25) / 0.12) ** 2))
    noise = fft.ifft2(fft.fft2(generator().normal(0, 2.0, (500, 32, 32))) * response).real
    power = noise_power.spectrum(noise, PIXEL)
    frequency, rings = noise_power.radial(power, PIXEL)
    _, expected = noise_power.radial(4 * PIXEL**2 * response**2, PIXEL)
    assert rings == pytest.approx(expected, rel=5 / np.sqrt(500))  # the first ring has four pairs of frequencies
    found = noise_power.summary(power, PIXEL)
    assert found.peak == pytest.approx(0.25, abs=0.01)
    assert found.mean == pytest.approx((frequency * expected).sum() / expected.sum(), rel=0.01)


def test_realisations_lose_what_they_share_and_keep_their_variance():
    images = generator().normal(0, 4.0, (5, 40, 60)) + 1000 * generator(1).random((40, 60))
    noise = noise_power.of_realisations(images)
    assert noise.var() == pytest.approx(16, rel=0.06) and np.abs(noise.mean(axis=0)).max() < 1e-9
    with pytest.raises(ValueError, match="1 realisation"):
        noise_power.of_realisations(images[:1])


def test_squares_lie_in_the_mask_and_lose_a_trend():
    mask = np.zeros((50, 61), bool)
    mask[10:34, 8:40] = True
    down, across = np.mgrid[:50, :61].astype(float)
    found = noise_power.regions(100 * down + across, mask, 8)
    assert found.shape == (4 * 7, 8, 8) and found[0, 0, 0] == 1208 and found[-1, -1, -1] == 3139
    surface = 3 + 2 * down - across + 0.1 * down**2 - 0.3 * across * down
    assert np.abs(noise_power.without_trend(noise_power.regions(surface, mask, 8))).max() < 1e-8
    noise = generator().normal(0, 1, (2000, 8, 8))
    assert (noise_power.without_trend(noise) ** 2).mean() == pytest.approx((64 - 6) / 64, rel=0.02)
    assert noise_power.regions(mask, mask, 64).shape == (0, 64, 64)
    assert np.isnan(noise_power.summary(noise_power.spectrum(np.empty((0, 8, 8)), 1.0), 1.0).sd)


@pytest.mark.parametrize("sigma", [0.6, 0.9])  # mm
def test_a_blurred_disc_has_the_transfer_of_its_blur(sigma):
    disc = edges.disc(73, PIXEL, (35, 37), 16.0)
    assert disc.sum() * PIXEL**2 == pytest.approx(np.pi * 64, rel=2e-3)
    distance = edges.from_disc(73, PIXEL, (35, 37), 16.0)
    own, seen = (edges.profile(each, distance, PIXEL, 8.0) for each in (
        disc, 0.4 * ndimage.gaussian_filter(disc, sigma / PIXEL)))
    found, expected = edges.transfer(seen, own), np.exp(-2 * np.pi**2 * sigma**2 * edges.FREQUENCIES**2)
    assert found[0] == pytest.approx(1) and np.abs(found - expected)[expected > 0.2].max() < 0.03
    assert edges.frequency_at(0.5, found) == pytest.approx(np.sqrt(np.log(2) / 2) / (np.pi * sigma), rel=0.03)
    assert np.isnan(edges.frequency_at(0.5, edges.transfer(own, own)))


def test_a_patients_surface_has_the_transfer_of_the_blur():
    """A body with a skin, lying on a table; only what faces up counts, so the table is not seen."""
    fine, sigma = 4, 1.0
    rows, columns = (np.arange(side * fine) / fine * PIXEL for side in (101, 121))
    radius = np.hypot(rows[:, None] - 34, columns[None, :] - 43)
    object_hu = np.where(radius < 30, np.where(radius > 28.5, 20.0, -100.0), -1000.0)
    object_hu[rows > 64.4] = 100.0
    object_hu = object_hu.reshape(101, fine, 121, fine).mean(axis=(1, 3))
    shown = ndimage.gaussian_filter(object_hu, sigma / PIXEL, mode="nearest")
    distance = edges.from_front(shown, shown > -500, PIXEL, 6.0)
    assert np.isnan(distance[60:]).all() and np.nanmin(distance) < -5.5 and np.nanmax(distance) > 5.5
    middle = (np.hypot(np.arange(101)[:, None] - 48, np.arange(121)[None] - 61) * PIXEL - 30)
    known = np.isfinite(distance) & (np.abs(middle) < 5)
    assert np.abs(distance - middle)[known].max() < 1.0
    own, seen = (edges.profile(each, distance, PIXEL, 6.0) for each in (object_hu, shown))
    expected = np.exp(-2 * np.pi**2 * sigma**2 * edges.FREQUENCIES**2)
    assert np.abs(edges.transfer(seen, own) - expected)[expected > 0.1].max() < 0.05
    assert np.isnan(edges.from_front(np.full((30, 30), -1000.0), np.zeros((30, 30), bool), PIXEL, 6.0)).all()


def test_a_transfer_is_interpolated_where_it_falls_to_one_half():
    assert edges.frequency_at(0.5, np.array([1, 0.8, 0.4, 0.6]), np.array([0, 1, 2, 3])) == pytest.approx(1.75)
    assert np.isnan(edges.frequency_at(0.5, np.array([1, np.nan, 0.4]), np.array([0, 1, 2])))
    curve = np.exp(-2 * (np.pi * 0.35 * edges.FREQUENCIES) ** 2)  # one half at 0.535 / mm
    assert edges.frequency_at(0.5, curve, highest=edges.nyquist(0.9)) == pytest.approx(0.535, abs=1e-3)
    assert np.isnan(edges.frequency_at(0.5, curve, highest=edges.nyquist(1.0)))


def test_the_observer_has_the_closed_forms_auc_in_white_noise():
    """d' of channels U for a signal s in white noise: d'^2 = s'U (U'U)^-1 U's / sigma^2, AUC = Phi(d' / sqrt 2)."""
    channels, sigma = observer.gabor_channels(31, 9.0), 12.0
    assert channels.shape == (961, 10) and np.linalg.norm(channels, axis=0) == pytest.approx(np.ones(10))
    signal = 5.0 * edges.disc(31, 1.0, (15, 15), 9.0)
    seen = observer.seen(signal[None], channels)[0]
    expected = np.sqrt(seen @ np.linalg.solve(channels.T @ channels, seen)) / sigma
    assert 1 < expected < 3.5
    noise = generator().normal(0, sigma, (2, 3, 200, 31, 31))
    noise += 100 * np.arange(3)[:, None, None, None]  # backgrounds differ
    absent, present = (np.stack([observer.seen(images + height * signal, channels) for images in each])
                       for each, height in zip(noise, (0, 1), strict=True))
    rated = observer.ratings(absent, present)
    found = observer.detected(*(each[None] for each in rated), generator())
    assert found.auc == pytest.approx(stats.norm.cdf(expected / np.sqrt(2)), abs=0.03)  # SE of 600 pairs about 0.01
    assert found.low < found.auc < found.high and 0.01 < found.high - found.low < 0.08
    assert found.auc == pytest.approx(np.mean([observer.auc(*each) for each in zip(*rated, strict=True)]))
    nothing = observer.ratings(absent, np.stack([observer.seen(images, channels) for images in noise[1]]))
    assert np.mean([observer.auc(*each) for each in zip(*nothing, strict=True)]) == pytest.approx(0.5, abs=0.07)
    paired = observer.ratings(absent, absent + seen)  # the same noise with and without the signal: no better
    assert np.mean([observer.auc(*each) for each in zip(*paired, strict=True)]) == pytest.approx(found.auc, abs=0.03)
    with pytest.raises(ValueError, match="degrees of freedom"):
        observer.template(absent[:, :7], present[:, :7])


def test_an_auc_counts_other_pairs_and_ties_half():
    """In each half the second present is above the first absent, the first no more than equal to the second absent."""
    assert observer.auc(np.array([0.0, 1.0, 8.0, 9.0]), np.array([0.5, 1.5, 8.5, 9.5])) == 0.5
    assert observer.auc(np.array([0.0, 0.0, 8.0, 8.5]), np.array([0.0, 1.0, 8.5, 9.5])) == 0.75


def test_vif_is_that_of_the_reference_library():
    """Values of sewar 0.4.10's vifp on the images scaled to [0, 255]."""
    down, across = np.mgrid[:61, :75]
    reference = 40 + 120 * np.sin(down / 3) * np.cos(across / 5) + 60 * np.sin(across * down / 200)
    noisy = reference + 25 * np.sin(37.0 * down**2 + 91.0 * across)
    blurred = ndimage.uniform_filter(reference, 5)
    assert vif(reference, reference) == pytest.approx(1, abs=1e-9)
    assert vif(noisy, reference) == pytest.approx(0.499281985242031, abs=1e-9)
    assert vif(blurred, reference) == pytest.approx(0.8975048476387067, abs=1e-9)
    assert vif(40 + 1.2 * (reference - 40), reference, (-500, 500)) > 1
    assert np.isnan(vif(reference, np.full_like(reference, 40.0)))


MADE = Acquisition(seed=7, number=3, slabs=1, slices=5, size=48, dose_fraction=0.25)


def test_the_noise_free_slice_is_the_scan_with_very_many_photons(tmp_path):
    z_mm = MADE.z_mm.reshape(1, 5)
    hu, labels = draw(Abdomen.random(MADE.own_seed), z_mm.ravel(), 48)
    series = scan(hu, z_mm, MADE.scanner(), generator(), LARGEST_I0)
    between = np.std(np.diff(series["full", "B30", 1.0][1][::2], axis=0))  # slices 1.6 mm apart
    for kernel, thickness_mm in (("B30", 1.0), ("D45", 3.0)):
        places, images = series["full", kernel, thickness_mm]
        error = noise_free_slice(MADE, places[-1], kernel, thickness_mm).hu - images[-1]
        assert np.abs(error).max() < 5 and abs(error.mean()) < 0.1, (kernel, thickness_mm)  # of the grid of line integrals
        assert 5 * error.std() < between
    thin = noise_free_slice(MADE, z_mm[0, 2], "B30", 1.0)
    assert (thin.object_hu == hu[2]).all() and (thin.labels == labels[2]).all()
    MADE.require_same(z_mm[0, 2], labels[2], "SIM03")
    with pytest.raises(CohortError, match="SIM03: it was simulated by other code"):
        MADE.require_same(z_mm[0, 2], labels[0], "SIM03")
    for z, thickness_mm in ((z_mm[0, 0] + 20, 1.0), (z_mm[0, 0], 3.0)):
        with pytest.raises(ValueError, match="no slice"):
            noise_free_slice(MADE, z, "B30", thickness_mm)
    with pytest.raises(CohortError, match="simulate the cohort again"):
        noise_free(tmp_path, "SIM03", z_mm[0, 2], "B30")
    write_json(tmp_path / "patients" / "SIM03.json", {"config": MADE._asdict() | {"number": 3}})
    assert (noise_free(tmp_path, "SIM03", z_mm[0, 2], "B30")[0] == thin.hu).all()


def test_realisations_have_new_noise_of_both_doses():
    free = noise_free_slice(MADE, MADE.z_mm[4], "D45", 1.0)
    full, low = (np.concatenate(each) for each in zip(*realisations(MADE, free.object_hu, "D45", 11, [1]), strict=True))
    assert full.shape == low.shape == (11, 48, 48)
    body = free.labels != LABEL["air"]
    spread = [noise_power.of_realisations(each)[:, body].std() for each in (full, low)]
    assert spread[1] / spread[0] == pytest.approx(2, rel=0.15)
    assert abs((full.mean(axis=0) - free.hu)[body].mean()) < 4 * spread[0] / np.sqrt(11 * body.sum() / 20)
    again, _ = next(realisations(MADE, free.object_hu, "D45", 2, [1]))
    assert (again == full[:2]).all() and (next(realisations(MADE, free.object_hu, "D45", 2, [2]))[0] != full[:2]).any()


def test_a_lesion_is_in_the_largest_circle_of_the_first_organ_with_room():
    labels = np.full((100, 110), LABEL["fat"])
    labels[30:70, 30:75] = LABEL["muscle"]
    small = labels.copy()
    small[40:47, 40:47] = LABEL["liver"]
    assert host({1.0: labels, 2.0: small}, 1.0)[::2] == (1.0, "muscle")
    liver = labels.copy()
    liver[32:63, 40:71] = LABEL["liver"]
    assert host({1.0: labels, 2.0: liver}, 1.0) == (2.0, (47, 55), "liver")
    assert [pairs_of_each(*each) for each in ((200, 8), (200, 3), (1, 5), (12, 1))] == [25, 67, 10, 42]


def scene(count: int = 12) -> Scene:
    """White noise of 20 HU on a texture of period 16 pixels; the lesion as a Gaussian kernel shows it."""
    centre = np.array([48, 46]) + BETWEEN
    disc = edges.disc(CROP, PIXEL, (centre[0], centre[1]), LESION_MM).astype(np.float32)
    truth = (50 + 10 * np.sin(np.arange(CROP) / 16 * 2 * np.pi))[None, :].repeat(CROP, 0).astype(np.float32)
    noise = generator().normal(0, 20, (count, CROP, CROP)).astype(np.float32)
    return Scene(np.zeros(0), np.zeros(0), truth + noise / 2, truth + noise, truth, ndimage.gaussian_filter(disc, 0.8), disc,
                 np.ones((CROP, CROP), bool), centre)


@pytest.mark.parametrize("sigma", [0.8, 1.2])
@pytest.mark.parametrize("pixel_mm", [0.66, 0.7, 0.8])
def test_the_transfer_of_a_lesions_edge_is_the_gaussians_up_to_nyquist(pixel_mm, sigma):
    """exp(-2 (pi sigma f)^2), in the geometry of the scenes."""
    centre = tuple(np.array([48, 46]) + BETWEEN)
    disc, distance = (make(CROP, pixel_mm, centre, LESION_MM) for make in (edges.disc, edges.from_disc))
    seen = ndimage.gaussian_filter(disc, sigma, truncate=8)
    found = edges.transfer(*(edges.profile(each, distance, pixel_mm, LESION_MM / 2) for each in (seen, disc)))
    within = edges.FREQUENCIES <= 0.5 / pixel_mm
    expected = np.exp(-2 * (np.pi * sigma * pixel_mm * edges.FREQUENCIES) ** 2)
    assert np.abs(found - expected)[within].max() < 0.035
    assert edges.frequency_at(0.5, found) == pytest.approx(edges.frequency_at(0.5, expected), rel=0.02)


def test_a_scene_shows_what_is_done_to_lesion_texture_and_noise():
    known = scene()
    power, transfer, contrast, texture, gaussian, absent, present = measure_scene(
        known.low, known, PIXEL, lambda crops: crops)
    assert power.shape == (CORE, CORE) and noise_power.summary(power, PIXEL).sd == pytest.approx(20, rel=0.03)
    assert contrast == pytest.approx(1, abs=1e-3) and texture == pytest.approx(1, abs=0.1)
    assert edges.frequency_at(0.5, transfer) == pytest.approx(np.sqrt(np.log(2) / 2) / (np.pi * 0.8 * PIXEL), rel=0.04)
    assert absent.shape == present.shape == (12, 10)
    half = measure_scene(known.low, known, PIXEL, lambda crops: 0.5 * crops + 30)
    assert half[0] == pytest.approx(power / 4, rel=1e-3, abs=1e-6) and half[1] == pytest.approx(transfer, abs=1e-3)
    assert float(half[2]) == pytest.approx(0.5, abs=1e-3) and float(half[3]) == pytest.approx(texture / 2, rel=1e-3)
    blurred = measure_scene(known.low, known, PIXEL, lambda crops: ndimage.gaussian_filter(crops, (0, 2, 2)))
    assert blurred[3] / texture == pytest.approx(np.exp(-2 * (np.pi * 2 / 16) ** 2), rel=0.05)  # of the period's frequency
    places = [np.interp(np.sqrt(blurred[0].sum() / power.sum()), *each[::-1].T) for each in (gaussian, blurred[4])]
    assert places == pytest.approx([blurred[3] / texture] * 2, rel=0.05)  # a Gaussian is as good as a Gaussian
    assert gaussian[0] == pytest.approx([1, 1]) and (np.diff(gaussian[:, 0]) < 0).all() and gaussian[-1].max() < 0.2
    assert blurred[2] < 0.98 and edges.frequency_at(0.5, blurred[1]) < 0.6 * edges.frequency_at(0.5, transfer)


@pytest.mark.parametrize("simulated", [True, False])
def test_a_slice_has_its_numbers_with_and_without_a_truth(simulated):
    rows, columns = np.mgrid[:130, :141] * PIXEL
    free = np.where(np.hypot((rows - 46) / 1.0, (columns - 49) / 1.1) < 40, 60.0, -1000.0)
    noise = generator().normal(0, 15, free.shape)
    truth = (ndimage.gaussian_filter(free, 1), free) if simulated else (None, None)
    ndct = ndimage.gaussian_filter(free, 1) + generator(4).normal(0, 4, free.shape)
    found, edge = measure_slice(ndimage.gaussian_filter(free, 1) + noise, ndct, PIXEL, *truth)
    share = np.sqrt(1 - (1 if simulated else 6) / 24**2)  # a mean takes one number of a square, a quadratic surface six
    assert found["residual_sd_hu"] == pytest.approx(15 * share, rel=0.02)
    assert found["residual_mean_per_mm"] == pytest.approx(6.5 / (24 * PIXEL), rel=0.1)
    assert found["edge_f50_per_mm"] == pytest.approx(np.sqrt(np.log(2) / 2) / (np.pi * PIXEL), rel=0.1)
    assert edge[0] == pytest.approx(1) and 0 < found["vif"] < 1 and 0 < found["ssim_liver_window"] < 1
    assert np.isfinite(found["vif_free"]) == simulated
    assert found["residual_bias_hu"] == pytest.approx(0, abs=0.5) if simulated else np.isnan(found["residual_bias_hu"])
    biased, _ = measure_slice(ndimage.gaussian_filter(free, 1) + noise - 47, ndct, PIXEL, *truth)  # is no noise
    assert biased["residual_sd_hu"] == pytest.approx(found["residual_sd_hu"], rel=1e-6)
    assert residual_sd(noise - 47, ndct) == pytest.approx(15 * np.sqrt(1 - 1 / 24**2), rel=0.02)
    if simulated:
        assert biased["residual_bias_hu"] == pytest.approx(found["residual_bias_hu"] - 47)
    sharp = ndimage.gaussian_filter(free, 0.487 if simulated else 0.472) + 1e-3 * noise
    sharp, shown = measure_slice(sharp, ndimage.gaussian_filter(free, 1), PIXEL, *truth)
    assert 0.5 / PIXEL < edges.frequency_at(0.5, shown) < 1 and np.isnan(sharp["edge_f50_per_mm"])  # beyond what pixels show
    unknown, _ = measure_slice(free, free, np.nan)
    assert np.isnan([unknown["residual_mean_per_mm"], unknown["edge_f50_per_mm"]]).all()


def measured(seeds=(5, 6), simulated=True) -> tuple[dict, pd.DataFrame]:
    """Three patients with two series; E1 keeps contrast and texture of .9 and half the noise, MSE .8 and a quarter."""
    found, scores, patients = {}, [], ("SIM01", "SIM02", "SIM03")
    frequencies = edges.FREQUENCIES
    runs = [("ndct", None), ("ldct", None), *((name, seed) for name in ("mse", "E1") for seed in seeds)]
    radius = noise_power.radii(CORE, PIXEL)
    random = generator(1)
    base = random.normal(0, 1, (3, 16, 10))
    filters = np.stack([np.stack([np.linspace(1, 0, 5), np.linspace(1, 0, 5) ** 2], axis=1)] * 3)
    for name, seed in runs:
        share, noise, centre, blur = {"ndct": (1, 0.5, 0.3, 0.5), "ldct": (1, 1, 0.3, 0.5), "mse": (0.8, 0.25, 0.15, 1.0),
                                      "E1": (0.9, 0.5, 0.25, 0.7)}[name]
        slices = pd.DataFrame([{"patient": patient, "kernel": kernel, "thickness_mm": 1.0, "scan": 1, "index": 2,
                                "z_mm": -61.3, "pixel_mm": PIXEL, "vif": 0.4, "edge_f50_per_mm": 0.3,
                                "residual_sd_hu": 20.0 * noise}
                               for patient in patients for kernel in ("B30", "D45")])
        power = np.exp(-(((radius - centre) / 0.1) ** 2))
        power *= noise**2 / power.sum()
        small = 1 + 0.001 * np.arange(3) + 0.0005 * (seed or 0)  # patients and seeds differ a little
        lesions = Lesions(np.array(patients), np.stack([power] * 3),
                          np.stack([np.exp(-2 * (np.pi * blur * frequencies) ** 2)] * 3), share * small, share * small,
                          filters, base, base + 1.0 + 0.1 * random.normal(size=base.shape)) if simulated else None
        found[name, seed] = Measured(slices, np.ones((6, len(frequencies))), lesions)
        if name != "ndct":
            scores += [{"experiment": name, "seed": seed, "patient": row.patient, "kernel": row.kernel, "thickness_mm": 1.0,
                        "scan": 1, "index": index, "ssim": 0.9, "ssim_window": 0.5, "bias_liver_hu": -4.0 + 2 * index,
                        "noise_liver_hu": 30.0, "ndct_noise_liver_hu": 22.0}
                       for row in slices.itertuples() for index in (1, 2)]
    return found, pd.DataFrame(scores).astype({"seed": "Int64"})


def test_the_table_joins_what_was_measured_and_what_04_scored():
    found, scores = measured()
    table = image_quality_table(found, scores, dict.fromkeys(("SIM01", "SIM02", "SIM03"), PIXEL))
    assert len(table) == 6 * 6 and set(table["experiment"]) == {"ndct", "ldct", "mse", "E1"}
    rows = table[(table["kernel"] == "B30") & (table["patient"] == "SIM02")].set_index("experiment")
    assert table.loc[table["kernel"] == "D45", "auc"].isna().all() and rows["auc"].between(0, 1).all()
    assert rows.loc["ndct", ["bias_liver_hu", "noise_liver_hu"]].tolist() == [0, 22]
    assert rows.loc["ldct", ["bias_liver_hu", "noise_liver_hu", "noise_left", "ssim"]].tolist() == [-1, 30, 1, 0.9]
    assert rows.loc["mse", "noise_left"].tolist() == pytest.approx([0.25, 0.25], rel=0.02)
    assert rows.loc["E1", "off_mean_per_mm"].max() < 0.07 < 0.1 < rows.loc["mse", "off_mean_per_mm"].min()
    assert rows.loc["mse", "lesion_f50_per_mm"].iloc[0] == pytest.approx(np.sqrt(np.log(2) / 2) / np.pi, rel=1e-2)
    assert detectability(found)["experiment"].tolist() == ["ndct", "ldct", "mse", "E1"]


@pytest.mark.parametrize(("seeds", "verdicts"), [((5, 6), "stands"), ((5,), "undecided")])
def test_claims_follow_from_the_table(seeds, verdicts):
    found, scores = measured(seeds)
    table = image_quality_table(found, scores, dict.fromkeys(("SIM01", "SIM02", "SIM03"), PIXEL))
    claims = image_quality_claims(table, ["E1"], ["mse", "E1"]).set_index("claim")
    assert len(claims) == 11
    sharper = claims.loc["E1: the edge of a low-contrast lesion is sharper (f50) than after MSE alone"]
    assert sharper["verdict"] == verdicts and sharper["leaning"] == "stands"
    lost = claims.loc["mse: a low-contrast lesion loses contrast"]
    assert lost["estimate"] == pytest.approx(0.2, abs=0.01) and lost["verdict"] == verdicts
    assert claims.filter(like="E1: keeps more of the texture than a Gaussian", axis=0)["estimate"].iloc[0] == pytest.approx(
        0.9 - 0.25, abs=0.02)


def test_a_frequency_that_pixels_do_not_show_and_that_of_no_lesion_are_no_sharpness():
    """One half at 0.375 / mm (0.5 mm) with pixels up to 0.313 / mm, and a residual of 5 % of a lesion."""
    found, scores = measured()
    table = image_quality_table(found, scores, {"SIM01": PIXEL, "SIM02": PIXEL, "SIM03": 1.6})
    f50 = table[table["auc"].notna()].set_index(["experiment", "patient"])["lesion_f50_per_mm"]
    assert f50["ldct"].isna().tolist() == [False, False, True] and f50["mse"].notna().all()  # blurred: 0.187 / mm
    lost = found["mse", 5].lesions
    found["mse", 5] = found["mse", 5]._replace(lesions=lost._replace(contrast=np.array([0.8, -0.05, 0.05])))
    table = image_quality_table(found, scores, dict.fromkeys(("SIM01", "SIM02", "SIM03"), PIXEL))
    f50 = table[table["auc"].notna()].set_index(["experiment", "seed", "patient"])["lesion_f50_per_mm"].loc["mse"]
    assert f50[5].isna().tolist() == [False, True, True] and f50[6].notna().all()


def test_less_sharpness_lost_is_not_more_sharpness_shown():
    """Beside the LDCT the surface loses 0.01 / mm and the lesion 0.19, while it shows less of it than the lesion does."""
    found, scores = measured()
    for (name, _), one in found.items():
        one.slices["edge_f50_per_mm"] = {"ldct": 0.15}.get(name, 0.14)
    table = image_quality_table(found, scores, dict.fromkeys(("SIM01", "SIM02", "SIM03"), PIXEL))
    claims = image_quality_claims(table, ["E1"], ["mse", "E1"]).set_index("claim")
    claim = claims.loc["mse: loses less of the LDCT's sharpness (f50) at the patient's surface than at a low-contrast "
                       "lesion"]
    rows = table[table["experiment"] == "mse"]
    assert (rows["edge_f50_per_mm"] < rows["lesion_f50_per_mm"]).sum() == 6 and claim["verdict"] == "stands"
    lesions = [np.sqrt(np.log(2) / 2) / (np.pi * blur) for blur in (0.5, 1.0)]
    assert claim["estimate"] == pytest.approx(lesions[0] - lesions[1] - 0.01, abs=2e-3)


@pytest.fixture
def labels(study, tmp_path) -> Labels:
    return Labels.of(study).beside(tmp_path)


def drawn(monkeypatch, labels, found, scores, pixel_mm=PIXEL):
    """The panels of the figure of task transfer."""
    kept = []
    monkeypatch.setattr(figures, "save_figure", lambda labels, figure, name, **rest: kept.append(figure))
    table = image_quality_table(found, scores, dict.fromkeys(("SIM01", "SIM02", "SIM03"), pixel_mm))
    figures.figure_transfer(labels, found, table, detectability(found))
    return kept[0].axes


def test_scans_with_pixels_of_unknown_size_have_no_transfer(labels, monkeypatch):
    """One of them leaves the means of the others; if all are such, the panel says so."""
    found, scores = measured(simulated=False)
    for one in found.values():
        unknown = (one.slices["patient"] == "SIM02").to_numpy()
        one.slices.loc[unknown, "pixel_mm"] = one.edges[unknown] = np.nan
    (panel,) = drawn(monkeypatch, labels, found, scores)
    assert all((line.get_ydata() == 1).all() for line in panel.lines[:4])
    assert panel.get_xlim()[1] == pytest.approx(0.5 / PIXEL)
    for one in found.values():
        one.slices["pixel_mm"] = one.edges[:] = np.nan
    (panel,) = drawn(monkeypatch, labels, found, scores)
    assert not panel.axison and panel.get_title().startswith("No scan says how large its pixels are")


def test_the_surface_is_of_the_thinnest_series_of_the_first_kernel(labels, monkeypatch):
    """B30 at 3 and 5 mm, D45 at 1 mm: no B30 is as thin as the thinnest of all."""
    found, scores = measured(simulated=False)
    for one in found.values():
        one.slices["thickness_mm"] = [3.0, 1.0, 5.0, 1.0, 3.0, 1.0]
        one.edges[:] = np.array([0.2, 1, 0.7, 1, 0.4, 1])[:, None]
    (panel,) = drawn(monkeypatch, labels, found, scores.assign(thickness_mm=1.0))
    assert panel.get_title() == "patient's surface, B30, 3 mm"
    assert panel.lines[0].get_ydata() == pytest.approx(0.3)


def test_organs_too_small_for_a_texture_leave_the_figure(labels, monkeypatch):
    found, scores = measured()
    for key, one in found.items():
        found[key] = one._replace(lesions=one.lesions._replace(texture=np.full(3, np.nan)))
    panels = drawn(monkeypatch, labels, found, scores)
    assert panels[3].get_title() == "lesion detected (dot: patient; bar: bootstrap of pairs)"


def test_without_a_truth_the_claims_say_what_is_missing():
    found, scores = measured(simulated=False)
    table = image_quality_table(found, scores, {})
    assert "auc" not in table and len(table) == 36 and detectability(found).empty
    claims = image_quality_claims(table, ["E1"], ["mse", "E1"])
    assert set(claims["verdict"]) == {"undecided"} and set(claims["note"]) == {UNKNOWN} and claims["estimate"].isna().all()


def test_the_smoke_study_has_a_row_for_each_run_patient_and_series(smoke_study):
    folder = smoke_study.paths.supplement
    table = pd.read_csv(folder / "image_quality.csv", dtype={"seed": "Int64"})
    assert list(table.groupby("experiment").size().unique()) == [4] and table["experiment"].nunique() == 8
    some = table[table["auc"].notna()].set_index("experiment")
    assert len(some) == 8 and some.loc["ldct", "lesion_contrast"] == pytest.approx(1, abs=1e-3)
    assert some.loc["ldct", "noise_left"] == 1 and 0.3 < some.loc["ndct", "noise_left"] < 0.7
    claims = pd.read_csv(folder / "claims_S6.csv")
    assert len(claims) == 3 * 5 + 4 * 6 and set(claims["verdict"]) == {"undecided"}  # of one patient and one seed
