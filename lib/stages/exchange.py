"""S1: what the weight of each loss is worth in every trade, with the networks of a study in each of their states.

'untrained' and 'pilot' are the networks of the calibration (02), 'own' is what each experiment became.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from lib.artifacts.cache import Step
from lib.artifacts.files import write_csv
from lib.data.patches import Patches
from lib.denoiser.devices import repeatable
from lib.networks.unet import unet
from lib.perceptual import TARGET_PSI, Exchange, LossConfiguration, balance, measure
from lib.stages import inputs
from lib.stages.train import load_unet, new_unet
from lib.study.config import Study
from lib.study.runs import Run
from lib.study.sections import UNet

BATCH: Final = 16  # pairs at most: gradients at the weights are those of a batch's mean loss
SIDES: Final = ["pixel", "perceptual"]
PAIRS: Final = [*SIDES, "pixel_gradient", "perceptual_gradient", "cosine"]
BATCHES: Final = ["pixel_weights", "perceptual_weights", "weights_cosine", "pixel_last", "perceptual_last"]
EQUAL: Final = (0.05, 0.5, 0.95)  # shares at which trades are compared


class Measured(NamedTuple):
    """What was measured with the networks of one seed."""

    # a row per state, experiment and pair, with its patient: pixel and perceptual term (before lambda), the norms of their
    # gradients at the output, and the cosine between these
    pairs: pd.DataFrame
    # a row per state, experiment and batch: the norms of the gradients of the mean losses at all weights of the network, the
    # cosine between these, and the norms at its last kernel
    batches: pd.DataFrame


State = tuple[str, Callable[[], list[np.ndarray]], set[str]]
"""Of a network: its name, its weights, and the losses to be measured with them."""


def exchange_step(study: Study, seed: int) -> Step:
    """What the gradients of a seed depend on."""
    paths, runs = study.paths, [run for run in study.runs() if run.seed == seed]
    losses = {name: loss.as_dict() | {"lambda": None} for name, loss in study.calibrated.items()}
    weights = {f"weights of {run}": paths.weights(run) for run in [*runs, study.pilot_of(seed)]}
    return Step(f"exchange, seed {seed}", paths.exchange / f"seed-{seed}.json", {"lib.stages.exchange"},
                {"training": study.training.decisive, "unet": study.unet, "losses": losses, "split": study.cohort.division,
                 "seed": seed, "pairs": study.supplement.pairs},
                {"manifest": paths.manifest} | weights
                | inputs.weights_files(study.weights, balance.encodings(study.calibrated.values())),
                [paths.exchange / f"{kind}_seed-{seed}.csv" for kind in ("pairs", "batches")])


def measured(study: Study) -> dict[int, Measured]:
    """Losses and gradients of ``study.supplement.pairs`` training pairs, measured once for each seed and kept."""
    found, meters = {}, None
    for seed in study.measured_seeds:
        step = exchange_step(study, seed)
        if not step.is_current():
            repeatable(seed)
            meters = _Meters.of(study.calibrated, study.weights, study.unet) if meters is None else meters
            patches = inputs.patches(study, "train", seed)
            with step.making(seed=seed):
                made = _measure(meters, _states(study, seed, patches), patches, study.supplement.pairs)
                for path, table in zip(step.outputs, made, strict=True):
                    write_csv(path, table)
        found[seed] = Measured(*map(pd.read_csv, step.outputs))
    return found


class _Meters(NamedTuple):
    """One network, whose weights are set to those of each state, and what measures it: a function of pairs for the losses
    that one pass of one encoder measures."""

    network: keras.Model
    meters: dict[tuple[str, ...], Callable]

    @classmethod
    def of(cls, losses: Mapping[str, LossConfiguration], weights: inputs.Weights, settings: UNet) -> "_Meters":
        network, meters = unet(**settings.architecture, seed=0), {}
        for names in _together(losses):
            some = [losses[name] for name in names]
            ((encoding, layers),) = balance.encodings(some).items()
            encoder = inputs.encoder(weights, encoding, *layers, gradient=True)
            meters[tuple(names)] = measure.meter(network, measure.terms(some, encoder))
        return cls(network, meters)


def _measure(meters: _Meters, states: list[State], patches: Patches, count: int) -> Measured:
    index = patches.index[np.unique(np.linspace(0, len(patches) - 1, count).round().astype(int))]
    some, pairs, means = batches(patches, index), [], []
    for state, weights, losses in tqdm(states, desc="gradients", unit="network", mininterval=1.0, delay=2):
        meters.network.set_weights(weights())
        for names, meter in meters.meters.items():
            if wanted := set(names) & losses:
                found = meter(some)
                for place, name in enumerate(names, start=1):
                    if name in wanted:
                        both = [each.assign(state=state, experiment=name) for each in frames(found.exchange(place))]
                        pairs.append(both[0].assign(patient=patches.pairs["patient"].to_numpy()[index[:, 0]]))
                        means.append(both[1])
    return Measured(pd.concat(pairs, ignore_index=True), pd.concat(means, ignore_index=True))


def _states(study: Study, seed: int, patches: Patches) -> list[State]:
    def trained(run: Run) -> Callable[[], list]:
        return lambda: load_unet(study.unet, study.paths.weights(run)).get_weights()

    known = set(study.calibrated)
    own = [("own", trained(run), {run.experiment}) for run in study.runs() if run.seed == seed and run.experiment in known]
    return [("untrained", lambda: new_unet(study.unet, seed, patches).get_weights(), known),
            ("pilot", trained(study.pilot_of(seed)), known), *own]


def _together(losses: Mapping[str, LossConfiguration]) -> list[list[str]]:
    """Names of losses that one pass of one encoder measures."""
    found: dict[tuple, list[str]] = {}
    for name, loss in losses.items():
        found.setdefault((loss.encoding, loss.pixel_part), []).append(name)
    return list(found.values())


def batches(patches: Patches, index: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Patches (LDCT, NDCT), (batch, size, size, 1) in [0, 1], of some rows of their index, in batches as equal as they can
    be: each counts once."""
    some = np.array_split(index, -(-len(index) // BATCH))
    return [(patches.images(each, "ldct"), patches.images(each, "ndct")) for each in some]


def frames(found: Exchange) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The two tables of one loss in one state."""
    pairs = np.column_stack([found.values, found.output, found.cosine])
    return (pd.DataFrame(pairs, columns=PAIRS),
            pd.DataFrame(np.column_stack([found.weights, found.weights_cosine, found.last]), columns=BATCHES))


def exchange_of(pairs: pd.DataFrame, batches: pd.DataFrame) -> Exchange:
    """The opposite of :func:`frames`."""
    return Exchange(pairs[SIDES].to_numpy(), pairs[PAIRS[2:4]].to_numpy(), pairs["cosine"].to_numpy(),
                    batches[BATCHES[:2]].to_numpy(), batches[BATCHES[3:]].to_numpy(), batches["weights_cosine"].to_numpy())


def exchange_table(found: Mapping[int, Measured], used: Mapping[str, float], target: float = TARGET_PSI) -> pd.DataFrame:
    """``exchange.csv``: one lambda as every trade counts it.

    Parameters
    ----------
    found : mapping, of :func:`measured`
    used : mapping, the lambda of each experiment's training; what is measured and not trained has none
    target : float, the Psi that the study calibrates to: one more share than ``EQUAL``, if it is none of these

    Returns
    -------
    DataFrame
        For each configuration, seed and state a row for each lambda that somebody would choose, ``at`` says whose: 'used' in
        training, where Psi (Algorithm 2) or Gamma at the output has one of these shares, VQGAN's adaptive weight. lambda,
        psi_eq5, psi_alg2, gamma_output (EnCodec's weight), gamma_weights, gamma_last, vqgan_factor; and the exchange rates
        rate_output, rate_weights, rate_last: the odds of Gamma for one of Psi (Algorithm 2), which no lambda changes.
    """
    rows = []
    for seed, (pairs, batches) in found.items():
        for (state, name), some in pairs.groupby(["state", "experiment"], sort=False):
            one = exchange_of(some, batches[(batches["state"] == state) & (batches["experiment"] == name)])
            lambdas = {"used": used[name]} if name in used else {}
            lambdas |= {f"psi {share:g}": one.lambda_at("psi_alg2", share) for share in sorted({*EQUAL, target})}
            lambdas |= {f"gamma {share:g}": one.lambda_at("gamma_output", share) for share in EQUAL} | {"vqgan": one.vqgan}
            what = {"configuration": name, "seed": seed, "state": state}
            rates = {f"rate_{where}": one.rate(f"gamma_{where}") for where in ("output", "weights", "last")}
            rows += [what | {"at": at} | one.row(lambda_) | rates for at, lambda_ in lambdas.items()]
    return pd.DataFrame(rows)


def rates_by_patient(found: Mapping[int, Measured], state: str, name: str) -> np.ndarray:
    """Logarithms of the exchange rate at the output, (patients, seeds), of patients of whom every seed has pairs."""
    columns = []
    for pairs, _ in found.values():
        some = pairs[(pairs["state"] == state) & (pairs["experiment"] == name)]
        sums = some.groupby("patient")[PAIRS[:4]].sum()
        columns.append(np.log(sums["perceptual_gradient"] / sums["pixel_gradient"] * sums["pixel"] / sums["perceptual"]))
    return pd.concat(columns, axis=1, join="inner").to_numpy()
