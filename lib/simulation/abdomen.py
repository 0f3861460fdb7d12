"""A random patient in portal venous phase: sizes, attenuations, vessel trees, bowel and lesions, decided by a seed."""

from dataclasses import dataclass

import numpy as np

from lib.simulation.shapes import Tubes
from lib.simulation.vessels import plant


@dataclass(frozen=True, eq=False)
class Abdomen:
    """One patient, made by `Abdomen.random` and drawn by `lib.simulation.phantom.draw`."""

    seed: int  # decides everything below
    half_width: float  # of the body, mm
    half_depth: float
    fat: float  # subcutaneous, mm
    sx: float  # scale of the organs against the nominal patient
    sy: float
    spine_y: float  # centre of the vertebral bodies, mm
    hu: dict[str, float]  # attenuation by organ
    numbers: dict[str, np.ndarray]  # the remaining dimensions, mm
    tubes: dict[str, Tubes]  # vessel trees and bowel, by name
    lesions: np.ndarray  # liver metastases, shape (n, 5): x, y, z, radius in mm, HU

    @classmethod
    def random(cls, seed: int) -> "Abdomen":
        """The patient of this seed, 0 or more: equal seeds give equal patients."""
        if seed < 0:
            raise ValueError(f"seed {seed} is negative: expected 0 or more")
        rng = np.random.default_rng([seed, 0xABD])
        half_width, fat = rng.uniform(140, 167), rng.uniform(7, 24)
        half_depth = min(half_width * rng.uniform(0.69, 0.79), 126.0)
        sx, sy = (half_width - fat) / 135.0, (half_depth - fat) / 93.0
        hu = {
            "skin": 5, "fat": rng.normal(-104, 4), "muscle": rng.normal(58, 5), "cartilage": rng.normal(105, 12),
            "cortex": rng.normal(560, 60), "marrow": rng.normal(190, 35), "lung": rng.normal(-840, 25),
            "heart": rng.normal(135, 10), "liver": rng.normal(106, 7), "liver_vessel": rng.normal(156, 9),
            "gallbladder": rng.normal(9, 4), "spleen": rng.normal(117, 6), "kidney": rng.normal(172, 12),
            "adrenal": 80, "pancreas": rng.normal(92, 7), "aorta": rng.normal(152, 10),
            "vena_cava": rng.normal(143, 9), "wall": rng.normal(88, 7), "gas": -960,
        }  # fmt: skip
        hu["liver_vessel"] = max(hu["liver_vessel"], hu["liver"] + 28.0)
        scale = np.array([sx, sy, 1.0])

        def near(x, y, z, sd=4.0):
            return np.array([x, y, z]) * scale + rng.normal(0, sd, 3)

        numbers = {
            "wall": rng.uniform(9, 14, 2),
            "dome_right": near(-50, 0, -92), "dome_left": near(48, 4, -104),
            "liver_right": near(-58, 2, -78, 6), "liver_left": near(-8, -46, -52, 6),
            "liver_right_axes": rng.uniform(0.9, 1.08, 3) * (78, 76, 92) * scale,
            "liver_left_axes": rng.uniform(0.85, 1.15, 3) * (62, 32, 46) * scale,
            "spleen": near(92, 34, -72, 5), "spleen_axes": rng.uniform(0.85, 1.15, 3) * (29, 47, 58) * scale,
            "kidneys": np.array([near(-60, 42, -148, 5), near(60, 42, -132, 5)]),
            "kidney_axes": rng.uniform(0.9, 1.12, 3) * (26, 30, 54),
            "gallbladder": near(-48, -44, -118, 6), "gallbladder_axes": rng.uniform(0.7, 1.2, 3) * (13, 17, 26),
            "vertebra": rng.uniform((21, 15.5, 29, 0), (25, 18.5, 34, 30)),  # half width, half depth, period, shift
            "rib_top": -80 + 27.0 * np.arange(7)[:, None] + rng.normal(0, 4, (7, 2)),
            "rib_fall": rng.uniform(72, 98) + rng.normal(0, 6, (7, 2)),
            "rib_end": np.array([1.0, 1.5, 2.15, 2.3, 2.4, 2.45, 2.5])[:, None] + rng.normal(0, 0.08, (7, 2)),
            "rib_size": rng.normal((15.0, 3.8), (2.2, 0.35), (7, 2, 2)),
            "aorta": np.array([rng.uniform(5, 14), rng.uniform(9, 12.5)]),
            "stool": rng.uniform(0.6, 1.4, 1),
        }  # fmt: skip
        spine_y = half_depth - fat - 52.0 * sy
        tubes = plant(rng, scale, spine_y)
        count = int(rng.integers(2, 8))
        away = rng.normal(0, 1, (count, 3))
        away *= (rng.uniform(0.2, 0.85, (count, 1)) / np.linalg.norm(away, axis=1, keepdims=True))
        places = numbers["liver_right"] + away * numbers["liver_right_axes"]
        faint = hu["liver"] - rng.uniform(25, 65, (count, 1))
        lesions = np.concatenate([places, rng.uniform(3.5, 13, (count, 1)), faint], axis=1)
        return cls(seed, half_width, half_depth, fat, sx, sy, spine_y, hu, numbers, tubes, lesions)
