"""What may be wrong with an image, one thing at a time, each with a mean squared error that is asked for.

An image and what is wrong with it, a *difference*, are arrays (rows, columns) in HU; mean squares are in HU^2 over the whole
array. A pattern says what kind of difference it is; :func:`scaled` gives it its size.
"""

from typing import Final, NamedTuple

import numpy as np
from scipy import ndimage, optimize

PHASE: Final = np.pi / 4  # of gratings: with it, those of 2 and 4 pixels meet no zeros of their wave
SHARPEST, SOFTEST = 1e-2, 64.0  # pixels, SD of the Gaussians that are tried
TRUNCATE: Final = 4.0  # SDs at which a Gaussian ends
PERIODS: Final = (2, 4, 8, 16, 32)  # pixels
SHIFTS_HU: Final = (10.0, 40.0)
LESION_MM, LESION_HU = 10.0, 20.0
BLUR_PIXELS: Final = 1.0  # SD
CT_NOISE, WHITE_NOISE, BLUR, CHECKERBOARD, SHIFT = "CT noise", "white noise", "blur", "checkerboard", "shift"
ORGAN_SHIFT, LESION = "organ shift", "lesion lost"
AS_IT_IS: Final = f"{CT_NOISE}, as it is"


def mean_square(difference: np.ndarray) -> float:
    """Mean over all pixels of the squares, in double precision."""
    return float(np.mean(np.square(difference, dtype=np.float64)))


def scaled(pattern: np.ndarray, mse: float) -> np.ndarray:
    """The pattern times the positive factor that gives it this mean square. Raises ValueError for one of zeros."""
    square = mean_square(pattern)
    if not square > 0:
        raise ValueError("pattern: it is zero everywhere, no factor gives it an error")
    return np.sqrt(mse / square) * np.asarray(pattern, np.float64)


