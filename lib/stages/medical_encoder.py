"""The Medical encoder: the ImageNet encoder fine-tuned on training patients' NDCT, and what it learnt.

The paper names neither data nor recipe. Ours is dense: a linear head at each of three layers says which share of its cell
each organ has (with masks; else each tissue by HU), so that one patch teaches hundreds of cells. First the heads learn on
features of the frozen trunk, then heads and trunk at a small rate, all layers (freezing the first blocks would make E3 the
same as E1). Never dose, kernel or thickness: they turn features into noise detectors. Never z: it can identify a patient.
Fine-tuning leaves the scale of features free, so at the end it becomes the ImageNet encoder's, layer by layer.
"""

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras import layers
from tqdm import tqdm

from lib.artifacts.cache import Step
from lib.artifacts.files import atomic, write_csv
from lib.data.labelled_patches import Samples
from lib.data.patches import untuned
from lib.denoiser.callbacks import Progress
from lib.denoiser.checkpoints import Checkpoints
from lib.denoiser.devices import repeatable
from lib.metrics.linear_probe import START, TUNED, accuracies, judged
from lib.networks import vgg
from lib.networks.scale import convolutions, matching_scales, scale_features
from lib.perceptual import encoders, presets
from lib.perceptual.configuration import Encoding
from lib.stages import inputs
from lib.study.config import Study

PARTS = 10  # the fine-tuning checkpoints itself this many times
HEADS = {"patches": 256, "epochs": 8, "batch": 256, "lr": 1e-2}  # the heads' own training; a batch of cells
FORWARD = 16  # patches at a time where nothing is learnt
FLOOR = 0.01  # of a layer's mean variance: a channel that is silent at the start may wake up
GRID = 4  # the probe looks at 4 x 4 cells of a patch, or all where there are fewer


def _phis(architecture: str) -> tuple[str, ...]:
    """The layers that have a head and a probe: the paper's two depths, and one between."""
    return presets.SHALLOW, presets.MIDDLE, presets.LAST_CONVOLUTION[architecture]


def _stride(phi: str) -> int:
    """Pixels between a VGG layer's features: each block's pooling doubles it."""
    return 2 ** (int(phi.removeprefix("block")[0]) - 1)


def _samples(study: Study, pairs: pd.DataFrame, count: int, *number: int) -> Samples:
    """Labelled patches of some pairs; ``number`` tells draws of one seed apart."""
    masks = study.data / "masks" if study.simulated else None
    return Samples(pairs, study.paths.volumes, masks, size=study.medical.patch_size, count=count, seed=[study.seed, *number])


def _learner(network: keras.Model, classes: int, lr: float, steps: int) -> keras.Model:
    """Image -> logits of each phi's cells. The trunk sees what the loss will show it; the standardisation is fixed."""
    phis = _phis(network.name)
    network.trainable = True
    image = keras.Input((None, None, 1), name="ct")
    scaled = layers.Rescaling(255.0)(image)
    trunk = keras.Model(network.inputs[0], [network.get_layer(phi).output for phi in phis])
    logits = {}
    for phi, features in zip(phis, trunk(layers.Concatenate()([scaled, scaled, scaled])), strict=True):
        standard = layers.BatchNormalization(center=False, scale=False, epsilon=0.0, trainable=False, name=f"{phi}_standard")
        logits[phi] = layers.Conv2D(classes, 1, name=f"{phi}_head")(standard(features))
    learner = keras.Model(image, logits, name="medical")
    learner.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(lr, steps)), jit_compile=False,
                    loss={phi: keras.losses.CategoricalCrossentropy(from_logits=True) for phi in phis})
    return learner


