"""The Medical encoder: the ImageNet encoder fine-tuned on training patients' NDCT, and what it learnt.

The paper names neither data nor recipe. Ours is multi-task, all layers trainable (freezing the first blocks would make
E3 the same as E1): body-part regression (z), rotation in four classes, organ presence where the cohort has masks, and
kernel and slice thickness at a low weight. Never dose: that turns features into noise detectors.
"""

from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras import layers
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from lib.artifacts.cache import Step
from lib.artifacts.files import atomic, write_csv
from lib.data.labelled_patches import Samples
from lib.denoiser.callbacks import Progress
from lib.denoiser.checkpoints import Checkpoints
from lib.denoiser.devices import repeatable
from lib.networks import vgg
from lib.perceptual import encoders, presets
from lib.perceptual.configuration import Encoding
from lib.stages import inputs
from lib.study.config import Study

WEIGHTS = {"z": 1.0, "rotation": 1.0, "organs": 1.0, "kernel": 0.1, "thickness": 0.1}
PARTS = 10  # the fine-tuning checkpoints itself this many times


def _samples(study: Study, subset: str, count: int, number: int) -> Samples:
    """Labelled patches of a subset; ``number`` tells draws of one seed apart."""
    pairs = inputs.subsets(study)
    z = pairs["train"]["z_mm"]
    masks = study.data / "masks" if study.simulated else None
    return Samples(pairs[subset], study.paths.volumes, (z.min(), z.max()), masks, size=study.medical.patch_size, count=count,
                   seed=[study.seed, number])


