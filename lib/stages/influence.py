"""After 03: Psi and lambda* in three states of the network, whether training moves lambda*, and the authors' beside ours.

'untrained' and 'pilot' are the calibration's (02). 'own' is the network of each experiment in its last training epoch: that
is what the authors' published losses are, and what their Figure 2 shows.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lib.paper import published
from lib.perceptual import presets
from lib.perceptual.psi import TARGET_PSI
from lib.stages.calibrate import COLUMNS, influence
from lib.study.runs import Run

DEPTHS = ("shallow", "middle", "deep")


def three_states(calibration: pd.DataFrame, histories: Mapping[Run, pd.DataFrame]) -> pd.DataFrame:
    """The calibration and rows of the state 'own': the network of an experiment and seed in its last training epoch.

    An epoch keeps means of the losses, while the network still learns. Eq. 5 needs those of each pair: it is empty there.

    Parameters
    ----------
    calibration : DataFrame, of :func:`lib.stages.calibrate.calibrate`
    histories : mapping, of each run, as :func:`lib.stages.train.train` returns it; without a perceptual term it adds nothing
    """
    known, rows = calibration.drop_duplicates("experiment").set_index("experiment"), []
    for run, history in histories.items():
        if run.experiment in known.index:
            what = known.loc[run.experiment, ["context", "phi", "lambda_used", "target_psi"]].to_dict()
            rows.append(_of_means(what | run._asdict() | {"state": "own"}, history["mse"].iloc[-1], history["pl"].iloc[-1]))
    return pd.concat([calibration, pd.DataFrame(rows, columns=COLUMNS)], ignore_index=True) if rows else calibration


def last_epochs(histories: Mapping[Run, pd.DataFrame]) -> pd.DataFrame:
    """How each training ended: a row per run with experiment, seed, and the last row of its history. Equal steps are not
    equal work: ``moved`` says how far the weights went from where they started."""
    return pd.DataFrame([run._asdict() | history.iloc[-1].to_dict() for run, history in histories.items()])


def authors() -> pd.DataFrame:
    """The same of the losses that the authors published, state 'authors': of networks trained at their lambdas, too."""
    losses = presets.paper()
    return pd.DataFrame([
        _of_means({"experiment": name, "seed": pd.NA, "state": "authors", "context": losses[name].weights,
                   "phi": losses[name].layer_names[0], "lambda_used": published.LAMBDAS[name], "target_psi": TARGET_PSI},
                  *epochs[10]) for name, epochs in published.PUBLISHED_LOSSES.items()], columns=COLUMNS)


def _of_means(what: dict, mse: float, pl: float) -> dict:
    return influence(what, [mse], [pl]) | {"psi_eq5": np.nan}


def self_consistency(states: pd.DataFrame) -> pd.DataFrame:
    """Whether lambda* stays where lambda was: lambda -> training -> lambda* of the network that comes out.

    Returns
    -------
    DataFrame
        A row for each experiment of :func:`three_states` in its own state, then for the authors': state, experiment,
        target_psi, lambda_used, lambda_star and psi (of the mean losses of all seeds), the same with ``_low`` and ``_high``
        (over the seeds), seeds, and decades, log10(lambda_star / lambda_used).
    """
    rows = []
    for _, runs in _with_authors(states, "own").groupby(["state", "experiment"], sort=False):
        what = runs.iloc[0][["state", "experiment", "target_psi", "lambda_used"]].to_dict()
        mean = influence(what, runs["mse"], runs["pl"])
        rows.append(what | {
            "lambda_star": mean["lambda_exact"], "lambda_star_low": runs["lambda_exact"].min(),
            "lambda_star_high": runs["lambda_exact"].max(), "psi": mean["psi_alg2"], "psi_low": runs["psi_alg2"].min(),
            "psi_high": runs["psi_alg2"].max(), "seeds": len(runs),
            "decades": np.log10(mean["lambda_exact"] / what["lambda_used"]) if what["lambda_used"] else np.nan})
    return pd.DataFrame(rows)


def encoder_comparison(states: pd.DataFrame) -> pd.DataFrame:
    """Perceptual losses and lambda* at each depth beside the authors': whether an encoder that stands in has their scale.

    Returns
    -------
    DataFrame
        A row for each context and each of the states 'pilot', 'own' and 'authors': context, state; phi, pl and lambda* (of
        the mean losses of all seeds) at each depth: phi_shallow, phi_middle ... lambda_deep, empty where nothing was
        measured; pl_ratio and lambda_ratio, shallow by deep; decades_shallow and decades_deep, log10 of our lambda* by the
        authors'.
    """
    table, rows = _with_authors(states, "pilot", "own"), []
    means = table.groupby(["state", "experiment"], sort=False).agg(
        phi=("phi", "first"), mse=("mse", "mean"), pl=("pl", "mean"), target=("target_psi", "first"))
    means["lambda"] = means["target"] / (1 - means["target"]) * means["mse"] / means["pl"]
    for context, names in presets.DEPTHS.items():
        for state in table["state"].unique():
            found = means.loc[state].reindex(names)
            if found["pl"].notna().any():
                row = {f"{field}_{depth}": found[field].iloc[place] for field in ("phi", "pl", "lambda")
                       for place, depth in enumerate(DEPTHS)}
                rows.append({"context": context, "state": state, **row})
    frame = pd.DataFrame(rows)
    theirs = frame[frame["state"] == "authors"].set_index("context").loc[frame["context"]].reset_index()
    for field in ("pl", "lambda"):
        frame[f"{field}_ratio"] = frame[f"{field}_shallow"] / frame[f"{field}_deep"]
    for depth in ("shallow", "deep"):
        frame[f"decades_{depth}"] = np.log10(frame[f"lambda_{depth}"] / theirs[f"lambda_{depth}"]).where(
            frame["state"] != "authors")
    return frame


def _with_authors(states: pd.DataFrame, *wanted: str) -> pd.DataFrame:
    """The rows of the wanted states, in this order, then the authors'."""
    return pd.concat([*(states[states["state"] == state] for state in wanted), authors()], ignore_index=True)
