"""Image quality of whole test slices, one row a slice; nothing is averaged here.

A number means little without its protocol (the same pair of images has PSNR 38 in one and 20 in the other), so both
stand in every row: the authors' (:func:`authors_metrics`) and a soft-tissue window (:func:`window_metrics`).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pandas as pd
from skimage.metrics import structural_similarity
from tqdm import tqdm

from lib.errors import StageError, TrainingError
from lib.files import atomic, file_sha256
from lib.provenance import Step
from lib.slices import WINDOW, evaluated_pairs, example_row
from lib.study import Study
from lib.volumes import denormalise, normalise, open_volume

if TYPE_CHECKING:
    import keras

LDCT: Final = "ldct"  # the input itself, evaluated like an experiment
MULTIPLE: Final = 16  # four poolings halve a side four times
BATCH: Final = 2  # slices a forward pass: larger ones gain nothing on a CPU
AHEAD: Final = 8  # slices that wait for their metrics, so that memory stays bounded
KEYS: Final = ["patient", "kernel", "thickness_mm", "index", "z_mm"]


class Scores(NamedTuple):
    """Quality of one image. ``psnr`` (dB) is infinite for an image equal to its reference."""

    ssim: float
    psnr: float
    nrmse: float


def _scores(image: np.ndarray, reference: np.ndarray, data_range: float) -> Scores:
    """SSIM (scikit-image, 7 x 7 uniform window) and, by the paper's footnotes 3 and 4, NRMSE and PSNR."""
    ssim = structural_similarity(reference, image, data_range=data_range)
    difference = image.astype(np.float64) - reference.astype(np.float64)
    error, norm = np.linalg.norm(difference), np.linalg.norm(reference.astype(np.float64))
    if error == 0:
        return Scores(float(ssim), np.inf, 0.0)
    psnr = 20 * np.log10(data_range * np.sqrt(difference.size) / error)
    return Scores(float(ssim), float(psnr), float(error / norm) if norm else np.inf)


def authors_metrics(image: np.ndarray, ndct: np.ndarray) -> Scores:
    """The protocol of Table 3: clipped to [0, 1], truncated to uint8, data range 255, NRMSE over the Euclidean norm.

    The authors repeat the channel three times; one gives bit-identical numbers for a third of the work.

    Args:
        image, ndct: (rows, columns), normalised HU, (HU + 1024) / 4096; sides of at least 7.
    """
    return _scores(*((np.clip(each, 0, 1) * 255).astype(np.uint8) for each in (image, ndct)), data_range=255)


def window_metrics(image_hu: np.ndarray, ndct_hu: np.ndarray, window: tuple[float, float] = WINDOW) -> Scores:
    """The same three in float, images clipped to a window in HU and scaled to [0, 1]; data range 1.

    Args:
        image_hu, ndct_hu: (rows, columns) in HU; sides of at least 7.
    """
    low, high = window
    scaled = ((np.clip(each.astype(np.float64), low, high) - low) / (high - low) for each in (image_hu, ndct_hu))
    return _scores(*scaled, data_range=1.0)


def denoise(unet: "keras.Model", ldct_hu: np.ndarray) -> np.ndarray:
    """Pass slices of any size through a U-Net: reflected to multiples of 16, cropped back.

    Args:
        ldct_hu: (rows, columns) or (slices, rows, columns), HU.

    Returns:
        The same shape, HU, float32.

    Raises:
        TrainingError: the network answers with values that are no numbers.
    """
    stack = ldct_hu[None] if ldct_hu.ndim == 2 else ldct_hu
    rows, columns = stack.shape[1:]
    padding = ((0, 0), (0, -rows % MULTIPLE), (0, -columns % MULTIPLE))
    padded = np.pad(normalise(stack), padding, mode="reflect")
    output = np.asarray(unet.predict_on_batch(padded[..., None]))[:, :rows, :columns, 0]
    if not np.isfinite(output).all():
        raise TrainingError("the U-Net answers with NaN or infinity: delete its weights and train it again")
    return denormalise(output).astype(np.float32).reshape(ldct_hu.shape)


