"""How often `make verify` calls a run different that reproduces: `python -m benchmarks.false_alarms`, some minutes.

Runs are drawn at random, as many numbers in as many families as the reference of smoke has: some to make a reference of, and
one more that is compared with it. Writes docs/measured/false_alarms.csv, which REPRODUCING.md takes in (make readme).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from lib.artifacts.files import write_csv
from lib.verify.quantities import scales
from lib.verify.reference import Reference, load
from lib.verify.tolerances import tolerances

PATH: Final = Path(__file__).resolve().parents[1] / "docs" / "measured" / "false_alarms.csv"
RUNS: Final = (2, 3, 4, 5, 8)
DRAWS: Final = 2000  # of each kind: .01 is known to within .002
DEVIATIONS: Final = {"normal": lambda generator, shape: generator.standard_normal(shape),
                     "Student's t, 3 df": lambda generator, shape: generator.standard_t(3, shape) / np.sqrt(3)}
SHARED: Final = {"each by itself": 0.0, "half of it common": 0.5, "nearly all common": 0.95}  # share of a number's variance
GROUPS: Final = 7  # experiments: half of what is common is so in all numbers, half in those of one experiment
PRIOR: Final = 8.0  # degrees of freedom by which true variances of a family are scattered
FAMILY_SD: Final = (-6.0, -2.0)  # log10 of the SD of a family, uniformly


def drawn(generator: np.random.Generator, deviation: str, shared: float, family: np.ndarray,
          runs: int) -> tuple[np.ndarray, np.ndarray]:
    """Deviations from the true values, (runs, quantities), in units of scale, and their standard deviations."""
    quantities = len(family)
    sd = 10 ** generator.uniform(*FAMILY_SD, family.max() + 1)[family]
    sd = sd * np.sqrt(PRIOR / generator.chisquare(PRIOR, quantities))
    draw = DEVIATIONS[deviation]
    experiment = generator.integers(0, GROUPS, quantities)
    common = np.sqrt(0.5) * (draw(generator, (runs, 1)) + draw(generator, (runs, GROUPS))[:, experiment])
    own = draw(generator, (runs, quantities))
    return sd * (np.sqrt(shared) * common + np.sqrt(1 - shared) * own), sd


def measured(reference: Reference) -> Iterator[dict[str, Any]]:
    """A row for each kind of deviation and number of runs: the share of runs that are called different in any number, how
    many numbers these are on average, and the median tolerance in standard deviations."""
    numbers = reference.numbers().dropna()
    families = reference.families[numbers.index].tolist()
    means = numbers[reference.arithmetic].mean(axis=1).to_numpy()
    family, unit = np.unique(families, return_inverse=True)[1], scales(families, means)
    for deviation in DEVIATIONS:
        for name, shared in SHARED.items():
            for runs in RUNS:
                generator = np.random.default_rng([runs, round(100 * shared)])
                alarms, widths = [], []
                for _ in range(DRAWS):
                    values, sd = drawn(generator, deviation, shared, family, runs + 1)
                    values = means + values * unit
                    allowed = tolerances(values[:runs], families, unit, np.zeros(len(families)))
                    alarms.append(int((np.abs(values[runs] - values[:runs].mean(axis=0)) > allowed).sum()))
                    widths.append(np.median(allowed / (sd * unit)))
                found = np.array(alarms)
                yield {"deviations": deviation, "correlation": name, "runs": runs, "draws": DRAWS,
                       "called different": f"{(found > 0).mean():.3f}",
                       "numbers then": f"{found[found > 0].mean() if found.any() else 0:.1f}",
                       "median tolerance, SD": f"{np.median(widths):.3g}"}


if __name__ == "__main__":
    write_csv(PATH, pd.DataFrame(measured(load("smoke"))))
