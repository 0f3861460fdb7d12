"""Noiseless slices of a random abdomen, in HU and as labels: continuous in z and decided by its seed. A stand-in for anatomy
with the noise-relevant properties of a CT (sizes, attenuations, edges, textures), not a model of disease."""

import numpy as np

from lib.simulation.abdomen import Abdomen
from lib.simulation.anatomy import ORGANS, Slice
from lib.simulation.body import paint_ribs, paint_spine, paint_table, paint_wall
from lib.simulation.organs import paint_bowel, paint_great_vessels, paint_retroperitoneum, paint_upper_organs

Z_RANGE_MM = (-250.0, 0.0)  # where slices may be drawn: 0 is the liver's dome, z rises towards the head, as in DICOM

# Texture: SD in HU of a fine (2.2 mm) and of a coarse (12 mm) random field, by organ.
_TEXTURE = {
    "fat": (5, 7), "muscle": (9, 9), "bone": (45, 30), "cartilage": (8, 10), "lung": (35, 25), "heart": (5, 6),
    "liver": (4, 5), "lesion": (6, 8), "spleen": (4, 4), "kidney": (6, 7), "adrenal": (4, 4), "pancreas": (14, 8),
    "stomach": (10, 6), "bowel": (10, 6), "bowel_content": (12, 8), "mesentery": (6, 4), "vessel": (3, 2),
}  # fmt: skip


def draw(patient: Abdomen, z_mm: np.ndarray, size: int = 512, fov_mm: float = 350.0) -> tuple[np.ndarray, np.ndarray]:
    """Noiseless HU, float32, and labels (indices into `ORGANS`), uint8, of shape (slices, size, size) both, at the positions
    `z_mm`, within `Z_RANGE_MM` in any order. Each slice depends on the patient and its z only; rows run towards the back,
    columns to the patient's left, and a side is `fov_mm` long."""
    z_mm = np.atleast_1d(np.asarray(z_mm, dtype=np.float64))
    if z_mm.min() < Z_RANGE_MM[0] or z_mm.max() > Z_RANGE_MM[1]:
        raise ValueError(f"z from {z_mm.min():g} to {z_mm.max():g} mm: expected values within {Z_RANGE_MM}")
    if size < 1 or fov_mm <= 0:
        raise ValueError(f"size {size}, fov_mm {fov_mm}: both must be positive")
    hu = np.empty((len(z_mm), size, size), np.float32)
    labels = np.empty(hu.shape, np.uint8)
    texture = np.array([_TEXTURE.get(organ, (0, 0)) for organ in ORGANS], float).T
    for k, z in enumerate(z_mm):
        section = Slice(patient, float(z), size, fov_mm)
        for paint in (paint_table, paint_wall, paint_retroperitoneum, paint_upper_organs):  # from back to front
            paint(section)
        paint_great_vessels(section, paint_bowel(section))
        paint_ribs(section)
        paint_spine(section)
        labels[k] = section.canvas.label
        fine, coarse = texture[:, labels[k]]
        hu[k] = section.canvas.hu + (fine * section.fields["fine"] + coarse * section.fields["coarse"])
    return hu, labels
