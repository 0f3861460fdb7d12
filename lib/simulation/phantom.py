"""Noiseless slices of a random abdomen: what lies where, in HU and as labels.

Continuous in z and decided by its seed, so that any slice may be drawn at any time. It is a stand-in for anatomy with
the noise-relevant properties of a CT (sizes, attenuations, edges, textures), not a model of disease.
"""

import numpy as np

from lib.simulation.abdomen import Abdomen
from lib.simulation.anatomy import LABEL, ORGANS, Slice
from lib.simulation.body_wall import paint_table, paint_wall
from lib.simulation.organs import paint_bowel, paint_great_vessels, paint_retroperitoneum, paint_upper_organs
from lib.simulation.skeleton import paint_ribs, paint_spine

Z_RANGE_MM: tuple[float, float] = (-250.0, 0.0)
"""Where slices may be drawn: 0 is the dome of the liver, and z rises towards the head, as in DICOM."""

# Texture: SD in HU of a fine (2.2 mm) and of a coarse (12 mm) random field, by organ.
_TEXTURE = {
    "fat": (5, 7), "muscle": (9, 9), "bone": (45, 30), "cartilage": (8, 10), "lung": (35, 25), "heart": (5, 6),
    "liver": (4, 5), "lesion": (6, 8), "spleen": (4, 4), "kidney": (6, 7), "adrenal": (4, 4), "pancreas": (14, 8),
    "stomach": (10, 6), "bowel": (10, 6), "bowel_content": (12, 8), "mesentery": (6, 4), "vessel": (3, 2),
}  # fmt: skip


def draw(patient: Abdomen, z_mm: np.ndarray, size: int = 512, fov_mm: float = 350.0) -> tuple[np.ndarray, np.ndarray]:
    """Noiseless slices; each depends on the patient and its z only.

    Parameters
    ----------
    z_mm : positions, shape (slices,), within `Z_RANGE_MM` in any order
    size, fov_mm : pixels along a side, and their length; rows run towards the back, columns to the patient's left

    Returns
    -------
    HU, float32, and labels (indices into `ORGANS`), uint8, each of shape (slices, size, size)
    """
    z_mm = np.atleast_1d(np.asarray(z_mm, dtype=np.float64))
    if z_mm.min() < Z_RANGE_MM[0] or z_mm.max() > Z_RANGE_MM[1]:
        raise ValueError(f"z from {z_mm.min():g} to {z_mm.max():g} mm: expected values within {Z_RANGE_MM}")
    if size < 1 or fov_mm <= 0:
        raise ValueError(f"size {size}, fov_mm {fov_mm}: both must be positive")
    hu = np.empty((len(z_mm), size, size), np.float32)
    labels = np.empty(hu.shape, np.uint8)
    for k, z in enumerate(z_mm):
        hu[k], labels[k] = _painted(Slice(patient, float(z), size, fov_mm))
    return hu, labels


def _painted(section: Slice) -> tuple[np.ndarray, np.ndarray]:
    """HU and labels of the slice, painted from back to front."""
    paint_table(section)
    paint_wall(section)
    paint_retroperitoneum(section)
    paint_upper_organs(section)
    free = paint_bowel(section)
    paint_great_vessels(section, free)
    paint_ribs(section)
    paint_spine(section)
    amplitudes = np.zeros((2, len(ORGANS)), np.float32)
    for organ, pair in _TEXTURE.items():
        amplitudes[:, LABEL[organ]] = pair
    fine, coarse = amplitudes[:, section.canvas.label]
    section.canvas.hu += fine * section.fields["fine"] + coarse * section.fields["coarse"]
    return section.canvas.hu, section.canvas.label