def _learner(network: keras.Model, organs: int, lr: float) -> keras.Model:
    network.trainable = True
    image = keras.Input((None, None, 1), name="ct")
    scaled = layers.Rescaling(255.0)(image)
    convolutions = keras.Model(network.inputs, network.get_layer(presets.LAST_CONVOLUTION[network.name]).output)
    pooled = layers.GlobalAveragePooling2D()(convolutions(layers.Concatenate()([scaled, scaled, scaled])))
    pooled = layers.LayerNormalization()(pooled)
    heads = {"z": layers.Dense(1, name="z")(pooled), "rotation": layers.Dense(4, name="rotation")(pooled)}
    losses = {"z": "mse", "rotation": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    for name, width in {"kernel": 1, "thickness": 1, "organs": organs}.items():
        if width:
            heads[name] = layers.Dense(width, name=name)(pooled)
            losses[name] = keras.losses.BinaryCrossentropy(from_logits=True)
    learner = keras.Model(image, heads, name="medical")
    learner.compile(keras.optimizers.Adam(lr), loss=losses, loss_weights={name: WEIGHTS[name] for name in heads},
                    jit_compile=False)
    return learner


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
    samples = _samples(study, "train", parts * length * settings.batch, 1)
    network = vgg.trunk(architecture, study.weights("ImageNet"))
    learner = _learner(network, samples.organs, settings.lr)
    learner.optimizer.build(learner.trainable_variables)
    with step.making(seed=study.seed, tasks=WEIGHTS):
        checkpoints = Checkpoints(paths.medical, step, length)
        first, _ = checkpoints.resume(learner)
        progress = Progress(step.name, parts, checkpoints.course)
        learner.fit(_batches(samples, settings.batch, first * length), epochs=parts, initial_epoch=first,
                    steps_per_epoch=length, shuffle=False, verbose=0, callbacks=[checkpoints, progress])
        progress.close()
        with atomic(paths.medical_weights) as temporary:
            network.save_weights(temporary)
        write_csv(paths.medical / "history.csv", pd.DataFrame(checkpoints.rows))
    checkpoints.remove()
    return paths.medical_weights


def _batches(samples: Samples, batch: int, skip: int) -> tf.data.Dataset:
    names = list(samples.labels(samples.rows[:1]))
    kinds = [tf.int32 if name == "rotation" else tf.float32 for name in names]
    shapes = [samples.labels(samples.rows[:1])[name].shape[1:] for name in names]

    def load(rows):
        labels = samples.labels(rows)
        return samples.images(rows), *(labels[name] for name in names)

    def cut(rows):
        image, *labels = tf.numpy_function(load, [rows], [tf.float32, *kinds])
        image = tf.ensure_shape(image, (None, samples.size, samples.size, 1))
        labels = [tf.ensure_shape(label, (None, *shape)) for label, shape in zip(labels, shapes, strict=True)]
        return image, dict(zip(names, labels, strict=True))

    return tf.data.Dataset.from_tensor_slices(samples.rows).batch(batch).skip(skip).map(cut).prefetch(2)


def _encodings(architecture: str) -> list[Encoding]:
    """The natural-image encoder and the Medical one."""
    losses = presets.paper(architecture)
    return [losses["E1"].encoding, losses["E3"].encoding]


def linear_probe(study: Study) -> pd.DataFrame:
    """What each encoder's features tell a linear classifier about the validation patient.

    Trained on patches of the training patients, tested on the validation patient's; features are the spatial means at
    each phi, from the ImageNet, the Medical and a random-weights encoder.

    Returns
    -------
    DataFrame : a row per encoder, phi and task: encoder, phi, task, accuracy, chance (of the most frequent class)
    """
    count, file = study.medical.probe_patches, study.paths.medical / "probe.csv"
    architecture = study.encoder.architecture
    phis = presets.SHALLOW, presets.LAST_CONVOLUTION[architecture]
    step = Step("linear probe", study.paths.medical / "probe.json", {"lib.stages.medical_encoder"},
                {"count": count, "phi": phis, "split": study.cohort.division, "seed": study.seed},
                {"manifest": study.paths.manifest} | inputs.weights_files(study.weights, _encodings(architecture)), [file])
    if step.is_current():
        return pd.read_csv(file)
    keras.utils.set_random_seed(study.seed)
    parts = [_samples(study, "train", count, 2), _samples(study, "validation", count // 2, 3)]
    tasks = [_probe_tasks(samples) for samples in parts]
    networks = {name: vgg.trunk(architecture, study.weights(name)) for name in ("ImageNet", "Medical")}
    networks["random"] = encoders.network(architecture)
    rows = []
    for name, network in tqdm(networks.items(), desc="linear probe", unit="encoder", mininterval=1.0, delay=2):
        features = [_pooled(network, phis, samples) for samples in parts]
        for position, phi in enumerate(phis):
            rows += [{"encoder": name, "phi": phi, "task": task,
                      **_probe(features[0][position], tasks[0][task], features[1][position], tasks[1][task])}
                     for task in tasks[0]]
    table = pd.DataFrame(rows)
    with step.making(seed=study.seed):
        write_csv(file, table)
    return table


def _probe_tasks(samples: Samples) -> dict[str, np.ndarray]:
    tasks = {"rotation": samples.rows[:, 3]}
    if samples.organs:
        centre = samples.size // 2
        tasks["organ at the centre"] = np.array([samples.organ_map(row)[centre, centre] for row in samples.rows])
    labels = samples.labels(samples.rows[:, :])
    return tasks | {"kernel": labels["kernel"][:, 0], "slice thickness": labels["thickness"][:, 0]}


def _pooled(network: keras.Model, phis: tuple[str, ...], samples: Samples) -> list[np.ndarray]:
    encoder = encoders.encoder(presets.paper(network.name)["E1"], phis, network)
    batches = [encoder.predict_on_batch(samples.images(part))
               for part in np.array_split(samples.rows, max(1, len(samples.rows) // 32))]
    return [np.concatenate([np.mean(batch[depth], axis=(1, 2)) for batch in batches]) for depth in (0, 1)]


def _probe(features: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    _, counts = np.unique(truth, return_counts=True)
    chance = float(counts.max() / len(truth))
    if len(np.unique(labels)) < 2:
        return {"accuracy": float("nan"), "chance": chance}
    probe = make_pipeline(StandardScaler(), RidgeClassifier(alpha=100.0)).fit(features, labels)
    return {"accuracy": float(probe.score(test, truth)), "chance": chance}
