"""A channelised Hotelling observer: how well a lesion that is known exactly can be detected."""

from typing import Final, NamedTuple

import numpy as np

ORIENTATIONS: Final = 5
CYCLES: Final = (0.68, 1.36)
"""Centre frequencies of the channels in cycles a diameter of the lesion, an octave each: for one of 14.5 pixels those are
the passbands 1/32 to 1/16 and 1/16 to 1/8 cycles a pixel of Wunderlich et al., between which its spectrum falls off."""

OCTAVE: Final = 2 * np.log(2) / np.pi * 3  # cycles in the full width at half maximum of a Gabor function one octave wide
LEAST_FREEDOM: Final = 2  # degrees of freedom a channel, from which a covariance can be inverted
RESAMPLES: Final = 1000


class Detected(NamedTuple):
    """Area under the ROC curve of an observer, with its bootstrap interval over the images."""

    auc: float
    low: float
    high: float


def gabor_channels(side: int, diameter: float) -> np.ndarray:
    """Ten Gabor functions, (side * side, 10), around the middle pixel (side // 2, side // 2): two passbands an octave wide,
    five orientations, even phase (an odd one does not see a lesion that is symmetric).

    exp(-4 ln 2 (x^2 + y^2) / w^2) cos(2 pi f (x cos t + y sin t)), each of norm 1 (Eckstein et al., Opt Express 11 (2003)
    460; Wunderlich et al., IEEE Trans Med Imaging 34 (2015) 453).

    Parameters
    ----------
    side, diameter : of an image, and of the lesion, in pixels
    """
    down, across = np.mgrid[:side, :side] - side // 2
    found = []
    for frequency in (cycles / diameter for cycles in CYCLES):
        envelope = np.exp(-4 * np.log(2) * (down**2 + across**2) * (frequency / OCTAVE) ** 2)
        for angle in np.pi * np.arange(ORIENTATIONS) / ORIENTATIONS:
            wave = np.cos(2 * np.pi * frequency * (across * np.cos(angle) + down * np.sin(angle)))
            found.append((envelope * wave).ravel() / np.linalg.norm(envelope * wave))
    return np.stack(found, axis=1)


def seen(images: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """What the channels, (pixels, channels), make of images, (images, side, side): (images, channels)."""
    return images.reshape(len(images), -1).astype(np.float64) @ channels


def template(absent: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Hotelling's template, (channels,): the inverse of the mean covariance within class and background, times the mean
    difference.

    Parameters
    ----------
    absent, present : array, (backgrounds, images, channels): several images of each background, without and with the lesion
    """
    centred = np.concatenate([each - each.mean(axis=1, keepdims=True) for each in (absent, present)])
    channels, freedom = absent.shape[2], len(absent) * (absent.shape[1] - 1)  # a pair may have one noise, and counts once
    if freedom < LEAST_FREEDOM * channels:
        raise ValueError(
            f"{freedom} degrees of freedom for {channels} channels: expected {LEAST_FREEDOM * channels} at least"
        )
    flat = centred.reshape(-1, channels)
    return np.linalg.solve(flat.T @ flat / (2 * freedom), (present - absent).mean(axis=(0, 1)))


def folds(pairs: int) -> np.ndarray:
    """Which of the two halves each pair is in, (pairs,), bool."""
    return np.arange(pairs) < pairs // 2


def ratings(absent: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decision variables of both classes, (backgrounds, images) each. Every image is rated by a template that was trained on
    the other half of the images of all backgrounds, both classes of a pair in one half (:func:`folds`).

    ValueError: too few images to train on. Shapes are as for :func:`template`; images in the same place of ``absent`` and
    ``present`` are a pair: they may have the same noise.
    """
    first = folds(absent.shape[1])
    rated = np.empty((2, *absent.shape[:2]))
    for tested in (first, ~first):
        weights = template(absent[:, ~tested], present[:, ~tested])
        rated[0][:, tested], rated[1][:, tested] = (each[:, tested] @ weights for each in (absent, present))
    return rated[0], rated[1]


def comparable(pairs: int) -> np.ndarray:
    """Which absent, first index, and present are compared, (pairs, pairs), float: those of other pairs (one noise with and
    without a lesion is nothing that somebody sees) that the same template rated."""
    half = folds(pairs)
    return (half[:, None] == half[None, :]) - np.eye(pairs)


def auc(absent: np.ndarray, present: np.ndarray) -> float:
    """Area under the ROC curve of ratings, (images,) each: how often an image with the lesion is above a comparable one
    without, ties half."""
    return float(_above(absent, present).sum() / comparable(len(absent)).sum())


def _above(absent: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Whether the second index's present is above the first's absent, (images, images); 0 where they are not compared."""
    difference = present[None, :] - absent[:, None]
    return ((difference > 0) + 0.5 * (difference == 0)) * comparable(len(absent))


def detected(absent: np.ndarray, present: np.ndarray, rng: np.random.Generator) -> Detected:
    """The AUC, mean over backgrounds and seeds, with its 95 % percentile interval over pairs, which are drawn again within
    each background (and are the same for all seeds). That other training images give another template does not count.

    Parameters
    ----------
    absent, present : array, (seeds, backgrounds, images), of :func:`ratings`
    """
    above = np.mean(
        [[_above(*each) for each in zip(*both, strict=True)] for both in zip(absent, present, strict=True)], axis=0
    )
    pairs = above.shape[-1]
    drawn = rng.multinomial(pairs, np.full(pairs, 1 / pairs), (RESAMPLES, len(above))).astype(float)
    sums = np.einsum("rbi,rbi->rb", np.einsum("rbi,bij->rbj", drawn, above, optimize=True), drawn)
    others = np.einsum("rbi,rbi->rb", drawn @ comparable(pairs), drawn)
    low, high = np.quantile((sums / np.maximum(others, 1)).mean(axis=1), (0.025, 0.975))
    return Detected(float(above.sum(axis=(1, 2)).mean() / comparable(pairs).sum()), float(low), float(high))
