"""SACNN's autoencoder: an encoder that learnt to reconstruct CT, and nothing else (Li et al. 2020), trained on the cohort.

The paper's authors' own is 2-D, of three channels in [0, 255], without batch normalisation; so is this one, with the blocks
of VGG-19 up to block3_conv4. What is not known is assumed: max pooling, a decoder of one convolution a block, Adam. It
learns from NDCT patches of training patients; those of validation patients say how well it reconstructs. The scale of its
features is what the training leaves: a lambda means something with these weights only.
"""

from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras import layers

from lib.artifacts.cache import Step
from lib.artifacts.files import atomic, single_writer, write_csv
from lib.data.hu import HU_MAX, HU_MIN
from lib.data.labelled_patches import Samples
from lib.data.patches import untuned
from lib.denoiser.callbacks import Progress
from lib.denoiser.checkpoints import Checkpoints
from lib.denoiser.devices import repeatable
from lib.perceptual import encoders
from lib.stages import inputs
from lib.study.config import Study

PARTS = 5  # the training checkpoints itself so many times, or less, by equal parts
CHECKED = 32  # patches of validation patients


def autoencoder(encoder: keras.Model) -> keras.Model:
    """The encoder with a decoder: image (batch, rows, columns, 1) in [0, 1] -> the same; sides are multiples of 4."""
    image = keras.Input((None, None, 1), name="ct")
    scaled = layers.Rescaling(255.0)(image)
    x = layers.Rescaling(1 / 255.0)(encoder(layers.Concatenate()([scaled, scaled, scaled])))
    for filters in (128, 64):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    return keras.Model(image, layers.Conv2D(1, 3, padding="same")(x), name="autoencoder")


def train_autoencoder(study: Study) -> Path:
    """The weights of the encoder, made once and kept; where a run was killed it goes on. ``history.csv`` beside them has a
    row per part: mse of training, and rmse_hu of validation patients' patches at its end."""
    paths, settings = study.paths, study.supplement.autoencoder
    step = Step("autoencoder", paths.autoencoder / "stamp.json", {"lib.stages.autoencoder"},
                {"autoencoder": settings, "split": study.cohort.division, "seed": study.seed},
                {"manifest": paths.manifest}, [paths.autoencoder_weights, paths.autoencoder / "history.csv"])
    if step.is_current():
        return paths.autoencoder_weights
    repeatable(study.seed, study.compute.deterministic)
    parts = equal_parts(settings.steps)
    length = settings.steps // parts
    subsets = inputs.subsets(study)
    train, check = (
        Samples(subsets[name], paths.volumes, None, size=settings.patch_size, count=count, seed=[study.seed, number])
        for name, count, number in (("train", parts * length * settings.batch, 5), ("validation", CHECKED, 6)))
    encoder = encoders.network("sacnn")
    model = autoencoder(encoder)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(settings.lr, parts * length)), "mse",
                  jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    with single_writer(paths.autoencoder), step.making(seed=study.seed, layers="block1 to block3_conv4 of VGG-19's form"):
        checkpoints = Checkpoints(paths.autoencoder, step, length)
        first, _ = checkpoints.resume(model)
        progress = Progress(step.name, parts, checkpoints.course)
        images = check.images(check.rows)
        model.fit(_batches(train, settings.batch, first * length), epochs=parts, initial_epoch=first, steps_per_epoch=length,
                  shuffle=False, verbose=0, callbacks=[_Reconstruction(images), checkpoints, progress])
        progress.close()
        with atomic(paths.autoencoder_weights) as temporary:
            encoder.save_weights(temporary)
        write_csv(paths.autoencoder / "history.csv", pd.DataFrame(checkpoints.rows))
    checkpoints.remove()
    return paths.autoencoder_weights


def equal_parts(steps: int) -> int:
    """Into how many equal parts, five at most, all of a training's steps can go.

    >>> equal_parts(100), equal_parts(6), equal_parts(7)
    (5, 3, 1)
    """
    return max(parts for parts in range(1, PARTS + 1) if steps % parts == 0)


class _Reconstruction(keras.callbacks.Callback):
    """Adds to the logs of an epoch how far ``images`` are from their reconstruction, in HU."""

    def __init__(self, images: np.ndarray):
        super().__init__()
        self.images = images

    def on_epoch_end(self, epoch, logs=None):
        error = self.model.predict_on_batch(self.images) - self.images
        logs["rmse_hu"] = float(np.sqrt(np.mean(np.square(error), dtype=np.float64)) * (HU_MAX - HU_MIN))


def _batches(samples: Samples, batch: int, skip: int) -> tf.data.Dataset:
    """Pairs of an image and itself, from batch ``skip`` on."""
    def cut(rows):
        image = tf.ensure_shape(tf.numpy_function(samples.images, [rows], tf.float32), (None, samples.size, samples.size, 1))
        return image, image

    return untuned(tf.data.Dataset.from_tensor_slices(samples.rows).batch(batch).skip(skip).map(cut).prefetch(2))
