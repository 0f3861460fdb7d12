"""S5: what each layer of each encoder charges for one thing wrong at a time, before any training.

Of some test patients, a window of one slice around the liver is degraded in ways whose error is known, and the perceptual
term of each is measured. The image that is degraded is noise-free where the scans are simulated; of real scans, where no
truth exists, it is the NDCT.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Final, NamedTuple

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from lib.artifacts.cache import Step
from lib.artifacts.files import write_csv
from lib.data.hu import HU_MAX, HU_MIN, normalise
from lib.data.organ_masks import OrganMasks
from lib.data.store.reading import open_volume
from lib.denoiser.devices import repeatable
from lib.metrics import degradations, grid
from lib.metrics.degradations import Degradation
from lib.metrics.patients import LEAST_PATIENTS, of_independent
from lib.networks.winograd import accelerated
from lib.perceptual import encoders, lambda_star, presets
from lib.perceptual.configuration import Encoding
from lib.perceptual.losses import as_list, distance
from lib.simulation.anatomy import LABEL
from lib.simulation.contents import SIMULATED_CONTENTS
from lib.simulation.truth import Acquisition, noise_free
from lib.stages import inputs
from lib.study.beyond import Supplement
from lib.study.config import Study

MSE: Final = 1e-4  # of images in [0, 1]: a root mean square of 41 HU, near that of the demo's low dose
BATCH: Final = 4  # images a pass: larger ones gain nothing on a CPU
RANDOM: Final = "random"
PIXEL: Final = "pixel"  # the context of losses without an encoder
REFERENCE: Final = degradations.CT_NOISE
ORGAN_SHIFT: Final = f"{degradations.ORGAN_SHIFT}, {degradations.SHIFTS_HU[0]:g} HU"
ERRORS: Final[dict[str, tuple[str, Callable[[pd.DataFrame], pd.Series]]]] = {
    degradations.SHIFT: ("|bias| in soft tissue (HU)", lambda scores: scores["bias_soft_tissue_hu"].abs()),
    ORGAN_SHIFT: ("|bias| in the liver (HU)", lambda scores: scores["bias_liver_hu"].abs()),
    degradations.WHITE_NOISE: ("noise / the NDCT's noise",
                               lambda scores: scores["noise_soft_tissue_hu"] / scores["ndct_noise_soft_tissue_hu"]),
    degradations.CHECKERBOARD: ("grid of 2 pixels", lambda scores: scores["grid_2"]),
} | {f"grating {period}": (f"grid of {period} pixels", itemgetter(f"grid_{period}")) for period in grid.PERIODS}
"""What is measured of a trained network, slice by slice, that a degradation stands for. Blur, a lesion lost and the grating
of 32 pixels have no such score."""


class Window(NamedTuple):
    """A part of a test slice: arrays (side, side)."""

    patient: str
    truth: np.ndarray  # HU: noise-free, or the NDCT of a real scan
    noise: np.ndarray  # HU: LDCT minus that
    liver: np.ndarray | None  # bool, None where there are no labels
    pixel_mm: float


def contexts(architecture: str, medical: bool) -> dict[str, Encoding]:
    """The encoders that are measured: ImageNet's, the Medical one where an experiment uses it, and one of random weights."""
    papers = presets.paper(architecture)
    found = {"ImageNet": papers["E1"].encoding} | ({"Medical": papers["E3"].encoding} if medical else {})
    return found | {RANDOM: papers["E1"].encoding._replace(weights=RANDOM)}


