"""What of an abdomen is tubes: vessel trees, stomach, colon and small bowel, in the patient's coordinates (mm)."""

import numpy as np

from lib.simulation.shapes import Tubes, grow_tree, unit


def plant(rng: np.random.Generator, scale: np.ndarray, spine_y: float) -> dict[str, Tubes]:
    """All tubes of one patient, by name; `scale` is of the organs' x, y, z against the nominal patient, shape (3,), and
    `spine_y` of the vertebral bodies in mm."""

    def path(points, radii, sd: float = 3.0) -> Tubes:
        points = np.asarray(points, float)
        return Tubes.along(_smooth(points * scale + rng.normal(0, sd, points.shape)), _smooth(radii))

    front = spine_y - 26.0  # in front of the vertebral bodies
    hilum = np.array([-24.0, -6.0, -88.0]) * scale
    root = np.array([4.0, front / scale[1] - 22.0, -128.0]) * scale
    twigs = [
        grow_tree(rng, hilum + away * (0.35, 0.35, 0.3), away, rng.uniform(24, 34), rng.uniform(1.8, 3.0), 4)
        for away in (np.array([-46.0, 4.0, 16.0]) + rng.normal(0, 1, (30, 3)) * (42, 42, 42)) * scale
    ]
    return {
        "portal": Tubes.join([
            *twigs,
            Tubes.along(_smooth([root, root * (0.2, 1, 1) + (-4, -2, 18), hilum]), 6.0),
            grow_tree(rng, hilum, (-1.0, 0.2, 0.25), 34, 6.2, 7),
            grow_tree(rng, hilum, (-0.7, 0.2, -0.5), 32, 5.2, 7),
            grow_tree(rng, hilum, (0.2, -0.9, 0.6), 34, 5.0, 6),
        ]),
        "hepatic": Tubes.join([
            grow_tree(rng, np.array([-16.0, 16.0, -18.0]) * scale, heading, 40, radius, 6, spread=0.5) for heading, radius in
            (((-1, 0.3, -0.35), 5.8), ((-0.6, -0.8, -0.4), 5.4), ((0.3, -1, -0.25), 5.0), ((-0.8, 0.5, -0.8), 4.0))
        ]),
        "splenic": path([root / scale + (0, 0, 10), (24, 8, -108), (52, 18, -96), (78, 26, -84)], [4.5, 4.2, 4, 3]),
        "renal": Tubes.join([
            path([(0, front, -134), (side * 26, front + 14, -138), (side * 48, 38, -142)] / scale, [4, 3.6, 3.4], 2)
            for side in (-1, 1) for _ in range(2)
        ]),
        "stomach": path([(44, 22, -8), (54, 4, -32), (56, -24, -58), (38, -46, -86), (6, -46, -100), (-18, -34, -102)],
                        np.array([27, 32, 28, 23, 18, 11]) * rng.uniform(0.75, 1.12), 4),
        "duodenum": path([(-20, -30, -102), (-36, -10, -112), (-34, 6, -136), (-22, 10, -156), (6, 6, -162), (30, 0, -148)],
                         [11, 12, 12, 12, 11, 11]),
        "pancreas": path([(-24, -4, -126), (-10, -16, -116), (14, -14, -108), (40, 2, -102), (64, 18, -92)],
                         np.array([13, 10, 8.5, 8.5, 7.5]) * rng.uniform(0.85, 1.15)),
        "colon": _colon(rng, scale),
        "small_bowel": _small_bowel(rng, scale),
        "mesentery": _mesentery(rng, scale, root),
        "wall_vessels": _wall_vessels(rng, scale),
    }  # fmt: skip


def _smooth(points, factor: int = 4) -> np.ndarray:
    """A Catmull-Rom curve through the points, `factor` steps between each two."""
    points = np.asarray(points, float)
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = np.linspace(0, 1, factor, endpoint=False).reshape(-1, *[1] * (points.ndim - 1))
    pieces = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False)
    ]
    return np.concatenate([*pieces, points[-1:]])


