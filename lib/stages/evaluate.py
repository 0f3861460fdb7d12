"""Image quality of whole test slices, one row a slice; nothing is averaged here.

A number means little without its protocol (the same pair of images has PSNR 38 in one and 20 in the other), so both
stand in every row: the authors' (:func:`authors_metrics`) and a soft-tissue window (:func:`window_metrics`).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from tqdm import tqdm

from lib.artifacts.cache import Step
from lib.artifacts.files import atomic, file_sha256
from lib.data.hu import normalise
from lib.data.slices import evaluated_pairs, example_row
from lib.data.store.reading import open_volume
from lib.denoiser.inference import denoise
from lib.errors import StageError
from lib.metrics.image_quality import authors_metrics, window_metrics
from lib.study.config import Study

LDCT: Final = "ldct"  # the input itself, evaluated like an experiment
BATCH: Final = 2  # slices a forward pass: larger ones gain nothing on a CPU
AHEAD: Final = 8  # slices that wait for their metrics, so that memory stays bounded
KEYS: Final = ["patient", "kernel", "thickness_mm", "index", "z_mm"]


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
    step = Step(f"evaluation of {experiment}", paths.evaluation / f"{experiment}.json", {"lib.stages.evaluate"},
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
        from lib.stages.train import load_unet

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
