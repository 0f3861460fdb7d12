"""Numbers, lists and a training in words, the same in every table and sentence."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from lib.report.labels import Labels


def number(value: float | None) -> str:
    """A number of any magnitude, three digits: '1e-5', '4.36e-6', '0.0123', '422'; '–' if there is none."""
    if value is None or value != value:
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    digits, _, exponent = f"{value:.2e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}" if exponent else digits


def listed(names: Sequence[str]) -> str:
    """'E1, E2 and E3'."""
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else "".join(names)


def counted(number: int, name: str) -> str:
    """'1 patient', '3 patients'."""
    return f"{number} {name}{'' if number == 1 else 's'}"


def tallied(verdicts: pd.Series) -> str:
    """Verdicts of claims, counted: '2 stand, 1 falls, 4 are undecided'."""
    stand, fall, undecided = (int((verdicts == name).sum()) for name in ("stands", "falls", "undecided"))
    return (f"{stand} stand{'s' * (stand == 1)}, {fall} fall{'s' * (fall == 1)}, {undecided} "
            f"{'is' if undecided == 1 else 'are'} undecided")


def hu_range(bounds: tuple[float, float]) -> str:
    """'−160 to 240 HU'."""
    return f"{bounds[0]:g} to {bounds[1]:g} HU".replace("-", "−")


def slice_name(row: Mapping[str, Any]) -> str:
    """Which slice is shown: 'SIM09, B30, 1 mm, z = -61.3 mm'; ``row`` has patient, kernel, thickness_mm and z_mm."""
    return f"{row['patient']}, {row['kernel']}, {row['thickness_mm']:g} mm, z = {row['z_mm']:.1f} mm"


def trained(labels: Labels, history: pd.DataFrame, run: tuple[str, int]) -> str:
    """What one training (experiment, seed) did: validation's pixel term, its best epoch, Psi on the training set."""
    name = f"{run[0]}, seed {run[1]}" if len(labels.seeds) > 1 else run[0]
    error, psi = history["val_mse"], pd.to_numeric(history["psi"]).dropna()
    influenced = f"Ψ {psi.iloc[0]:.3f} to {psi.iloc[-1]:.3f}" if len(psi) else "no perceptual term"
    return (f"**{name}**, {len(history)} epochs: validation {labels.experiments[run[0]].pixel} {number(error.iloc[0])} to "
            f"{number(error.iloc[-1])}, lowest in epoch {history.loc[error.idxmin(), 'epoch']:.0f} ({number(error.min())}); "
            f"{influenced}. The last epoch's weights are evaluated, as the authors did.\n")