def white_noise(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Independent normal values with SD 1."""
    return rng.standard_normal(shape)


def grating(shape: tuple[int, int], period: float) -> np.ndarray:
    """A sinusoid of amplitude 1 along the columns, ``period`` pixels (2 or more) long; at 2 pixels it alternates between
    plus and minus sqrt(1/2)."""
    if period < 2:
        raise ValueError(f"period: {period:g} pixels, expected 2 or more: shorter waves are not sampled")
    wave = np.cos(2 * np.pi * np.arange(shape[1]) / period + PHASE)
    return np.broadcast_to(wave, shape).copy()


def checkerboard(shape: tuple[int, int]) -> np.ndarray:
    """1 and -1 in turn along rows and columns: the finest grid that there is."""
    return np.where(np.add.outer(np.arange(shape[0]), np.arange(shape[1])) % 2, -1.0, 1.0)


def shift(shape: tuple[int, int], mask: np.ndarray | None = None) -> np.ndarray:
    """1 everywhere, or in a mask (rows, columns) only."""
    return np.ones(shape) if mask is None else np.where(mask, 1.0, 0.0)


def disc(mask: np.ndarray, diameter: float) -> np.ndarray:
    """1 in a disc, 0 around it: a lesion with sharp edges in an organ, as far as can be from its border.

    Parameters
    ----------
    mask : array, (rows, columns), bool, the organ
    diameter : float, pixels

    Raises
    ------
    ValueError : the organ has no room for it
    """
    if room(mask) < diameter:
        raise ValueError(f"diameter: {diameter:g} pixels, the mask has room for {room(mask):.3g}")
    centre = np.unravel_index(_depth(mask).argmax(), mask.shape)
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    return np.where(np.hypot(rows - centre[0], columns - centre[1]) < diameter / 2, 1.0, 0.0)


def room(mask: np.ndarray) -> float:
    """Diameter in pixels of the largest disc in a mask (rows, columns)."""
    return 2 * float(_depth(mask).max())


def _depth(mask: np.ndarray) -> np.ndarray:
    """Distance to what is not in the mask; nothing outside of the image is."""
    return ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]


def blurring(image: np.ndarray, sd: float) -> np.ndarray:
    """What a Gaussian of this SD in pixels changes; the image is mirrored at its borders, so that its mean stays."""
    image = np.asarray(image, np.float64)
    return ndimage.gaussian_filter(image, sd, mode="reflect", truncate=TRUNCATE) - image


def blurring_of(image: np.ndarray, mse: float) -> tuple[np.ndarray, float]:
    """What the Gaussian changes whose error has this mean square, and its SD in pixels: a blur has no other size than its
    width. Raises ValueError where no blur of 0.01 to 64 pixels has it."""

    def beyond(log_sd: float) -> float:
        return np.log(max(mean_square(blurring(image, np.exp(log_sd))), 1e-300) / mse)

    ends = np.log(SHARPEST), np.log(SOFTEST)
    if not beyond(ends[0]) < 0 < beyond(ends[1]):
        raise ValueError(f"mse: no blur of {SHARPEST:g} to {SOFTEST:g} pixels changes this image by {mse:g} HU^2")
    sd = float(np.exp(optimize.brentq(beyond, *ends, xtol=1e-10)))
    return scaled(blurring(image, sd), mse), sd


class Degradation(NamedTuple):
    """One thing wrong with an image."""

    name: str
    amplitude: float  # of a shift or a lesion, the peak of a grating, the SD of noise: HU; the SD of a blur: pixels
    unit: str
    difference: np.ndarray  # (rows, columns), HU, what is added to the image
    reference: str = CT_NOISE  # the name of the noise of a low dose that has the same mean square


def battery(
    image: np.ndarray, ct_noise: np.ndarray, organ: np.ndarray | None, pixel_mm: float, mse: float, rng: np.random.Generator
) -> list[Degradation]:
    """Everything that a passport has: first each kind at one mean square, then some at the size that they have in practice,
    each followed by noise of a low dose of the same mean square, its ``reference``. What is local has a practical size only:
    a lesion of 10 mm with the error of a whole noisy image would be one of hundreds of HU. No blur may have that mean square
    in an image of one tissue: then it is left out.

    Parameters
    ----------
    image : array, (rows, columns), HU, what is degraded
    ct_noise : array, (rows, columns), HU, noise of a low dose as it is
    organ : array, optional, (rows, columns), bool
        Where one organ is shifted, and loses a lesion of 10 mm (a disc; a mean squared loss is the same whether it is lost
        or invented). Without one, or where it is not in the image or has no room, these are left out.
    pixel_mm : float
    mse : float, HU^2
    """
    found = [
        Degradation(CT_NOISE, np.sqrt(mse), "HU", scaled(ct_noise, mse)),
        Degradation(WHITE_NOISE, np.sqrt(mse), "HU", scaled(white_noise(image.shape, rng), mse)),
    ]
    if mean_square(blurring(image, SOFTEST)) > mse:  # else no blur has this error: all of one tissue
        difference, sd = blurring_of(image, mse)
        found.append(Degradation(BLUR, sd, "pixels", difference))
    found.append(_of(SHIFT, shift(image.shape), mse))
    found.append(_of(CHECKERBOARD, checkerboard(image.shape), mse))
    found += [_of(f"grating {period}", grating(image.shape, period), mse) for period in PERIODS]
    local: dict[str, tuple[np.ndarray, tuple[float, ...]]] = {}
    if organ is not None and organ.any():
        local[ORGAN_SHIFT] = shift(image.shape, organ), SHIFTS_HU
        if room(organ) >= LESION_MM / pixel_mm:
            local[LESION] = disc(organ, LESION_MM / pixel_mm), (LESION_HU,)
    found.append(Degradation(AS_IT_IS, float(np.std(ct_noise)), "HU", ct_noise.astype(np.float64), AS_IT_IS))
    practical = [Degradation(f"{BLUR}, {BLUR_PIXELS:g} pixel", BLUR_PIXELS, "pixels", blurring(image, BLUR_PIXELS))]
    for name, (pattern, sizes) in {SHIFT: (shift(image.shape), SHIFTS_HU), **local}.items():
        practical += [Degradation(f"{name}, {size:g} HU", size, "HU", size * pattern) for size in sizes]
    for each in practical:
        square = mean_square(each.difference)
        if square > 0:  # else, of a blur of a constant, nothing has a price
            name = f"{CT_NOISE} for {each.name}"
            found += [
                each._replace(reference=name),
                Degradation(name, float(np.sqrt(square)), "HU", scaled(ct_noise, square), name),
            ]
    return found


def _of(name: str, pattern: np.ndarray, mse: float) -> Degradation:
    """A pattern whose own amplitude is 1."""
    difference = scaled(pattern, mse)
    return Degradation(name, float(np.sqrt(mse / mean_square(pattern))), "HU", difference)
