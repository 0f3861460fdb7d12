"""One axial slice of an abdomen before its organs are painted: their names, and the regions that bound them."""

import numpy as np

from lib.simulation.abdomen import Abdomen
from lib.simulation.shapes import Canvas, ellipsoid, random_field, smooth_union

ORGANS: tuple[str, ...] = (
    "air", "skin", "fat", "muscle", "bone", "cartilage", "lung", "heart", "liver", "liver_vessel", "lesion",
    "gallbladder", "spleen", "kidney", "adrenal", "pancreas", "aorta", "vena_cava", "vessel", "stomach", "bowel",
    "bowel_content", "gas", "mesentery", "table",
)  # fmt: skip
"""Names of the labels in order. `mesentery` is its vessels and nodes; the fat between them is `fat`."""

LABEL = {name: k for k, name in enumerate(ORGANS)}


class Slice:
    """One slice of a patient in the making: `patient`, position `z` in mm, random `fields`, and the `canvas` painted on.

    Regions, shape (size, size): `radius` in mm, `angle` (0 at the back, pi at the front), `left` (the patient's), and
    signed distances in mm, negative inside: `skin`, `wall` (of muscles, `depth` thick), `back` (its muscles), `cavity`,
    `dome` (under the diaphragm), `inside` (of both).
    """

    def __init__(self, patient: Abdomen, z: float, size: int, fov_mm: float) -> None:
        self.patient, self.z, p = patient, z, patient
        self.numbers, self.tubes, self.hu = patient.numbers, patient.tubes, patient.hu
        steps = {"warp_x": (34, 40), "warp_y": (34, 40), "ripple_x": (9, 11), "ripple_y": (9, 11), "fine": (2.2, 2.6),
                 "coarse": (12, 12), "strand": (4.5, 7)}  # fmt: skip
        self.fields = f = {name: random_field((patient.seed, tag), *step, size, fov_mm, z)
                           for tag, (name, step) in enumerate(steps.items(), start=1)}  # fmt: skip
        warps = (2.6 * f[f"warp_{axis}"] + 0.7 * f[f"ripple_{axis}"] for axis in "xy")
        self.canvas = c = Canvas(size, fov_mm, *warps)
        x, y = c.bent(0.25)
        waist = float(1.0 - 0.04 * np.cos((z + 40.0) / 75.0))
        u, v = np.abs(x) / (p.half_width * waist), y / p.half_depth
        bulge = np.where(v > 0, 2.9, 2.15)
        shape = (u**bulge + np.abs(v) ** bulge) ** (1.0 / bulge) + 1e-6
        self.radius = np.hypot(x, y)
        self.angle = np.arctan2(np.abs(x), y)  # 0 at the back, pi at the front
        self.left = x > 0
        navel = np.exp(-((x / 5.0) ** 2 + ((y + p.half_depth) / 6.0) ** 2))
        furrow = 5.0 * np.exp(-((x / 13.0) ** 2)) * (y > 0) - 3.0 * navel
        uneven = 1.3 * self.fields["warp_y"] + 0.12 * self.fields["ripple_y"]
        self.skin = self.radius * (1.0 - 1.0 / shape) + furrow + uneven
        thickness = p.fat * (0.75 + 0.35 * np.cos(2 * self.angle) ** 2 + 0.2 * np.sin(self.angle / 2))
        thickness += self.fields["warp_x"] * 0.8
        self.wall = self.skin + np.maximum(thickness, 3.0) - 0.5 * furrow
        front, flank = self.numbers["wall"].tolist()
        rectus = 3.0 * np.exp(-(((self.angle - 2.75) / 0.22) ** 2))
        self.depth = front + (flank - front) * np.sin(self.angle) ** 2 + rectus + self.fields["warp_y"] * 1.2
        spine = ellipsoid(c.x, c.y, 0, (0, p.spine_y + 6, 0), (26, 25, 1e6))
        back = [ellipsoid(c.x, c.y, 0, (side * 33 * p.sx, p.spine_y + 33, 0), (27 * p.sx, 21, 1e6)) for side in (-1, 1)]
        self.back = np.minimum(*back)
        self.cavity = np.maximum(self.wall + self.depth, -np.minimum(spine, self.back) + 2.0)
        domes = [ellipsoid(c.x, c.y, z, self.numbers[name], (97 * p.sx, 108 * p.sy, height))
                 for name, height in (("dome_right", 93), ("dome_left", 96))]  # fmt: skip
        self.dome = smooth_union(*domes, 14.0) if z >= -120 else np.full_like(c.x, -50.0)
        self.inside = np.maximum(self.cavity + 0.6, self.dome + 2.0)

    def put(self, distance, hu, organ: str, **options) -> None:
        """Paint where the signed distance is negative; `options` as for `Canvas.paint`."""
        self.canvas.paint(distance, hu, LABEL[organ], **options)

    def ball(self, centre, axes, hu, organ: str, degrees: float = 0.0, within=None, soft_mm: float = 0.0) -> None:
        """Paint an ellipsoid's section, kept where the full-size signed distance `within` is negative."""
        box = self.canvas.box(centre, max(axes[0], axes[1])) if abs(self.z - centre[2]) < axes[2] + 1.0 else None
        if box is not None:
            distance = ellipsoid(self.canvas.x[box], self.canvas.y[box], self.z, centre, axes, degrees)
            if within is not None:
                distance = np.maximum(distance, within[box])
            self.put(distance, hu, organ, box=box, soft_mm=soft_mm)
