"""Training of f_theta: one experiment, from the shared initial weights to those after the last epoch.

Every epoch ends with a checkpoint (weights, optimizer, history). A run that was killed goes on from there, and on the
CPU ends with the same weights, bit for bit, as one that was not.
"""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm import tqdm

from lib import paper
from lib.checkpoints import Checkpoints, Collapse, Progress, deterministic
from lib.errors import TrainingError
from lib.influence import Denoiser, TotalLoss
from lib.networks.encoders import encoder, load_weights, weights_file
from lib.networks.unet import logit, unet
from lib.patches import Patches
from lib.provenance import Step, atomic, file_sha256
from lib.study import Study

FEATURES_BYTES = 2 * 1024**3  # the targets' features are kept in memory up to this size, else computed every step
LOGS = {"loss": "total", "mse": "mse", "pl": "pl", "psi": "psi"}


def new_unet(study: Study, patches: Patches | None = None) -> keras.Model:
    """The untrained U-Net: the same initial weights for every experiment and for Algorithm 2.

    Args:
        patches: the training patches (read for their mean if the output bias is ``data_mean``).
    """
    bias = 0.0
    if study.unet.output_bias == "data_mean":
        bias = logit((patches or Patches(study, "train")).mean_ndct())
    return unet(study.unet.channels, seed=study.training.seed, output_bias=bias)


def optimizer(study: Study, steps: int) -> keras.optimizers.Optimizer:
    """Adam with Table 2's parameters; ``steps`` is the length of the whole training, for the cosine schedule."""
    settings = study.training
    rate = settings.lr if settings.schedule == "constant" else keras.optimizers.schedules.CosineDecay(settings.lr, steps)
    return keras.optimizers.Adam(rate, beta_1=settings.beta_1, beta_2=settings.beta_2)


def training_step(study: Study, experiment: str, lambda_: float) -> Step:
    """What the weights of one experiment depend on."""
    context = paper.EXPERIMENTS[experiment].context
    inputs = {"manifest": file_sha256(study.paths.manifest)}
    if context:
        inputs["encoder"] = file_sha256(weights_file(study, context))
    config = {"training": study.training, "unet": study.unet, "split": study.cohort.division, "lambda": lambda_,
              "context": context, "phi": study.phi(experiment), "architecture": study.encoder.architecture}
    return Step(f"training {experiment}", study.paths.training(experiment) / "stamp.json", {"lib.training"}, config,
                inputs)


def train(
    study: Study, experiment: str, lambda_: float, callbacks: Sequence[keras.callbacks.Callback] = ()
) -> pd.DataFrame:
    """Train one experiment with Eq. 4, or return at once if this very training is done.

    Args:
        experiment: a name of :data:`lib.paper.EXPERIMENTS`.
        lambda_: weight of the perceptual term; 0 trains without an encoder.
        callbacks: further Keras callbacks, TensorBoard for example.

    Returns:
        The history, a row an epoch: epoch, total, mse, pl, psi, the same with ``val_``, seconds. Psi is that of
        Algorithm 2 over the epoch; pl and psi are empty for the control.

    Raises:
        TrainingError: the loss is not finite, or the trained network's output is constant.
    """
    paths, settings = study.paths, study.training
    step = training_step(study, experiment, lambda_)
    if step.is_current():
        return pd.read_csv(paths.history(experiment))
    deterministic(settings.seed)
    patches, validation = Patches(study, "train"), Patches(study, "validation")
    batches = len(patches) // settings.batch
    if not batches:
        raise TrainingError(f"{len(patches)} training patches do not fill one batch of {settings.batch}")
    denoiser = _denoiser(study, experiment, lambda_, patches, batches * settings.epochs)
    folder = paths.training(experiment)
    with step.making(experiment=experiment, seed=settings.seed, devices=_devices()) as outputs:
        checkpoints = Checkpoints(folder, step.key)
        first = checkpoints.resume(denoiser)
        images, targets = next(iter(validation.dataset(drop_remainder=False)))
        collapse = Collapse(images, targets)
        denoiser.fit(
            patches.dataset(drop_remainder=True, features=target_features(denoiser.total.encoder, patches)),
            validation_data=validation.dataset(drop_remainder=False),
            epochs=settings.epochs, initial_epoch=first, shuffle=False, verbose=0,
            callbacks=[collapse, checkpoints, Progress(step.name, settings.epochs, batches, first), *callbacks],
        )
        collapse.refuse(denoiser)
        _save(denoiser.unet, paths.weights(experiment))
        history = _history(checkpoints.rows, lambda_)
        with atomic(paths.history(experiment)) as temporary:
            history.to_csv(temporary, index=False)
        outputs += [paths.weights(experiment), paths.history(experiment)]
    checkpoints.remove()
    return history


def _denoiser(study: Study, experiment: str, lambda_: float, patches: Patches, steps: int) -> Denoiser:
    phi, context = study.phi(experiment), paper.EXPERIMENTS[experiment].context
    loss = TotalLoss(lambda_, encoder(study, context, phi) if context else None)
    denoiser = Denoiser(new_unet(study, patches), loss)
    denoiser.compile(optimizer=optimizer(study, steps), jit_compile=False)
    size = study.training.patch_size
    denoiser.build((None, size, size, 1))
    denoiser.optimizer.build(denoiser.trainable_variables)
    return denoiser


def target_features(network: keras.Model | None, patches: Patches) -> np.ndarray | None:
    """Features of every patch's NDCT, float32 (patches, rows, columns, channels), in the order of ``patches.index``.

    A third of the encoder's work, and the same in every epoch. None without an encoder, or where they would take more
    than ``FEATURES_BYTES``.
    """
    if network is None:
        return None
    size = patches.study.training.patch_size
    shape = network.compute_output_shape((len(patches), size, size, 1))
    if 4 * np.prod(shape) > FEATURES_BYTES:
        return None
    features = np.empty(shape, np.float32)
    for start in tqdm(range(0, len(patches), 16), desc="features of the targets", mininterval=1.0, delay=2):
        part = slice(start, start + 16)
        features[part] = network(patches.images(patches.index[part], "ndct"), training=False)
    return features


def _devices() -> list[str]:
    return [device.device_type for device in tf.config.list_physical_devices()]


def _save(network: keras.Model, path: Path) -> None:
    with atomic(path) as temporary:
        network.save_weights(temporary)


def _history(rows: list[dict], lambda_: float) -> pd.DataFrame:
    history = pd.DataFrame(rows)
    history = history.rename(columns={f"{part}{key}": f"{part}{name}" for part in ("", "val_")
                                      for key, name in LOGS.items()})
    if lambda_ == 0:
        history[["pl", "psi", "val_pl", "val_psi"]] = float("nan")
    columns = [f"{part}{name}" for part in ("", "val_") for name in LOGS.values()]
    return history[["epoch", *columns, "seconds"]]


def load_unet(study: Study, experiment: str) -> keras.Model:
    """The trained U-Net of an experiment (weights after the last epoch, as the authors evaluate).

    Raises WeightsError where it is not trained or its file is damaged.
    """
    network = unet(study.unet.channels, seed=study.training.seed)
    load_weights(network, study.paths.weights(experiment))
    return network
