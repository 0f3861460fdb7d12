"""03: training of f_theta: one run, from its initial weights to those after the last epoch.

A run that was killed goes on from its last checkpoint, and on the CPU ends with the same weights, bit for bit, as one
that was not.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from lib.artifacts.cache import Step
from lib.artifacts.files import atomic, single_writer, write_csv
from lib.data.features import Features
from lib.data.patches import Patches
from lib.denoiser.callbacks import Moved, Progress, StepLog, Watch
from lib.denoiser.checkpoints import Checkpoints
from lib.denoiser.critic import AdversarialDenoiser
from lib.denoiser.devices import device_names, is_chief, precision, repeatable, require_even, require_one, strategy
from lib.denoiser.model import Denoiser
from lib.denoiser.moving import MovingLambda
from lib.errors import TrainingError
from lib.networks import vgg
from lib.networks.unet import logit, unet
from lib.perceptual import TotalLoss, rules
from lib.stages import inputs
from lib.stages.feature_cache import target_features
from lib.study.config import Study
from lib.study.runs import Run
from lib.study.sections import Training, UNet

LOGS = {"loss": "total", "mse": "mse", "pl": "pl", "psi": "psi"}  # Keras's names, and those of a history
TRAINING = ["gamma", "lambda"]  # of training only: in validation nothing is differentiated, and nothing moves


def new_unet(settings: UNet, seed: int, patches: Patches) -> keras.Model:
    """The untrained U-Net: the same initial weights for every experiment of a seed, and for Algorithm 2.

    ``patches`` are the training patches, read for their mean if the output bias is ``data_mean``.
    """
    bias = logit(patches.mean_ndct()) if settings.output_bias == "data_mean" else 0.0
    return unet(**settings.architecture, seed=seed, output_bias=bias)


def optimizer(settings: Training, steps: int) -> keras.optimizers.Optimizer:
    """Adam with Table 2's parameters; ``steps`` is the length of the whole training, for the cosine schedule."""
    rate = settings.lr if settings.schedule == "constant" else keras.optimizers.schedules.CosineDecay(settings.lr, steps)
    return keras.optimizers.Adam(rate, beta_1=settings.beta_1, beta_2=settings.beta_2)


def training_step(study: Study, run: Run, lambda_: float) -> Step:
    """What the weights of one run depend on."""
    loss = study.configurations[run.experiment]
    contents = {"manifest": study.paths.manifest}
    if loss.encoder is not None:
        contents |= inputs.weights_files(study.weights, [loss.encoding])
    if begins := study.start_of(run):
        contents["pilot"] = begins
    config = {"training": study.training_of(run).decisive, "unet": study.unet.model_dump(),
              "split": study.cohort.division, "seed": run.seed, "loss": loss.as_dict() | {"lambda": lambda_},
              "moves": rules.as_dict(loss.lambda_.moves), "compute": study.compute.model_dump()}
    return Step(f"training {run}", study.paths.training(run) / "stamp.json", {"lib.stages.train"}, config, contents,
                [study.paths.weights(run), study.paths.history(run)])


