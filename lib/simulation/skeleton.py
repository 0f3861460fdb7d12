"""The bones of a slice: ribs, costal arch and spine."""

import numpy as np

from lib.simulation.anatomy import Slice
from lib.simulation.shapes import ellipsoid


def paint_ribs(section: Slice) -> None:
    """Seven ribs a side, and the costal arch."""
    hu = section.hu
    deep = section.wall + np.minimum(section.depth * 0.45, 5.5)
    for side, there in ((0, ~section.left), (1, section.left)):
        for rib in range(7):
            top, fall, end = (float(section.numbers[f"rib_{name}"][rib, side]) for name in ("top", "fall", "end"))
            sweep = (top - section.z) / fall * 2.3
            if not 0.2 < sweep < end:
                continue
            long, thick = section.numbers["rib_size"][rib, side].tolist()
            taper = min((end - sweep) / 0.18, (sweep - 0.2) / 0.12, 1.0) ** 0.5  # both ends are round
            long, thick = long * taper, thick * (0.55 + 0.45 * taper)
            along = (section.angle - sweep) * section.radius / long
            form = np.sqrt(along**2 + (deep / thick) ** 2)
            rib_sd = np.where(there, (form - 1.0) * thick, 99.0)
            marrow = hu["marrow"] * 0.9 + 40.0 * section.fields["strand"]
            section.put(rib_sd, hu["cortex"] + 80.0, "bone")
            section.put(rib_sd + 1.25, marrow, "bone", soft_mm=0.6)
        for start, slope in ((1.75, 0.0098), (2.15, 0.0085)):  # costal arch
            sweep = start + slope * (section.z + 140.0)
            taper = min((section.z + 150.0) / 12.0, (3.0 - sweep) / 0.12, 1.0)
            if taper > 0.02:
                long, thick = 17.0 * taper**0.5, 4.2 * taper**0.5
                form = np.sqrt(((section.angle - sweep) * section.radius / long) ** 2 + (deep / thick) ** 2)
                section.put(np.where(there, (form - 1.0) * thick, 99.0), hu["cartilage"], "cartilage")


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
