"""04: image quality of test slices, one row per slice; nothing is averaged here."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from tqdm import tqdm

from lib.artifacts.cache import Step
from lib.artifacts.files import atomic, write_csv
from lib.data import split
from lib.data.hu import normalise
from lib.data.organ_masks import OrganMasks
from lib.data.slices import by_series, example_row
from lib.data.store.reading import open_volume
from lib.data.workers import cores
from lib.denoiser.inference import denoise
from lib.errors import StageError
from lib.metrics.grid import grid_peaks
from lib.metrics.image_quality import authors_metrics, window_metrics
from lib.metrics.regions import Region, body, inner, measure, soft_tissue
from lib.simulation.anatomy import LABEL
from lib.simulation.contents import SIMULATED_CONTENTS
from lib.study.config import Study
from lib.study.runs import Run
from lib.study.sections import UNet

if TYPE_CHECKING:
    import keras

LDCT: Final = "ldct"  # the input itself, evaluated like an experiment
BATCH: Final = 2  # slices per forward pass: larger ones gain nothing on a CPU
CHUNK: Final = 16  # slices that are denoised, then scored: threads beside a forward pass cost it more than they gain
KEYS: Final = ["patient", "kernel", "thickness_mm", "scan", "index", "z_mm", "pixel_mm"]
ORGANS: Final = ("liver", "spleen", "kidney", "muscle", "fat")  # measured where the scans are simulated and have masks


def evaluate(study: Study, run: Run | None, file: str = LDCT) -> pd.DataFrame:
    """Score the test slices after a run's U-Net; None scores the input itself, 'ldct', and keeps it under that name of
    ``file``.

    Cached in ``paths.evaluation``; the example slice goes to ``paths.examples`` as HU, float32. A row per slice
    (``study.evaluation`` says which): experiment, seed (empty for 'ldct'), patient, kernel, thickness_mm, scan, index, z_mm,
    pixel_mm, then what :func:`score` says. Raises StageError for a run that has not been trained, CohortError where a
    simulated patient has lost its organ masks.
    """
    paths, name, contents = study.paths, run.file if run else file, {"manifest": study.paths.manifest}
    if run:
        contents["weights"] = paths.weights(run)
        if not contents["weights"].is_file():
            raise StageError(f"{run} has no weights", where=contents["weights"], remedy="train it first (make paper)")
    if study.simulated:
        contents["masks"] = study.data / SIMULATED_CONTENTS  # lists them, with their SHA-256
    table = paths.evaluation / f"{name}.csv"
    step = Step(f"evaluation of {run or LDCT}", paths.evaluation / f"{name}.json", {"lib.stages.evaluate"},
                {"cohort": study.cohort.division, "evaluation": study.evaluation}, contents, [table])
    if not step.is_current():
        test = split.subsets(paths.volumes, study.cohort.given_split, study.cohort.split_seed)["test"]
        slices = by_series(test, study.evaluation.slices_per_series)
        masks = OrganMasks(study.data / "masks", slices["patient"].unique().tolist()) if study.simulated else None
        with step.making(**(run._asdict() if run else {})) as outputs:
            unet = network(study.unet, paths.weights(run)) if run else None
            rows, image, ndct = _scores(slices, paths.volumes, masks, unet, f"evaluate {run or LDCT}")
            for stem, example in ({name: image} if run or file != LDCT else {name: image, "ndct": ndct}).items():
                outputs.append(save_image(paths.examples / f"{stem}.npy", example))
            made = slices[[]].assign(experiment=run.experiment if run else LDCT, seed=run.seed if run else pd.NA)
            write_csv(table, pd.concat([made, slices[KEYS], pd.DataFrame(rows)], axis=1))
    return pd.read_csv(table, dtype={"seed": "Int64"})


def evaluate_all(study: Study) -> pd.DataFrame:
    """Every run and the LDCT input, one below the other; also written to ``paths.metrics``."""
    metrics = pd.concat([evaluate(study, run) for run in (None, *study.runs())], ignore_index=True)
    write_csv(study.paths.metrics, metrics)
    return metrics


def save_image(path: Path, image: np.ndarray) -> Path:
    """Keep an image for :func:`load_examples`; returns its path."""
    with atomic(path) as temporary:
        np.save(temporary, image)
    return path


def load_examples(folder: Path, experiments: Iterable[str], seed: int) -> dict[str, np.ndarray]:
    """The example slice in HU, (rows, columns), by name: 'ndct', 'ldct' and each experiment that was evaluated."""
    names = {"ndct": "ndct", LDCT: LDCT} | {name: Run(name, seed).file for name in experiments}
    files = {name: folder / f"{file}.npy" for name, file in names.items()}
    return {name: np.load(path, allow_pickle=False) for name, path in files.items() if path.is_file()}


def network(settings: UNet, weights: Path) -> "keras.Model":
    """A trained U-Net for whole slices."""
    from lib.networks.winograd import accelerated  # TensorFlow: only when a network is needed
    from lib.stages.train import load_unet

    return accelerated(load_unet(settings, weights))


def _scores(slices: pd.DataFrame, store: Path, masks: OrganMasks | None, unet: "keras.Model | None",
            name: str) -> tuple[list, np.ndarray, np.ndarray]:
    """Scores of each slice, and the example's image and NDCT."""
    example, rows, shown, images = example_row(slices), {}, (), _images(slices, store, unet)
    with ThreadPoolExecutor(cores()) as pool, tqdm(total=len(slices), desc=name, unit="slice", mininterval=1.0) as progress:
        while chunk := list(islice(images, CHUNK)):
            labels = [masks.at(*slices.loc[number, ["patient", "z_mm"]]) if masks else None for number, *_ in chunk]
            scored = pool.map(score, [image for _, image, _ in chunk], [ndct for *_, ndct in chunk], labels)
            for (number, image, ndct), found in zip(chunk, scored, strict=True):
                rows[number] = found
                if number == example:
                    shown = image, ndct
                progress.update()
        return [rows[number] for number in slices.index], *shown


