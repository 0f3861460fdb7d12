"""Algorithm 2 for all four configurations in one pass over the training set, and the lambda that training uses."""

from collections.abc import Callable

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm import tqdm

from lib.artifacts.cache import Step
from lib.artifacts.files import atomic, file_sha256
from lib.data.patches import Patches
from lib.denoiser.devices import repeatable
from lib.errors import StageError
from lib.networks.vgg import encoder, weights_file
from lib.networks.winograd import quick
from lib.paper import published
from lib.perceptual.influence import decade, lambda_star, mse_loss, perceptual_loss, psi_algorithm2, psi_eq5
from lib.stages.feature_cache import CONTEXTS, target_features
from lib.stages.train import load_unet, new_unet, train
from lib.study.config import Study

STATES = ("untrained", "trained")
BATCH = 16  # pairs at a time: each has its own losses, so that the batch changes the speed only


def pair_losses(study: Study) -> dict[str, pd.DataFrame]:
    """Losses of every training pair in both states of f_theta, computed once and kept.

    'untrained' is Algorithm 2 as printed; 'trained' is how the published Fig. 2 was made, with the MSE control as the
    trained network (it is trained here if it is not yet).

    Returns:
        By state, a row a pair: mse, and the perceptual loss of E1, E2, E3, E4.
    """
    paths = study.paths
    train(study, "mse", 0.0)
    step = Step(
        "calibration", paths.calibration / "stamp.json", {"lib.stages.calibrate"},
        {"training": study.training, "unet": study.unet, "phi": study.encoder.phis, "split": study.cohort.division},
        {"manifest": file_sha256(paths.manifest), "mse": file_sha256(paths.weights("mse"))}
        | {context: file_sha256(weights_file(study, context)) for context in CONTEXTS},
    )
    files = {state: paths.calibration / f"losses_{state}.csv" for state in STATES}
    if not step.is_current():
        repeatable(study.training.seed)
        with step.making(seed=study.training.seed) as outputs:
            for state, losses in _measure(study).items():
                with atomic(files[state]) as temporary:
                    losses.to_csv(temporary, index=False)
            outputs += files.values()
    return {state: pd.read_csv(path) for state, path in files.items()}


