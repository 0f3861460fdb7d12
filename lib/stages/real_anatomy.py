"""Real anatomy: public scans with an inserted low dose, and what networks that were trained on others make of them."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from lib.artifacts.cache import Step
from lib.artifacts.files import write_csv
from lib.data.public_scans import BODIES, unpack
from lib.data.slices import by_series, example_row
from lib.data.store import reading
from lib.data.store.build import build_store
from lib.data.workers import cores
from lib.denoiser.inference import denoise
from lib.simulation.insertion import insert
from lib.stages import statistics
from lib.stages.evaluate import KEYS, LDCT, network, save_image, score
from lib.study.runs import Run
from lib.study.sections import UNet

DOSE_FRACTION: Final = 0.25


def prepare(folder: Path, jobs: int | None = None) -> pd.DataFrame:
    """The public scans below ``folder``: `dicom` as published, `inserted` with a quarter dose, and its `volumes`.

    What is there already is kept. Returns the report of the insertion (:func:`lib.simulation.insertion.insert`). Raises
    WheelError or CohortError where a file is not the one that we know, OutputError.
    """
    unpack(folder / "dicom")
    report = insert(folder / "dicom", folder / "inserted", dose_fraction=DOSE_FRACTION, jobs=jobs or cores())
    build_store(folder / "inserted", folder / "volumes", jobs=jobs or cores())
    return report


def body_slices(store: Path, most: int) -> pd.DataFrame:
    """Pairs of slices of the two bodies, by their public codes, at most so many of each (:mod:`lib.data.slices`)."""
    codes = {scan.patient: scan.code for scan in BODIES}
    pairs = reading.pairs(reading.load_manifest(store))
    return by_series(pairs[pairs["patient"].isin(codes)].replace({"patient": codes}), most)


def evaluate(store: Path, folder: Path, networks: Mapping[Run, Path], settings: UNet, most: int) -> pd.DataFrame:
    """Score networks, and the input, on slices of each real body.

    Parameters
    ----------
    store : Path, volumes of :func:`prepare`
    folder : Path, where scores are kept, with the images of the example slice (:func:`lib.stages.evaluate.load_examples`)
    networks, settings : weights of each run, and what networks they are of
    most : int, slices of each body

    Returns
    -------
    DataFrame
        As of :func:`lib.stages.evaluate.evaluate_all`, where patient is the public code.

    Raises
    ------
    VolumeError : there are no real scans. WeightsError : a run has not been trained.
    """
    table, contents = folder / "metrics.csv", {run.file: weights for run, weights in networks.items()}
    step = Step("real anatomy", folder / "stamp.json", {"lib.stages.real_anatomy"}, {"unet": settings, "slices": most},
                {"manifest": store / "manifest.csv"} | contents, [table])
    if not step.is_current():
        slices = body_slices(store, most)
        ldct, ndct = ([reading.open_volume(store, row[dose]).slice(row["index"]).astype(np.float32)
                       for _, row in slices.iterrows()] for dose in ("ldct", "ndct"))
        place, parts = example_row(slices), []
        with step.making() as outputs:
            for run in (None, *networks):
                images = list(map(partial(denoise, network(settings, networks[run])), ldct)) if run else ldct
                with ThreadPoolExecutor(cores()) as pool:
                    scores = pd.DataFrame(pool.map(score, images, ndct))
                made = slices[[]].assign(experiment=run.experiment if run else LDCT, seed=run.seed if run else pd.NA)
                parts.append(pd.concat([made, slices[KEYS], scores], axis=1))
                shown = {run.file: images} if run else {LDCT: images, "ndct": ndct}
                outputs += [save_image(folder / f"{name}.npy", each[place]) for name, each in shown.items()]
            write_csv(table, pd.concat(parts))
    return pd.read_csv(table, dtype={"seed": "Int64"})


def table3(metrics: pd.DataFrame) -> pd.DataFrame:
    """:func:`lib.stages.statistics.table3` of each real body, without what the paper says of other bodies, rank over all
    rows, with the means bias_soft_tissue_hu and noise_soft_tissue_hu."""
    parts = []
    for patient, scores in metrics.groupby("patient", sort=False):
        table = statistics.table3(scores).drop(columns=["rank", "bias_liver_hu"]).rename(columns={"rank_all": "rank"})
        means = scores.groupby("experiment", sort=False)[["bias_soft_tissue_hu", "noise_soft_tissue_hu"]].mean()
        parts.append(table.merge(means, left_on="experiment", right_index=True).assign(patient=patient))
    frame = pd.concat(parts, ignore_index=True)
    frame = frame[[name for name in frame if not name.startswith(("paper", "lambda", "psi"))]]
    return frame[["patient", *frame.columns.drop("patient")]]
