"""What is wrong with an image, and by how much: answers that are known without our code."""

import numpy as np
import pytest

from lib.metrics import degradations
from lib.metrics.degradations import battery, blurring, blurring_of, checkerboard, disc, grating, mean_square, scaled

SHAPE, MSE = (70, 97), 1677.7216  # HU^2: 1e-4 of images in [0, 1]


@pytest.fixture
def image() -> np.ndarray:
    """A bright box on a slope, (70, 97), HU."""
    slope = np.add.outer(np.arange(70.0), 0.5 * np.arange(97.0))
    slope[20:50, 30:80] += 500
    return slope


@pytest.fixture
def organ() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[9:40, 11:60] = True
    return mask


@pytest.fixture
def found(image, organ):
    rng = np.random.default_rng(3)
    return {each.name: each for each in battery(image, 30 * rng.standard_normal(SHAPE), organ, 0.7, MSE, rng)}


def test_every_kind_has_the_error_that_is_asked_for(found):
    practical = [name for name in found if "," in name]
    assert len(found) == 10 + 1 + 2 * 6 and len(practical) == 13
    for name in found.keys() - practical:
        assert mean_square(found[name].difference) == pytest.approx(MSE, rel=1e-12), name


def test_amplitudes_are_what_they_say(found, organ):
    assert found["shift"].amplitude == pytest.approx(40.96) and np.ptp(found["shift"].difference) == 0
    assert found["grating 8"].amplitude == pytest.approx(40.96 * np.sqrt(2), rel=1e-2)
    assert found["shift, 10 HU"].difference.min() == found["shift, 10 HU"].difference.max() == 10
    small = found["organ shift, 40 HU"]
    np.testing.assert_array_equal(small.difference, np.where(organ, 40, 0))
    assert mean_square(small.difference) == pytest.approx(1600 * organ.mean())
    assert not {"organ shift", "lesion lost"} & set(found)  # of what is local the practical size only
    for each in found.values():
        noise = found[each.reference]
        assert mean_square(noise.difference) == pytest.approx(mean_square(each.difference), rel=1e-9)
        assert np.corrcoef(noise.difference.ravel(), found["CT noise"].difference.ravel())[0, 1] == pytest.approx(1)
    lesion = found["lesion lost, 20 HU"].difference
    assert set(np.unique(lesion)) == {0, 20} and not lesion[~organ].any()
    assert (lesion > 0).sum() * 0.7**2 == pytest.approx(np.pi * 25, rel=0.05)  # mm^2 of a disc of 10 mm
    assert found["CT noise, as it is"].amplitude == pytest.approx(30, rel=0.05)
    assert found["white noise"].difference.std() == pytest.approx(40.96, rel=1e-3)


@pytest.mark.parametrize("period", [2, 4, 8, 16, 32])
def test_a_grating_is_one_frequency(period):
    power = np.abs(np.fft.fft2(grating((5, 96), period))) ** 2
    place = {96 // period, 96 - 96 // period}
    rest = power.copy()
    rest[0, list(place)] = 0
    assert power[0, 96 // period] > 0.1 * power.sum() and rest.sum() < 1e-12 * power.sum()


def test_the_finest_grid_is_the_last_frequency_of_both_directions():
    power = np.abs(np.fft.fft2(checkerboard((6, 8)))) ** 2
    assert power[3, 4] == pytest.approx(48**2) and power.sum() == pytest.approx(48**2)


def test_a_blur_keeps_the_mean_and_a_constant_and_grows_with_its_width(image):
    assert blurring(image, 3.0).mean() == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(blurring(np.full((9, 11), 70.0), 2.0), 0, atol=1e-9)
    squares = [mean_square(blurring(image, sd)) for sd in (0.5, 1, 2, 4)]
    assert squares == sorted(squares) and squares[0] > 0
    difference, sd = blurring_of(image, squares[2])
    assert sd == pytest.approx(2, rel=1e-6)
    np.testing.assert_allclose(difference, blurring(image, 2.0), atol=1e-3)


def test_a_blur_of_a_cosine_is_the_gaussians_transfer():
    """A Gaussian of SD s passes a wave of length p with exp(-2 (pi s / p)^2)."""
    wave = 100 * np.cos(2 * np.pi * (np.arange(64) + 0.5) / 16)[None].repeat(3, axis=0)
    expected = wave * (np.exp(-2 * (np.pi * 1.5 / 16) ** 2) - 1)
    np.testing.assert_allclose(blurring(wave, 1.5), expected, atol=0.02)


def test_what_cannot_be_is_a_line(image, organ):
    with pytest.raises(ValueError, match="pattern: it is zero everywhere"):
        scaled(np.zeros(SHAPE), MSE)
    with pytest.raises(ValueError, match="period: 1.5 pixels, expected 2 or more"):
        grating(SHAPE, 1.5)
    with pytest.raises(ValueError, match="the mask has room for 32"):
        disc(organ, 33.0)
    with pytest.raises(ValueError, match="no blur of 0.01 to 64 pixels changes this image by 1e"):
        blurring_of(image, 1e9)
    with pytest.raises(ValueError, match="no blur"):
        blurring_of(np.zeros(SHAPE), 1.0)


def test_a_disc_lies_deepest():
    """In the organ's middle, and with the border of the image as a border of the organ."""
    mask = np.ones((31, 41), bool)
    rows, columns = np.nonzero(disc(mask, 20.0))
    assert disc(mask, degradations.room(mask)).sum() > disc(mask, 30.0).sum()
    assert rows.mean() == 15 and rows.min() == 6 and rows.max() == 24 and np.ptp(columns) == 18


def test_without_an_organ_or_room_what_needs_one_is_left_out(image):
    noise, rng = np.random.default_rng(1).standard_normal(SHAPE), np.random.default_rng(2)
    thin = np.zeros(SHAPE, bool)
    thin[:, 5:8] = True
    names = [[each.name for each in battery(image, noise, organ, 0.7, MSE, rng)] for organ in (None, thin, thin & False)]
    assert names[0] == names[2] and len(names[0]) == 10 + 1 + 2 * 3 and not any("lesion" in name for name in names[1])
    assert "organ shift, 10 HU" in names[1]
    even = [each.name for each in battery(image / 100, noise, None, 0.7, MSE, rng)]
    assert set(names[0]) - set(even) == {"blur"}  # none has an error that large there
