"""Reconstruction kernels: how the ramp filter rolls off."""

import numpy as np
from scipy import fft

ROLL_OFF: dict[str, tuple[float, float]] = {"B30": (3.4, 2.2), "D45": (7.6, 2.5)}
"""Kernel -> (half, power) of exp(-ln 2 (f / half)^power), `half` in line pairs a cm. Fitted to Siemens B30f and D45f."""


def roll_off(kernel: str, frequency: np.ndarray) -> np.ndarray:
    """Response of a kernel of `ROLL_OFF` at `frequency` in line pairs a cm; 0.5 at its `half`."""
    if kernel not in ROLL_OFF:
        raise ValueError(f"unknown kernel {kernel!r}: choose from {', '.join(ROLL_OFF)}")
    half, power = ROLL_OFF[kernel]
    return np.exp(-np.log(2.0) * (frequency / half) ** power)


def ramp(kernel: str, bins: int, views: int, pixel_mm: float) -> np.ndarray:
    """Response of the ramp with the kernel, float32, shape (2 bins,): band-limited in space, so that HU are unbiased."""
    length = 2 * bins
    place = np.arange(length) - length * (np.arange(length) > length // 2)
    odd = place % 2 == 1
    taps = np.zeros(length)
    taps[0] = 0.25
    taps[odd] = -1.0 / (np.pi * place[odd]) ** 2
    frequency = np.abs(fft.fftfreq(length)) * 10.0 / pixel_mm
    response = fft.fft(taps).real / pixel_mm * roll_off(kernel, frequency)
    return (response * np.pi / (views * bins)).astype(np.float32)
