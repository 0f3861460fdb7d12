"""1 - SSIM as a pixel term, and its gradient in closed form (Wang et al. 2004; the way back: Zhao et al. 2017).

Gaussian windows of 11 x 11 pixels and an SD of 1.5 that lie wholly in the image, of images in [0, 1] (data range 1).
"""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

RADIUS, SD = 5, 1.5
C1, C2 = 0.01**2, 0.03**2


class _Moments(NamedTuple):
    """Of two images f and y, (batch, rows - 10, columns - 10, 1): what SSIM is made of."""

    mean_f: Any
    mean_y: Any
    of_means: Any  # the two factors of SSIM
    of_variances: Any
    under_means: Any  # and what they are divided by
    under_variances: Any


def structural_term(prediction: Any, target: Any) -> Any:
    """1 - mean SSIM of images (batch, rows, columns, 1), shape (batch,). Raises ValueError: images below 11 x 11."""
    found = _moments(*(ops.cast(each, "float32") for each in (prediction, target)))
    return 1.0 - ops.mean(found.of_means * found.of_variances, axis=(1, 2, 3))


def structural_gradient(prediction: Any, target: Any) -> Any:
    """The gradient of :func:`structural_term` at the prediction, of each image's own, float32, its shape."""
    prediction, target = ops.cast(prediction, "float32"), ops.cast(target, "float32")
    f, y, means, variances, under_means, under_variances = _moments(prediction, target)
    at_mean = 2 * variances * (y - means * f) / under_means - 2 * means * (y - variances * f) / under_variances
    at_square = -means * variances / under_variances
    at_product = 2 * means / under_variances
    back = _back(at_mean) + 2 * prediction * _back(at_square) + target * _back(at_product)
    return -back / ops.cast(ops.prod(ops.shape(f)[1:]), "float32")


def _moments(f: Any, y: Any) -> _Moments:
    if any(side is not None and side <= 2 * RADIUS for side in f.shape[1:3]):
        raise ValueError(f"pixel: ssim needs images of {2 * RADIUS + 1} x {2 * RADIUS + 1}, this is {tuple(f.shape[1:3])}")
    mean_f, mean_y = _windowed(f), _windowed(y)
    covariance = _windowed(f * y) - mean_f * mean_y
    variances = _windowed(ops.square(f)) - ops.square(mean_f) + _windowed(ops.square(y)) - ops.square(mean_y)
    under_means, under_variances = ops.square(mean_f) + ops.square(mean_y) + C1, variances + C2
    return _Moments(
        mean_f,
        mean_y,
        (2 * mean_f * mean_y + C1) / under_means,
        (2 * covariance + C2) / under_variances,
        under_means,
        under_variances,
    )


def _windowed(image: Any) -> Any:
    """Means in each window, weighted by a Gaussian."""
    weights = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / SD) ** 2).astype(np.float32)
    weights /= weights.sum()
    for shape in ((-1, 1, 1, 1), (1, -1, 1, 1)):
        kernel = ops.convert_to_tensor(weights.reshape(shape))
        image = ops.conv(image, kernel, padding="valid", data_format="channels_last")
    return image


def _back(windows: Any) -> Any:
    """The transpose of :func:`_windowed`: the window is symmetric."""
    return _windowed(ops.pad(windows, [[0, 0], [2 * RADIUS] * 2, [2 * RADIUS] * 2, [0, 0]]))
