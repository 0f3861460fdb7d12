"""Task transfer function: how much of each frequency of an edge an image shows, for the contrast and noise of that edge."""

from typing import Final, NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import find_contours

from lib.data.hu import BODY_HU

FINER: Final = 4  # bins of an edge's profile a pixel
FLAT: Final = 0.5  # share of the reach in which the window (Tukey's) is 1: a Hann window cuts a soft edge sharper
FREQUENCIES: Final = np.arange(0.0, 1.0001, 0.02)  # 1/mm, at which transfer is given


class Profile(NamedTuple):
    """What an image shows across an edge: mean values in bins of the distance from it."""

    distance: np.ndarray  # mm, (bins,)
    value: np.ndarray  # (bins,)


def disc(side: int, pixel_mm: float, centre: tuple[float, float], diameter_mm: float) -> np.ndarray:
    """A disc of height 1, (side, side), whose edge pixels have the share that it covers (of 8 x 8 points); ``centre``: row
    and column."""
    fine = (np.arange(8) - 3.5) / 8
    rows, columns = (np.add.outer(np.arange(side) - at, fine).ravel() for at in centre)
    inside = np.hypot(rows[:, None], columns[None, :]) * pixel_mm <= diameter_mm / 2
    return inside.reshape(side, 8, side, 8).mean(axis=(1, 3))


def from_disc(side: int, pixel_mm: float, centre: tuple[float, float], diameter_mm: float) -> np.ndarray:
    """Distance of each pixel from a disc's edge, mm, (side, side), negative inside."""
    rows, columns = np.ogrid[:side, :side]
    return np.hypot(rows - centre[0], columns - centre[1]) * pixel_mm - diameter_mm / 2


def from_front(image_hu: np.ndarray, body: np.ndarray, pixel_mm: float, reach_mm: float) -> np.ndarray:
    """Distance of each pixel from the patient's surface, mm, (rows, columns), negative inside the body: from the line
    at -500 HU around it, as far as it faces up in the image (off the table). NaN beyond ``reach_mm``, and in the lower half.

    An automatic edge of every patient, as in Sanders, Hurwitz and Samei, Med Phys 43 (2016) 5330.
    """
    distance = np.full(image_hu.shape, np.nan)
    contours = find_contours(np.where(ndimage.binary_dilation(body, iterations=3), image_hu, BODY_HU - 500), BODY_HU)
    if not contours:
        return distance
    surface = max(contours, key=len)
    middle = (surface[:, 0].min() + surface[:, 0].max()) / 2
    edge = np.hypot(surface[-1, 0] - surface[0, 0], surface[-1, 1] - surface[0, 1])
    line = _dense(surface if edge > 2 else np.vstack([surface, surface[:1]]))
    near = ndimage.binary_dilation(_drawn(line, image_hu.shape), iterations=int(np.ceil(reach_mm / pixel_mm)) + 1)
    near[int(middle) :] = False
    places = np.argwhere(near)
    away = cKDTree(line).query(places)[0] * pixel_mm
    kept = away <= reach_mm
    places, away = places[kept], away[kept]
    distance[tuple(places.T)] = np.where(image_hu[tuple(places.T)] > BODY_HU, -away, away)
    return distance


def _dense(line: np.ndarray) -> np.ndarray:
    """The line with ten points between each two."""
    share = np.arange(10) / 10
    return (line[:-1, None] + share[None, :, None] * np.diff(line, axis=0)[:, None]).reshape(-1, 2)


def _drawn(line: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    drawn = np.zeros(shape, bool)
    drawn[tuple(np.rint(line).astype(int).T)] = True
    return drawn


def profile(image: np.ndarray, distance: np.ndarray, pixel_mm: float, reach_mm: float) -> Profile:
    """The edge's profile within ``reach_mm`` to both sides, in bins of a quarter of a pixel; empty bins are interpolated.

    Parameters
    ----------
    image, distance : array, (rows, columns); mm from the edge, NaN where a pixel does not count
    """
    width = pixel_mm / FINER
    half = int(reach_mm / width)
    bins = np.rint(distance / width)
    counts = np.abs(bins) <= half  # NaN does not
    place = bins[counts].astype(int) + half
    number = np.bincount(place, minlength=2 * half + 1)
    sums = np.bincount(place, image[counts].astype(np.float64), minlength=2 * half + 1)
    centres, filled = width * np.arange(-half, half + 1), number > 0
    if not filled.any():
        return Profile(centres, np.full(len(centres), np.nan))
    return Profile(centres, np.interp(centres, centres[filled], sums[filled] / number[filled]))


def transfer(edge: Profile, of: Profile | None = None) -> np.ndarray:
    """Task transfer function at ``FREQUENCIES``, 1 at zero: the modulus of the Fourier transform of the derivative of an
    edge's profile, in a window that is flat near the edge and takes the noise far from it.

    ``of``: the profile of the object itself, sampled alike. The quotient of the two transforms frees the result of what
    object, pixels and bins do, so that no edge need be straight, sharp or clean. Method: Richard et al., Med Phys 39 (2012)
    4115; AAPM TG-233.
    """
    found = _spread(edge) if of is None else _spread(edge) / np.where(np.abs(_spread(of)) > 1e-9, _spread(of), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.abs(found / found[0])


def _spread(edge: Profile) -> np.ndarray:
    """Fourier transform of the line spread function at ``FREQUENCIES``, complex."""
    line = np.diff(edge.value)
    at = (edge.distance[1:] + edge.distance[:-1]) / 2
    beyond = np.maximum(np.abs(at) / np.abs(edge.distance).max() - FLAT, 0) / (1 - FLAT)
    window = np.cos(np.pi / 2 * beyond) ** 2
    return np.exp(-2j * np.pi * np.outer(FREQUENCIES, at)) @ (line * window)


def nyquist(pixel_mm: float) -> float:
    """The highest frequency of which pixels show a wave, 1/mm."""
    return 0.5 / pixel_mm


def frequency_at(
    share: float, function: np.ndarray, frequencies: np.ndarray = FREQUENCIES, highest: float = np.inf
) -> float:
    """Where a transfer function first falls to a share, 1/mm, interpolated; NaN where it never does, is not known, or does
    so beyond the ``highest`` frequency (of an image: :func:`nyquist`)."""
    below = np.flatnonzero(function <= share)
    if not len(below) or below[0] == 0 or not np.isfinite(function[: below[0] + 1]).all():
        return np.nan
    last, first = below[0] - 1, below[0]
    part = (function[last] - share) / (function[last] - function[first])
    found = float(frequencies[last] + part * (frequencies[first] - frequencies[last]))
    return np.nan if found > highest else found