def measured(study: Study) -> pd.DataFrame:
    """The perceptual term of each degradation, measured once and kept.

    Returns
    -------
    DataFrame
        A row per patient, context, layer and degradation, with amplitude, unit, reference (the noise of low dose of the same
        MSE, which has a row of its own), mse (images in [0, 1]), term.
    """
    encodings, folder = contexts(study.encoder.architecture, study.uses("Medical")), study.paths.passport
    cohort = study.data if study.simulated else None
    contents = {"manifest": study.paths.manifest} | ({"cohort": cohort / SIMULATED_CONTENTS} if cohort else {})
    step = Step("passport", folder / "stamp.json", {"lib.stages.passport"},
                {"split": study.cohort.division, "seed": study.seed, "encodings": encodings}
                | study.supplement.model_dump(include={"passport_patients", "passport_side"}),
                contents | inputs.weights_files(study.weights, [each for name, each in encodings.items() if name != RANDOM]),
                [folder / "terms.csv"])
    if not step.is_current():
        repeatable(study.seed)
        layers, rows = presets.convolutions(study.encoder.architecture), []
        with step.making(seed=study.seed):
            windows = [(each, degraded(each, [study.seed, place])) for place, each in enumerate(_windows(
                inputs.subsets(study)["test"], study.paths.volumes, cohort, study.supplement))]
            for window, found in windows:
                rows += _rows(window.patient, PIXEL, found, _pixel_terms(found))
            for context, encoding in encodings.items():
                if context == RANDOM:
                    network = accelerated(encoders.encoder(encoding, layers, encoders.network(encoding.encoder)))
                else:
                    network = inputs.encoder(study.weights, encoding, *layers)
                for window, found in tqdm(windows, desc=f"passport {context}", unit="slice", mininterval=1.0, delay=2):
                    rows += _rows(window.patient, context, found, _terms(network, layers, window.truth, found))
            write_csv(folder / "terms.csv", pd.DataFrame(rows))
    return pd.read_csv(folder / "terms.csv")


def degraded(window: Window, seed: Sequence[int]) -> list[Degradation]:
    """Everything that is done to one window; ``seed``: of its white noise."""
    mse = MSE * (HU_MAX - HU_MIN) ** 2
    return degradations.battery(window.truth, window.noise, window.liver, window.pixel_mm, mse, np.random.default_rng(seed))


