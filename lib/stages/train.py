"""Training of f_theta: one experiment, from the shared initial weights to those after the last epoch.

A run that was killed goes on from its last checkpoint, and on the CPU ends with the same weights, bit for bit, as one
that was not.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import keras
import pandas as pd
import tensorflow as tf

from lib.artifacts.cache import Step
from lib.artifacts.files import alone, atomic, file_sha256
from lib.data.features import Features
from lib.data.patches import Patches
from lib.denoiser.callbacks import Progress, StepLog, Watch
from lib.denoiser.checkpoints import Checkpoints
from lib.denoiser.devices import device_names, is_chief, precision, repeatable, require_even, strategy
from lib.denoiser.model import Denoiser
from lib.errors import TrainingError
from lib.networks.unet import logit, unet
from lib.networks.vgg import encoder, load_weights, weights_file
from lib.paper import published
from lib.perceptual.influence import TotalLoss
from lib.stages.feature_cache import target_features
from lib.study.config import Study

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
    context = published.EXPERIMENTS[experiment].context
    inputs = {"manifest": file_sha256(study.paths.manifest)}
    if context:
        inputs["encoder"] = file_sha256(weights_file(study, context))
    settings = study.training.model_dump(exclude={"checkpoint_steps", "patience", "features_gib"})
    config = {"training": settings, "unet": study.unet.model_dump(), "split": study.cohort.division, "lambda": lambda_,
              "context": context, "phi": study.phi(experiment), "architecture": study.encoder.architecture,
              "compute": study.compute.model_dump()}
    return Step(f"training {experiment}", study.paths.training(experiment) / "stamp.json", {"lib.stages.train"}, config,
                inputs)


def train(
    study: Study, experiment: str, lambda_: float, callbacks: Sequence[keras.callbacks.Callback] = ()
) -> pd.DataFrame:
    """Train one experiment with Eq. 4, or return at once if this very training is done.

    Args:
        experiment: a name of :data:`lib.paper.published.EXPERIMENTS`.
        lambda_: weight of the perceptual term; 0 trains without an encoder.
        callbacks: further Keras callbacks.

    Returns:
        The history, a row an epoch: epoch, total, mse, pl, psi, the same with ``val_``, seconds. Psi is that of
        Algorithm 2 over the epoch; pl and psi are empty for the control.

    Raises:
        TrainingError: the output is constant, the loss is not finite or diverges, the memory does not suffice, or a
            checkpoint of other settings is there.
    """
    paths, settings, compute = study.paths, study.training, study.compute
    step = training_step(study, experiment, lambda_)
    if step.is_current():
        return pd.read_csv(paths.history(experiment))
    devices = strategy(compute.strategy)
    require_even(settings.batch, devices)
    repeatable(settings.seed, compute.deterministic)
    patches, validation = Patches(study, "train"), Patches(study, "validation")
    length = patches.batches(drop_remainder=True)
    if not length:
        raise TrainingError(f"{len(patches)} training patches do not fill one batch of {settings.batch}")
    features = _features(study, experiment, patches)
    folder = paths.training(experiment)
    writes = is_chief(devices)
    notes = {"experiment": experiment, "seed": settings.seed, "devices": device_names(devices)}
    with alone(folder) if writes else nullcontext(), step.making(**notes) if writes else nullcontext([]) as outputs:
        with devices.scope():
            denoiser = _denoiser(study, experiment, lambda_, patches, length * settings.epochs)
        checkpoints = Checkpoints(folder, step, length, settings.checkpoint_steps, writes)
        checkpoints.resume(denoiser)
        images, targets = next(iter(validation.dataset(drop_remainder=False)))
        watch = Watch(images, targets, settings.patience, checkpoints,
                      lambda batch: patches.slices(range(batch * settings.batch, (batch + 1) * settings.batch)))
        log = [StepLog(folder, settings.checkpoint_steps // 10, checkpoints)] if writes else []
        _fit(denoiser, patches, validation, features, checkpoints, [watch, checkpoints, *log, *callbacks], step.name)
        watch.refuse(denoiser)
        history = _history(checkpoints.rows, lambda_)
        if writes:
            _save(denoiser.unet, paths.weights(experiment))
            with atomic(paths.history(experiment)) as temporary:
                history.to_csv(temporary, index=False)
            outputs += [paths.weights(experiment), paths.history(experiment)]
    if writes:
        checkpoints.remove()
    return history


def _fit(denoiser: Denoiser, patches: Patches, validation: Patches, features: Features | None, checkpoints: Checkpoints,
         callbacks: list[keras.callbacks.Callback], name: str) -> None:
    """Keras's ``fit``: first what is left of the epoch that a checkpoint stands in, then the other epochs."""
    settings = patches.study.training
    (epoch, batch), progress = checkpoints.begin, Progress(name, settings.epochs, checkpoints)
    parts = [(0, epoch, settings.epochs)] if not batch else [(batch, epoch, epoch + 1), (0, epoch + 1, settings.epochs)]
    try:
        for done, first, last in parts:
            # Keras is told the number of steps: it would ask for one batch more than there are, and count it
            denoiser.fit(
                patches.dataset(drop_remainder=True, features=features, start=done * settings.batch).repeat(),
                steps_per_epoch=checkpoints.length - done, epochs=last, initial_epoch=first,
                validation_data=validation.dataset(drop_remainder=False).repeat(),
                validation_steps=validation.batches(drop_remainder=False),
                shuffle=False, verbose=0, callbacks=[*callbacks, progress],
            )
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise TrainingError(f"out of memory at training.batch {settings.batch} ({str(error).splitlines()[0]:.100}): try "
                            f"SET=training.batch={max(1, settings.batch // 2)}, or more devices with "
                            "SET=compute.strategy=mirrored") from error
    finally:
        progress.close()


def _features(study: Study, experiment: str, patches: Patches) -> Features | None:
    """The targets' features, where they are kept on disk."""
    context = published.EXPERIMENTS[experiment].context
    return target_features(study, context, patches).get(study.phi(experiment)) if context else None


def _denoiser(study: Study, experiment: str, lambda_: float, patches: Patches, steps: int) -> Denoiser:
    phi, context = study.phi(experiment), published.EXPERIMENTS[experiment].context
    with precision(study.compute):
        loss = TotalLoss(lambda_, encoder(study, context, phi) if context else None)
        denoiser = Denoiser(new_unet(study, patches), loss)
    denoiser.compile(optimizer=optimizer(study, steps), jit_compile=study.compute.xla)
    size = study.training.patch_size
    denoiser.build((None, size, size, 1))
    denoiser.optimizer.build(denoiser.trainable_variables)
    return denoiser


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