def _colon(rng: np.random.Generator, scale: np.ndarray) -> Tubes:
    """Ascending, transverse and descending colon, with haustra."""
    course = [
        (-84, 24, -262), (-88, 28, -225), (-90, 26, -190), (-82, 6, -164), (-62, -40, -160), (-30, -64, -172),
        (0, -68, -180), (32, -66, -168), (62, -50, -128), (82, -18, -78), (90, 10, -64), (96, 36, -104),
        (96, 42, -160), (94, 40, -205), (88, 32, -262),
    ]  # fmt: skip
    line = _smooth(np.array(course) * scale + rng.normal(0, 6, (len(course), 3)), 7)
    size = rng.uniform(0.7, 1.05)
    calibre = size * np.interp(np.linspace(0, 1, len(line)), [0, 0.3, 0.55, 0.75, 1], [23, 21, 18, 14, 12])
    travelled = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    haustra = 1 + 0.2 * np.sin(2 * np.pi * travelled / rng.uniform(24, 32)) + rng.normal(0, 0.05, len(line))
    return Tubes.along(line, calibre * haustra)


def _small_bowel(rng: np.random.Generator, scale: np.ndarray) -> Tubes:
    """Loops that wander through the middle of the abdomen, each at a distance from those before it."""
    loops: list[Tubes] = []
    taken = np.full((1, 3), 1e3)
    for _ in range(1200):
        radius = rng.uniform(8.0, 12.5)
        at = np.array([rng.uniform(-74, 78), rng.uniform(-66, 22), rng.uniform(-275, -112)])
        if at[2] > -150 and at[0] < 10:
            continue
        heading, points = rng.normal(0, (1, 1, 0.7)), []
        for _ in range(rng.integers(5, 11)):
            heading = unit(heading) + rng.normal(0, 0.55, 3) * (1, 1, 0.7)
            step = at + unit(heading) * 11.0
            inside = abs(step[0]) < 80 and -68 < step[1] < 24 and -285 < step[2] < -105
            if not inside or np.linalg.norm(taken - step * scale, axis=1).min() < 1.6 * radius:
                heading = rng.normal(0, 1, 3)
                continue
            at = step
            points.append(at * scale)
        if len(points) > 2:
            taken = np.concatenate([taken, points])
            line = _smooth(points, 2)
            loops.append(Tubes.along(line, radius * (1 + rng.normal(0, 0.08, len(line)))))
    return Tubes.join(loops)


def _mesentery(rng: np.random.Generator, scale: np.ndarray, root: np.ndarray) -> Tubes:
    """The superior mesenteric vessels fanning out to the bowel, omental vessels under the front wall, and nodes."""
    stem = _smooth(root + np.array([(0, 0, 0), (2, -10, -30), (-2, -18, -62), (-8, -20, -105)]))
    pieces = [Tubes.along(stem, np.linspace(5.5, 3.5, len(stem))),
              Tubes.along(stem + np.array([9, 2, 0]), np.linspace(4.0, 2.6, len(stem)))]
    for at in stem[rng.integers(1, len(stem), 30)]:
        heading = np.array([rng.normal(0, 1.0), -abs(rng.normal(0.3, 0.6)), rng.normal(-0.35, 0.5)])
        pieces.append(grow_tree(rng, at, heading, rng.uniform(22, 38), rng.uniform(2.2, 3.2), 5, 0.7))
    for _ in range(26):  # gastric, omental and retroperitoneal vessels
        at = np.array([rng.uniform(-60, 75), rng.uniform(-70, -20), rng.uniform(-210, -60)]) * scale
        pieces.append(grow_tree(rng, at, rng.normal(0, 1, 3), 30, rng.uniform(1.5, 2.4), 4, 0.6))
    for _ in range(20):
        at = np.array([rng.normal(55, 22), rng.uniform(-40, 40), rng.uniform(-130, -15)]) * scale
        pieces.append(grow_tree(rng, at, rng.normal(0, 1, 3), 24, rng.uniform(1.6, 2.9), 4, 0.7))
    for _ in range(14):
        at = np.array([rng.normal(0, 30), rng.normal(-18, 14), rng.uniform(-240, -110)]) * scale
        pieces.append(Tubes.along([at, at + rng.normal(0, 3, 3)], rng.uniform(2, 4.2)))
    return Tubes.join(pieces)


def _wall_vessels(rng: np.random.Generator, scale: np.ndarray) -> Tubes:
    """Small veins in the subcutaneous fat, running mostly up and down; clipped to the fat when painted."""
    pieces = []
    for angle in rng.uniform(-np.pi, np.pi, 26):
        at = np.array([128 * np.sin(angle), 92 * np.cos(angle), rng.uniform(-250, -20)]) * scale
        at[:2] *= rng.uniform(1.03, 1.14)
        heading = (0.2 * np.cos(angle), -0.2 * np.sin(angle), rng.choice([-1, 1]))
        pieces.append(grow_tree(rng, at, heading, 45, rng.uniform(0.7, 1.3), 3, 0.35))
    return Tubes.join(pieces)
