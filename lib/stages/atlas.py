"""S4: the atlas: what a weight is worth at every layer of every encoder at hand, with the networks of a study.

'untrained' and 'pilot' are the networks of the calibration (02). One pass of an encoder gives the losses at all its layers,
and the gradient of each at the network's output. Networks of one's own are trained at a few layers only: S1 has those.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from lib.artifacts.cache import Step
from lib.artifacts.files import write_csv
from lib.denoiser.devices import repeatable
from lib.networks import vgg
from lib.networks.unet import unet
from lib.perceptual import TARGET_PSI, LossConfiguration, balance, encoders, measure
from lib.stages import inputs
from lib.stages.calibrate import STATES
from lib.stages.conventions import PAPERS, Conventions
from lib.stages.exchange import BATCHES, PAIRS, batches, exchange_of, frames
from lib.stages.train import load_unet, new_unet
from lib.study.config import RANDOM, Study
from lib.study.sections import UNet

LITERATURE: Final = 0.1  # the literature's lambda
KEY: Final = ["context", "layer", "state"]


class Measured(NamedTuple):
    """What was measured with the networks of one seed."""

    # a row per state, context, layer and pair, with its patient: pixel and perceptual term (before lambda), the norms of
    # their gradients at the output, the cosine between these
    pairs: pd.DataFrame
    # a row per state, convention, layer and pair, with its patient, of one context: pixel and perceptual term, and what
    # algebra knows
    conventions: pd.DataFrame


def atlas_step(study: Study, seed: int) -> Step:
    """What the atlas of a seed depends on."""
    paths, atlas = study.paths, study.atlas
    return Step(f"atlas, seed {seed}", paths.atlas / f"seed-{seed}.json", {"lib.stages.atlas"},
                {"training": study.training.decisive, "unet": study.unet, "split": study.cohort.division, "seed": seed,
                 "losses": {name: loss.as_dict() for name, loss in atlas.items()}, "pairs": study.supplement.atlas_pairs},
                {"manifest": paths.manifest, "pilot": paths.weights(study.pilot_of(seed))}
                | inputs.weights_files(study.weights, balance.encodings(
                    loss for loss in atlas.values() if loss.weights != RANDOM)),
                [paths.atlas / f"{kind}_seed-{seed}.csv" for kind in Measured._fields])


def measured(study: Study) -> dict[int, Measured]:
    """Losses and gradients of ``study.supplement.atlas_pairs`` training pairs at every layer of ``study.atlas``, and the
    losses under every convention in the first context, measured once for each seed and kept."""
    found, meters = {}, None
    for seed in study.measured_seeds:
        step = atlas_step(study, seed)
        if not step.is_current():
            repeatable(seed)
            meters = _Meters(study.atlas, study.weights, study.unet) if meters is None else meters
            patches = inputs.patches(study, "train", seed)
            count = min(study.supplement.atlas_pairs, len(patches))
            index = patches.index[np.linspace(0, len(patches) - 1, count).round().astype(int)]
            networks = new_unet(study.unet, seed, patches), load_unet(study.unet, study.paths.weights(study.pilot_of(seed)))
            with step.making(seed=seed):
                made = meters.measure(seed, [each.get_weights() for each in networks], batches(patches, index))
                patients = patches.pairs["patient"].to_numpy()[index[:, 0]]
                for path, table in zip(step.outputs, made, strict=True):
                    write_csv(path, table.assign(patient=patients[table["pair"]]))
        found[seed] = Measured(*map(pd.read_csv, step.outputs))
    return found


class _Meters:
    """Networks and encoders whose weights are set to those of each state and context, so that each graph is made once."""

    def __init__(self, atlas: Mapping[str, LossConfiguration], weights: inputs.Weights, settings: UNet):
        self.atlas, self.weights = list(atlas.values()), weights
        self.networks = [unet(**settings.architecture, seed=0) for _ in STATES]
        self.made: dict[str, tuple[keras.Model, Callable]] = {}  # by architecture
        self.features: dict[str, list[np.ndarray]] = {}  # an encoder's weights by context
        self.conventions: Conventions | None = None

    def measure(self, seed: int, states: Sequence[list[np.ndarray]], pairs: Sequence) -> Measured:
        """The two tables of a seed; ``states``: the network's weights in each of ``STATES``."""
        found = []
        for context in tqdm(dict.fromkeys(loss.weights for loss in self.atlas), desc="atlas", unit="context",
                            mininterval=1.0, delay=2):
            losses = [loss for loss in self.atlas if loss.weights == context]
            meter = self._meter(losses, seed)
            for state, weights in zip(STATES, states, strict=True):
                self.networks[0].set_weights(weights)
                gradients = meter(pairs)
                for place, loss in enumerate(losses, start=1):
                    table, _ = frames(gradients.exchange(place))
                    found.append(table.assign(context=context, layer=loss.layer_names[0], state=state,
                                              pair=np.arange(len(table))))
        return Measured(pd.concat(found, ignore_index=True), self._under_conventions(states, pairs))

    def _meter(self, losses: Sequence[LossConfiguration], seed: int) -> Callable:
        """What measures the losses of one context, with its weights."""
        ((encoding, names),) = balance.encodings(losses).items()
        if encoding.weights == RANDOM or encoding.weights not in self.features:
            new = encoders.encoder(encoding, names, self._trunk(losses[0], seed))
            if encoding.encoder not in self.made:
                self.made[encoding.encoder] = new, measure.meter(self.networks[0], measure.terms(losses, new), weights=False)
            self.features[encoding.weights] = new.get_weights()
        encoder, meter = self.made[encoding.encoder]
        encoder.set_weights(self.features[encoding.weights])
        return meter

    def _trunk(self, loss: LossConfiguration, seed: int) -> keras.Model:
        """The VGG of a context: a seed of the study is one of random weights, too."""
        if loss.weights == RANDOM:
            return vgg.random(loss.encoder, seed)
        return vgg.trunk(loss.encoder, self.weights(loss.weights))

    def _under_conventions(self, states: Sequence[list[np.ndarray]], pairs: Sequence) -> pd.DataFrame:
        first = [loss for loss in self.atlas if loss.weights == self.atlas[0].weights]
        if self.conventions is None:
            self.conventions = Conventions.of(self.networks, self._trunk(first[0], 0), last_of_blocks(first))
        for network, weights in zip(self.networks, states, strict=True):
            network.set_weights(weights)
        return self.conventions.table(pairs, STATES).assign(context=first[0].weights)


