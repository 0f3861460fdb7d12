"""02: Algorithm 2 for all experiments in one pass over the training set, and the lambda that training uses."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import keras
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from tqdm import tqdm

from lib.artifacts.cache import Step
from lib.artifacts.files import write_csv
from lib.denoiser.devices import repeatable
from lib.errors import StageError, StudyError
from lib.networks.winograd import accelerated
from lib.paper import published
from lib.perceptual import TARGET_PSI, balance, presets
from lib.perceptual.configuration import LambdaRule, LossConfiguration
from lib.perceptual.psi import decade, lambda_star, psi, psi_algorithm2
from lib.stages import inputs
from lib.stages.feature_cache import target_features
from lib.stages.train import load_unet, new_unet
from lib.study.config import Study
from lib.study.grid import losses_key
from lib.study.paths import STATES

COLUMNS = ["experiment", "seed", "state", "context", "phi", "mse", "pl", "psi_eq5", "psi_alg2", "lambda_exact",
           "lambda_decade", "lambda_used", "target_psi"]  # also of a study without perceptual terms
BATCH = 16  # pairs at a time: each has its own losses, so that the batch changes the speed only


def losses_step(study: Study, seed: int, losses: Mapping[str, LossConfiguration] | None = None) -> Step:
    """What :func:`pair_losses` depend on."""
    paths, pilot = study.paths, study.paths.weights(study.pilot_of(seed))
    if not pilot.is_file():
        raise StageError("the pilot, the network with MSE alone, is not trained", where=pilot,
                         remedy="run notebook 02 (make paper does)")
    some = study.calibrated if losses is None else losses
    stem = "losses" if losses is None else f"losses-{losses_key(losses)}"
    config = {"training": study.training.decisive, "unet": study.unet,
              "losses": {name: loss.as_dict() | {"lambda": None} for name, loss in _measured(some).items()},
              "split": study.cohort.division, "seed": seed}
    return Step(f"losses, seed {seed}", paths.calibration / f"{stem}_seed-{seed}.json", {"lib.stages.calibrate"}, config,
                {"manifest": paths.manifest, "pilot": pilot}
                | inputs.weights_files(study.weights, balance.encodings(some.values())),
                paths.losses(seed, "" if losses is None else losses_key(losses)).values())


def calibration_step(study: Study) -> Step:
    """What Psi and the lambdas of ``paths.calibrated`` depend on: the losses, and which of them chooses lambda."""
    rules = {name: asdict(study.lambda_rule(loss)) for name, loss in study.chosen.items()}
    return Step("calibration", study.paths.calibrated.with_suffix(".json"), {"lib.stages.calibrate"},
                {"calibration": study.calibration, "lambda": rules},
                {f"losses of seed {seed}": losses_step(study, seed).key for seed in study.measured_seeds},
                [study.paths.calibrated])


def _measured(calibrated: Mapping[str, LossConfiguration]) -> dict[str, LossConfiguration]:
    """Plain MSE stands first, so that its column is there."""
    return {"mse": presets.paper()["mse"]} | dict(calibrated)


def pair_losses(study: Study, seed: int | None = None,
                losses: Mapping[str, LossConfiguration] | None = None) -> dict[str, pd.DataFrame]:
    """Losses of every training pair of a seed, by default the first, in both states of f_theta, computed once and kept.

    'untrained' is Algorithm 2 as printed; 'pilot' is a network trained with MSE alone. By state, a row per pair: mse, the
    perceptual loss of each of ``losses`` (:meth:`lib.study.grid.Grid.measured`), by default ``study.calibrated``, and
    '<experiment> pixel' where its pixel term is not the plain MSE. Raises StageError if the pilot has not been trained.
    """
    seed = study.seed if seed is None else seed
    step = losses_step(study, seed, losses)
    files = dict(zip(STATES, step.outputs, strict=True))
    if not step.is_current():
        repeatable(seed)
        with step.making(seed=seed):
            for state, found in _measure(study, seed, losses).items():
                write_csv(files[state], found)
    return {state: pd.read_csv(path) for state, path in files.items()}


def _measure(study: Study, seed: int, losses: Mapping[str, LossConfiguration] | None) -> dict[str, pd.DataFrame]:
    """The pass over the training set: one U-Net pass for each state, one encoder pass for each encoding and state; the
    targets' features of the study's own losses come from disk where they are kept."""
    own, patches = losses is None, inputs.patches(study, "train", seed)
    chosen = _measured(study.calibrated if losses is None else losses)
    layers = balance.encodings(chosen.values())
    known = {encoding: target_features(study, encoding, patches, seed) if own else {} for encoding in layers}

    def encoder(encoding, names) -> keras.Model | None:
        return inputs.encoder(study.weights, encoding, *names) if names else None

    networks = new_unet(study.unet, seed, patches), load_unet(study.unet, study.paths.weights(study.pilot_of(seed)))
    measure = balance.pair_losses(
        [accelerated(network) for network in networks], list(chosen.values()),
        {encoding: encoder(encoding, names) for encoding, names in layers.items()},
        {encoding: encoder(encoding, [name for name in names if name not in known[encoding]])
         for encoding, names in layers.items()})
    values, start = [], 0
    for ldct, ndct in tqdm(patches.dataset(BATCH, drop_remainder=False), desc="calibration", unit="batch", mininterval=1.0,
                           delay=2):
        stop = start + len(ndct)
        values.append(measure(ldct, ndct, [
            [known[encoding][name].read(start, stop) if name in known[encoding] else None for name in names]
            for encoding, names in layers.items()]).numpy())
        start = stop
    return {state: pd.DataFrame(_columns(chosen, measured))
            for state, measured in zip(STATES, np.concatenate(values, axis=1), strict=True)}


def _columns(chosen: dict[str, LossConfiguration], measured: np.ndarray) -> dict[str, np.ndarray]:
    """The terms (pairs, losses, 2) by name: 'mse' is the plain pixel term, so it stands for all that have it."""
    found = {"mse": measured[:, 0, 0]}
    for place, (name, loss) in enumerate(chosen.items()):
        if loss.encoder is not None:
            plain = loss.pixel_part.terms == (("mse", 1.0),)
            found |= ({} if plain else {f"{name} pixel": measured[:, place, 0]}) | {name: measured[:, place, 1]}
    return found


def terms(losses: pd.DataFrame, experiment: str) -> tuple[pd.Series, pd.Series]:
    """Pixel and perceptual term of an experiment, from a state of :func:`pair_losses`."""
    pixel = f"{experiment} pixel"
    return losses[pixel if pixel in losses else "mse"], losses[experiment]


def chosen_lambda(experiment: str, rule: LambdaRule, losses: Mapping[str, pd.DataFrame]) -> float:
    """The lambda of an experiment by its rule (:meth:`lib.study.config.Study.lambda_rule`): a number, or calibrated.

    Raises StudyError if the published lambdas are asked for, and the paper has no such experiment.
    """
    if not rule.calibrated:
        return rule.value
    if rule.state == "published":
        if experiment not in presets.paper():
            raise StudyError(f"the paper has no lambda for {experiment}", where=f"losses.{experiment}.lambda",
                             remedy="give a number, or LAMBDA=untrained or LAMBDA=pilot")
        if rule.rounding == "decade" and rule.psi == TARGET_PSI:
            return published.LAMBDAS[experiment]
        exact = lambda_star(*published.PUBLISHED_LOSSES[experiment][10], rule.psi)
        return exact if rule.rounding == "exact" else decade(exact)
    if rule.state not in losses:
        raise StudyError(f"{rule.state} is no state of the network", where=f"losses.{experiment}.lambda.state",
                         remedy=f"choose one of published, {', '.join(STATES)}")
    exact = lambda_star(*terms(losses[rule.state], experiment), rule.psi)
    return exact if rule.rounding == "exact" else decade(exact)


def calibrate(study: Study) -> pd.DataFrame:
    """Psi and lambda of each of ``study.calibrated`` in both states; written to ``paths.calibrated``.

    Every seed that has a pilot of its own is measured. The first one's chooses the lambda of all.

    Returns
    -------
    DataFrame
        Rows of :func:`influence`; lambda_used and both Psi are empty where no experiment trains with the loss.
    """
    losses, rows = {seed: pair_losses(study, seed) for seed in study.measured_seeds}, []
    for experiment, loss in study.calibrated.items():
        rule = study.lambda_rule(loss)
        used = chosen_lambda(experiment, rule, losses[study.seed]) if experiment in study.chosen else float("nan")
        what = {"experiment": experiment, "context": loss.weights, "phi": " + ".join(loss.layer_names),
                "lambda_used": used, "target_psi": rule.psi or study.calibration.target_psi}
        rows += [influence(what | {"seed": seed, "state": state}, *terms(pairs, experiment))
                 for seed, states in losses.items() for state, pairs in states.items()]
    table = pd.DataFrame(rows, columns=COLUMNS)
    with calibration_step(study).making(seed=study.seed):
        write_csv(study.paths.calibrated, table)
    return table


def influence(what: Mapping[str, Any], mse: ArrayLike, pl: ArrayLike) -> dict[str, Any]:
    """One row of the calibration: ``what`` is measured, and what follows from its losses.

    Parameters
    ----------
    what : mapping, experiment, seed and state of the network that was measured, context, phi, lambda_used, target_psi
    mse, pl : array_like, (pairs,), pixel and perceptual term

    Returns
    -------
    dict
        With mse and pl (means over pairs), psi_eq5 and psi_alg2 at lambda_used, lambda_exact (Algorithm 2 gives target_psi
        there) and lambda_decade.
    """
    used, exact = what["lambda_used"], lambda_star(mse, pl, what["target_psi"])
    return {**what, "mse": np.mean(mse), "pl": np.mean(pl), "psi_eq5": float(psi(mse, pl, used)),
            "psi_alg2": float(psi_algorithm2(mse, pl, used)), "lambda_exact": exact, "lambda_decade": decade(exact)}


def lambda_used(study: Study, experiment: str) -> float:
    """The lambda with which an experiment is trained: its own number, or that of :func:`load_calibration`."""
    rule = study.configurations[experiment].lambda_
    if rule.value is not None:
        return rule.value
    table = load_calibration(study)
    return float(table.loc[table["experiment"] == experiment, "lambda_used"].iloc[0])


def load_calibration(study: Study) -> pd.DataFrame:
    """The table of :func:`calibrate`, for all who use it after notebook 02.

    Raises StageError if notebook 02 has not run, or ran with other settings (LAMBDA, the experiments, the scans, the code).
    """
    if not study.paths.calibrated.is_file():
        raise StageError("there is no calibration yet", where=study.paths.calibrated,
                         remedy="run notebook 02 (make paper does) first")
    if not calibration_step(study).is_current():
        raise StageError("this calibration was made with other settings, scans or code", where=study.paths.calibrated,
                         remedy="run notebook 02 (make paper does) again")
    return pd.read_csv(study.paths.calibrated)