def _images(slices: pd.DataFrame, store: Path, unet: "keras.Model | None") -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Position, image and NDCT of each slice; (rows, columns), HU, float32."""
    for (ldct_file, ndct_file), series in slices.groupby(["ldct", "ndct"], sort=False):
        ldct, ndct = open_volume(store, ldct_file), open_volume(store, ndct_file)
        for start in range(0, len(series), BATCH):
            chunk = series["index"].iloc[start : start + BATCH]
            stack = ldct.slices(chunk).astype(np.float32)
            images = stack if unet is None else denoise(unet, stack)
            for number, index, image in zip(chunk.index, chunk, images, strict=True):
                yield int(number), image, ndct.slice(index).astype(np.float32)


def score(image_hu: np.ndarray, ndct_hu: np.ndarray, labels: np.ndarray | None = None) -> dict[str, float]:
    """Every number of one slice, by the name of its column.

    * ssim, psnr, nrmse: the authors' protocol; ssim_body: its SSIM in the body; *_window: over [-160, 240] HU.
    * bias_<region>_hu, noise_<region>_hu, ndct_noise_<region>_hu (:class:`lib.metrics.regions.Region`): soft_tissue, by a
      rule from the NDCT, and, where there are ``labels``, the organs of ``ORGANS``; edges do not count.
    * grid_2, grid_4, grid_8, grid_16: how far a grid of that period stands out of the error (:mod:`lib.metrics.grid`).

    Parameters
    ----------
    image_hu, ndct_hu : array, (rows, columns), HU
    labels : array, (rows, columns), indices into :data:`lib.simulation.anatomy.ORGANS`; without them organs are NaN
    """
    inside = body(ndct_hu)
    authors, window = authors_metrics(normalise(image_hu), normalise(ndct_hu), inside), window_metrics(image_hu, ndct_hu)
    whole = ("ssim", "psnr", "nrmse")
    found = {name: getattr(authors, name) for name in whole} | {f"{name}_window": getattr(window, name) for name in whole}
    pure = np.zeros(ndct_hu.shape, bool) if labels is None else inner(labels)
    masks = {"soft_tissue": soft_tissue(ndct_hu)} | {name: pure & (labels == LABEL[name]) for name in ORGANS}
    regions = {name: measure(image_hu, ndct_hu, mask) for name, mask in masks.items()}
    return found | {"ssim_body": authors.ssim_body} | {
        f"{field}_{name}_hu": getattr(region, field) for field in Region._fields for name, region in regions.items()} | {
        f"grid_{period}": peak for period, peak in grid_peaks(image_hu - ndct_hu, inside).items()}
