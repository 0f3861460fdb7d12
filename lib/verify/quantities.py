"""The results of a finished run as one flat table of named numbers, and the verdicts of its claims.

A quantity is a cell of a table in ``figures/<profile>``: 'table3/E1/ssim_mean', 'calibration/E2/pilot/log10_lambda_exact',
'claims/<claim>/estimate'. What is given (hyperparameters, the paper's own numbers, counts) is no result, nor is what
follows from another cell (a rank, a rounded lambda), and a time is that of a machine. Numbers that spread over decades
(losses, lambdas, p-values) are taken as log10, so that one tolerance holds for both directions.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from lib.errors import StageError

LOG10: Final = "log10_"
METRICS: Final = tuple(f"{metric}{window}_{kind}" for metric in ("ssim", "psnr", "nrmse") for window, kind in (
    ("", "mean"), ("", "sd"), ("", "seed_sd"), ("_window", "mean"), ("_window", "sd")))
REGIONS: Final = ("ssim_body", *(f"{kind}_{organ}_hu" for kind in ("bias", "noise") for organ in (
    "soft_tissue", "liver", "spleen", "kidney", "muscle", "fat")), "grid_2", "grid_4", "grid_8", "grid_16")
WITHOUT_NETWORK: Final = ("ldct", "NDCT")  # experiments that are images as they were scanned
THEIRS: Final = "authors"  # the state of rows that repeat published losses


class Source(NamedTuple):
    """Which cells of one table are results."""

    table: str  # the file's name
    keys: tuple[str, ...]  # columns that name a row
    plain: tuple[str, ...]  # columns that are taken as they are
    decades: tuple[str, ...] = ()  # columns that are taken as log10
    by: tuple[str, ...] = ()  # keys whose rows have a spread of their own: a family each


SOURCES: Final = (
    Source("table3", ("experiment",), (*METRICS, "psi_untrained", "psi_pilot", "psi_own"), ("lambda_used",)),
    Source("table4", ("other",), ("cohens_d", "log10_p", "difference", "difference_low", "difference_high",
                                  "mixed_difference", "mixed_se"), ("p_patients", "p_holm", "p_equivalence", "mixed_p")),
    Source("calibration", ("experiment", "seed", "state"), ("psi_eq5", "psi_alg2"), ("mse", "pl", "lambda_exact"),
           ("state",)),
    Source("training", ("experiment", "seed"), ("psi", "val_psi", "gamma"),
           ("total", "mse", "pl", "val_total", "val_mse", "val_pl")),
    Source("self_consistency", ("state", "experiment"), ("psi", "psi_low", "psi_high", "decades"),
           ("lambda_star", "lambda_star_low", "lambda_star_high")),
    Source("encoder_comparison", ("context", "state"), ("decades_shallow", "decades_deep"), tuple(
        f"{kind}_{part}" for kind in ("pl", "lambda") for part in ("shallow", "middle", "deep", "ratio")), ("state",)),
    Source("regions", ("experiment",), REGIONS),
    Source("probe", ("phi", "encoder"), ("accuracy", "difference"), (), ("encoder",)),
    Source("claims", ("claim",), ("estimate", "low", "high"), (), ("unit",)),
)
UNITS_OF_DECADES: Final = ("λ*",)  # of claims
SHARES: Final = ("psi", "val_psi", "gamma", "psi_low", "psi_high", "psi_eq5", "psi_alg2", "psi_untrained", "psi_pilot",
                 "psi_own")  # columns with numbers from 0 to 1 that say how much of a whole
DEPTHS: Final = re.compile("_(shallow|middle|deep)$")  # of columns that are one family
P_VALUES: Final = ("log10_p", *(f"log10_{name}" for name in ("p_patients", "p_holm", "p_equivalence", "mixed_p")))
ROUNDING, ONE_PATCH, LEAST_SCALE = 1e-5, 0.01, 1e-12


class Quantity(NamedTuple):
    """A result. ``family``: quantities that are alike in what they are and in how far they spread."""

    name: str
    family: str
    value: float


def quantities(figures: Path, seeds: Sequence[int]) -> list[Quantity]:
    """The results in a run's tables, sorted by name; empty and infinite cells are left out.

    Parameters
    ----------
    figures : Path
        ``figures/<profile>`` of the run. A table that its study has not (the probe without a Medical encoder) adds nothing.
    seeds : sequence of int
        Of the run, in their order: a row of one of several is named by its place, 'seed_2_of_3', since another run may have
        other seeds.

    Raises
    ------
    StageError
        A table cannot be read, or has two rows of one name.
    """
    found = [each for source in SOURCES if (path := figures / f"{source.table}.csv").is_file()
             for each in _cells(source, _read(path), list(seeds))]
    names = [each.name for each in found]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise StageError(f"{twice} is there twice", where=figures, remedy="run the profile again: make paper")
    return sorted(found)


def verdicts(figures: Path) -> dict[str, str]:
    """'stands', 'falls' or 'undecided' by claim, in the order of ``claims.csv``. Raises StageError without that table."""
    table = _read(figures / "claims.csv")
    return dict(zip(table["claim"], table["verdict"], strict=True))


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        reason = "is not there" if isinstance(error, FileNotFoundError) else "is no table"
        raise StageError(reason, where=path, remedy="run the profile first: make paper") from None


def _cells(source: Source, table: pd.DataFrame, seeds: list[int]) -> Iterable[Quantity]:
    for row in table.to_dict("records"):
        if row.get("state") == THEIRS:
            continue
        keys = {key: str(row[key]) for key in source.keys}
        if "seed" in keys:
            place = seeds.index(int(row["seed"])) + 1
            keys["seed"] = f"seed_{place}_of_{len(seeds)}" if len(seeds) > 1 else ""
        name = "/".join(filter(None, [source.table, *keys.values()]))
        groups = [str(row[key]) for key in source.by]
        groups += ["without a network"] * (row.get("experiment") in WITHOUT_NETWORK)
        decades = source.plain if row.get("unit") in UNITS_OF_DECADES else source.decades
        for column in (*source.plain, *source.decades):
            value, title = row.get(column, np.nan), LOG10 * (column in decades) + column
            if column in decades:
                value = np.log10(value) if value > 0 else np.nan
            if np.isfinite(value):
                yield Quantity(f"{name}/{title}", "/".join([source.table, *groups, DEPTHS.sub("", title)]), float(value))


def scales(families: Sequence[str], references: np.ndarray) -> np.ndarray:
    """Units in which quantities of a family have spreads that are alike, (quantities): a share's p (1 - p), the value itself
    of what is positive and spreads in proportion (an SD, a noise), 1 elsewhere."""
    columns = [family.rpartition("/")[2] for family in families]
    share = np.array([column in SHARES or family.startswith("claims/least Ψ") for column, family in
                      zip(columns, families, strict=True)], bool)
    relative = np.array([column.endswith(("_sd", "_se")) or column.startswith(("noise_", "grid_", "nrmse_"))
                         for column in columns], bool)
    found = np.where(share, references * (1 - references), np.where(relative, np.abs(references), 1.0))
    return np.where(found > 0, found, LEAST_SCALE)


def floors(families: Sequence[str], references: np.ndarray) -> np.ndarray:
    """The least tolerances, (quantities): what rounding may do where no run happened to show it.

    Networks compute in single precision, which rounds by up to 6e-8 of a number, and a mean over ten thousand pixels, whose
    order nobody prescribes, by a hundred times that, if roundings are independent: 1e-5 of the number or of one, whichever
    is more (of a difference of two scores: of these). A rank test's p-value moves in steps, which are largest at its end:
    the two least p-values differ by the factor 2. A probe's accuracy moves by one patch, of some hundreds.
    """
    decades = np.array([family.rpartition("/")[2].startswith(LOG10) for family in families], bool)
    rounding = ROUNDING * np.where(decades, np.log10(np.e), np.maximum(np.abs(references), 1.0))
    p_values = [family.rpartition("/")[2] in P_VALUES for family in families]
    counted = [family.startswith("probe/") for family in families]
    return np.select([p_values, counted], [np.log10(2.0), ONE_PATCH], rounding)
