"""S5's claims: what every layer charges less for than for noise, and whether that predicts what networks get wrong."""

from typing import Final

import numpy as np
import pandas as pd

from lib.metrics.degradations import CHECKERBOARD, SHIFT
from lib.metrics.patients import holm
from lib.report.labels import Labels
from lib.report.passport import ALIKE, SHOWN, contexts, correlations
from lib.report.verdicts import NOTHING, Bounds, frame, row, weakest
from lib.report.words import counted, number
from lib.stages.passport import ORGAN_SHIFT, PIXEL, RANDOM

PEAK: Final = 2.0  # of lib.metrics.grid: above it a grid stands out of the noise
CHEAP: Final = {SHIFT: "a shift of HU", CHECKERBOARD: "a checkerboard of period 2",
                ORGAN_SHIFT: "a shift of the liver by 10 HU"}


def passport_claims(labels: Labels, table: pd.DataFrame, predicted: pd.DataFrame) -> pd.DataFrame:
    """Whether every layer charges less for what CT cannot do without than for noise; and whether a lower price goes with a
    larger error of the network that was trained with it, which one training of each layer leaves undecided.

    Parameters
    ----------
    table, predicted : DataFrame, of :func:`lib.stages.passport.prices` and :func:`lib.stages.passport.predictions`
    """
    names = contexts(labels, table)
    rows = [_cheap(names[context], words, some[some["degradation"] == name], one_draw=context == RANDOM)
            for context, some in table.groupby("context", sort=False) if context != PIXEL
            for name, words in CHEAP.items() if name in set(some["degradation"])]
    found = correlations(predicted)
    known = [name for name, each in found.items() if np.isfinite(each.p)]
    corrected = dict(zip(known, holm(np.array([found[name].p for name in known])) if known else [], strict=True))
    for name, each in found.items():
        some = predicted[predicted["degradation"] == name]
        measured, notes = some["measured"].iloc[0], [f"{each.pairs} layers, one training of each: undecided by one seed"]
        notes += ([f"permutation p {number(each.p)}, Holm over {len(known)} {number(corrected[name])}", ALIKE]
                  if name in corrected else ["too few layers for an interval, or all alike"])
        if measured.startswith("grid") and some["error"].max() < PEAK:
            peak = number(some["error"].max())
            notes.append(f"no network has such a grid: peaks of {peak} at most, a grid would be above {PEAK:g}")
        words = "liver shift, 10 HU" if name == ORGAN_SHIFT else SHOWN[name]
        rows.append(row(f"Over the layers, a lower price ({words}) goes with a larger error ({measured})", "S5", "ρ",
                        (each.estimate, each.low, each.high), above=(-each.estimate, *NOTHING[1:]), seeds=1,
                        note="; ".join(notes)))
    return frame(rows)


def _cheap(context: str, words: str, prices: pd.DataFrame, one_draw: bool) -> dict:
    """As the layer whose interval reaches highest; one draw of random weights decides nothing."""
    logs: dict[int, Bounds] = {each.Index: (-np.log(each.price), -np.log(each.high), -np.log(each.low))
                               for each in prices.itertuples()}
    place, above = weakest(logs)
    dearest = prices.loc[place]
    notes = [f"the dearest: {dearest['layer']}"]
    patients = int(dearest["patients"])
    if not np.isfinite(above[1:]).all():
        notes.append(f"no interval from {counted(patients, 'patient')}")
    if one_draw:
        notes.append("one draw of weights")
        above = (above[0], *NOTHING[1:])
    return row(f"At every layer of {context}, {words} costs less than low-dose noise of the same MSE", "S5", "price",
               (dearest["price"], dearest["low"], dearest["high"]), above=above, patients=patients, note="; ".join(notes))
