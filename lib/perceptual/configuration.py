"""A loss as a value: everything that decides Eq. 4, so that a new loss is data and no code.

    total = pixel_weight * pixel(f(x), y) + lambda * sum over layers of weight * distance(E(f(x)), E(y))

Eq. 2 and 3 write squared norms. The paper's published numbers come from *means* over all elements, and so do the defaults
here: its lambdas make sense with means only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple, get_args

from . import rules
from .rules import Fixed, from_dict

Distance = Literal["mse", "l1"]
Reduction = Literal["mean", "sum"]
Preprocessing = Literal["none", "caffe", "torch"]
Rounding = Literal["exact", "decade"]


@dataclass(frozen=True)
class LambdaRule:
    """Where lambda, the weight of the perceptual term, comes from: a number or a calibration. None: the caller's."""

    value: float | None = None  # this very weight; None: lambda is calibrated
    psi: float | None = None  # the perceptual influence to calibrate to, in (0, 1)
    state: str | None = None  # of the network that is measured, as the caller names it: 'untrained', 'pilot'
    rounding: Rounding | None = None  # of lambda*: none, or to the paper's power of ten
    moves: Fixed = field(default_factory=Fixed)  # during training, from there on; or plain data: {rule: held, target: 0.9}

    def __post_init__(self):
        if isinstance(self.moves, Mapping):
            object.__setattr__(self, "moves", from_dict(self.moves))
        if self.value is not None and (not self.value >= 0 or self.value == float("inf")):
            raise ValueError(f"lambda: {self.value} is no weight, expected 0 or a positive number")
        if self.value is not None and (self.psi or self.state or self.rounding):
            raise ValueError("lambda: give a number or what to calibrate, not both")
        if self.psi is not None and not 0 < self.psi < 1:
            raise ValueError(f"lambda.psi: {self.psi}, expected a share between 0 and 1")
        _one_of("lambda.rounding", self.rounding, (None, *get_args(Rounding)))

    @property
    def calibrated(self) -> bool:
        """Whether lambda follows from a calibration."""
        return self.value is None

    def as_data(self) -> float | str | dict[str, Any]:
        """Plain data, as short as it can be: a number, 'calibrated', or the fields that say something."""
        names = ("value", "psi", "state", "rounding")
        said = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.moves != Fixed():
            return said | {"moves": rules.as_dict(self.moves)}
        return said.get("value", said or "calibrated")


class Encoding(NamedTuple):
    """Which network sees an image, and how; the fields are those of :class:`LossConfiguration`."""

    encoder: str | None
    weights: str | None
    input_range: tuple[float, float]
    preprocessing: Preprocessing