def _train_heads(learner: keras.Model, network: keras.Model, samples: Samples) -> None:
    """Fit the standardisation and the heads to the features of the first samples, computed once."""
    rows, phis = samples.rows[: HEADS["patches"]], _phis(network.name)
    for phi, features in zip(phis, _features(_encoder(network, phis), samples.images(rows)), strict=True):
        cells = features.reshape(-1, 1, 1, features.shape[-1])
        variance = cells.var((0, 1, 2), dtype=np.float64)
        standard, head = (learner.get_layer(f"{phi}_{part}") for part in ("standard", "head"))
        standard.set_weights([cells.mean((0, 1, 2), dtype=np.float64), variance + FLOOR * variance.mean()])
        small = keras.Sequential([keras.Input(cells.shape[1:]), standard, head])
        small.compile(keras.optimizers.Adam(HEADS["lr"]), keras.losses.CategoricalCrossentropy(from_logits=True),
                      jit_compile=False)
        shares = samples.shares(rows, _stride(phi)).reshape(-1, 1, 1, samples.classes)
        small.fit(cells, shares, epochs=HEADS["epochs"], batch_size=HEADS["batch"], verbose=0)


def _encoder(network: keras.Model, phis: tuple[str, ...]) -> keras.Model:
    """Image in [0, 1] -> features at each phi, as the loss computes them. Keras traces each anew: one for a network."""
    return encoders.encoder(presets.paper(network.name)["E1"], phis, network)


def _features(encoder: keras.Model, images: np.ndarray) -> list[np.ndarray]:
    """Features of images (n, size, size, 1) at each phi."""
    return [np.concatenate(parts) for parts in zip(*_batches_of_features(encoder, images), strict=True)]


def _batches_of_features(encoder: keras.Model, images: np.ndarray) -> Iterator[list[np.ndarray]]:
    for start in range(0, len(images), FORWARD):
        yield encoder.predict_on_batch(images[start : start + FORWARD])


def _mean_squares(network: keras.Model, images: np.ndarray) -> np.ndarray:
    """Mean squared feature of each convolution."""
    names = tuple(layer.name for layer in convolutions(network))
    sums = [[len(each) * np.mean(np.square(each), dtype=np.float64) for each in batch]
            for batch in _batches_of_features(_encoder(network, names), images)]
    return np.sum(sums, axis=0) / len(images)


def fine_tune(study: Study) -> Path:
    """The Medical weights, the file of a VGG without its top: the user's, or the recipe above, run once and kept."""
    if study.medical.weights is not None:
        return study.medical.weights
    paths, settings, architecture = study.paths, study.medical, study.encoder.architecture
    step = Step("Medical encoder", paths.medical / "stamp.json", {"lib.stages.medical_encoder"},
                {"medical": settings, "encoder": architecture, "split": study.cohort.division, "seed": study.seed},
                {"manifest": paths.manifest} | inputs.weights_files(study.weights, _encodings(architecture)[:1]),
                [paths.medical_weights, paths.medical / "history.csv"])
    if step.is_current():
        return paths.medical_weights
    repeatable(study.seed, study.compute.deterministic)
    parts = min(PARTS, settings.steps)
    length = settings.steps // parts
    samples = _samples(study, inputs.subsets(study)["train"], parts * length * settings.batch, 1)
    network, start = (vgg.trunk(architecture, study.weights(START)) for _ in range(2))
    learner = _learner(network, samples.classes, settings.lr, parts * length)
    learner.optimizer.build(learner.trainable_variables)
    with step.making(seed=study.seed, task=f"shares of {samples.kind}", classes=samples.classes, heads=HEADS,
                     layers=_phis(architecture)):
        checkpoints = Checkpoints(paths.medical, step, length)
        first, _ = checkpoints.resume(learner)
        if not first:
            _train_heads(learner, start, samples)
        progress = Progress(step.name, parts, checkpoints.course)
        learner.fit(_batches(samples, _phis(architecture), settings.batch, first * length), epochs=parts,
                    initial_epoch=first, steps_per_epoch=length, shuffle=False, verbose=0, callbacks=[checkpoints, progress])
        progress.close()
        images = samples.images(samples.rows[: HEADS["patches"]])
        scale_features(network, matching_scales(*(_mean_squares(each, images) for each in (network, start))))
        with atomic(paths.medical_weights) as temporary:
            network.save_weights(temporary)
        write_csv(paths.medical / "history.csv", pd.DataFrame(checkpoints.rows))
    checkpoints.remove()
    return paths.medical_weights