def _windows(test: pd.DataFrame, volumes: Path, cohort: Path | None, settings: Supplement) -> Iterator[Window]:
    """One of each of the first test patients: of the thinnest series, the first kernel, the slice with most liver (without
    labels: the middle one), around it (else: the middle). ``cohort``: folder of the simulation, None for real scans."""
    patients = sorted(test["patient"].unique())[: settings.passport_patients]
    masks = OrganMasks(cohort / "masks", patients) if cohort else None
    for patient in tqdm(patients, desc="noise-free slices", unit="patient", mininterval=1.0, delay=2):
        _, thin = next(iter(test[test["patient"] == patient].groupby(["thickness_mm", "kernel", "scan"])))
        if masks is None or cohort is None:
            row = thin.iloc[len(thin) // 2]
            truth, liver = open_volume(volumes, row["ndct"]).slice(row["index"]), None
        else:
            row = thin.iloc[int(np.argmax([(masks.at(patient, z) == LABEL["liver"]).sum() for z in thin["z_mm"]]))]
            Acquisition.of(cohort, patient).require_same(row["z_mm"], masks.at(patient, row["z_mm"]), patient)
            truth, labels = noise_free(cohort, patient, row["z_mm"], row["kernel"])
            liver = labels == LABEL["liver"]
        noise = open_volume(volumes, row["ldct"]).slice(row["index"]).astype(np.float64) - truth
        part = _around(truth.shape if liver is None or not liver.any() else liver, settings.passport_side)
        yield Window(patient, truth[part], noise[part], None if liver is None else liver[part], row["pixel_mm"])


def _around(where: np.ndarray | tuple[int, ...], side: int) -> tuple[slice, ...]:
    """A square, cut at the borders of the image, around the centre of a mask, or of an image of this shape."""
    shape = where.shape if isinstance(where, np.ndarray) else where
    centre = np.argwhere(where).mean(axis=0) if isinstance(where, np.ndarray) else np.array(shape) / 2
    corners = np.clip(np.round(centre - side / 2), 0, np.maximum(0, np.array(shape) - side)).astype(int)
    return tuple(slice(corner, corner + side) for corner in corners)


def _rows(patient: str, context: str, found: Sequence[Degradation], terms: Mapping[str, np.ndarray]) -> list[dict]:
    """A row for each layer and degradation; ``terms``: by layer, one of each degradation."""
    scale = (HU_MAX - HU_MIN) ** 2
    return [{"patient": patient, "context": context, "layer": layer, "degradation": each.name, "amplitude": each.amplitude,
             "unit": each.unit, "reference": each.reference, "term": term,
             "mse": degradations.mean_square(each.difference) / scale}
            for layer, values in terms.items() for each, term in zip(found, values, strict=True)]


def _images(truth: np.ndarray, found: Sequence[Degradation]) -> np.ndarray:
    """The image itself, then each degraded one: (images, rows, columns, 1), in [0, 1], float32."""
    return normalise(np.stack([truth, *(truth + each.difference for each in found)]))[..., None]


def _pixel_terms(found: Sequence[Degradation]) -> dict[str, np.ndarray]:
    """Known answers: of the MSE, every price is 1."""
    relative = [each.difference / (HU_MAX - HU_MIN) for each in found]
    return {name: np.array([kind(each).mean() for each in relative]) for name, kind in (("MSE", np.square), ("L1", np.abs))}


def _terms(network: keras.Model, layers: Sequence[str], truth: np.ndarray,
           found: Sequence[Degradation]) -> dict[str, np.ndarray]:
    """Mean squared distances of features, by layer."""
    images = _images(truth, found)
    targets, parts = as_list(network(images[:1], training=False)), []
    for start in range(1, len(images), BATCH):
        features = as_list(network(images[start : start + BATCH], training=False))
        parts.append([keras.ops.convert_to_numpy(distance(a, b)) for a, b in zip(features, targets, strict=True)])
    return dict(zip(layers, np.concatenate(parts, axis=1), strict=True))


def prices(terms: pd.DataFrame, target: float) -> pd.DataFrame:
    """What each degradation costs beside noise of low dose of the same MSE, which is measured at that MSE: the terms of
    deep layers grow by far less than their MSE.

    Parameters
    ----------
    terms : DataFrame, of :func:`measured`
    target : float, Psi (Algorithm 2) of the total loss for noise of low dose of the MSE that all have: it gives lambda

    Returns
    -------
    DataFrame
        A row per context, layer and degradation: amplitude and mse (means over patients), unit, term (mean), price
        (geometric mean over patients; that of low dose noise is 1), low and high (t interval of its logarithm over patients,
        empty for fewer than three), patients, and price_total, the same of pixel term plus lambda times this layer's: one
        lambda, so that it is 1 - target + target * price where the MSE is the one of which lambda is, and nowhere else.
    """
    keys = ["context", "layer", "degradation"]
    where = ["patient", "context", "layer"]
    own = terms["degradation"] == terms["reference"]
    noise = terms.loc[own, [*where, "reference", "term"]]
    lambdas = {place: lambda_star(some["mse"], some["term"], target)
               for place, some in terms[terms["degradation"] == REFERENCE].groupby(["context", "layer"])}
    priced = terms[~own | terms["degradation"].isin([REFERENCE, degradations.AS_IT_IS])]
    joined = priced.merge(noise, on=[*where, "reference"], suffixes=("", "_noise"), validate="many_to_one")
    joined["log"] = np.log(joined["term"] / joined["term_noise"])
    rows = []
    for names, some in joined.groupby(keys, sort=False):
        mean = of_independent(some["log"].to_numpy())
        low, high = np.exp(mean.interval()) if len(some) >= LEAST_PATIENTS else (np.nan, np.nan)
        price = float(np.exp(mean.estimate))
        totals = [some["mse"] + lambdas[names[:2]] * some[each] for each in ("term", "term_noise")]
        total = price if names[0] == PIXEL else float(np.exp(np.log(totals[0] / totals[1]).mean()))
        rows.append(dict(zip(keys, names, strict=True)) | {
            "price": price, "low": low, "high": high, "patients": len(some), "price_total": total,
            "amplitude": some["amplitude"].mean(), "unit": some["unit"].iloc[0], "mse": some["mse"].mean(),
            "term": some["term"].mean()})
    return pd.DataFrame(rows)


def predictions(table: pd.DataFrame, scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """What a network trained with one layer's loss gets wrong, beside what that loss charges for it.

    Parameters
    ----------
    table : DataFrame, of :func:`prices`
    scores : mapping, by layer, of :func:`lib.stages.evaluate.evaluate`: a row per test slice

    Returns
    -------
    DataFrame : a row per degradation of ``ERRORS`` and layer: degradation, measured (in words), layer, price, error (mean
        over slices)
    """
    known = table[table["context"] == "ImageNet"].set_index(["degradation", "layer"])["price"]
    return pd.DataFrame([
        {"degradation": name, "measured": words, "layer": layer, "price": known[name, layer], "error": error(some).mean()}
        for name, (words, error) in ERRORS.items() for layer, some in scores.items() if (name, layer) in known.index])