@dataclass(frozen=True)
class LossConfiguration:
    """Eq. 4 as data; equal ones are the same loss. A wrong value is a ValueError that begins with the field's name."""

    encoder: str | None = "vgg19"  # E's architecture, a key of encoders.ARCHITECTURES; None: no perceptual term
    weights: str | None = "ImageNet"  # E's context c: 'ImageNet', a name that the caller knows ('Medical'), or a file
    # Keras layers with their weights, or names alone (weight 1); Keras's blockX_convY is the output after the ReLU
    layers: tuple[tuple[str, float], ...] = ()
    input_range: tuple[float, float] = (0.0, 255.0)  # what the image's 0 and 1 become before the encoder
    preprocessing: Preprocessing = "none"  # then nothing (the paper), BGR minus means (Keras), or mean and SD (torchvision)
    distance: Distance = "mse"  # between features, element by element
    reduction: Reduction = "mean"  # over the elements of one image's features
    pixel: Distance | None = "mse"  # the term beside the perceptual one, a mean over pixels
    pixel_weight: float = 1.0
    lambda_: LambdaRule = field(default_factory=LambdaRule)  # or a number, a mapping, 'calibrated'

    def __post_init__(self):
        set_field = object.__setattr__
        set_field(self, "layers", _layers(self.layers))
        set_field(self, "lambda_", _rule(self.lambda_))
        set_field(self, "input_range", _range(self.input_range))
        for name, allowed in (
            ("preprocessing", get_args(Preprocessing)),
            ("distance", get_args(Distance)),
            ("reduction", get_args(Reduction)),
            ("pixel", (None, *get_args(Distance))),
        ):
            _one_of(name, getattr(self, name), allowed)
        if self.encoder is None:
            set_field(self, "weights", None)
            if self.layers or self.lambda_.value != 0:
                raise ValueError("encoder: a loss without one has no layers, and lambda 0")
        elif not self.layers:
            raise ValueError("layers: name at least one layer of the encoder, for example block3_conv2")
        if not self.pixel_weight >= 0:
            raise ValueError(f"pixel_weight: {self.pixel_weight}, expected 0 or a positive number")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "LossConfiguration":
        """From plain data, as YAML or JSON hold it (``lambda_`` is ``lambda``). ValueError: also for an unknown field."""
        known = {each.name.rstrip("_"): each.name for each in fields(cls)}
        if unknown := sorted(set(data) - set(known)):
            raise ValueError(f"{unknown[0]}: no field of a loss, choose from {', '.join(known)}")
        return cls(**{known[name]: value for name, value in data.items()})

    def as_dict(self) -> dict[str, Any]:
        """Plain data from which :meth:`from_dict` makes the same configuration."""
        data = asdict(self)
        del data["lambda_"]
        return data | {"layers": dict(self.layers), "input_range": list(self.input_range), "lambda": self.lambda_.as_data()}

    @property
    def encoding(self) -> "Encoding":
        """What one pass of an encoder depends on: losses of one encoding share it."""
        return Encoding(self.encoder, self.weights, self.input_range, self.preprocessing)

    @property
    def terms(self) -> "LossConfiguration":
        """The same without a rule for lambda: losses with equal terms have one calibration."""
        return self if self.encoder is None else replace(self, lambda_=LambdaRule())

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The layers without their weights."""
        return tuple(name for name, _ in self.layers)


def _layers(value: Any) -> tuple[tuple[str, float], ...]:
    if isinstance(value, str):
        value = [value]
    pairs = (
        list(value.items())
        if isinstance(value, Mapping)
        else [(each, 1.0) if isinstance(each, str) else tuple(each) for each in value]
    )
    try:
        found = tuple((str(name), float(weight)) for name, weight in pairs)
    except (TypeError, ValueError):
        raise ValueError(f"layers: {value!r}, expected names, or names with weights as {{block3_conv2: 1}}") from None
    if len({name for name, _ in found}) < len(found) or not all(weight > 0 for _, weight in found):
        raise ValueError(f"layers: {dict(found)}, expected each layer once with a positive weight")
    return found


def _rule(value: Any) -> LambdaRule:
    if isinstance(value, LambdaRule):
        return value
    if value == "calibrated":
        return LambdaRule()
    if isinstance(value, Mapping):
        try:
            return LambdaRule(**value)
        except ValueError as error:
            raise ValueError(text if (text := str(error)).startswith("lambda") else f"lambda.moves.{text}") from None
        except TypeError:
            names = ", ".join(each.name for each in fields(LambdaRule))
            raise ValueError(f"lambda: {dict(value)}, expected some of {names}") from None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return LambdaRule(float(value))
    raise ValueError(f"lambda: {value!r}, expected a number, 'calibrated' or what to calibrate as {{psi: 0.95}}")


def _range(value: Sequence[float]) -> tuple[float, float]:
    try:
        low, high = map(float, value)
    except (TypeError, ValueError):
        low, high = 0.0, 0.0
    if not low < high:
        raise ValueError(f"input_range: {value!r}, expected two rising numbers, for example [0, 255]")
    return low, high


def _one_of(name: str, value: Any, allowed: Sequence[Any]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}: {value!r}, choose one of {', '.join(map(str, allowed))}")
