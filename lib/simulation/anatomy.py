"""One axial slice of an abdomen: which organ lies where, painted from back to front."""

from typing import TYPE_CHECKING

import numpy as np

from lib.simulation.shapes import Canvas, Field, ellipsoid, smooth_union

if TYPE_CHECKING:
    from lib.simulation.phantom import Abdomen

ORGANS: tuple[str, ...] = (
    "air", "skin", "fat", "muscle", "bone", "cartilage", "lung", "heart", "liver", "liver_vessel", "lesion",
    "gallbladder", "spleen", "kidney", "adrenal", "pancreas", "aorta", "vena_cava", "vessel", "stomach", "bowel",
    "bowel_content", "gas", "mesentery", "table",
)  # fmt: skip
"""Names of the labels in order. `mesentery` is its vessels and nodes; the fat between them is `fat`."""

LABEL = {name: k for k, name in enumerate(ORGANS)}

# Texture: SD in HU of a fine (2.2 mm) and of a coarse (12 mm) random field, by organ.
_TEXTURE = {
    "fat": (5, 7), "muscle": (9, 9), "bone": (45, 30), "cartilage": (8, 10), "lung": (35, 25), "heart": (5, 6),
    "liver": (4, 5), "lesion": (6, 8), "spleen": (4, 4), "kidney": (6, 7), "adrenal": (4, 4), "pancreas": (14, 8),
    "stomach": (10, 6), "bowel": (10, 6), "bowel_content": (12, 8), "mesentery": (6, 4), "vessel": (3, 2),
}  # fmt: skip


