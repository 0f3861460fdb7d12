"""What bounds the organs of a slice: patient table, skin, fat, muscles, and the chest under the ribs."""

import numpy as np

from lib.simulation.anatomy import LABEL, Slice


def paint_table(section: Slice) -> None:
    """The patient table: two sheets and the foam between them."""
    c = section.canvas
    level = section.patient.half_depth + 5.0 - 0.0009 * c.straight[None, :] ** 2
    sheet = np.abs(c.straight[:, None] - level - 1.0) - 1.1
    sheet = np.minimum(sheet, np.abs(c.straight[:, None] - level - 24.0) - 1.1)
    foam = np.abs(c.straight[:, None] - level - 12.5) - 10.5
    for distance, hu in ((foam, -945.0), (sheet, 20.0)):
        section.put(np.maximum(distance, np.abs(c.straight[None, :]) - 190.0), hu, "table")


def paint_wall(section: Slice) -> None:
    """Skin, subcutaneous fat, muscle layers, and the fat of the cavity; in the chest also lung, heart, diaphragm."""
    f, hu = section.fields, section.hu
    section.put(section.skin, hu["skin"], "skin")
    septa = 16.0 * np.exp(-((f["strand"] / 0.12) ** 2)) * (f["ripple_y"] > 0.2)
    section.put(section.skin + 1.6, hu["fat"] + septa, "fat")
    under_skin = np.maximum(section.skin + 3, -section.wall + 1)
    section.tubes["wall_vessels"].paint(section.canvas, section.z, 20.0, LABEL["vessel"], under_skin)
    muscle = hu["muscle"] - 55.0 * np.maximum(f["strand"] - 1.0, 0)
    section.put(section.wall, muscle, "muscle")
    layer = -section.wall / section.depth
    breadth = 1.1 * np.clip(np.sin(section.angle) - 0.7, 0, 0.4) + 0.4 * np.clip(f["coarse"], -1, 1.2)
    for share in (0.36, 0.68):  # fat between the muscle layers of the flank
        seam = np.abs(layer + 0.09 * f["ripple_x"] + 0.05 * f["warp_x"] - share) * section.depth - breadth
        muscles = np.abs(section.wall + section.depth / 2) - section.depth / 2
        section.put(np.maximum(seam, muscles), -75.0, "fat", soft_mm=0.8)
    linea = np.maximum(np.abs(section.canvas.x) - 2.5, np.abs(section.angle) * -1 + 2.9)
    section.put(np.maximum(linea, section.wall + 1), -60.0, "fat", soft_mm=1.0)
    strands = 28.0 * np.exp(-((f["ripple_y"] / 0.11) ** 2)) * np.clip(f["warp_x"] + 0.6, 0, 1)
    section.put(section.cavity, hu["fat"] + strands, "fat")
    if section.z > -120:
        _chest(section)


def _chest(section: Slice) -> None:
    """Lung, mediastinal fat and heart above the domes, and the diaphragm on them."""
    p, hu = section.patient, section.hu
    section.put(np.maximum(section.cavity + 1.0, -section.dome), hu["lung"], "lung")
    chest = np.maximum(section.cavity + 0.5, -section.dome)
    section.ball((14 * p.sx, -30 * p.sy, 10), (68, 58, 46), hu["fat"], "fat", within=chest)
    section.ball((4, p.spine_y - 26, 10), (26, 26, 1e6), hu["fat"], "fat", within=chest)
    section.ball((16 * p.sx, -32 * p.sy, 10), (60, 48, 40), hu["heart"], "heart", within=chest + 3.0)
    diaphragm = np.maximum(np.abs(section.dome + 1.2) - 1.3, section.cavity + 0.5)
    section.put(diaphragm, hu["muscle"], "muscle")
