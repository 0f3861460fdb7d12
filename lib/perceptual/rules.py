"""A lambda that moves during training: rules, each a small state machine of plain numbers. NumPy and Keras play no part.

A rule sees the sums of one step, and says which lambda the next one has. What holds a share is integral control: with r the
ratio of the two sides, logit share = log lambda + log r, so that a step of log lambda is a step of the logit. Known trouble
of such rules elsewhere is runaway amplification and NaN, so r is a ratio of exponential means, lambda moves by a bounded
factor a step and stays within a factor of its first value, and a step without numbers changes nothing; several of these
in sequence put lambda back to its first value.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, NamedTuple, get_args

from .fields import is_number

HeldShare = Literal["psi", "gamma"]


class Sums(NamedTuple):
    """Of one step, over its pairs and before lambda: the terms of Eq. 4, and the norms of their gradients at the output."""

    pixel: float
    perceptual: float
    pixel_gradient: float
    perceptual_gradient: float


@dataclass
class State:
    """What a rule remembers of a training: plain numbers, which a checkpoint keeps."""

    first: float  # lambda at the start
    lambda_: float  # now
    steps: int = 0
    a: float = 0.0  # sums of the two sides that the rule looks at, with its weights: only their ratio counts
    b: float = 0.0
    bad: int = 0  # steps without numbers, in sequence
    fallbacks: int = 0  # how often lambda was put back
    clamped: int = 0  # steps at which a limit held lambda

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it; ``State(**data)`` is the same."""
        return asdict(self)


@dataclass(frozen=True)
class Fixed:
    """lambda stays what it is."""

    def start(self, lambda_: float) -> State:
        """The state before the first step. Raises ValueError: a lambda from which this rule cannot move."""
        return State(lambda_, lambda_)

    def step(self, state: State, sums: Sums) -> float:
        """Count a step, and the lambda of the next one."""
        state.steps += 1
        return state.lambda_

    def epoch(self, state: State) -> float:
        """The lambda of the next epoch, after the last step of one."""
        return state.lambda_


@dataclass(frozen=True)
class Held(Fixed):
    """The share of the perceptual term in the loss (psi, Algorithm 2) or in the gradient at the output (gamma) is held."""

    share: HeldShare = "psi"
    target: float = 0.95
    decay: float = 0.95  # of the exponential means: over about 1 / (1 - decay) steps
    gain: float = 0.2  # part of the distance, in log lambda, that one step covers
    largest: float = 1.1  # factor by which a step may change lambda
    limit: float = 1e3  # factor by which lambda may leave its first value
    patience: int = 20  # steps without numbers in sequence after which lambda is put back

    def __post_init__(self):
        for name, sound, expected in (
            ("share", self.share in get_args(HeldShare), f"one of {', '.join(get_args(HeldShare))}"),
            ("target", 0 < self.target < 1, "a share between 0 and 1"),
            ("decay", 0 <= self.decay < 1, "0 or more, less than 1"),
            ("gain", 0 < self.gain <= 1, "more than 0, at most 1"),
            ("largest", 1 < self.largest < math.inf, "a factor above 1"),
            ("limit", 1 <= self.limit < math.inf, "a factor of 1 or more"),
            ("patience", self.patience >= 1, "1 or more steps"),
        ):
            if not sound:
                raise ValueError(f"{name}: {getattr(self, name)!r}, expected {expected}")

    def start(self, lambda_: float) -> State:
        if not 0 < lambda_ < math.inf:
            raise ValueError(f"lambda: {lambda_}, a share is held from a positive number on")
        return super().start(lambda_)

    def step(self, state: State, sums: Sums) -> float:
        super().step(state, sums)
        a, b = sums[:2] if self.share == "psi" else sums[2:]
        if not (0 < a < math.inf and 0 < b < math.inf):
            state.bad += 1
            if state.bad >= self.patience:
                state.lambda_, state.bad, state.fallbacks = state.first, 0, state.fallbacks + 1
                state.a = state.b = 0.0
            return state.lambda_
        state.bad = 0
        state.a, state.b = (self.decay * mean + value for mean, value in ((state.a, a), (state.b, b)))
        wanted = math.log(self.target / (1 - self.target) * state.a / state.b)
        return _moved(state, self.gain * (wanted - math.log(state.lambda_)), self.largest, self.limit)


