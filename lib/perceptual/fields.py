"""Fields of a loss as plain data gives them: read, or refused with the field's name."""

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any


def weighted_names(value: Any, name: str = "layers") -> tuple[tuple[Any, float], ...]:
    """Names with weights, of a mapping, pairs, or names alone (weight 1). Raises ValueError that begins with ``name``."""
    if isinstance(value, str):
        value = [value]
    try:
        pairs = (
            list(value.items())
            if isinstance(value, Mapping)
            else [(each, 1.0) if isinstance(each, str) else tuple(each) for each in value]
        )
        found = tuple((str(each), float(weight)) for each, weight in pairs)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: {value!r}, expected names, or names with weights as {{block3_conv2: 1}}") from None
    if len({each for each, _ in found}) < len(found) or not all(0 < weight < math.inf for _, weight in found):
        raise ValueError(f"{name}: {dict(found)}, expected each {name.removesuffix('s')} once with a positive weight")
    return found


def rising(value: Sequence[float]) -> tuple[float, float]:
    """An input range. Raises ValueError."""
    try:
        low, high = map(float, value)
    except (TypeError, ValueError):
        low, high = 0.0, 0.0
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"input_range: {value!r}, expected two rising numbers, for example [0, 255]")
    return low, high


def is_number(value: Any) -> bool:
    """Whether something is a number; a truth value, and a text of digits, are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def a_weight(name: str, value: Any, positive: bool = False) -> None:
    """Raise ValueError that begins with ``name`` for what is no finite number of 0 or more, or above 0."""
    if not (is_number(value) and 0 <= value < math.inf and (value > 0 or not positive)):
        raise ValueError(f"{name}: {value!r}, expected {'' if positive else '0 or '}a positive number")


def one_of(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """Raise ValueError that begins with ``name`` for a value that is not among those ``allowed``."""
    if value not in allowed:
        raise ValueError(f"{name}: {value!r}, choose one of {', '.join(map(str, allowed))}")
