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
from lib.artifacts.files import atomic, file_sha256
from lib.data.hu import normalise
from lib.data.split import subsets
from lib.data.store import reading
from lib.denoiser.callbacks import Progress
from lib.denoiser.checkpoints import Checkpoints
from lib.denoiser.devices import repeatable
from lib.networks.vgg import on_ct, trunk, vgg, weights_file
from lib.study.config import LAST_CONVOLUTION, Study

WEIGHTS = {"z": 1.0, "rotation": 1.0, "organs": 1.0, "kernel": 0.1, "thickness": 0.1}
PARTS = 10  # the fine-tuning checkpoints itself this many times
PRESENT = 0.02  # share of a patch's pixels from which an organ counts as present
TISSUE = 0.125  # normalised value of -512 HU: a patch needs half its pixels above it


class Samples:
    """Random NDCT patches of one subset with their labels, drawn from a seed.

    Attributes:
        rows: int array (samples, 4): pair, row, column, quarter turns.
        organs: number of organ labels, 0 where the cohort has no masks.
    """

    def __init__(self, study: Study, subset: str, count: int, seed: int):
        store, size = study.paths.volumes, study.medical.patch_size
        split = subsets(study)
        self.pairs, self.size = split[subset].reset_index(drop=True), size
        self._volumes = {name: reading.open_volume(store, name) for name in self.pairs["ndct"].unique()}
        z = split["train"]["z_mm"]
        self._z = ((self.pairs["z_mm"] - z.min()) / max(z.max() - z.min(), 1.0)).to_numpy(np.float32)
        self._masks = _masks(study.data / "masks", self.pairs) if study.simulated else None
        self.organs = 0 if self._masks is None else 1 + max(int(mask.max()) for mask, _ in self._masks.values())
        random = np.random.default_rng([study.training.seed, seed])
        self.rows = np.stack([self._draw(random) for _ in range(count)])

    def _draw(self, random: np.random.Generator) -> np.ndarray:
        for _ in range(100):  # a patch of air teaches nothing: draw again
            pair = int(random.integers(len(self.pairs)))
            shape = self._volumes[self.pairs["ndct"][pair]].shape[1:]
            corner = [int(random.integers(side - self.size + 1)) for side in shape]
            row = np.array([pair, *corner, int(random.integers(4))])
            if np.median(self._image(row)) > TISSUE:
                break
        return row

    def _cut(self, plane: np.ndarray, row: np.ndarray) -> np.ndarray:
        _, top, left, turns = row
        return np.rot90(plane[top : top + self.size, left : left + self.size], turns)

    def _image(self, row: np.ndarray) -> np.ndarray:
        plane = self._volumes[self.pairs["ndct"][row[0]]][self.pairs["index"][row[0]]]
        return normalise(self._cut(plane, row))

    def images(self, rows: np.ndarray) -> np.ndarray:
        """Float32 (samples, size, size, 1) in [0, 1]."""
        return np.stack([self._image(row) for row in rows])[..., None]

    def organ_map(self, row: np.ndarray) -> np.ndarray:
        """Organ labels of one patch, uint8 (size, size), from the slice of the masks that is nearest in z."""
        patient, z = self.pairs["patient"][row[0]], self.pairs["z_mm"][row[0]]
        labels, positions = self._masks[patient]
        return self._cut(labels[int(np.abs(positions - z).argmin())], row)

    def labels(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Targets of the tasks: z (n, 1), rotation (n,), kernel (n, 1), thickness (n, 1), organs (n, organs)."""
        pair = rows[:, 0]
        targets = {
            "z": self._z[pair, None], "rotation": rows[:, 3].astype(np.int32),
            "kernel": (self.pairs["kernel"] == self.pairs["kernel"].min()).to_numpy(np.float32)[pair, None],
            "thickness": (self.pairs["thickness_mm"] > 2).to_numpy(np.float32)[pair, None],
        }
        if self.organs:
            maps = [np.bincount(self.organ_map(row).ravel(), minlength=self.organs) for row in rows]
            targets["organs"] = (np.stack(maps) > PRESENT * self.size**2).astype(np.float32)
        return targets


def _masks(folder: Path, pairs: pd.DataFrame) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    found = {}
    for patient in pairs["patient"].unique():
        with np.load(folder / f"{patient}.npz", allow_pickle=False) as store:
            found[patient] = store["labels"], store["z_mm"]
    return found


def _learner(network: keras.Model, organs: int, lr: float) -> keras.Model:
    network.trainable = True
    image = keras.Input((None, None, 1), name="ct")
    scaled = layers.Rescaling(255.0)(image)
    convolutions = keras.Model(network.inputs, network.get_layer(LAST_CONVOLUTION[network.name]).output)
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
    """The Medical weights: the user's file, or the recipe above, run once and kept.

    Returns:
        The weights file of the VGG without its top.
    """
    if study.medical.weights is not None:
        return study.medical.weights
    paths, settings = study.paths, study.medical
    step = Step("Medical encoder", paths.medical / "stamp.json", {"lib.stages.medical_encoder"},
                {"medical": settings, "encoder": study.encoder.architecture, "split": study.cohort.division,
                 "seed": study.training.seed},
                {"manifest": file_sha256(paths.manifest), "ImageNet": file_sha256(weights_file(study, "ImageNet"))})
    if step.is_current():
        return paths.medical_weights
    repeatable(study.training.seed, study.compute.deterministic)
    parts = min(PARTS, settings.steps)
    length = settings.steps // parts
    samples = Samples(study, "train", parts * length * settings.batch, seed=1)
    network = trunk(study, "ImageNet")
    learner = _learner(network, samples.organs, settings.lr)
    learner.optimizer.build(learner.trainable_variables)
    with step.making(seed=study.training.seed, tasks=WEIGHTS) as outputs:
        checkpoints = Checkpoints(paths.medical, step, length)
        first, _ = checkpoints.resume(learner)
        progress = Progress(step.name, parts, checkpoints)
        learner.fit(
            _batches(samples, settings.batch, first * length), epochs=parts, initial_epoch=first,
            steps_per_epoch=length, shuffle=False, verbose=0,
            callbacks=[checkpoints, progress],
        )
        progress.close()
        with atomic(paths.medical_weights) as temporary:
            network.save_weights(temporary)
        with atomic(paths.medical / "history.csv") as temporary:
            pd.DataFrame(checkpoints.rows).to_csv(temporary, index=False)
        outputs += [paths.medical_weights, paths.medical / "history.csv"]
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


def linear_probe(study: Study) -> pd.DataFrame:
    """What each encoder's features tell a linear classifier about the validation patient.

    Trained on patches of the training patients, tested on the validation patient's; features are the spatial means at
    each phi, from the ImageNet, the Medical and a random-weights encoder.

    Returns:
        A row an encoder, phi and task: encoder, phi, task, accuracy, chance (of the most frequent class).
    """
    count, file = study.medical.probe_patches, study.paths.medical / "probe.csv"
    step = Step("linear probe", study.paths.medical / "probe.json", {"lib.stages.medical_encoder"},
                {"count": count, "phi": study.encoder.phis, "split": study.cohort.division, "seed": study.training.seed},
                {"manifest": file_sha256(study.paths.manifest)}
                | {name: file_sha256(weights_file(study, name)) for name in ("ImageNet", "Medical")})
    if step.is_current():
        return pd.read_csv(file)
    keras.utils.set_random_seed(study.training.seed)
    parts = [Samples(study, "train", count, seed=2), Samples(study, "validation", count // 2, seed=3)]
    tasks = [_probe_tasks(samples) for samples in parts]
    networks = {"ImageNet": trunk(study, "ImageNet"), "Medical": trunk(study, "Medical"),
                "random": vgg(study.encoder.architecture)}
    rows = []
    for name, network in tqdm(networks.items(), desc="linear probe", unit="encoder", mininterval=1.0, delay=2):
        features = [_pooled(network, study, samples) for samples in parts]
        for position, phi in enumerate(study.encoder.phis.values()):
            for task in tasks[0]:
                rows.append({"encoder": name, "phi": phi, "task": task,
                             **_probe(features[0][position], tasks[0][task], features[1][position], tasks[1][task])})
    table = pd.DataFrame(rows)
    with step.making(seed=study.training.seed) as outputs:
        with atomic(file) as temporary:
            table.to_csv(temporary, index=False)
        outputs.append(file)
    return table


def _probe_tasks(samples: Samples) -> dict[str, np.ndarray]:
    tasks = {"rotation": samples.rows[:, 3]}
    if samples.organs:
        centre = samples.size // 2
        tasks["organ at the centre"] = np.array([samples.organ_map(row)[centre, centre] for row in samples.rows])
    labels = samples.labels(samples.rows[:, :])
    return tasks | {"kernel": labels["kernel"][:, 0], "slice thickness": labels["thickness"][:, 0]}


def _pooled(network: keras.Model, study: Study, samples: Samples) -> list[np.ndarray]:
    encoder = on_ct(network, *study.encoder.phis.values())
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
