"""The organs of a slice from back to front: kidneys, liver, spleen, pancreas, bowel, and the great vessels."""

import numpy as np

from lib.simulation.anatomy import LABEL, Slice
from lib.simulation.shapes import ellipsoid, smooth_union


def paint_retroperitoneum(section: Slice) -> None:
    """Back muscles, psoas, crura, kidneys and adrenals."""
    p, z, hu = section.patient, section.z, section.hu
    muscle = hu["muscle"] - 75.0 * np.maximum(section.fields["strand"] - 0.7, 0)
    section.put(np.maximum(section.back, section.wall + 1.0), muscle, "muscle")
    gap = np.abs(section.canvas.x - 30 * p.sx * np.sign(section.canvas.x)) - 0.6
    section.put(np.maximum(gap, section.back + 5), -60.0, "fat", soft_mm=0.8)
    grown = np.clip((-80.0 - z) / 120.0, 0.0, 1.0)
    for side in (-1, 1):
        if grown > 0:  # psoas and quadratus lumborum
            at, axes = (side * (27 + 12 * grown), p.spine_y + 2, 0), (6 + 16 * grown, 9 + 14 * grown, 1e6)
            section.ball(at, axes, hu["muscle"] + 4, "muscle", degrees=side * 20)
            at, axes = (side * 57 * p.sx, p.spine_y + 27, 0), (19 * p.sx, 4 + 5 * grown, 1e6)
            section.ball(at, axes, hu["muscle"], "muscle", degrees=side * -18, within=section.wall + 3)
        section.ball((side * 19, p.spine_y - 14, -70), (6, 17, 78), hu["muscle"] + 6, "muscle", degrees=side * 32)  # crus
        kidney = section.numbers["kidneys"][(side + 1) // 2]
        _kidney(section, kidney, section.numbers["kidney_axes"], side)
        for tilt in (15, 70):
            section.ball(kidney + np.array([-side * 20, -14, 54]), (2.2, 13, 17), hu["adrenal"], "adrenal",
                         degrees=side * tilt, within=section.inside)  # fmt: skip


def _kidney(section: Slice, centre, axes, side: int) -> None:
    """One kidney (`side` -1 is the patient's right): fascia, cortex, medulla, and the sinus with its vessel."""
    c, hu = section.canvas, section.hu
    box = c.box(centre, 42.0)
    if abs(section.z - centre[2]) > axes[2] + 2 or box is None:
        return
    x, y, z = c.x[box], c.y[box], section.z
    body = ellipsoid(x, y, z, centre, axes, side * 25.0)
    notch = ellipsoid(x, y, z, centre - (side * 17.0, 5.0, 0), (15, 9, 26), side * 25.0)
    body = np.maximum(body, -notch)
    section.put(np.abs(body - 9.0) - 0.35, -60.0, "fat", box=box, soft_mm=0.8)  # renal fascia
    section.put(body, hu["kidney"] + 12.0, "kidney", box=box)
    sectors = np.sin(7 * np.arctan2(y - centre[1], x - centre[0]) + z / 4.0)
    section.put(np.maximum(body + 6.5, 2.5 - 5 * sectors), hu["kidney"] + 2.0, "kidney", box=box, soft_mm=5.0)
    sinus = smooth_union(ellipsoid(x, y, z, centre - (side * 6.0, 1.0, 0), (10, 8, 27), side * 25.0), notch, 5.0)
    section.put(np.maximum(sinus, body - 1.0), hu["fat"] + 15, "fat", box=box)
    section.ball(centre - (side * 9.0, 0.0, 0), (6, 3.4, 17), 25.0, "vessel", degrees=side * 25.0)


def paint_upper_organs(section: Slice) -> None:
    """Spleen, liver with its lesions and vessels, gallbladder."""
    n, hu, z, c = section.numbers, section.hu, section.z, section.canvas
    hollow = ellipsoid(c.x, c.y, z, n["spleen"] - (30 * section.patient.sx, 6, 0), (26 * section.patient.sx, 34, 60), -24.0)
    spleen = np.maximum(section.inside, -hollow)
    section.ball(n["spleen"], n["spleen_axes"], hu["spleen"], "spleen", degrees=-24.0, within=spleen)
    right = ellipsoid(c.x, c.y, z, n["liver_right"], n["liver_right_axes"])
    left = ellipsoid(c.x, c.y, z, n["liver_left"], n["liver_left_axes"], -8.0)
    liver = smooth_union(right, left, 16.0)
    kidney = ellipsoid(c.x, c.y, z, n["kidneys"][0], n["kidney_axes"] + 4.5, -25.0)
    fissure = ellipsoid(c.x, c.y, z, (-14 * section.patient.sx, -62 * section.patient.sy, -88), (3.5, 26, 44), -10.0)
    for bite in (kidney, fissure, ellipsoid(c.x, c.y, z, n["gallbladder"], n["gallbladder_axes"] + 1.0)):
        liver = np.maximum(liver, -bite)
    liver = np.maximum(liver, section.inside)
    if liver.min() < 0:
        section.put(liver, hu["liver"], "liver")
        for x, y, at, radius, attenuation in section.patient.lesions:
            section.ball((x, y, at), (radius,) * 3, attenuation + 14.0, "lesion", within=liver + 2, soft_mm=2.0)
            section.ball((x, y, at), (radius * 0.7,) * 3, attenuation, "lesion", within=liver + 2, soft_mm=3.0)
        for name in ("hepatic", "portal"):
            region = np.where(c.label == LABEL["lesion"], 9.0, liver + 1.5)
            section.tubes[name].paint(c, z, hu["liver_vessel"], LABEL["liver_vessel"], region)
    section.ball(n["gallbladder"], n["gallbladder_axes"] + 1.2, hu["wall"], "bowel", within=section.inside)
    section.ball(n["gallbladder"], n["gallbladder_axes"] - 1.2, hu["gallbladder"], "gallbladder", within=section.inside)


def paint_bowel(section: Slice) -> np.ndarray:
    """Mesentery, pancreas and everything hollow. Returns a signed distance, shape (size, size), in mm: negative where
    neither a firm organ nor the wall is."""
    c, z, hu, f = section.canvas, section.z, section.hu, section.fields
    firm = ("liver", "liver_vessel", "lesion", "spleen", "kidney", "gallbladder", "lung", "bone")
    free = np.where(np.isin(c.label, [LABEL[organ] for organ in firm]), 9.0, section.inside + 1.0)
    section.tubes["mesentery"].paint(c, z, hu["vena_cava"] - 8, LABEL["mesentery"], free)
    near, _, _, _ = section.tubes["pancreas"].nearest(c, z)
    gland = np.maximum(near + 1.6 * f["ripple_x"] + 0.8 * f["strand"], free)
    section.put(gland, hu["pancreas"], "pancreas", soft_mm=0.8)
    for name, wall in (("duodenum", 2.4), ("small_bowel", 2.2), ("stomach", 4.2), ("colon", 2.0)):
        organ = "stomach" if name == "stomach" else "bowel"
        near, second, group, axis_y = section.tubes[name].nearest(c, z)
        if near.min() > 0:
            continue
        outer = np.maximum(near, free)
        section.put(outer, hu["wall"], organ)
        folds = (1.8 * f["ripple_x"] + f["strand"]) * (0.25 if name == "colon" else 0.9)
        lumen = np.maximum(outer + wall + folds, (near - second) / 2 + wall / 2)  # touching loops keep their walls
        of_loop = np.random.default_rng([section.patient.seed, LABEL[organ]]).uniform(0, 1, group.max() + 1)[group]
        height = c.straight[:, None]
        if name == "colon":
            content = 38.0 - 160.0 * np.maximum(f["strand"] * float(section.numbers["stool"][0]) - 0.55, 0)
            gas = height - axis_y + 2.0 + 12 * f["warp_x"]
        elif name == "stomach":
            content, gas = 28.0 + 14 * f["strand"], height - (-34.0 * section.patient.sy)
        else:
            content, gas = 15.0 + 60.0 * of_loop + 16 * f["strand"], height - axis_y + np.where(of_loop > 0.86, 1.0, 99.0)
        section.put(lumen, content, "bowel_content", soft_mm=0.8)
        section.put(np.maximum(lumen + 0.3, gas), hu["gas"], "gas")
    return free


def paint_great_vessels(section: Slice, free: np.ndarray) -> None:
    """Portal, splenic and renal vessels, aorta, vena cava, oesophagus."""
    p, z, hu, c = section.patient, section.z, section.hu, section.canvas
    front = p.spine_y - 25.0
    for name in ("portal", "splenic", "renal"):
        section.tubes[name].paint(c, z, hu["vena_cava"], LABEL["vessel"], free)
    offset, radius = section.numbers["aorta"]
    sway = 4.0 * np.sin(z / 60.0 + p.seed)
    at = (offset + sway / 2, front - radius + 8 + np.clip(z + 60, 0, 60) / 8, z)
    section.ball(at, (radius, radius, 1e6), hu["aorta"], "aorta")
    plaque = np.sin(z / 9.0 + p.seed) - 0.5  # calcified wall
    if plaque > 0.02 and p.seed % 3 != 0:
        axes = (4.4 * plaque**0.5, 2.0 * plaque**0.5, 1e6)
        section.ball((at[0] + radius * 0.62, at[1] + radius * 0.62, z), axes, 520.0, "bone", degrees=-45)
    rise = np.clip((z + 110.0) / 90.0, 0.0, 1.0)
    cava, axes = (-17 - 3 * rise, front + 3 - 14 * rise, z), (12.0, 8.5 + 3 * rise, 1e6)
    section.ball(cava, axes, hu["vena_cava"], "vena_cava", degrees=-15)
    section.ball((at[0] + 4, at[1] - radius - 9, -10), (9, 7, 48), 60.0, "stomach")  # oesophagus
