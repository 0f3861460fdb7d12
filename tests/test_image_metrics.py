"""Where numbers are taken and what they are: the body, organs, soft tissue; grids in noise. Known answers."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from skimage.metrics import structural_similarity

from lib.data.hu import normalise
from lib.data.organ_masks import OrganMasks
from lib.data.slices import by_series
from lib.errors import CohortError
from lib.metrics.grid import PERIODS, grid_peaks, spectra
from lib.metrics.image_quality import authors_metrics
from lib.metrics.regions import body, inner, measure, soft_tissue, structured_window
from lib.simulation.anatomy import LABEL
from lib.stages.evaluate import ORGANS, score


@pytest.fixture
def torso() -> np.ndarray:
    """(61, 83), HU: fat around muscle around a lung, a table below that is no body."""
    hu = np.full((61, 83), -1000.0, np.float32)
    hu[5:50, 9:75], hu[10:45, 15:69], hu[14:22, 20:30], hu[56:59] = -100, 50, -850, 200
    return hu


def test_the_body_is_the_largest_part_with_its_holes(torso):
    expected = np.zeros(torso.shape, bool)
    expected[5:50, 9:75] = True
    np.testing.assert_array_equal(body(torso), expected)
    assert not body(np.full((9, 9), -1000.0)).any()


def test_ssim_inside_the_body_is_scikit_images_map_there(torso):
    low = torso + np.random.default_rng(0).normal(0, 60, torso.shape)
    scores = authors_metrics(normalise(low), normalise(torso), body(torso))
    quantised = [(np.clip(normalise(each), 0, 1) * 255).astype(np.uint8) for each in (torso, low)]
    _, whole = structural_similarity(*quantised, data_range=255, full=True)
    assert scores.ssim_body == whole[5:50, 9:75].mean()
    everywhere = authors_metrics(normalise(low), normalise(torso), np.ones(torso.shape, bool))
    assert everywhere.ssim_body == pytest.approx(everywhere.ssim, rel=1e-12)
    assert np.isnan(authors_metrics(normalise(low), normalise(torso), np.zeros(torso.shape, bool)).ssim_body)


def test_edges_belong_to_no_organ():
    labels = np.full((20, 30), 8, np.uint8)
    labels[:, 15:] = 3
    labels[4, 4] = 9
    expected = np.ones(labels.shape, bool)
    expected[:, 12:18] = expected[1:8, 1:8] = False
    np.testing.assert_array_equal(inner(labels), expected)


def test_soft_tissue_is_muscle_without_its_edges(torso):
    muscle = ndimage.binary_erosion((torso == 50), np.ones((7, 7)))
    found = soft_tissue(torso)
    assert found.sum() > 500 and not (found & ~muscle).any()
    noisy = torso + np.random.default_rng(1).normal(0, 40, torso.shape)
    assert (soft_tissue(noisy) & found).sum() > 0.9 * found.sum()


def test_bias_and_noise_are_those_of_the_pixels():
    generator = np.random.default_rng(2)
    mask = np.zeros((30, 40), bool)
    mask[5:25, 5:35] = True
    ndct = np.where(mask, 50 + 20 * generator.standard_normal(mask.shape), 1e4)
    image = np.where(mask, ndct.mean() + 3 * (ndct - ndct.mean()), -1e4)  # no pixel beside the mask counts
    region = measure(image, ndct, mask)
    assert region.bias == pytest.approx((image - ndct)[mask].mean()) and region.ndct_noise == pytest.approx(ndct[mask].std())
    assert region.noise == pytest.approx(3 * region.ndct_noise)
    few = np.zeros_like(mask)
    few[0, :40] = few[1, :40] = True
    assert np.isnan(measure(image, ndct, few)).all()


def test_a_shift_and_its_organ_are_found(torso):
    """47 HU off in the liver only: SSIM, measured on air too, says little, the bias says all."""
    labels = np.full(torso.shape, LABEL["fat"], np.uint8)
    labels[24:44, 20:60] = LABEL["liver"]
    image = torso + np.where(labels == LABEL["liver"], np.float32(-47), 0)
    found = score(image, torso, labels)
    assert found["bias_liver_hu"] == -47 and found["noise_liver_hu"] == found["ndct_noise_liver_hu"] == 0
    assert found["bias_fat_hu"] == 0 and np.isnan(found["bias_spleen_hu"])
    assert found["ssim_body"] < found["ssim"] < 1
    bare = score(image, torso)
    assert list(bare) == list(found) and all(np.isnan(bare[f"bias_{organ}_hu"]) for organ in ORGANS)


NOISE, MASK = 10.0, np.ones((260, 390), bool)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, NOISE, MASK.shape)


def test_the_spectrum_of_white_noise_is_its_variance():
    """Away from zero frequency, of which each tile's mean was taken: 77 tiles of 4,032 frequencies."""
    power = spectra(noise(0), MASK)
    assert power.shape == (77, 64, 64)
    assert power[:, 4:-4, 4:-4].mean() == pytest.approx(NOISE**2, rel=0.03)


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("along", ["rows", "columns", "both"])
def test_a_grid_of_known_amplitude_stands_out_as_much_as_algebra_says(period, along):
    """A cosine of amplitude a has the power a^2 / 4 (at half the sampling rate a^2) times the window's gain,
    (sum w)^2 / sum w^2, (64 / 1.5)^2 for Hann's; the product of two has a quarter of it or as much at each diagonal."""
    amplitude, (rows, columns) = 3.0, np.indices(MASK.shape)
    row, column = (np.cos(2 * np.pi * each / period) for each in (rows, columns))
    grid = {"rows": column, "columns": row, "both": row * column}[along]
    each = {True: 1.0, False: 0.25}[period == 2] ** (2 if along == "both" else 1)
    expected = 1 + amplitude**2 * each * (64 / 1.5) ** 2 / NOISE**2
    peaks = [grid_peaks(noise(seed) + amplitude * grid, MASK) for seed in range(4)]
    assert np.mean([found[period] for found in peaks]) == pytest.approx(expected, rel=0.3)
    assert all(np.mean([found[other] for found in peaks]) < 2 for other in PERIODS if other != period)