class Slice:
    """One slice of a patient in the making: the regions that bound the organs, then the organs from back to front."""

    def __init__(self, patient: "Abdomen", z: float, size: int, fov_mm: float) -> None:
        self.p, self.z = patient, z
        self.n, self.t, self.hu = patient.numbers, patient.tubes, patient.hu
        self.fields = {
            name: Field((patient.seed, tag), step, step_z).on(size, fov_mm, z)
            for name, tag, step, step_z in (
                ("warp_x", 1, 34, 40), ("warp_y", 2, 34, 40), ("ripple_x", 3, 9, 11), ("ripple_y", 4, 9, 11),
                ("fine", 5, 2.2, 2.6), ("coarse", 6, 12, 12), ("strand", 7, 4.5, 7),
            )
        }  # fmt: skip
        f = self.fields
        warps = (2.6 * f[f"warp_{axis}"] + 0.7 * f[f"ripple_{axis}"] for axis in "xy")
        self.canvas = Canvas(size, fov_mm, *warps)
        self._lay_out()

    def _lay_out(self) -> None:
        """Signed distances to the skin, the muscle wall, its inside, and the domes under the diaphragm."""
        c, p, z = self.canvas, self.p, self.z
        x, y = c.bent(0.25)
        waist = float(1.0 - 0.04 * np.cos((z + 40.0) / 75.0))
        u, v = np.abs(x) / (p.half_width * waist), y / p.half_depth
        bulge = np.where(v > 0, np.float32(2.9), np.float32(2.15))
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
        front, flank = self.n["wall"].tolist()
        rectus = 3.0 * np.exp(-(((self.angle - 2.75) / 0.22) ** 2))
        self.depth = front + (flank - front) * np.sin(self.angle) ** 2 + rectus + self.fields["warp_y"] * 1.2
        spine = ellipsoid(c.x, c.y, 0, (0, p.spine_y + 6, 0), (26, 25, 1e6))
        back = [ellipsoid(c.x, c.y, 0, (s * 33 * p.sx, p.spine_y + 33, 0), (27 * p.sx, 21, 1e6)) for s in (-1, 1)]
        self.back = np.minimum(*back)
        self.cavity = np.maximum(self.wall + self.depth, -np.minimum(spine, self.back) + 2.0)
        domes = [
            ellipsoid(c.x, c.y, z, self.n[name], (97 * p.sx, 108 * p.sy, 93 if name == "dome_right" else 96))
            for name in ("dome_right", "dome_left")
        ]
        self.dome = smooth_union(*domes, 14.0)
        if z < -120:
            self.dome = np.full_like(self.dome, -50.0)
        self.inside = np.maximum(self.cavity + 0.6, self.dome + 2.0)

    def painted(self) -> tuple[np.ndarray, np.ndarray]:
        """HU and labels of the finished slice."""
        self._table()
        self._wall()
        self._retroperitoneum()
        self._upper_organs()
        self._bowel()
        self._great_vessels()
        self._ribs()
        self._spine()
        self._texture()
        return self.canvas.hu, self.canvas.label

    def _put(self, distance, hu, organ: str, **options) -> None:
        self.canvas.paint(distance, hu, LABEL[organ], **options)

    def _ball(self, centre, axes, hu, organ: str, **options) -> None:
        self.canvas.paint_ellipsoid(self.z, centre, axes, hu, LABEL[organ], **options)

    def _table(self) -> None:
        c = self.canvas
        level = self.p.half_depth + 5.0 - 0.0009 * c.straight[None, :] ** 2
        sheet = np.abs(c.straight[:, None] - level - 1.0) - 1.1
        sheet = np.minimum(sheet, np.abs(c.straight[:, None] - level - 24.0) - 1.1)
        foam = np.abs(c.straight[:, None] - level - 12.5) - 10.5
        for distance, hu in ((foam, -945.0), (sheet, 20.0)):
            self._put(np.maximum(distance, np.abs(c.straight[None, :]) - 190.0), hu, "table")

    def _wall(self) -> None:
        f, hu = self.fields, self.hu
        self._put(self.skin, hu["skin"], "skin")
        septa = 16.0 * np.exp(-((f["strand"] / 0.12) ** 2)) * (f["ripple_y"] > 0.2)
        self._put(self.skin + 1.6, hu["fat"] + septa, "fat")
        under_skin = np.maximum(self.skin + 3, -self.wall + 1)
        self.t["wall_vessels"].paint(self.canvas, self.z, 20.0, LABEL["vessel"], under_skin)
        muscle = hu["muscle"] - 55.0 * np.maximum(f["strand"] - 1.0, 0)
        self._put(self.wall, muscle, "muscle")
        layer = -self.wall / self.depth
        breadth = 1.1 * np.clip(np.sin(self.angle) - 0.7, 0, 0.4) + 0.4 * np.clip(f["coarse"], -1, 1.2)
        for share in (0.36, 0.68):  # fat between the muscle layers of the flank
            seam = np.abs(layer + 0.09 * f["ripple_x"] + 0.05 * f["warp_x"] - share) * self.depth - breadth
            self._put(np.maximum(seam, np.abs(self.wall + self.depth / 2) - self.depth / 2), -75.0, "fat", soft_mm=0.8)
        linea = np.maximum(np.abs(self.canvas.x) - 2.5, np.abs(self.angle) * -1 + 2.9)
        self._put(np.maximum(linea, self.wall + 1), -60.0, "fat", soft_mm=1.0)
        strands = 28.0 * np.exp(-((f["ripple_y"] / 0.11) ** 2)) * np.clip(f["warp_x"] + 0.6, 0, 1)
        self._put(self.cavity, hu["fat"] + strands, "fat")
        if self.z > -120:
            self._chest()

    def _chest(self) -> None:
        p, hu = self.p, self.hu
        self._put(np.maximum(self.cavity + 1.0, -self.dome), hu["lung"], "lung")
        chest = np.maximum(self.cavity + 0.5, -self.dome)
        self._ball((14 * p.sx, -30 * p.sy, 10), (68, 58, 46), hu["fat"], "fat", within=chest)
        self._ball((4, p.spine_y - 26, 10), (26, 26, 1e6), hu["fat"], "fat", within=chest)
        self._ball((16 * p.sx, -32 * p.sy, 10), (60, 48, 40), hu["heart"], "heart", within=chest + 3.0)
        diaphragm = np.maximum(np.abs(self.dome + 1.2) - 1.3, self.cavity + 0.5)
        self._put(diaphragm, hu["muscle"], "muscle")

    def _retroperitoneum(self) -> None:
        p, z, hu = self.p, self.z, self.hu
        muscle = hu["muscle"] - 75.0 * np.maximum(self.fields["strand"] - 0.7, 0)
        self._put(np.maximum(self.back, self.wall + 1.0), muscle, "muscle")
        gap = np.abs(self.canvas.x - 30 * p.sx * np.sign(self.canvas.x)) - 0.6
        self._put(np.maximum(gap, self.back + 5), -60.0, "fat", soft_mm=0.8)
        for side in (-1, 1):
            grown = np.clip((-80.0 - z) / 120.0, 0.0, 1.0)
            if grown > 0:
                psoas, lumborum = (6 + 16 * grown, 9 + 14 * grown, 1e6), (19 * p.sx, 4 + 5 * grown, 1e6)
                at = (side * (27 + 12 * grown), p.spine_y + 2, 0)
                self._ball(at, psoas, hu["muscle"] + 4, "muscle", degrees=side * 20)
                at = (side * 57 * p.sx, p.spine_y + 27, 0)
                self._ball(at, lumborum, hu["muscle"], "muscle", degrees=side * -18, within=self.wall + 3)
            crus = (side * 19, p.spine_y - 14, -70)
            self._ball(crus, (6, 17, 78), hu["muscle"] + 6, "muscle", degrees=side * 32)
            kidney, axes = self.n["kidneys"][(side + 1) // 2], self.n["kidney_axes"]
            self._kidney(kidney, axes, side)
            for turn in (0, 55):
                at, tilt = kidney + (-side * 20, -14, 54), side * (15 + turn)
                self._ball(at, (2.2, 13, 17), hu["adrenal"], "adrenal", degrees=tilt, within=self.inside)

    def _kidney(self, centre, axes, side: int) -> None:
        c, hu = self.canvas, self.hu
        box = c.box(centre, 42.0)
        if abs(self.z - centre[2]) > axes[2] + 2 or box is None:
            return
        x, y, z = c.x[box], c.y[box], self.z
        body = ellipsoid(x, y, z, centre, axes, side * 25.0)
        notch = ellipsoid(x, y, z, centre - (side * 17.0, 5.0, 0), (15, 9, 26), side * 25.0)
        body = np.maximum(body, -notch)
        self._put(np.abs(body - 9.0) - 0.35, -60.0, "fat", box=box, soft_mm=0.8)  # renal fascia
        self._put(body, hu["kidney"] + 12.0, "kidney", box=box)
        sectors = np.sin(7 * np.arctan2(y - centre[1], x - centre[0]) + z / 4.0)
        self._put(np.maximum(body + 6.5, 2.5 - 5 * sectors), hu["kidney"] + 2.0, "kidney", box=box, soft_mm=5.0)
        sinus = smooth_union(ellipsoid(x, y, z, centre - (side * 6.0, 1.0, 0), (10, 8, 27), side * 25.0), notch, 5.0)
        self._put(np.maximum(sinus, body - 1.0), hu["fat"] + 15, "fat", box=box)
        self._ball(centre - (side * 9.0, 0.0, 0), (6, 3.4, 17), 25.0, "vessel", degrees=side * 25.0)

    def _upper_organs(self) -> None:
        n, hu, z, c = self.n, self.hu, self.z, self.canvas
        hollow = ellipsoid(c.x, c.y, z, n["spleen"] - (30 * self.p.sx, 6, 0), (26 * self.p.sx, 34, 60), -24.0)
        spleen = np.maximum(self.inside, -hollow)
        self._ball(n["spleen"], n["spleen_axes"], hu["spleen"], "spleen", degrees=-24.0, within=spleen)
        right = ellipsoid(c.x, c.y, z, n["liver_right"], n["liver_right_axes"])
        left = ellipsoid(c.x, c.y, z, n["liver_left"], n["liver_left_axes"], -8.0)
        liver = smooth_union(right, left, 16.0)
        kidney = ellipsoid(c.x, c.y, z, n["kidneys"][0], n["kidney_axes"] + 4.5, -25.0)
        fissure = ellipsoid(c.x, c.y, z, (-14 * self.p.sx, -62 * self.p.sy, -88), (3.5, 26, 44), -10.0)
        for bite in (kidney, fissure, ellipsoid(c.x, c.y, z, n["gallbladder"], n["gallbladder_axes"] + 1.0)):
            liver = np.maximum(liver, -bite)
        liver = np.maximum(liver, self.inside)
        if liver.min() < 0:
            self._put(liver, hu["liver"], "liver")
            for x, y, at, radius, attenuation in self.p.lesions:
                self._ball((x, y, at), (radius,) * 3, attenuation + 14.0, "lesion", within=liver + 2, soft_mm=2.0)
                self._ball((x, y, at), (radius * 0.7,) * 3, attenuation, "lesion", within=liver + 2, soft_mm=3.0)
            for name in ("hepatic", "portal"):
                region = np.where(c.label == LABEL["lesion"], np.float32(9.0), liver + 1.5)
                self.t[name].paint(c, z, hu["liver_vessel"], LABEL["liver_vessel"], region)
        self._ball(n["gallbladder"], n["gallbladder_axes"] + 1.2, hu["wall"], "bowel", within=self.inside)
        self._ball(n["gallbladder"], n["gallbladder_axes"] - 1.2, hu["gallbladder"], "gallbladder", within=self.inside)

    def _bowel(self) -> None:
        c, z, hu, f = self.canvas, self.z, self.hu, self.fields
        firm = ("liver", "liver_vessel", "lesion", "spleen", "kidney", "gallbladder", "lung", "bone")
        free = np.where(np.isin(c.label, [LABEL[organ] for organ in firm]), np.float32(9.0), self.inside + 1.0)
        self.free = free
        self.t["mesentery"].paint(c, z, hu["vena_cava"] - 8, LABEL["mesentery"], free)
        near, _, _, _ = self.t["pancreas"].nearest(c, z)
        gland = np.maximum(near + 1.6 * f["ripple_x"] + 0.8 * f["strand"], free)
        self._put(gland, hu["pancreas"], "pancreas", soft_mm=0.8)
        gut = (("duodenum", 2.4), ("small_bowel", 2.2), ("stomach", 4.2), ("colon", 2.0))
        for name, wall in gut:
            organ = "stomach" if name == "stomach" else "bowel"
            near, second, group, axis_y = self.t[name].nearest(c, z)
            if near.min() > 0:
                continue
            outer = np.maximum(near, free)
            self._put(outer, hu["wall"], organ)
            folds = (1.8 * f["ripple_x"] + f["strand"]) * (0.25 if name == "colon" else 0.9)
            lumen = np.maximum(outer + wall + folds, (near - second) / 2 + wall / 2)  # touching loops keep their walls
            mood = np.random.default_rng([self.p.seed, LABEL[organ]]).uniform(0, 1, group.max() + 1)[group]
            if name == "colon":
                content = 38.0 - 160.0 * np.maximum(f["strand"] * float(self.n["stool"][0]) - 0.55, 0)
                gas = self.canvas.straight[:, None] - axis_y + 2.0 + 12 * f["warp_x"]
            elif name == "stomach":
                content, gas = 28.0 + 14 * f["strand"], self.canvas.straight[:, None] - (-34.0 * self.p.sy)
            else:
                content = 15.0 + 60.0 * mood + 16 * f["strand"]
                gas = self.canvas.straight[:, None] - axis_y + np.where(mood > 0.86, 1.0, 99.0)
            self._put(lumen, content, "bowel_content", soft_mm=0.8)
            self._put(np.maximum(lumen + 0.3, gas), hu["gas"], "gas")

    def _great_vessels(self) -> None:
        p, z, hu, c = self.p, self.z, self.hu, self.canvas
        front = p.spine_y - 25.0
        for name in ("portal", "splenic", "renal"):
            self.t[name].paint(c, z, hu["vena_cava"], LABEL["vessel"], self.free)
        offset, radius = self.n["aorta"]
        sway = 4.0 * np.sin(z / 60.0 + p.seed)
        at = (offset + sway / 2, front - radius + 8 + np.clip(z + 60, 0, 60) / 8, z)
        self._ball(at, (radius, radius, 1e6), hu["aorta"], "aorta")
        plaque = np.sin(z / 9.0 + p.seed) - 0.5  # calcified wall
        if plaque > 0.02 and p.seed % 3 != 0:
            axes = (4.4 * plaque**0.5, 2.0 * plaque**0.5, 1e6)
            self._ball((at[0] + radius * 0.62, at[1] + radius * 0.62, z), axes, 520.0, "bone", degrees=-45)
        rise = np.clip((z + 110.0) / 90.0, 0.0, 1.0)
        cava, axes = (-17 - 3 * rise, front + 3 - 14 * rise, z), (12.0, 8.5 + 3 * rise, 1e6)
        self._ball(cava, axes, hu["vena_cava"], "vena_cava", degrees=-15)
        self._ball((at[0] + 4, at[1] - radius - 9, -10), (9, 7, 48), 60.0, "stomach")  # oesophagus

    def _ribs(self) -> None:
        hu = self.hu
        deep = self.wall + np.minimum(self.depth * 0.45, 5.5)
        for side, there in ((0, ~self.left), (1, self.left)):
            for rib in range(7):
                top, fall, end = (float(self.n[f"rib_{name}"][rib, side]) for name in ("top", "fall", "end"))
                sweep = (top - self.z) / fall * 2.3
                if not 0.2 < sweep < end:
                    continue
                long, thick = self.n["rib_size"][rib, side].tolist()
                taper = min((end - sweep) / 0.18, (sweep - 0.2) / 0.12, 1.0) ** 0.5  # both ends are round
                long, thick = long * taper, thick * (0.55 + 0.45 * taper)
                along = (self.angle - sweep) * self.radius / long
                form = np.sqrt(along**2 + (deep / thick) ** 2)
                rib_sd = np.where(there, (form - 1.0) * thick, 99.0)
                marrow = hu["marrow"] * 0.9 + 40.0 * self.fields["strand"]
                self._put(rib_sd, hu["cortex"] + 80.0, "bone")
                self._put(rib_sd + 1.25, marrow, "bone", soft_mm=0.6)
            for start, slope in ((1.75, 0.0098), (2.15, 0.0085)):  # costal arch
                sweep = start + slope * (self.z + 140.0)
                taper = min((self.z + 150.0) / 12.0, (3.0 - sweep) / 0.12, 1.0)
                if taper > 0.02:
                    long, thick = 17.0 * taper**0.5, 4.2 * taper**0.5
                    form = np.sqrt(((self.angle - sweep) * self.radius / long) ** 2 + (deep / thick) ** 2)
                    self._put(np.where(there, (form - 1.0) * thick, 99.0), hu["cartilage"], "cartilage")

    def _spine(self) -> None:
        c, p, z, hu = self.canvas, self.p, self.z, self.hu
        width, depth, period, shift = self.n["vertebra"].tolist()
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
        facets = np.minimum(*(ellipsoid(x, y, 0, (s * 15, depth + 10, 0), (6.0, 8.5, 1e6), s * 25) for s in (-1, 1)))
        bones = [arch, spinous, facets]
        wings = max(0.0, 1.0 - ((phase - 0.72) / 0.2) ** 2) ** 0.5  # the transverse processes
        if wings > 0.05:
            axes = (18 * wings, 3.8 * wings, 1e6)
            bones += [ellipsoid(x, y, 0, (s * 33, depth + 6, 0), axes, s * 12) for s in (-1, 1)]
        rear = np.minimum.reduce(bones)
        foramen = 4.0 * max(0.0, 1.0 - ((phase - 0.14) / 0.18) ** 2)  # open beside the disc
        rear = np.maximum(rear, foramen - 1.0 - np.abs(y - depth - 2.0))
        marrow = hu["marrow"] + 25 * self.fields["strand"][box] + 220.0 * plate
        self._put(canal - 1.5, -20.0, "fat", box=box)
        self._put(rear, hu["cortex"] * 0.85, "bone", box=box)
        self._put(rear + 1.6, hu["marrow"] + 60 * self.fields["strand"][box], "bone", box=box, soft_mm=1.0)
        if disc < 1.0:
            self._put(body, (1 - disc) * hu["cortex"] * 0.95 + disc * 90.0, "bone", box=box)
            self._put(body + 1.5, (1 - disc) * marrow + disc * 90.0, "bone", box=box, soft_mm=1.2)
        else:
            self._put(body, 95.0, "cartilage", box=box)
        self._put(canal, 12.0, "muscle", box=box)
        self._put(canal + 3.2, 38.0, "muscle", box=box, soft_mm=1.0)

    def _texture(self) -> None:
        c = self.canvas
        amplitudes = np.zeros((2, len(ORGANS)), np.float32)
        for organ, pair in _TEXTURE.items():
            amplitudes[:, LABEL[organ]] = pair
        fine, coarse = amplitudes[:, c.label]
        c.hu += fine * self.fields["fine"] + coarse * self.fields["coarse"]
