"""A channelised Hotelling observer: how well a lesion that is known exactly can be detected."""

from typing import Final, NamedTuple

import numpy as np

ORIENTATIONS: Final = 5
CYCLES: Final = (0.68, 1.36)
"""Centre frequencies of the channels in cycles a diameter of the lesion, an octave each: for one of 14.5 pixels those are
the passbands 1/32 to 1/16 and 1/16 to 1/8 cycles a pixel of Wunderlich et al., between which its spectrum falls off."""

OCTAVE: Final = 2 * np.log(2) / np.pi * 3  # cycles in the full width at half maximum of a Gabor function one octave wide
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
    freedom = centred.shape[0] * (centred.shape[1] - 1)
    if freedom < centred.shape[-1]:
        raise ValueError(f"{freedom} degrees of freedom for {centred.shape[-1]} channels: expected more images")
    flat = centred.reshape(-1, centred.shape[-1])
    return np.linalg.solve(flat.T @ flat / freedom, (present - absent).mean(axis=(0, 1)))


def ratings(absent: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decision variables of both classes, (backgrounds, images) each. Every image is rated by a template that was trained on
    the other half of the images of all backgrounds, both classes of a pair in one half: two folds.

    ValueError: too few images to train on. Shapes are as for :func:`template`; images in the same place of ``absent`` and
    ``present`` are a pair: they may have the same noise.
    """
    pairs = absent.shape[1]
    first = np.arange(pairs) < pairs // 2
    rated = np.empty((2, *absent.shape[:2]))
    for tested in (first, ~first):
        weights = template(absent[:, ~tested], present[:, ~tested])
        scale = np.sqrt(weights @ (present - absent)[:, ~tested].mean(axis=(0, 1)))  # its d', so that folds have one scale
        rated[0][:, tested], rated[1][:, tested] = (each[:, tested] @ weights / scale for each in (absent, present))
    return rated[0], rated[1]


def auc(absent: np.ndarray, present: np.ndarray) -> float:
    """Area under the ROC curve: how often an image with the lesion is rated above one without, (images,) each, of other
    pairs (a pair has one noise, and would not be two images that somebody sees), ties half."""
    return float(_above(absent, present).sum() / (len(absent) * (len(absent) - 1)))


def _above(absent: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Whether the second index's present is above the first's absent, (images, images); 0 within a pair."""
    difference = present[None, :] - absent[:, None]
    above = (difference > 0) + 0.5 * (difference == 0)
    np.fill_diagonal(above, 0.0)
    return above


def detected(absent: np.ndarray, present: np.ndarray, rng: np.random.Generator) -> Detected:
    """The AUC, mean over backgrounds and seeds, with its 95 % percentile interval over pairs, which are drawn again within
    each background (and are the same for all seeds). That other training images give another template does not count.

    Parameters
    ----------
    absent, present : array, (seeds, backgrounds, images), of :func:`ratings`
    """
    above = np.stack(
        [[_above(*each) for each in zip(*both, strict=True)] for both in zip(absent, present, strict=True)]
    ).mean(axis=0)
    pairs = above.shape[-1]
    drawn = rng.multinomial(pairs, np.full(pairs, 1 / pairs), (RESAMPLES, len(above))).astype(float)
    sums = np.einsum("rbi,rbi->rb", np.einsum("rbi,bij->rbj", drawn, above, optimize=True), drawn)
    others = pairs**2 - (drawn**2).sum(axis=2)  # of two draws of one pair nothing is known
    low, high = np.quantile((sums / np.maximum(others, 1)).mean(axis=1), (0.025, 0.975))
    return Detected(float(above.sum(axis=(1, 2)).mean() / (pairs * (pairs - 1))), float(low), float(high))
