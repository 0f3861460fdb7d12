"""The card of a model that is handed on: what made it, what it does and does not do, how it is loaded. Every number is read
from the tables of its study; what was not measured is said."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lib import REPOSITORY
from lib.artifacts.provenance import commit, worded
from lib.data.hu import HU_MAX, HU_MIN
from lib.deploy.model import left_by_training
from lib.metrics.patients import Mean, differences, of_independent
from lib.report.labels import Labels
from lib.report.psi_claims import STATES
from lib.report.sentences import sentence
from lib.report.words import counted, listed, number
from lib.study.paths import Paths
from lib.study.runs import Run

MODEL, CARD = "model.keras", "README.md"
LDCT: Final = "ldct"
METRICS: Final = (("ssim", "SSIM", 3), ("ssim_body", "SSIM in the body", 3), ("psnr", "PSNR (dB)", 2), ("nrmse", "NRMSE", 3),
                  ("ssim_window", "SSIM in the window", 3), ("psnr_window", "PSNR in the window (dB)", 2))
OWN: Final = "this network's own weights (last epoch)"
REGION: Final = re.compile(r"bias_(?P<name>\w+)_hu")
SNIPPET: Final = f'''\
import keras
import numpy as np

model = keras.models.load_model("{MODEL}", compile=False, safe_mode=True)


def denoise(hu):
    """HU of LDCT slices, (slices, rows, columns), to the network's estimate of NDCT in HU; any size."""
    rows, columns = hu.shape[1:]
    padding = ((0, 0), (0, -rows % 16), (0, -columns % 16))  # four poolings halve a side four times
    padded = np.pad(np.asarray(hu, "float32"), padding, mode="reflect")
    made = [keras.ops.convert_to_numpy(model(image[None, ..., None], training=False)) for image in padded]
    return np.stack([image[0, :rows, :columns, 0] for image in made])