def _batches(samples: Samples, phis: tuple[str, ...], batch: int, skip: int) -> tf.data.Dataset:
    """Images with the shares at each phi, from batch ``skip`` on."""
    def load(rows):
        return samples.images(rows), *(samples.shares(rows, _stride(phi)) for phi in phis)

    def cut(rows):
        image, *shares = tf.numpy_function(load, [rows], [tf.float32] * (1 + len(phis)))
        shares = [tf.ensure_shape(each, (None, None, None, samples.classes)) for each in shares]
        return tf.ensure_shape(image, (None, samples.size, samples.size, 1)), dict(zip(phis, shares, strict=True))

    return untuned(tf.data.Dataset.from_tensor_slices(samples.rows).batch(batch).skip(skip).map(cut).prefetch(2))


def _encodings(architecture: str) -> list[Encoding]:
    """The natural-image encoder and the Medical one."""
    losses = presets.paper(architecture)
    return [losses["E1"].encoding, losses["E3"].encoding]


def linear_probe(study: Study) -> pd.DataFrame:
    """Whether a cell's features tell which organ (or tissue) fills most of it, in patients that fine-tuning never saw.

    A linear classifier learns from the training patients' patches; the others, validation and test alike, say how well. The
    probe chooses nothing. Encoders: the one that fine-tuning began with, the Medical one, and one with random weights.

    Returns
    -------
    DataFrame : a row per encoder, phi and patient: encoder, phi, patient, accuracy, chance, and by phi the verdict
        medical_learnt (:mod:`lib.metrics.linear_probe` has its summary)
    """
    count, file, architecture = study.medical.probe_patches, study.paths.probe, study.encoder.architecture
    phis = _phis(architecture)
    step = Step("linear probe", study.paths.medical / "probe.json", {"lib.stages.medical_encoder"},
                {"count": count, "patch_size": study.medical.patch_size, "split": study.cohort.division, "seed": study.seed},
                {"manifest": study.paths.manifest} | inputs.weights_files(study.weights, _encodings(architecture)), [file])
    if step.is_current():
        return pd.read_csv(file)
    repeatable(study.seed, study.compute.deterministic)
    subsets = inputs.subsets(study)
    unseen = pd.concat([subsets["validation"], subsets["test"]])
    each = max(1, count // unseen["patient"].nunique())
    train = _samples(study, subsets["train"], count, 2)
    held_out = {patient: _samples(study, pairs, each, 3, number)
                for number, (patient, pairs) in enumerate(unseen.groupby("patient"))}
    networks = {name: vgg.trunk(architecture, study.weights(name)) for name in (START, TUNED)}
    networks["random"] = encoders.network(architecture)
    rows = []
    with step.making(seed=study.seed, task=f"the cell's {train.kind.removesuffix('s')}"):
        for name, network in tqdm(networks.items(), desc="linear probe", unit="encoder", mininterval=1.0, delay=2):
            encoder = _encoder(network, phis)
            seen, *others = (_cells(encoder, phis, samples) for samples in (train, *held_out.values()))
            for place, phi in enumerate(phis):
                tests = dict(zip(held_out, (cells[place] for cells in others), strict=True))
                rows += [{"encoder": name, "phi": phi, **row} for row in accuracies(seen[place], tests)]
        write_csv(file, judged(pd.DataFrame(rows)))
    return pd.read_csv(file)


def _cells(encoder: keras.Model, phis: tuple[str, ...], samples: Samples) -> list[tuple[np.ndarray, np.ndarray]]:
    """At each phi, features and most frequent class of up to GRID x GRID cells of every patch."""
    found = []
    for phi, features in zip(phis, _features(encoder, samples.images(samples.rows)), strict=True):
        step = max(1, features.shape[1] // GRID)
        chosen = slice(step // 2, None, step)
        classes = samples.shares(samples.rows, _stride(phi))[:, chosen, chosen].argmax(-1)
        found.append((features[:, chosen, chosen].reshape(-1, features.shape[-1]), classes.ravel()))
    return found
