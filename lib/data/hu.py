"""Hounsfield units: the range that the networks see as [0, 1], and the window that people look at."""

from typing import Final

import numpy as np

HU_MIN, HU_MAX = -1024.0, 3072.0
"""The range that becomes [0, 1] (paper, Section 5.1)."""

WINDOW: Final = (-160.0, 240.0)
"""HU, the soft-tissue window of figures and of RED-CNN's evaluation."""

BODY_HU: Final = -500.0
"""Between air and what belongs to a body."""


def normalise(hu: np.ndarray) -> np.ndarray:
    """HU to the network's range, float32: -1024 becomes 0 and 3072 becomes 1; nothing is clipped."""
    return (np.asarray(hu, np.float32) - np.float32(HU_MIN)) / np.float32(HU_MAX - HU_MIN)


def denormalise(image: np.ndarray) -> np.ndarray:
    """The inverse of `normalise`: HU, float32."""
    return np.asarray(image, np.float32) * np.float32(HU_MAX - HU_MIN) + np.float32(HU_MIN)