@pytest.mark.parametrize("blur", [0, 0.6, 1.2])
def test_noise_of_any_colour_is_no_grid(blur):
    peaks = pd.DataFrame([grid_peaks(ndimage.gaussian_filter(noise(seed), blur), MASK) for seed in range(6)])
    assert peaks.mean().between(0.7, 1.8).all()


def test_no_tile_no_number():
    assert np.isnan(list(grid_peaks(noise(0)[:63], MASK[:63]).values())).all()
    assert np.isnan(list(grid_peaks(noise(0), np.zeros(MASK.shape, bool)).values())).all()
    assert list(grid_peaks(np.zeros(MASK.shape), MASK).values()) == [0] * 4


@pytest.mark.parametrize(("length", "most", "kept"), [(16, 2, [4, 12]), (7, 2, [1, 5]), (7, 3, [1, 3, 5]), (1, 2, [0]),
                                                      (5, 5, [0, 1, 2, 3, 4]), (4, None, [0, 1, 2, 3])])
def test_slices_are_spread_evenly(length, most, kept):
    kind = {"kernel": "B30", "thickness_mm": 1.0, "scan": 1}
    series = [pd.DataFrame({"patient": patient, **kind, "index": range(length)[::-1]}) for patient in "ba"]
    found = by_series(pd.concat(series), most)
    assert found["index"].tolist() == 2 * kept and found["patient"].tolist() == [*"a" * len(kept), *"b" * len(kept)]
    assert found.index.tolist() == list(range(2 * len(kept)))


def test_masks_are_those_of_the_nearest_slice(tmp_path):
    np.savez(tmp_path / "SIM01.npz", labels=np.arange(3, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 5), np.uint8),
             z_mm=np.array([-60.0, -60.8, -61.6]))
    assert OrganMasks(tmp_path, ["SIM01"]).at("SIM01", -61.3).tolist() == 4 * [5 * [2]]
    with pytest.raises(CohortError, match=r"SIM02.npz.*missing.*simulate"):
        OrganMasks(tmp_path, ["SIM02"])


def test_the_window_with_most_structure_is_found():
    """By brute force: the largest variance of the smooth, clipped image among windows of enough soft tissue."""
    hu = 50 + np.random.default_rng(3).normal(0, 20, (24, 31))
    hu[:, :9], hu[15:, 26:] = -1000, 900
    smooth, shape = ndimage.uniform_filter(hu, 7), (8, 11)
    found = {}
    for top in range(24 - 8 + 1):
        for left in range(31 - 11 + 1):
            window = smooth[top : top + 8, left : left + 11]
            if ((window >= 0) & (window <= 150)).mean() >= 0.7:
                found[top, left] = np.clip(window, -160, 240).var()
    assert 20 < len(found) < 300 and structured_window(hu, shape) == max(found, key=found.get)
    assert structured_window(np.full((12, 13), -1000.0), (12, 13)) == (0, 0)
