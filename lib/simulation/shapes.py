"""How shapes are drawn on an axial slice: signed distances, smooth random fields, tubes, and an antialiased canvas.

Coordinates are in mm, as in DICOM: x towards the patient's left (right of the image), y towards the back (down), z
towards the head; x = y = 0 is the centre of the image. Signed distances are in mm and negative inside.

Everything is float64 and no sum is left to BLAS, whose order is the processor's: what processors differ in, the last bits
of exp or sin, is then far below what can change a photon (`lib.simulation.exposure`).
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

Box = tuple[slice, slice]
WARP_MARGIN_MM = 10.0


def ellipsoid(x, y, z, centre, axes, degrees: float = 0.0) -> np.ndarray:
    """Approximate signed distance to an ellipsoid, turned by `degrees` about z; exact for a sphere."""
    a, b, c = (float(axis) for axis in axes)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    dx, dy, w = x - float(centre[0]), y - float(centre[1]), float(z - centre[2]) / c
    u, v = (dx * cos + dy * sin) / a, (dy * cos - dx * sin) / b
    uu, vv = u * u, v * v
    f = np.sqrt(uu + vv + w * w)
    gradient = np.sqrt(uu / (a * a) + vv / (b * b) + (w / c) ** 2) + 1e-6
    return f * (f - 1.0) / gradient


def smooth_union(a: np.ndarray, b: np.ndarray, blend_mm: float) -> np.ndarray:
    """Union of two shapes, filleted over `blend_mm`."""
    h = np.clip(0.5 + 0.5 * (b - a) / blend_mm, 0.0, 1.0)
    return b + (a - b) * h - blend_mm * h * (1.0 - h)


def _spline_weights(t: np.ndarray) -> np.ndarray:
    """Cubic B-spline weights, shape (4, ...), of the four knots around the fractional position t."""
    return np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6.0


@lru_cache(maxsize=32)
def _spline(size: int, fov_mm: float, step_mm: float) -> tuple[int, np.ndarray, np.ndarray]:
    """Interpolation from knots `step_mm` apart to the pixel centres: how many knots, and of each pixel the four around it
    and their weights, both of shape (4, size)."""
    knots_each_side = int(np.ceil(fov_mm / 2 / step_mm)) + 2
    place = pixel_centres(size, fov_mm) / step_mm + knots_each_side
    base = np.floor(place).astype(int)
    return 2 * knots_each_side + 2, base + np.arange(-1, 3)[:, None], _spline_weights(place - base)


def pixel_centres(size: int, fov_mm: float) -> np.ndarray:
    """Positions of the pixels along one side, in mm, shape (size,)."""
    return (np.arange(size) - (size - 1) / 2) * (fov_mm / size)


def random_field(key: tuple[int, ...], step_mm: float, step_z_mm: float, size: int, fov_mm: float, z: float) -> np.ndarray:
    """A smooth random function of (x, y, z), a cubic B-spline with mean 0 and SD near 1 decided by `key`, on the slice at z:
    shape (size, size). The steps are the distances of its knots: the scale of its features."""
    count, knots, weights = _spline(size, fov_mm, step_mm)
    base = int(np.floor(z / step_z_mm))
    mixed = sum(weight * np.random.default_rng([*key, base + k + 100_000]).standard_normal((count, count), np.float32)
                for k, weight in enumerate(_spline_weights(np.float64(z / step_z_mm - base))))  # fmt: skip
    mixed *= (315 / 151) ** 1.5
    rows = sum(weight[:, None] * mixed[knot] for knot, weight in zip(knots, weights, strict=True))
    return sum(rows[:, knot] * weight for knot, weight in zip(knots, weights, strict=True))


class Canvas:
    """One slice being painted: `hu` and `label` (air at first), and the pixels' positions `x` and `y` in mm, bent by a
    smooth warp, so that shapes drawn with them get organic outlines; all of shape (size, size)."""

    def __init__(self, size: int, fov_mm: float, warp_x: np.ndarray, warp_y: np.ndarray) -> None:
        self.size, self.fov_mm, self.pixel_mm = size, fov_mm, fov_mm / size
        self.straight = pixel_centres(size, fov_mm)
        self.x = self.straight[None, :] + np.clip(warp_x, -WARP_MARGIN_MM, WARP_MARGIN_MM)
        self.y = self.straight[:, None] + np.clip(warp_y, -WARP_MARGIN_MM, WARP_MARGIN_MM)
        self.hu = np.full((size, size), -1000.0)
        self.label = np.zeros((size, size), np.uint8)

    def bent(self, share: float, box: Box = (slice(None), slice(None))) -> tuple[np.ndarray, np.ndarray]:
        """Positions x and y with only a share of the warp, for what is stiffer than an organ."""
        x, y = self.straight[None, box[1]], self.straight[box[0], None]
        return x + share * (self.x[box] - x), y + share * (self.y[box] - y)

    def box(self, centre, half_x: float, half_y: float | None = None) -> Box | None:
        """Rows and columns that may show a shape within `half` mm of `centre`; None where it is out of sight."""
        bounds = []
        for middle, half in ((centre[1], half_x if half_y is None else half_y), (centre[0], half_x)):
            reach = half + WARP_MARGIN_MM + self.pixel_mm
            low = int(np.floor((middle - reach) / self.pixel_mm + self.size / 2))
            high = int(np.ceil((middle + reach) / self.pixel_mm + self.size / 2)) + 1
            if high <= 0 or low >= self.size:
                return None
            bounds.append(slice(max(low, 0), min(high, self.size)))
        return bounds[0], bounds[1]

    def paint(self, distance: np.ndarray, hu, label: int, box: Box = (slice(None), slice(None)), soft_mm: float = 0.0):
        """Blend `hu` (number or array) in where `distance` is negative, its edge one pixel plus `soft_mm` wide."""
        near = distance < (self.pixel_mm + soft_mm) / 2
        cover = np.minimum(0.5 - distance[near] / (self.pixel_mm + soft_mm), 1.0)
        under = self.hu[box][near]
        self.hu[box][near] = under + cover * ((hu[near] if np.ndim(hu) else hu) - under)
        self.label[box][distance < 0] = label


@dataclass(frozen=True)
class Tubes:
    """Tapered capsules in 3-D: vessel trees and bowel."""

    start: np.ndarray  # shape (n, 3), mm
    end: np.ndarray
    radius: np.ndarray  # at start and end, shape (n, 2), mm
    group: np.ndarray  # which tube, shape (n,)

    @classmethod
    def along(cls, points, radii) -> "Tubes":
        """One tube through `points`, shape (n + 1, 3), with a radius at each."""
        points, radii = np.asarray(points, float), np.broadcast_to(np.asarray(radii, float), len(points))
        return cls(points[:-1], points[1:], np.stack([radii[:-1], radii[1:]], 1), np.zeros(len(points) - 1, int))

    @classmethod
    def join(cls, tubes: list["Tubes"]) -> "Tubes":
        """All of them as one, their groups renumbered in order."""
        groups = np.concatenate([np.full(len(t.group), k) for k, t in enumerate(tubes)])
        return cls(*(np.concatenate([getattr(t, n) for t in tubes]) for n in ("start", "end", "radius")), groups)

    def sections(self, canvas: Canvas, z: float, widen_mm: float = 0.0):
        """Yield (segment, box, signed distance in the box) of every segment that meets the slice."""
        reach = self.radius.max(axis=1) + widen_mm
        low = np.minimum(self.start[:, 2], self.end[:, 2]) - reach
        high = np.maximum(self.start[:, 2], self.end[:, 2]) + reach
        for k in np.flatnonzero((low <= z) & (z <= high)):
            a, along, (r0, r1) = self.start[k], self.end[k] - self.start[k], self.radius[k]
            t = np.array([0.0, 1.0])
            if abs(along[2]) > 1e-6:
                t = np.clip(np.sort((z + np.array([-1, 1]) * reach[k] - a[2]) / along[2]), 0.0, 1.0)
            ends = a[None, :2] + t[:, None] * along[None, :2]
            half = np.abs(ends[1] - ends[0]) / 2 + reach[k]
            box = canvas.box(ends.mean(axis=0), half[0], half[1])
            if box is None:
                continue
            (dx, dy, dz), (ax, ay, az) = (canvas.x[box] - a[0], canvas.y[box] - a[1], z - a[2]), along
            t = np.clip((dx * ax + dy * ay + dz * az) / ((along**2).sum() + 1e-9), 0.0, 1.0)
            away = np.sqrt((dx - t * ax) ** 2 + (dy - t * ay) ** 2 + (dz - t * az) ** 2)
            yield k, box, away - (r0 + (r1 - r0) * t)

    def paint(self, canvas: Canvas, z: float, hu: float, label: int, within: np.ndarray | None = None) -> None:
        """Paint every section with one HU, kept where `within` (full-size signed distance) is negative."""
        for _, box, distance in self.sections(canvas, z):
            canvas.paint(distance if within is None else np.maximum(distance, within[box]), hu, label, box)

    def nearest(self, canvas: Canvas, z: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """For tubes that touch: distance to the nearest tube and to the next one, and the nearest one's group and y, each of
        shape (size, size); far away 99 mm, 99 mm, 0 and 0 mm."""
        first, second = (np.full((canvas.size,) * 2, 99.0) for _ in range(2))
        group = np.zeros(first.shape, np.int32)
        pull, axis_y = np.full(first.shape, 1e-20), np.zeros(first.shape)
        for k, box, distance in self.sections(canvas, z, widen_mm=4.0):
            mine, one, two = self.group[k], first[box], second[box]
            closer, same = distance < one, group[box] == mine
            two[...] = np.where(same, two, np.minimum(two, np.maximum(one, distance)))
            weight = np.exp(-0.5 * distance)
            pull[box] += weight
            axis_y[box] += weight * (self.start[k, 1] + self.end[k, 1]) / 2
            group[box][closer] = mine
            np.minimum(one, distance, out=one)
        return first, second, group, axis_y / pull


def unit(vector: np.ndarray) -> np.ndarray:
    """The vector, shape (3,), at the length 1; `np.linalg.norm` would leave the sum to BLAS."""
    return vector / np.sqrt((np.asarray(vector) ** 2).sum())


def grow_tree(rng, root, direction, length_mm: float, radius_mm: float, levels: int, spread: float = 0.6) -> Tubes:
    """A vessel tree of `levels` generations: each branch wanders, then parts into two or three, thinner by Murray's law.

    It starts at `root` and heads to `direction`, shape (3,); `spread` is how far siblings diverge.
    """
    pieces: list[Tubes] = []
    pending = [(np.asarray(root, float), np.asarray(direction, float), length_mm, radius_mm, levels)]
    while pending:
        at, heading, length, radius, left = pending.pop()
        points = [at]
        for _ in range(3):
            heading = unit(unit(heading) + rng.normal(0, 0.16, 3))
            points.append(points[-1] + heading * length / 3)
        pieces.append(Tubes.along(points, np.linspace(radius, radius * 0.85, 4)))
        if left > 1:
            children = 3 if rng.random() < 0.3 else 2
            for _ in range(children):
                towards = heading + rng.normal(0, spread, 3)
                share = rng.uniform(0.85, 1.1) * children ** (-1 / 2.6)
                pending.append((points[-1], towards, length * rng.uniform(0.65, 0.95), radius * share, left - 1))
    return Tubes.join(pieces)
