"""What bounds the organs of a slice: patient table, skin, fat, muscles, the chest under the ribs, and the bones."""

import numpy as np

from lib.simulation.anatomy import LABEL, Slice
from lib.simulation.shapes import ellipsoid


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


def paint_ribs(section: Slice) -> None:
    """Seven ribs a side, and the costal arch."""
    hu = section.hu
    deep = section.wall + np.minimum(section.depth * 0.45, 5.5)

    def bar(sweep: float, long: float, thick: float, there: np.ndarray) -> np.ndarray:
        """Signed distance to a section of `long` x `thick` mm at the angle `sweep`, in the muscle wall of one side."""
        form = np.sqrt(((section.angle - sweep) * section.radius / long) ** 2 + (deep / thick) ** 2)
        return np.where(there, (form - 1.0) * thick, 99.0)

    for side, there in ((0, ~section.left), (1, section.left)):
        for rib in range(7):
            top, fall, end = (float(section.numbers[f"rib_{name}"][rib, side]) for name in ("top", "fall", "end"))
            sweep = (top - section.z) / fall * 2.3
            if not 0.2 < sweep < end:
                continue
            long, thick = section.numbers["rib_size"][rib, side].tolist()
            taper = min((end - sweep) / 0.18, (sweep - 0.2) / 0.12, 1.0) ** 0.5  # both ends are round
            rib_sd = bar(sweep, long * taper, thick * (0.55 + 0.45 * taper), there)
            marrow = hu["marrow"] * 0.9 + 40.0 * section.fields["strand"]
            section.put(rib_sd, hu["cortex"] + 80.0, "bone")
            section.put(rib_sd + 1.25, marrow, "bone", soft_mm=0.6)
        for start, slope in ((1.75, 0.0098), (2.15, 0.0085)):  # costal arch
            sweep = start + slope * (section.z + 140.0)
            taper = min((section.z + 150.0) / 12.0, (3.0 - sweep) / 0.12, 1.0)
            if taper > 0.02:
                section.put(bar(sweep, 17.0 * taper**0.5, 4.2 * taper**0.5, there), hu["cartilage"], "cartilage")


def paint_spine(section: Slice) -> None:
    """Vertebra or disc, canal, arch, processes."""
    c, p, z, hu = section.canvas, section.patient, section.z, section.hu
    width, depth, period, shift = section.numbers["vertebra"].tolist()
    box = c.box((0, p.spine_y + 24), 62.0)
    x, y = c.bent(0.3, box)
    y = y - p.spine_y
    phase = ((z + shift) % period) / period  # 0 .. 0.22 is the disc
    disc = np.clip(min(phase, 0.22 - phase) * period / 1.6, 0.0, 1.0) if phase < 0.22 else 0.0
    plate = np.clip(1.0 - abs(phase - (0.27 if phase < 0.6 else 0.95)) * period / 2.0, 0.0, 1.0)
    middle = np.sin(np.pi * np.clip((phase - 0.22) / 0.78, 0, 1))
    body = ellipsoid(x, y, 0, (0, 0, 0), (width - 1.8 * middle, depth - 1.2 * middle, 1e6))
    canal = ellipsoid(x, y, 0, (0, depth + 7.5, 0), (10.0, 8.0, 1e6))
    body = np.maximum(body, -(canal + 1.0))
    arch = np.maximum(canal - (3.6 + 2.0 * middle), -(canal + 0.0))
    spinous = ellipsoid(x, y, 0, (0, depth + 27, 0), (3.2 + 1.2 * middle, 14.0 * (0.45 + 0.55 * middle), 1e6))
    facets = np.minimum(*(ellipsoid(x, y, 0, (side * 15, depth + 10, 0), (6.0, 8.5, 1e6), side * 25) for side in (-1, 1)))
    bones = [arch, spinous, facets]
    wings = max(0.0, 1.0 - ((phase - 0.72) / 0.2) ** 2) ** 0.5  # the transverse processes
    if wings > 0.05:
        axes = (18 * wings, 3.8 * wings, 1e6)
        bones += [ellipsoid(x, y, 0, (side * 33, depth + 6, 0), axes, side * 12) for side in (-1, 1)]
    rear = np.minimum.reduce(bones)
    foramen = 4.0 * max(0.0, 1.0 - ((phase - 0.14) / 0.18) ** 2)  # open beside the disc
    rear = np.maximum(rear, foramen - 1.0 - np.abs(y - depth - 2.0))
    marrow = hu["marrow"] + 25 * section.fields["strand"][box] + 220.0 * plate
    section.put(canal - 1.5, -20.0, "fat", box=box)
    section.put(rear, hu["cortex"] * 0.85, "bone", box=box)
    section.put(rear + 1.6, hu["marrow"] + 60 * section.fields["strand"][box], "bone", box=box, soft_mm=1.0)
    if disc < 1.0:
        section.put(body, (1 - disc) * hu["cortex"] * 0.95 + disc * 90.0, "bone", box=box)
        section.put(body + 1.5, (1 - disc) * marrow + disc * 90.0, "bone", box=box, soft_mm=1.2)
    else:
        section.put(body, 95.0, "cartilage", box=box)
    section.put(canal, 12.0, "muscle", box=box)
    section.put(canal + 3.2, 38.0, "muscle", box=box, soft_mm=1.0)