def _measure(study: Study) -> dict[str, pd.DataFrame]:
    """The pass over the training set: one U-Net pass a state, one encoder pass a context and state, both depths from
    it; the targets' features come from disk where they are kept."""
    patches, phis = Patches(study, "train"), list(study.encoder.phis.values())
    known = [target_features(study, context, patches) for context in CONTEXTS]
    lacking = [[phi for phi in phis if phi not in each] for each in known]
    losses = pair_losses_of(
        [quick(network, len(patches)) for network in (new_unet(study, patches), load_unet(study, "mse"))],
        [quick(encoder(study, context, *phis), len(patches)) for context in CONTEXTS],
        [quick(encoder(study, context, *each), len(patches)) if each else None
         for context, each in zip(CONTEXTS, lacking, strict=True)],
    )
    values, start = [], 0
    for ldct, ndct in tqdm(patches.dataset(drop_remainder=False, batch=BATCH), desc="calibration", unit="batch",
                           total=-(-len(patches) // BATCH), mininterval=1.0, delay=2):
        stop = start + len(ndct)
        values.append(losses(ldct, ndct, [[each[phi].read(start, stop) if phi in each else None for phi in phis]
                                          for each in known]).numpy())
        start = stop
    columns = ["mse", *published.CALIBRATED]
    return {state: pd.DataFrame(part, columns=columns)
            for state, part in zip(STATES, np.concatenate(values, axis=1), strict=True)}


def pair_losses_of(
    unets: list[keras.Model], encoders: list[keras.Model], target_encoders: list[keras.Model | None]
) -> Callable:
    """Algorithm 2, lines 3 to 5, for several networks and configurations at once.

    Args:
        unets: f_theta in different states.
        encoders: one a context, each with a list of features, one a phi.
        target_encoders: the same for those phis whose target features are not given, None where all are.

    Returns:
        Function of a batch (LDCT, NDCT, known target features by context and phi or None): losses of shape
        (unets, batch, 1 + contexts * phis), the MSE first.
    """

    def all_targets(network: keras.Model | None, ndct, known: list) -> list:
        found = [] if network is None else network(ndct, training=False)
        found = iter(found if isinstance(found, list) else [found])
        return [next(found) if target is None else target for target in known]

    @tf.function(reduce_retracing=True)
    def losses(ldct, ndct, known):
        targets = [all_targets(*each) for each in zip(target_encoders, [ndct] * len(known), known, strict=True)]
        states = []
        for network in unets:
            output = network(ldct, training=False)
            columns = [mse_loss(output, ndct)]
            for features, target in zip(encoders, targets, strict=True):
                columns += map(perceptual_loss, features(output, training=False), target)
            states.append(tf.stack(columns, axis=-1))
        return tf.stack(states)

    return losses


def chosen_lambda(study: Study, experiment: str, losses: dict[str, pd.DataFrame]) -> float:
    """The lambda that the study's calibration setting gives an experiment; 0.1 for the baseline, 0 for the control."""
    if experiment not in published.CALIBRATED:
        return published.EXPERIMENTS[experiment].lambda_
    setting = study.calibration
    if setting.state == "published" and setting.rule == "decade":
        return published.EXPERIMENTS[experiment].lambda_
    if setting.state == "published":
        return lambda_star(*published.PUBLISHED_LOSSES[experiment][10], setting.target_psi)
    pairs = losses[setting.state]
    exact = lambda_star(pairs["mse"], pairs[experiment], setting.target_psi)
    return exact if setting.rule == "exact" else decade(exact)


def calibrate(study: Study) -> pd.DataFrame:
    """Psi and lambda of the baseline and E1-E4 in both states, written to ``paths.calibrated``.

    Returns:
        A row an experiment and state: experiment, state, context, phi, mse, pl (means over pairs), psi_eq5, psi_alg2
        (at lambda_used), lambda_exact (Algorithm 2 gives the target Psi), lambda_decade, lambda_used.
    """
    losses = pair_losses(study)
    rows = []
    for experiment in ("baseline", *published.CALIBRATED):
        configuration = published.EXPERIMENTS[experiment]
        column = next(name for name in published.CALIBRATED if published.EXPERIMENTS[name][:2] == configuration[:2])
        used = chosen_lambda(study, experiment, losses)
        for state, pairs in losses.items():
            mse, pl = pairs["mse"], pairs[column]
            exact = lambda_star(mse, pl, study.calibration.target_psi)
            rows.append({
                "experiment": experiment, "state": state, "context": configuration.context,
                "phi": study.phi(experiment), "mse": mse.mean(), "pl": pl.mean(),
                "psi_eq5": float(psi_eq5(mse, pl, used)), "psi_alg2": float(psi_algorithm2(mse, pl, used)),
                "lambda_exact": exact, "lambda_decade": decade(exact), "lambda_used": used,
            })
    table = pd.DataFrame(rows)
    with atomic(study.paths.calibrated) as temporary:
        table.to_csv(temporary, index=False)
    return table


def lambda_used(study: Study, experiment: str) -> float:
    """The lambda of an experiment from ``paths.calibrated``; 0 for the control, which needs no calibration.

    Raises StageError before notebook 02 has run, or if it ran with another LAMBDA setting.
    """
    if published.EXPERIMENTS[experiment].context is None:
        return 0.0
    if not study.paths.calibrated.is_file():
        raise StageError(f"{study.paths.calibrated} does not exist: run notebook 02 (make paper does) first")
    table = pd.read_csv(study.paths.calibrated)
    return float(table.loc[table["experiment"] == experiment, "lambda_used"].iloc[0])
