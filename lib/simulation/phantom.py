"""A random abdomen per patient in portal venous phase: what lies where, in HU and as labels.

Continuous in z and decided by its seed, so that any slice may be drawn at any time. It is a stand-in for anatomy with
the noise-relevant properties of a CT (sizes, attenuations, edges, textures), not a model of disease.
"""

from dataclasses import dataclass

import numpy as np

from lib.errors import StudyError
from lib.simulation.anatomy import ORGANS, Slice
from lib.simulation.shapes import Tubes
from lib.simulation.vessels import plant

__all__ = ["ORGANS", "Z_RANGE_MM", "Abdomen"]

Z_RANGE_MM: tuple[float, float] = (-250.0, 0.0)
"""Where slices may be drawn: 0 is the dome of the liver, and z rises towards the head, as in DICOM."""


@dataclass(frozen=True, eq=False)
class Abdomen:
    """One patient. Make it with `Abdomen.random`; draw it with `draw`.

    Attributes:
        seed: decides everything below. half_width, half_depth: of the body, mm. fat: subcutaneous, mm.
        sx, sy: scale of the organs against the nominal patient. spine_y: centre of the vertebral bodies, mm.
        hu: attenuation by organ. numbers: the remaining dimensions. tubes: vessel trees and bowel, by name.
        lesions: liver metastases, shape (n, 5): x, y, z, radius in mm, HU.
    """

    seed: int
    half_width: float
    half_depth: float
    fat: float
    sx: float
    sy: float
    spine_y: float
    hu: dict[str, float]
    numbers: dict[str, np.ndarray]
    tubes: dict[str, Tubes]
    lesions: np.ndarray

    @classmethod
    def random(cls, seed: int) -> "Abdomen":
        """The patient of this seed (an integer >= 0); equal seeds give equal patients.

        Raises:
            StudyError: negative seed.
        """
        if seed < 0:
            raise StudyError(f"Abdomen: seed {seed} is negative; give 0 or more.")
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

    def draw(self, z_mm: np.ndarray, size: int = 512, fov_mm: float = 350.0) -> tuple[np.ndarray, np.ndarray]:
        """Noiseless slices.

        Args:
            z_mm: shape (slices,), within `Z_RANGE_MM`, in any order. size: pixels a side. fov_mm: side of the image.
        Returns:
            HU, float32, and labels (indices into `ORGANS`), uint8, each of shape (slices, size, size). A slice depends
            on the seed and its z alone; rows run towards the back, columns towards the patient's left.
        Raises:
            StudyError: z out of range, or size or fov_mm not positive.
        """
        z_mm = np.atleast_1d(np.asarray(z_mm, dtype=np.float64))
        if z_mm.min() < Z_RANGE_MM[0] or z_mm.max() > Z_RANGE_MM[1]:
            raise StudyError(f"Abdomen: z from {z_mm.min():g} to {z_mm.max():g} mm; draw within {Z_RANGE_MM}.")
        if size < 1 or fov_mm <= 0:
            raise StudyError(f"Abdomen: size {size} and fov_mm {fov_mm} must be positive.")
        hu = np.empty((len(z_mm), size, size), np.float32)
        labels = np.empty(hu.shape, np.uint8)
        for k, z in enumerate(z_mm):
            hu[k], labels[k] = Slice(self, float(z), size, fov_mm).painted()
        return hu, labels
