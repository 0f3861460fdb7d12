"""The plain references: what one writes first, as the authors' public code does it, and as fast as that form allows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio, structural_similarity

from lib.perceptual.configuration import Encoding
from lib.study.config import Study

HU_MIN, HU_RANGE = -1024.0, 4096.0


def store(files: list[Path], out: Path) -> None:
    """DICOM files to HU, float64 (rows, columns), one .npy a slice."""
    out.mkdir()
    for number, path in enumerate(files):
        header = pydicom.dcmread(path)
        hu = header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept)
        np.save(out / f"{number}.npy", hu.astype(np.float64))


def batch(places: np.ndarray, low: dict[int, Path], full: dict[int, Path], size: int) -> tuple[np.ndarray, np.ndarray]:
    """One batch (LDCT, NDCT), float32 (batch, size, size, 1): two whole slices are loaded for every patch.

    Parameters
    ----------
    places : (batch, 3) array of int
        Pair, row, column.
    low, full : mapping of int to path
        The .npy files of each pair's slices.
    """
    pairs = []
    for pair, row, column in places:
        window = slice(row, row + size), slice(column, column + size)
        pairs.append([((np.load(files[pair]) - HU_MIN) / HU_RANGE)[window] for files in (low, full)])
    images = np.asarray(pairs, np.float32)[..., None]
    return images[:, 0], images[:, 1]


def features_of(study: Study, encoding: Encoding, phi: str) -> Callable:
    """Image (batch, rows, columns, 1) in [0, 1] -> features of a keras.applications VGG on three equal channels."""
    import keras
    import tensorflow as tf

    from lib.networks.vgg import trunk

    network = trunk(encoding.encoder, study.weights(encoding.weights))
    network.trainable = False
    cut = keras.Model(network.inputs, network.get_layer(phi).output)
    return lambda image: cut(tf.repeat(image, 3, axis=-1) * 255.0, training=False)


def losses(unet, features: Callable, ldct, ndct):
    """Per-pair MSE and perceptual loss, (batch,) each: one U-Net pass and two encoder passes."""
    import tensorflow as tf

    output = unet(ldct)
    return [tf.reduce_mean(tf.square(a - b), axis=(1, 2, 3))
            for a, b in ((output, ndct), (features(output), features(ndct)))]


def training_step(unet, features: Callable, lambda_: float, optimizer) -> Callable:
    """Compiled function of a batch (LDCT, NDCT): one step on the mean of Eq. 4, returns the loss."""
    import tensorflow as tf

    @tf.function
    def step(ldct, ndct):
        with tf.GradientTape() as tape:
            mse, pl = losses(unet, features, ldct, ndct)
            loss = tf.reduce_mean(mse + lambda_ * pl)
        variables = unet.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    return step


def metrics(image: np.ndarray, ndct: np.ndarray) -> tuple[float, float, float]:
    """SSIM, PSNR and NRMSE of scikit-image on three equal channels, uint8; (rows, columns) in [0, 1]."""
    image, ndct = (np.repeat((np.clip(each, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=-1) for each in (image, ndct))
    return (structural_similarity(ndct, image, data_range=255, channel_axis=-1),
            peak_signal_noise_ratio(ndct, image, data_range=255), normalized_root_mse(ndct, image))