def train(study: Study, run: Run, lambda_: float, callbacks: Sequence[keras.callbacks.Callback] = ()) -> pd.DataFrame:
    """Train one run with Eq. 4, or return at once if this very training is done.

    Parameters
    ----------
    run : Run, experiment, a name of ``study.configurations``, and seed
    lambda_ : float, weight of the perceptual term at the start; one of the ``callbacks`` may assign ``model.lambda_``

    Returns
    -------
    The history, a row per epoch: epoch, total, mse (the pixel term), pl, psi, the same with ``val_``, gamma, lambda (of the
    last step), moved (how far the weights are from their start, relative to it), seconds. Psi (Algorithm 2) and Gamma (of
    the gradients at the output) are over the epoch; pl, psi and gamma are empty for a loss without an encoder.

    Raises
    ------
    TrainingError : the output is constant, the loss is not finite or diverges, the memory does not suffice, or a checkpoint
        of other settings is there
    """
    paths, settings, compute = study.paths, study.training_of(run), study.compute
    step = training_step(study, run, lambda_)
    if step.is_current():
        return pd.read_csv(paths.history(run))
    devices = strategy(compute.strategy)
    require_even(settings.batch, devices)
    repeatable(run.seed, compute.deterministic)
    patches, validation = (inputs.patches(study, subset, run.seed, settings) for subset in ("train", "validation"))
    length = patches.batches(settings.batch, drop_remainder=True)
    if not length:
        raise TrainingError(f"{len(patches)} training patches do not fill one batch of {settings.batch}",
                            remedy="lower SET=training.batch or use more scans")
    loss = study.configurations[run.experiment]
    kept = target_features(study, loss.encoding, patches, run.seed) if loss.encoder else {}
    features = [kept[name] for name in loss.layer_names] if set(loss.layer_names) <= set(kept) else []
    folder = paths.training(run)
    writes = is_chief(devices)
    notes = {**run._asdict(), "devices": device_names(devices)}
    with single_writer(folder) if writes else nullcontext(), step.making(**notes) if writes else nullcontext():
        with devices.scope():
            denoiser = new_denoiser(study, run, lambda_, patches, length * settings.epochs)
            start = [np.array(weight) for weight in denoiser.unet.get_weights()]
        checkpoints = Checkpoints(folder, step, length, settings.checkpoint_steps, writes)
        checkpoints.resume(denoiser)
        moves = loss.lambda_.moves
        moving = [] if moves == rules.Fixed() else [MovingLambda(moves, checkpoints)]
        images, targets = next(iter(validation.dataset(settings.batch, drop_remainder=False)))
        watch = Watch(images, targets, settings.patience, checkpoints,
                      lambda batch: patches.slices(range(batch * settings.batch, (batch + 1) * settings.batch)),
                      watched="mse" if moving else "loss")  # a lambda that rises is no divergence
        steps = [StepLog(folder, settings.checkpoint_steps // 10, checkpoints.course, run._asdict())] if writes else []
        _fit(denoiser, settings, patches, validation, features, checkpoints,
             [watch, *moving, Moved(start), checkpoints, *steps, *callbacks], step.name)
        watch.refuse(denoiser)
        history = _history(checkpoints.rows, perceptual=denoiser.total.perceptual is not None, lambda_=lambda_)
        if writes:
            with atomic(paths.weights(run)) as temporary:
                denoiser.unet.save_weights(temporary)
            write_csv(paths.history(run), history)
    if writes:
        checkpoints.remove()
    return history


def _fit(denoiser: Denoiser, settings: Training, patches: Patches, validation: Patches, features: Sequence[Features],
         checkpoints: Checkpoints, callbacks: list[keras.callbacks.Callback], name: str) -> None:
    """Keras's ``fit``: first what is left of the epoch that a checkpoint stands in, then the other epochs."""
    course, batch = checkpoints.course, settings.batch
    (epoch, begun), progress = course.begin, Progress(name, settings.epochs, course)
    parts = [(0, epoch, settings.epochs)] if not begun else [(begun, epoch, epoch + 1), (0, epoch + 1, settings.epochs)]
    try:
        for done, first, last in parts:
            # Keras is told the number of steps: it would ask for one batch more than there are, and count it
            denoiser.fit(
                patches.dataset(batch, drop_remainder=True, features=features, start=done * batch).repeat(),
                steps_per_epoch=course.length - done, epochs=last, initial_epoch=first,
                validation_data=validation.dataset(batch, drop_remainder=False).repeat(),
                validation_steps=validation.batches(batch, drop_remainder=False),
                shuffle=False, verbose=0, callbacks=[*callbacks, progress],
            )
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise TrainingError(
            f"out of memory at training.batch {batch} ({str(error).splitlines()[0]:.100})",
            remedy=f"try SET=training.batch={max(1, batch // 2)}, or more devices with SET=compute.strategy=mirrored",
        ) from error
    finally:
        progress.close()


def new_denoiser(study: Study, run: Run, lambda_: float, patches: Patches, steps: int) -> Denoiser:
    """The model of a run before its first step; ``steps`` is the length of the whole training."""
    loss = study.configurations[run.experiment]
    with precision(study.compute.precision):
        encoder = inputs.encoder(study.weights, loss.encoding, *loss.layer_names, gradient=True) if loss.encoder else None
        network, total = new_unet(study.unet, run.seed, patches), TotalLoss(loss, lambda_, encoder)
        if loss.adversarial is None:
            denoiser = Denoiser(network, total)
        else:
            require_one(study.compute.strategy, "an adversarial term")
            denoiser = AdversarialDenoiser(network, total, loss.adversarial, study.training.patch_size, run.seed)
    if begins := study.start_of(run):
        vgg.load_weights(denoiser.unet, begins)
    settings = study.training_of(run)
    denoiser.compile(optimizer=optimizer(settings, steps), jit_compile=study.compute.xla)
    denoiser.build((None, settings.patch_size, settings.patch_size, 1))
    denoiser.optimizer.build(denoiser.trainable_variables)
    return denoiser


def _history(rows: list[dict], perceptual: bool, lambda_: float) -> pd.DataFrame:
    """``lambda_``: what it was all the time, where no rule moved it."""
    names = {f"{part}{key}": f"{part}{name}" for part in ("", "val_") for key, name in LOGS.items()}
    history = pd.DataFrame(rows).rename(columns=names)
    if "lambda" not in history:
        history["lambda"] = lambda_
    if not perceptual:
        history[["pl", "psi", "gamma", "val_pl", "val_psi"]] = float("nan")
    return history[["epoch", *names.values(), *TRAINING, "moved", "seconds"]]


def load_unet(settings: UNet, weights: Path) -> keras.Model:
    """A trained U-Net (weights after the last epoch, as the authors evaluate). Raises WeightsError if missing or damaged."""
    network = unet(**settings.architecture, seed=0)
    vgg.load_weights(network, weights)
    return network
