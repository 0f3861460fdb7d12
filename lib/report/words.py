"""Numbers, lists and verdicts in words, the same in every table and sentence."""

from collections.abc import Mapping, Sequence
from typing import Any


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


def verdict(agrees: bool) -> str:
    """Whether this run agrees with the paper, as a sentence."""
    return "This **agrees** with the paper." if agrees else "This **contradicts** the paper."


def left_out(topic: str, needed: str) -> str:
    """The line in place of a sentence that this study has no experiments for."""
    return f"{topic}: left out, it needs {needed}."


def slice_name(row: Mapping[str, Any]) -> str:
    """Which slice is shown: 'SIM09, B30, 1 mm, z = -61.3 mm'; ``row`` has patient, kernel, thickness_mm and z_mm."""
    return f"{row['patient']}, {row['kernel']}, {row['thickness_mm']:g} mm, z = {row['z_mm']:.1f} mm"
