"""S8: the package outside CT. Photographs at half their resolution, a small Keras network that brings back the rest, MSE
beside a perceptual loss of three channels: checked, calibrated, and trained by plain ``compile`` and ``fit``.

The photographs are those that scikit-image's wheel carries. The encoder is the study's; the network starts as bicubic
interpolation.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import keras
import numpy as np
import pandas as pd
import skimage
from skimage import data, metrics, transform

from lib.artifacts.cache import Step
from lib.artifacts.files import atomic, write_csv, write_json
from lib.denoiser.devices import repeatable
from lib.networks import vgg
from lib.perceptual import TARGET_PSI, Exchange, GradientShare, LossConfiguration, PerceptualInfluence, TotalLoss, presets
from lib.perceptual.balance import calibrate
from lib.perceptual.linter import lint
from lib.perceptual.losses import distance
from lib.perceptual.measure import exchange
from lib.study.beyond import Photographs
from lib.study.config import Study

TRAIN: Final = ("astronaut", "coffee", "rocket", "stereo_motorcycle")
TEST: Final = ("chelsea", "hubble_deep_field", "retina", "immunohistochemistry")
SHOWN: Final = TEST[0]
BICUBIC, MSE, GAMMA, PSI = "bicubic", "mse", "gamma 0.5", f"psi {TARGET_PSI:g}"
ARMS: Final = (MSE, GAMMA, PSI)  # lambda 0, that of equal gradients at the output, and that of the paper's Psi
RATE: Final = 1e-3  # of Adam
PAIRS: Final = 10  # that calibrate and check


class Found(NamedTuple):
    """What :func:`measured` returns."""

    scores: pd.DataFrame  # a row per arm (experiment), seed and test photograph (patient), of :func:`scorer`
    courses: pd.DataFrame  # a row per arm, seed and epoch: what fit logged
    worth: pd.DataFrame  # a row per arm and seed: its lambda as every trade counts it, with the pilot
    reports: dict[str, list[str]]  # what lint said of each variant, a line each
    examples: dict[str, np.ndarray]  # one photograph: target, bicubic, and after each arm of the first seed, (size, size, 3)


def photographs(names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Photographs of scikit-image's wheel by name, (rows, columns, 3) float32 in [0, 1]."""
    found = {}
    for name in names:
        image = getattr(data, name)()
        found[name] = np.asarray(image[0] if isinstance(image, tuple) else image, np.float32)[..., :3] / 255
    return found


def halved(images: np.ndarray) -> np.ndarray:
    """What half the resolution leaves: means of 2 x 2 pixels, brought back by bicubic interpolation.

    ``images`` : (n, rows, columns, 3), of even size; the result has the same shape
    """
    small = transform.downscale_local_mean(images, (1, 2, 2, 1))
    large = [transform.resize(each, images.shape[1:], order=3, mode="symmetric") for each in small]
    return np.stack(large).astype(np.float32)


def middle(image: np.ndarray, size: int) -> np.ndarray:
    """The middle of an image, (size, size, 3)."""
    top, left = (np.array(image.shape[:2]) - size) // 2
    return image[top : top + size, left : left + size]


def patches(images: Mapping[str, np.ndarray], count: int, size: int, seed: int) -> np.ndarray:
    """Patches at random places, as many of each image, (count, size, size, 3)."""
    random, every = np.random.default_rng([seed, 8]), list(images.values())
    found = []
    for number in range(count):
        image = every[number % len(every)]
        top, left = (random.integers(0, side - size + 1) for side in image.shape[:2])
        found.append(image[top : top + size, left : left + size])
    return np.stack(found)


def network() -> keras.Model:
    """Three convolutions beside the identity, (batch, rows, columns, 3): at the start their sum is the input."""
    image = x = keras.Input((None, None, 3))
    for _ in range(2):
        x = keras.layers.Conv2D(24, 3, padding="same", activation="relu")(x)
    return keras.Model(image, image + keras.layers.Conv2D(3, 3, padding="same", kernel_initializer="zeros")(x))


def colour_encoder(trunk: keras.Model, layer: str) -> keras.Model:
    """Features of colour images in [0, 1], shown to a network of keras.applications as it was trained."""
    image = keras.Input((None, None, 3))
    shown = keras.applications.imagenet_utils.preprocess_input(255.0 * image, mode="caffe")
    encoder = keras.Model(image, keras.Model(trunk.inputs[0], trunk.get_layer(layer).output)(shown))
    encoder.trainable = False
    return encoder


def measured(study: Study) -> Found:
    """The whole example, for ``study.supplement.seeds`` seeds, done once and kept."""
    folder, settings = study.paths.artifacts / "other_images", study.supplement.photographs
    architecture, weights = study.encoder.architecture, study.weights("ImageNet")
    seeds = study.seeds[: study.supplement.seeds]
    step = Step("photographs", folder / "stamp.json", {"lib.stages.other_images"},
                {"photographs": settings, "seeds": seeds, "scikit-image": skimage.__version__},
                {"weights": vgg.weights_key(architecture, weights)},
                [folder / name for name in ("scores.csv", "courses.csv", "worth.csv", "reports.json", "examples.npz")])
    if not step.is_current():
        with step.making():
            made = _measure(vgg.trunk(architecture, weights), settings, seeds)
            for path, table in zip(step.outputs, made[:3], strict=False):
                write_csv(path, table)
            write_json(step.outputs[3], made.reports)
            with atomic(step.outputs[4]) as temporary, temporary.open("wb") as stream:
                np.savez_compressed(stream, **made.examples)
    with np.load(step.outputs[4], allow_pickle=False) as examples:
        return Found(*map(pd.read_csv, step.outputs[:3]), json.loads(step.outputs[3].read_text(encoding="utf-8")),
                     dict(examples))