'''
"""How Keras alone loads and runs the model: in the card, and run by a test."""


class Trained(Protocol):
    """The range of a training set (:class:`lib.deploy.trained_range.TrainedRange`)."""

    kernels: tuple[str, ...]
    thickness_mm: tuple[float, float]
    pixel_mm: tuple[float, float]


@dataclass(frozen=True)
class Facts:
    """What a card knows of a network; tables have strings for readers, and no rows where nothing was measured."""

    run: Run
    profile: str
    simulated: bool
    label: str  # of the experiment: 'E1: block3_conv2, ImageNet*'
    context: str
    layers: tuple[str, ...]
    pixel: str
    lambda_rule: str
    provenance: str
    weights_sha256: str
    stamp: dict[str, Any]  # of the training
    metrics: pd.DataFrame
    regions: pd.DataFrame
    influence: pd.DataFrame
    exchange: pd.DataFrame
    claims: tuple[str, ...]
    patients: int  # in the test
    trained: Trained | None


def facts(run: Run, paths: Paths, labels: Labels, trained: Trained | None) -> Facts:
    """Gather them from what a study left: the stamp of the training, its metrics, and the tables beside its figures.

    Raises StageError, WeightsError: as :func:`lib.deploy.model.left_by_training`.
    """
    known, sha256 = left_by_training(run, paths)
    made_from = labels.provenance_at(known["commit"]) if known else labels.provenance
    shown, scores = labels.experiments[run.experiment], pd.DataFrame()
    evaluation = paths.evaluation / f"{run.file}.json"
    if evaluation.is_file() and paths.metrics.is_file() and json.loads(evaluation.read_text(encoding="utf-8"))[
            "inputs"].get("weights") == sha256:  # those of an earlier training are another network's
        scores = pd.read_csv(paths.metrics, dtype={"seed": "Int64"})
    if len(scores):
        ours = (scores["experiment"] == run.experiment) & (scores["seed"] == run.seed).fillna(False).astype(bool)
        scores = scores[ours | (scores["experiment"] == LDCT)] if ours.any() else scores[:0]
    influence = _rows(labels.figures / "calibration.csv", experiment=run.experiment, seed=run.seed)
    exchange = _rows(paths.supplement / "exchange.csv", configuration=run.experiment, seed=run.seed, at="used")
    return Facts(run, paths.profile, labels.simulated, shown.label, shown.context, tuple(shown.layers), shown.pixel,
                 shown.lambda_rule, made_from, sha256, known,
                 _metrics(scores, run.experiment), _regions(scores, run.experiment), _influence(influence),
                 _exchange(exchange), _claims(labels.figures / "claims.csv", run.experiment),
                 scores["patient"].nunique() if len(scores) else 0, trained)


def text(known: Facts, sha256: str, size: int) -> str:
    """The card, Markdown with the front matter that model hubs read.

    Parameters
    ----------
    sha256, size : of the model file; bytes
    """
    here = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=False, undefined=StrictUndefined,
                       trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    here.filters |= {"table": _markdown, "listed": listed, "counted": counted}
    license_name = (REPOSITORY / "LICENSE").read_text(encoding="utf-8").split("\n", 1)[0].removesuffix(" License")
    stamp = known.stamp
    return here.get_template("card.md.jinja").render(
        known=known, sha256=sha256, megabytes=f"{size / 1e6:.1f}", model=MODEL, snippet=SNIPPET, license=license_name,
        commit=commit(), low=f"{HU_MIN:g}", high=f"{HU_MAX:g}", ranges=_ranges(known.trained),
        loss=json.dumps(stamp["config"]["loss"], sort_keys=True) if stamp else "",
        arithmetic=[worded(each) for each in stamp.get("arithmetic", ())],
        versions=", ".join(f"{name} {version}" for name, version in stamp.get("versions", {}).items()))


def _rows(path: Path, **wanted: Any) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame()
    table = pd.read_csv(path)
    return table[(table[list(wanted)] == pd.Series(wanted)).all(axis=1)]


def _interval(mean: Mean, digits: int, sign: bool = False) -> str:
    shape = f"{'+' if sign else ''}z.{digits}f"
    if mean.estimate != mean.estimate:
        return "–"
    low, high = mean.interval()
    return f"{mean.estimate:{shape}}" + (f" [{low:{shape}}, {high:{shape}}]" if low == low else "")


def _metrics(scores: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """Means over patients of the network and the LDCT input, and their difference by patient, with 95 % t intervals."""
    rows = []
    for metric, name, digits in METRICS if len(scores) else ():
        means = scores.groupby(["experiment", "patient"])[metric].mean()
        apart = differences(scores, experiment, LDCT, metric).to_numpy().ravel()
        rows.append([name, *[_interval(of_independent(means[each].to_numpy()), digits) for each in (experiment, LDCT)],
                     _interval(of_independent(apart), digits, sign=True)])
    return pd.DataFrame(rows, columns=["Metric", "This network", "LDCT input", "Difference"])


def _regions(scores: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """Bias and noise by region, means over patients."""
    rows, ours = [], scores[scores["experiment"] == experiment] if len(scores) else scores
    for column in ours:
        if (match := REGION.fullmatch(column)) and ours[column].notna().any():
            name = match["name"]
            means = [ours.groupby("patient")[each].mean().dropna().to_numpy()
                     for each in (column, f"noise_{name}_hu", f"ndct_noise_{name}_hu")]
            rows.append([name.replace("_", " "), _interval(of_independent(means[0]), 1, sign=True),
                         *[_interval(of_independent(each), 1) for each in means[1:]]])
    return pd.DataFrame(rows, columns=["Region", "Bias (HU)", "SD (HU)", "SD of the NDCT (HU)"])


def _influence(rows: pd.DataFrame) -> pd.DataFrame:
    names = {"lambda_used": "λ used", "psi_alg2": "Ψ (Algorithm 2)", "psi_eq5": "Ψ (Eq. 5)", "lambda_exact": "λ* (target Ψ)"}
    return pd.DataFrame([[_state(row["state"]), *[number(row[name]) for name in names]]
                         for _, row in rows.iterrows()], columns=["Measured with", *names.values()])


def _state(name: str) -> str:
    return OWN if name == "own" else STATES.get(name, name)


def _exchange(rows: pd.DataFrame) -> pd.DataFrame:
    names = {"gamma_output": "Γ at the output", "gamma_weights": "Γ at the weights"}
    return pd.DataFrame([[_state(row["state"]), *[number(row[name]) for name in names]]
                         for _, row in rows.iterrows()], columns=["Measured with", *names.values()])


def _claims(path: Path, experiment: str) -> tuple[str, ...]:
    """The claims about image quality that name the experiment, as sentences."""
    if not path.is_file():
        return ()
    table = pd.read_csv(path, keep_default_na=True).fillna({"note": ""})
    named = table["claim"].str.contains(rf"(?<![\w.+-]){re.escape(experiment)}(?![\w+-])") & (table["question"] != "RQ1")
    return tuple(sentence(row) for row in table[named].to_dict("records"))


def _ranges(trained: Trained | None) -> list[tuple[str, str]]:
    if trained is None:
        return []
    found = [("kernels", listed(list(trained.kernels)))]
    for name, (low, high) in (("slice thickness", trained.thickness_mm), ("pixel spacing", trained.pixel_mm)):
        ends = dict.fromkeys(f"{each:.3g}" for each in (low, high))
        found.append((name, " to ".join(ends) + " mm" if low == low else "not stated in the headers"))
    return found


def _markdown(table: pd.DataFrame) -> str:
    return table.to_markdown(index=False, disable_numparse=True)
