"""A loss as a value: everything that decides Eq. 4, so that a new loss is data and no code.

    total = pixel_weight * pixel(f(x), y) + lambda * sum over layers of weight * distance(E(f(x)), E(y))

Eq. 2 and 3 write squared norms. The paper's published numbers come from *means* over all elements, and so do the defaults
here: its lambdas make sense with means only.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from os import PathLike
from typing import Any, Literal, NamedTuple, get_args

from .adversarial import Adversarial
from .fields import a_weight, is_number, one_of, rising, weighted_names
from .rules import Fixed, from_dict
from .rules import as_dict as rule_as_dict

Distance = Literal["mse", "l1"]
Pixel = Literal["mse", "l1", "huber", "charbonnier", "ssim"]
Reduction = Literal["mean", "sum", "positions"]
Features = Literal["plain", "unit"]
Rounding = Literal["exact", "decade"]
BEFORE = ":before"  # after a layer's name: what its activation takes


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
        if not isinstance(self.moves, Fixed):
            raise ValueError(f"lambda.moves: {self.moves!r}, expected a rule as {{rule: held, target: 0.9}}")
        if self.value is not None and not (is_number(self.value) and 0 <= self.value < float("inf")):
            raise ValueError(f"lambda: {self.value} is no weight, expected 0 or a positive number")
        if self.value is not None and (self.psi or self.state or self.rounding):
            raise ValueError("lambda: give a number or what to calibrate, not both")
        if self.psi is not None and not (is_number(self.psi) and 0 < self.psi < 1):
            raise ValueError(f"lambda.psi: {self.psi}, expected a share between 0 and 1")
        one_of("lambda.rounding", self.rounding, (None, *get_args(Rounding)))

    @property
    def calibrated(self) -> bool:
        """Whether lambda follows from a calibration."""
        return self.value is None

    def as_data(self) -> float | str | dict[str, Any]:
        """Plain data, as short as it can be: a number, 'calibrated', or the fields that say something."""
        names = ("value", "psi", "state", "rounding")
        said = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.moves != Fixed():
            return said | {"moves": rule_as_dict(self.moves)}
        return said.get("value", said or "calibrated")


class Standardised(NamedTuple):
    """A preprocessing: minus a mean, by a standard deviation, both in units of the input range and of all channels."""

    mean: float
    sd: float


Preprocessing = Literal["none", "caffe", "torch"] | Standardised


class PixelPart(NamedTuple):
    """What stands beside the perceptual term: losses of which it is equal share it."""

    terms: tuple[tuple[Pixel, float], ...]  # with their weights; none: no pixel term
    huber_delta: float
    charbonnier_epsilon: float


class Encoding(NamedTuple):
    """Which network sees an image, and how; the fields are those of :class:`LossConfiguration`."""

    encoder: str | None
    weights: str | None
    input_range: tuple[float, float]
    preprocessing: Preprocessing


@dataclass(frozen=True)
class LossConfiguration:
    """Eq. 4 as data; equal ones are the same loss. A wrong value is a ValueError that begins with the field's name."""

    # E's architecture, a key of encoders.ARCHITECTURES, or 'file': the network that ``weights`` is; None: no perceptual term
    encoder: str | None = "vgg19"
    weights: str | None = "ImageNet"  # E's context c: 'ImageNet', a name that the caller knows ('Medical'), or a file
    # Keras layers with their weights, or names alone (weight 1); Keras's blockX_convY is the output after the ReLU,
    # blockX_convY:before what the ReLU takes
    layers: tuple[tuple[str, float], ...] = ()
    input_range: tuple[float, float] = (0.0, 255.0)  # what the image's 0 and 1 become before the encoder
    # then nothing (the paper), BGR minus means (Keras), mean and SD (torchvision), or one's own, {mean: 0.2, sd: 0.1}
    preprocessing: Preprocessing = "none"
    distance: Distance = "mse"  # between features, element by element
    # over the elements of one image's features; positions: summed over channels, mean over positions
    reduction: Reduction = "mean"
    pixel: Pixel | None = "mse"  # the term beside the perceptual one, a mean over pixels; ssim: 1 - SSIM
    pixel_weight: float = 1.0
    lambda_: LambdaRule = field(default_factory=LambdaRule)  # or a number, a mapping, 'calibrated'
    features: Features = "plain"  # unit: at each position of unit length over channels (Zhang et al. 2018, LPIPS)
    pixel_more: tuple[tuple[Pixel, float], ...] = ()  # further pixel terms with their weights, {charbonnier: 0.5}
    huber_delta: float = 1.0  # in [0, 1] of the image: where squares become absolute differences
    charbonnier_epsilon: float = 1e-3  # in [0, 1] of the image: sqrt(difference^2 + epsilon^2)
    adversarial: Adversarial | None = None  # or a mapping of its fields: a critic beside Eq. 4, off by default

    def __post_init__(self):
        set_field = object.__setattr__
        for name in ("encoder", "weights"):
            if not isinstance(value := getattr(self, name), str | PathLike | None):
                raise ValueError(f"{name}: {value!r}, expected a name, or null")
        set_field(self, "layers", weighted_names(self.layers))
        set_field(self, "lambda_", _rule(self.lambda_))
        set_field(self, "input_range", rising(self.input_range))
        set_field(self, "preprocessing", _preprocessing(self.preprocessing))
        set_field(self, "pixel_more", weighted_names(self.pixel_more, "pixel_more"))
        for name, allowed in (
            ("distance", get_args(Distance)),
            ("reduction", get_args(Reduction)),
            ("features", get_args(Features)),
            ("pixel", (None, *get_args(Pixel))),
        ):
            one_of(name, getattr(self, name), allowed)
        self._check_pixel()
        given: Any = self.adversarial
        if isinstance(given, Mapping):
            try:
                set_field(self, "adversarial", Adversarial.from_dict(given))
            except (ValueError, TypeError) as error:
                raise ValueError(f"adversarial.{error}") from None
        elif given is not None and not isinstance(given, Adversarial):
            raise ValueError(f"adversarial: {given!r}, expected its fields, for example {{weight: 0.1}}")
        if self.encoder is None:
            set_field(self, "weights", None)
            if self.layers or self.lambda_.value != 0:
                raise ValueError("encoder: a loss without one has no layers, and lambda 0")
        elif not self.layers:
            raise ValueError("layers: name at least one layer of the encoder, for example block3_conv2")

    def _check_pixel(self) -> None:
        kinds = [self.pixel, *(kind for kind, _ in self.pixel_more)]
        for kind in kinds[1:]:
            one_of("pixel_more", kind, get_args(Pixel))
        if self.pixel_more and (self.pixel is None or len(set(kinds)) < len(kinds)):
            raise ValueError(f"pixel_more: {dict(self.pixel_more)} beside {self.pixel}, expected further terms, each once")
        a_weight("pixel_weight", self.pixel_weight)
        for name, kind in (("huber_delta", "huber"), ("charbonnier_epsilon", "charbonnier")):
            value = getattr(self, name)
            a_weight(name, value, positive=True)
            if kind not in kinds and value != getattr(type(self), name):
                raise ValueError(f"{name}: {value}, but no pixel term is {kind}")

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
        return data | {
            "layers": dict(self.layers),
            "input_range": list(self.input_range),
            "preprocessing": own._asdict() if isinstance(own := self.preprocessing, Standardised) else own,
            "pixel_more": dict(self.pixel_more),
            "lambda": self.lambda_.as_data(),
        }

    @property
    def encoding(self) -> "Encoding":
        """What one pass of an encoder depends on: losses of one encoding share it."""
        return Encoding(self.encoder, self.weights, self.input_range, self.preprocessing)

    @property
    def terms(self) -> "LossConfiguration":
        """The same without a rule for lambda: losses with equal terms have one calibration."""
        return self if self.encoder is None else replace(self, lambda_=LambdaRule())

    @property
    def pixel_part(self) -> PixelPart:
        """The terms beside the perceptual one."""
        terms = () if self.pixel is None else ((self.pixel, self.pixel_weight), *self.pixel_more)
        return PixelPart(terms, self.huber_delta, self.charbonnier_epsilon)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The layers without their weights."""
        return tuple(name for name, _ in self.layers)


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


def _preprocessing(value: Any) -> Preprocessing:
    if value in ("none", "caffe", "torch"):
        return value
    try:
        found = Standardised(**value) if isinstance(value, Mapping) else Standardised(*value)
        mean, sd = map(float, found)
    except (TypeError, ValueError):
        mean, sd = 0.0, -1.0
    if not (abs(mean) < float("inf") and 0 < sd < float("inf")):
        raise ValueError(f"preprocessing: {value!r}, choose one of none, caffe, torch, or give {{mean: 0.2, sd: 0.1}}")
    return Standardised(mean, sd)