def last_of_blocks(losses: Sequence[LossConfiguration]) -> list[LossConfiguration]:
    """Of losses at a VGG's layers, those at the deepest of each block."""
    return list({loss.layer_names[0].partition("_")[0]: loss for loss in losses}.values())


def atlas_table(found: Mapping[int, Measured], losses: Mapping[str, LossConfiguration],
                target: float = TARGET_PSI) -> pd.DataFrame:
    """``psi_atlas.csv``: a row per context, layer, state and seed.

    Parameters
    ----------
    found : mapping, of :func:`measured`
    losses : mapping, of ``Study.atlas``: its order is that of the rows
    target : float, the Psi that lambda_exact is for

    Returns
    -------
    DataFrame
        context, encoder (architecture), layer, state, seed, pairs; mse and pl, means over the pairs; lambda_exact, at which
        Psi (Algorithm 2) is ``target``, and gamma_output there; rate_output: the odds of Gamma for one of Psi, at every
        lambda; psi_eq5, psi_alg2 and gamma at ``LITERATURE``, as psi_eq5_literature and so on.
    """
    rows = []
    for loss in losses.values():
        for state in STATES:
            for seed, (pairs, _) in found.items():
                some = pairs[(pairs["context"] == loss.weights) & (pairs["layer"] == loss.layer_names[0])
                             & (pairs["state"] == state)]
                one = exchange_of(some, pd.DataFrame(columns=BATCHES, dtype=float))
                exact = one.lambda_at("psi_alg2", target)
                shares = {f"{trade}_literature": float(one.share(trade, LITERATURE)) for trade in one.trades}
                rows.append({"context": loss.weights, "encoder": loss.encoder, "layer": loss.layer_names[0], "state": state,
                             "seed": seed, "pairs": len(some), "mse": some["pixel"].mean(), "pl": some["perceptual"].mean(),
                             "lambda_exact": exact, "gamma_output": float(one.share("gamma_output", exact)),
                             "rate_output": one.rate("gamma_output")} | shares)
    return pd.DataFrame(rows)


def by_patient(found: Mapping[int, Measured], target: float = TARGET_PSI) -> pd.DataFrame:
    """A row per context, layer, state, patient and seed (the index): log10 of ``lambda``, at which Psi by Algorithm 2 over
    that patient's pairs is ``target``, and of ``rate``, the odds of Gamma at the output for one of Psi."""
    tables = []
    for seed, (pairs, _) in found.items():
        sums = pairs.groupby([*KEY, "patient"], sort=False)[PAIRS[:4]].sum()
        ratio = sums["pixel"] / sums["perceptual"]
        tables.append(pd.DataFrame({
            "lambda": np.log10(target / (1 - target) * ratio),
            "rate": np.log10(sums["perceptual_gradient"] / sums["pixel_gradient"] * ratio), "seed": seed}))
    return pd.concat(tables).set_index("seed", append=True).sort_index()


def convention_factors(found: Mapping[int, Measured], by: Sequence[str] = ()) -> pd.DataFrame:
    """``conventions.csv``: by how much lambda* is multiplied where a convention is another than the paper's.

    A row per convention, context, layer, state and seed, and whatever else ``by`` names ('patient'): ``factor`` (by
    Algorithm 2, over all pairs), and ``algebra``, what it is without measuring, where that is known.
    """
    tables = []
    for seed, (_, pairs) in found.items():
        groups = pairs.groupby(["convention", "context", "layer", "state", *by], sort=False)
        sums = groups["perceptual"].sum()
        papers = sums.loc[PAPERS].reindex(sums.index.droplevel("convention")).to_numpy()
        table = pd.DataFrame({"factor": papers / sums, "algebra": groups["algebra"].first()}).reset_index()
        tables.append(table[table["convention"] != PAPERS].assign(seed=seed))
    return pd.concat(tables, ignore_index=True)
