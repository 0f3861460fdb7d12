"""The adversarial term of a loss as data: a Wasserstein critic with a gradient penalty (Gulrajani et al. 2017).

It is no part of Eq. 4, of Psi or of Gamma: whoever trains a network adds it (``lib/denoiser/critic.py`` does).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from .fields import a_weight

Norm = Literal["image", "rows"]


@dataclass(frozen=True)
class Adversarial:
    """``weight`` of minus the critic's mean beside Eq. 4, and how the critic is trained.

    The article of WGAN-VGG (Yang et al. 2018) has the defaults; its public code a penalty of 1, with norms over rows, and a
    rate of 1e-4.
    """

    weight: float = 1.0
    penalty: float = 10.0  # of the gradient whose norm is not 1
    norm: Norm = "image"  # of the critic's gradient: over an image (Gulrajani), or down each column (Yang's code)
    critic_steps: int = 4  # of the critic for one of the network
    lr: float = 1e-5  # of the critic's Adam, whose momenta are 0.5 and 0.9
    channels: int = 64  # of the critic's first convolution

    def __post_init__(self):
        for name in ("weight", "penalty", "lr"):
            a_weight(name, getattr(self, name))
        for name in ("critic_steps", "channels"):
            if not (isinstance(getattr(self, name), int) and getattr(self, name) >= 1):
                raise ValueError(f"{name}: {getattr(self, name)}, expected 1 or more")
        if self.norm not in get_args(Norm):
            raise ValueError(f"norm: {self.norm!r}, choose one of {', '.join(get_args(Norm))}")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Adversarial":
        """From plain data. ValueError: a wrong field, or one that there is not."""
        known = [each.name for each in fields(cls)]
        if unknown := sorted(set(data) - set(known)):
            raise ValueError(f"{unknown[0]}: no field of an adversarial term, choose from {', '.join(known)}")
        return cls(**data)

    def as_dict(self) -> dict[str, Any]:
        """Plain data from which :meth:`from_dict` makes the same."""
        return asdict(self)