def _moved(state: State, by: float, largest: float, limit: float) -> float:
    """lambda, moved by a logarithm, but by no more than a factor ``largest``, and to no more than ``limit`` from its first
    value."""
    bound = math.log(largest)
    moved = math.log(state.lambda_) + max(-bound, min(bound, by))
    ends = [math.log(state.first) + sign * math.log(limit) for sign in (-1, 1)]
    kept = max(ends[0], min(ends[1], moved))
    state.clamped += kept != moved
    state.lambda_ = math.exp(kept)
    return state.lambda_


@dataclass(frozen=True)
class Ramp(Fixed):
    """lambda rises evenly from a part of its value to all of it, over some steps, and stays there."""

    steps: int = 100
    part: float = 0.0  # of lambda, at the first step

    def __post_init__(self):
        if not (self.steps >= 1 and 0 <= self.part <= 1):
            raise ValueError(f"steps, part: {self.steps}, {self.part}, expected 1 or more steps, a part between 0 and 1")

    def start(self, lambda_: float) -> State:
        return State(lambda_, self.part * lambda_)

    def step(self, state: State, sums: Sums) -> float:
        super().step(state, sums)
        state.lambda_ = state.first * min(1.0, self.part + (1 - self.part) * state.steps / self.steps)
        return state.lambda_


@dataclass(frozen=True)
class EpochRatio(Fixed):
    """lambda follows the losses of the epoch before, so that both terms weigh as ``target`` says: of the kind of Marcos et
    al. 2022, whose rule is not published. An approximation."""

    target: float = 0.5  # the Psi that the mean losses of the epoch before would have
    largest: float = 100.0  # factor by which an epoch may change lambda
    limit: float = 1e4  # factor by which lambda may leave its first value

    def __post_init__(self):
        if not 0 < self.target < 1:
            raise ValueError(f"target: {self.target}, expected a share between 0 and 1")
        if not (1 < self.largest < math.inf and 1 <= self.limit < math.inf):
            raise ValueError(f"largest, limit: {self.largest}, {self.limit}, expected a factor above 1, and of 1 or more")

    def start(self, lambda_: float) -> State:
        if not 0 < lambda_ < math.inf:
            raise ValueError(f"lambda: {lambda_}, an epoch's losses move it from a positive number on")
        return super().start(lambda_)

    def step(self, state: State, sums: Sums) -> float:
        super().step(state, sums)
        if 0 <= sums.pixel < math.inf and 0 <= sums.perceptual < math.inf:
            state.a, state.b = state.a + sums.pixel, state.b + sums.perceptual
        return state.lambda_

    def epoch(self, state: State) -> float:
        if state.a > 0 and state.b > 0:
            wanted = math.log(self.target / (1 - self.target)) + math.log(state.a) - math.log(state.b)
            _moved(state, wanted - math.log(state.lambda_), self.largest, self.limit)
        else:
            state.fallbacks += 1
        state.a = state.b = 0.0
        return state.lambda_


RULES: dict[str, type[Fixed]] = {"fixed": Fixed, "held": Held, "ramp": Ramp, "epoch ratio": EpochRatio}


def from_dict(data: Mapping[str, Any]) -> Fixed:
    """A rule from plain data, ``{rule: held, share: gamma, target: 0.9}``. ValueError: no such rule, a wrong field of it."""
    kind = data.get("rule")
    if not isinstance(kind, str) or kind not in RULES:
        raise ValueError(f"rule: {kind!r}, choose one of {', '.join(RULES)}")
    known = [each.name for each in fields(RULES[kind])]
    if unknown := sorted(set(data) - {"rule", *known}):
        raise ValueError(f"{unknown[0]}: no field of the rule {kind}, choose from {', '.join(known)}")
    given = {name: value for name, value in data.items() if name != "rule"}
    if wrong := [name for name, value in given.items() if name != "share" and not is_number(value)]:
        raise ValueError(f"{wrong[0]}: {given[wrong[0]]!r}, expected a number")
    return RULES[kind](**given)


def as_dict(rule: Fixed) -> dict[str, Any]:
    """Plain data from which :func:`from_dict` makes the same rule."""
    return {"rule": next(name for name, kind in RULES.items() if type(rule) is kind)} | asdict(rule)