def evaluate(study: Study, experiment: str) -> pd.DataFrame:
    """Score every test slice after ``experiment``'s U-Net; ``ldct`` scores the input itself.

    Cached in ``paths.evaluation``; writes the example slice to ``paths.examples`` as HU, float32.

    Returns:
        A row a slice: experiment, patient, kernel, thickness_mm, index, z_mm, then ssim, psnr, nrmse in the authors'
        protocol and ssim_window, psnr_window, nrmse_window over [-160, 240] HU.

    Raises:
        StageError: the experiment has not been trained.
    """
    paths = study.paths
    table = paths.evaluation / f"{experiment}.csv"
    step = Step(f"evaluation of {experiment}", paths.evaluation / f"{experiment}.json", {"lib.evaluation"},
                study.cohort.division, _inputs(study, experiment))
    if not step.is_current():
        slices = evaluated_pairs(study)
        with step.making() as outputs:
            rows, examples = _score(study, experiment, slices)
            for name, image in examples.items():
                outputs.append(_save_array(paths.examples / f"{name}.npy", image))
            _write_csv(pd.concat([slices[KEYS], pd.DataFrame(rows)], axis=1), table, experiment)
            outputs.append(table)
    return pd.read_csv(table)


def evaluate_all(study: Study) -> pd.DataFrame:
    """Every experiment and the LDCT input, one below the other; also written to ``paths.metrics``."""
    metrics = pd.concat([evaluate(study, name) for name in (LDCT, *study.experiments)], ignore_index=True)
    with atomic(study.paths.metrics) as temporary:
        metrics.to_csv(temporary, index=False)
    return metrics


def load_examples(study: Study) -> dict[str, np.ndarray]:
    """The example slice in HU, (rows, columns): 'ndct', 'ldct' and each experiment that has been evaluated."""
    files = {name: study.paths.examples / f"{name}.npy" for name in ("ndct", LDCT, *study.experiments)}
    return {name: np.load(path) for name, path in files.items() if path.is_file()}


def _inputs(study: Study, experiment: str) -> dict[str, str]:
    """Hashes of what the scores depend on."""
    inputs = {"manifest": file_sha256(study.paths.manifest)}
    if experiment != LDCT:
        weights = study.paths.weights(experiment)
        if not weights.is_file():
            raise StageError(f"experiment {experiment} has no weights at {weights}: train it first (make paper)")
        inputs["weights"] = file_sha256(weights)
    return inputs


def _score(study: Study, experiment: str, slices: pd.DataFrame) -> tuple[list[dict], dict[str, np.ndarray]]:
    """Scores of each slice, and the example images by name. Metrics run in threads beside the forward passes."""
    example, rows, images = example_row(slices), {}, {}
    with (ThreadPoolExecutor(2) as pool,
          tqdm(total=len(slices), desc=f"evaluate {experiment}", unit="slice", mininterval=1.0) as progress):
        for number, image, ndct in _images(study, experiment, slices):
            rows[number] = pool.submit(_both, image, ndct)
            if number == example:
                images = {"ndct": ndct, LDCT: image} if experiment == LDCT else {experiment: image}
            if number - AHEAD in rows:
                rows[number - AHEAD].result()
            progress.update()
        return [rows[number].result() for number in slices.index], images


def _images(study: Study, experiment: str, slices: pd.DataFrame) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Position, image and NDCT of each slice; (rows, columns), HU, float32."""
    unet = None
    if experiment != LDCT:
        from lib.networks.winograd import accelerated  # TensorFlow: only when a network is needed
        from lib.training import load_unet

        unet = accelerated(load_unet(study, experiment))
    folder = study.paths.volumes
    for (ldct_file, ndct_file), series in slices.groupby(["ldct", "ndct"], sort=False):
        ldct, ndct = open_volume(folder, ldct_file), open_volume(folder, ndct_file)
        for start in range(0, len(series), BATCH):
            chunk = series["index"].iloc[start : start + BATCH]
            stack = ldct[chunk.to_numpy()].astype(np.float32)
            images = stack if unet is None else denoise(unet, stack)
            for number, index, image in zip(chunk.index, chunk, images, strict=True):
                yield int(number), image, ndct[index].astype(np.float32)


def _both(image_hu: np.ndarray, ndct_hu: np.ndarray) -> dict[str, float]:
    authors = authors_metrics(normalise(image_hu), normalise(ndct_hu))._asdict()
    window = window_metrics(image_hu, ndct_hu)._asdict()
    return authors | {f"{name}_window": value for name, value in window.items()}


def _write_csv(frame: pd.DataFrame, path: Path, experiment: str) -> None:
    frame.insert(0, "experiment", experiment)
    with atomic(path) as temporary:
        frame.to_csv(temporary, index=False)


def _save_array(path: Path, image: np.ndarray) -> Path:
    with atomic(path) as temporary:
        np.save(temporary, image)
    return path