def _measure(trunk: keras.Model, settings: Photographs, seeds: tuple[int, ...]) -> Found:
    configuration = LossConfiguration(trunk.name, "ImageNet", (presets.SHALLOW,), preprocessing="caffe")
    encoder = colour_encoder(trunk, presets.SHALLOW)
    images = photographs(TRAIN)
    test = np.stack([middle(each, settings.size) for each in photographs(TEST).values()])
    coarse = halved(test)
    rows, courses, worth, examples = [], [], [], dict(zip(("target", BICUBIC), (test[0], coarse[0]), strict=True))
    reports: dict[str, list[str]] = {}
    scored = scorer(test, encoder)
    rows += scored(coarse, {"experiment": BICUBIC})
    for seed in seeds:
        repeatable(seed)
        targets = patches(images, settings.patches, settings.patch_size, seed)
        inputs = halved(targets)
        pilot = network()
        _fit(pilot, "mse", inputs, targets, settings, settings.pilot_epochs)
        start, some = pilot.get_weights(), [(inputs[:PAIRS], targets[:PAIRS])]
        loss = TotalLoss(configuration, 0.0, encoder)
        found = exchange(pilot, keras.losses.MeanSquaredError(), loss.perceptual, some)
        lambdas = chosen(found)
        if not reports:
            reports = _linted(pilot, trunk, loss, some, lambdas[PSI])
        for arm, lambda_ in lambdas.items():
            model = network()
            model.set_weights(start)
            loss.lambda_.assign(lambda_)
            history = _fit(model, loss if lambda_ else "mse", inputs, targets, settings, settings.epochs)
            outputs = model.predict(coarse, verbose=0)
            what = {"experiment": arm, "seed": seed, "lambda": lambda_}
            rows += scored(outputs, what)
            courses += [what | {"epoch": epoch} | dict(zip(history, values, strict=True))
                        for epoch, values in enumerate(zip(*history.values(), strict=True), start=1)]
            worth.append(what | found.row(lambda_))
            examples.setdefault(arm, np.clip(outputs[0], 0, 1))
    return Found(pd.DataFrame(rows), pd.DataFrame(courses), pd.DataFrame(worth), reports, examples)


def chosen(found: Exchange) -> dict[str, float]:
    """The lambda of each arm."""
    return {MSE: 0.0, GAMMA: found.lambda_at("gamma_output", 0.5), PSI: found.lambda_at("psi_alg2", TARGET_PSI)}


def _linted(pilot: keras.Model, trunk: keras.Model, loss: TotalLoss, some: list, lambda_: float) -> dict[str, list[str]]:
    """What lint says of the loss as it should be, and of four ways to get it wrong."""
    mse, perceptual = keras.losses.MeanSquaredError(), loss.perceptual
    features = keras.Model(trunk.inputs[0], trunk.get_layer(presets.SHALLOW).output)

    def unscaled(y: Any, f: Any) -> Any:  # any function of targets and predictions is a loss
        return distance(features(y), features(f))

    def rounded(y: Any, f: Any) -> Any:
        return perceptual.call(y, keras.ops.round(255 * f) / 255)

    own = calibrate(pilot, unscaled, some, beside=mse).lambda_star
    variants: dict[str, tuple[Any, Any, float]] = {
        "as it should be": (mse, perceptual, lambda_), "λ = 1": (mse, perceptual, 1.0),
        "images shown in [0, 1]": (mse, unscaled, own),
        "MSE summed": (keras.losses.MeanSquaredError(reduction="sum"), perceptual, lambda_),
        "grey levels rounded": (mse, rounded, lambda_)}
    return {name: [str(each) for each in lint(a, b, pilot, some, weight).without(["cost"])]
            for name, (a, b, weight) in variants.items()}


def _fit(model: keras.Model, loss: Any, inputs: np.ndarray, targets: np.ndarray, settings: Photographs, epochs: int) -> dict:
    """Plain Keras; what it logged."""
    shares = [PerceptualInfluence(loss=loss), GradientShare(loss=loss)] if isinstance(loss, TotalLoss) else []
    model.compile(keras.optimizers.Adam(RATE), loss, metrics=shares, jit_compile=False)
    history = model.fit(inputs, targets, settings.batch, epochs, verbose=0).history
    return {name: history.get(name, [0.0] * epochs) for name in ("loss", "psi", "gamma")}


def scorer(targets: np.ndarray, encoder: keras.Model) -> Callable:
    """A function of images (n, rows, columns, 3) that makes a row for each: PSNR (dB), SSIM, the perceptual loss and its
    -10 log10 (dB), the shift of the mean (grey levels of 255), and the energy of gradients by that of the target."""
    known = encoder(targets)

    def slopes(image: np.ndarray) -> float:
        return float(sum(np.square(np.diff(image, axis=axis)).sum() for axis in (0, 1)))

    def scored(images: np.ndarray, what: dict) -> list[dict]:
        images = np.clip(images, 0, 1)
        pls = keras.ops.convert_to_numpy(distance(encoder(images), known))
        rows = []
        for name, image, target, pl in zip(TEST, images, targets, pls, strict=True):
            rows.append(what | {
                "patient": name, "psnr": metrics.peak_signal_noise_ratio(target, image, data_range=1),
                "ssim": metrics.structural_similarity(target, image, channel_axis=-1, data_range=1), "pl": float(pl),
                "pl_db": -10 * np.log10(float(pl)), "shift": 255 * float(np.mean(image - target)),
                "detail": slopes(image) / slopes(target)})
        return rows

    return scored
