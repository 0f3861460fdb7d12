"""Perceptual influence: what share of a loss its perceptual term has, and which weight gives a wanted share.

The NumPy part needs NumPy alone; the Keras part is imported when it is first used.

>>> lambda_star([1e-4], [422.0], psi=0.95)
4.502369668246442e-06
"""

from importlib import import_module
from typing import TYPE_CHECKING

from . import presets
from .configuration import LambdaRule, LossConfiguration
from .exchange_rate import Exchange
from .findings import Finding, Report
from .psi import TARGET_PSI, decade, lambda_star, psi, psi_algorithm2

if TYPE_CHECKING:
    from .balance import Calibration, calibrate, pair_losses
    from .encoders import encoder
    from .linter import lint
    from .losses import PerceptualLoss, TotalLoss
    from .measure import exchange
    from .metrics import GradientShare, PerceptualInfluence
    from .weighted import WeightedSum

__version__ = "0.2.0"

__all__ = [
    "TARGET_PSI", "Calibration", "Exchange", "Finding", "GradientShare", "LambdaRule", "LossConfiguration",
    "PerceptualInfluence", "PerceptualLoss", "Report", "TotalLoss", "WeightedSum", "calibrate", "decade", "encoder",
    "exchange", "lambda_star", "lint", "pair_losses", "presets", "psi", "psi_algorithm2",
]  # fmt: skip

_KERAS = {
    "Calibration": "balance", "calibrate": "balance", "pair_losses": "balance", "encoder": "encoders", "lint": "linter",
    "PerceptualLoss": "losses", "TotalLoss": "losses", "exchange": "measure", "GradientShare": "metrics",
    "PerceptualInfluence": "metrics", "WeightedSum": "weighted",
}  # fmt: skip


def __getattr__(name: str):
    if name in _KERAS:
        return getattr(import_module(f".{_KERAS[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
