"""Where the pixels of a slice lie in the patient, and whether two slices lie on the same grid (PS3.3, C.7.6.2.1.1)."""

import math
from typing import NamedTuple

import numpy as np

from lib.data.dicom.elements import EXPORT, Elements
from lib.data.dicom.kinds import NotCtImageError

TOLERANCE = 0.1  # of a pixel: grids are equal if none of their corners lie farther apart
UNIT = 1e-3  # how far direction cosines may be from unit vectors at right angles: they have few digits in headers
LARGEST_TILT = 35.0  # degrees; gantries tilt by 30
AXIAL = 0.1  # degrees, no tilt
TILT_AGREES = 1.0  # degrees between the orientation and GantryDetectorTilt


class Grid(NamedTuple):
    """Of a slice's pixels, without its place along the patient: all slices of a scan share it."""

    row: tuple[float, float, float]  # direction in which columns count: unit vector to the patient's left, back, head
    column: tuple[float, float, float]  # direction in which rows count
    origin_mm: tuple[float, float]  # x, y of ImagePositionPatient: the first pixel's centre
    spacing_mm: tuple[float, float] | None  # between rows, between columns
    rows: int
    columns: int

    @property
    def tilt(self) -> float:
        """Degrees between the plane and an axial one."""
        normal = np.cross(self.row, self.column)
        return math.degrees(math.acos(min(1.0, abs(normal[2]) / float(np.linalg.norm(normal)))))

    def corners(self) -> np.ndarray:
        """The corner pixels' centres in mm from z = 0 of the first, (4, 3); in pixels where no spacing is known."""
        down, across = self.spacing_mm or (1.0, 1.0)
        right = np.multiply(self.row, across * (self.columns - 1))
        below = np.multiply(self.column, down * (self.rows - 1))
        return np.array([*self.origin_mm, 0.0]) + np.array([0 * right, right, below, right + below])


def read_grid(elements: Elements, rows: int, columns: int) -> Grid:
    """The grid of an axial slice, gantry tilt included. Raises DicomError where orientation or position are missing, or
    they or the spacing are none that a slice can have, and NotCtImageError for a sagittal, coronal or oblique plane."""
    position = elements.decimals("ImagePositionPatient", 3, required=True)
    cosines = elements.decimals("ImageOrientationPatient", 6, required=True)
    spacing = elements.decimals("PixelSpacing", 2)
    for name, sane in (
        ("ImagePositionPatient", max(map(abs, position)) <= 10_000),
        ("PixelSpacing", spacing is None or (min(spacing) >= 0.001 and max(spacing) <= 20)),
    ):
        if not sane:
            raise elements.error(f"{name} is none that a CT slice can have")
    row, column = cosines[:3], cosines[3:]
    if abs(math.hypot(*row) - 1) > UNIT or abs(math.hypot(*column) - 1) > UNIT or abs(np.dot(row, column)) > UNIT:
        raise elements.error("ImageOrientationPatient is no pair of unit vectors at right angles", EXPORT)
    grid = Grid(row, column, position[:2], spacing, rows, columns)
    _check_plane(elements, grid)
    return grid


def difference(one: Grid, other: Grid) -> str:
    """What sets two grids apart, in words; '' for equal ones."""
    if (one.rows, one.columns) != (other.rows, other.columns):
        return f"{one.rows} x {one.columns} and {other.rows} x {other.columns} pixels"
    if (one.spacing_mm is None) != (other.spacing_mm is None):
        return "PixelSpacing in one of them only"
    pixel = min(*(one.spacing_mm or (1.0, 1.0)), *(other.spacing_mm or (1.0, 1.0)))
    if np.linalg.norm(one.corners() - other.corners(), axis=1).max() <= TOLERANCE * pixel:
        return ""
    extent = pixel * TOLERANCE / max(1, one.rows, one.columns)
    if max(np.abs(np.subtract(one.row, other.row)).max(), np.abs(np.subtract(one.column, other.column)).max()) > UNIT:
        return "another orientation"
    if one.spacing_mm and np.abs(np.subtract(one.spacing_mm, other.spacing_mm)).max() > extent:
        return f"pixels of {_millimetres(one.spacing_mm)} and {_millimetres(other.spacing_mm)}"
    return f"the first pixel at {_millimetres(one.origin_mm)} and {_millimetres(other.origin_mm)}"


def _check_plane(elements: Elements, grid: Grid) -> None:
    tilt, normal = grid.tilt, np.cross(grid.row, grid.column)
    if tilt <= AXIAL:
        return
    stated = elements.decimals("GantryDetectorTilt", 1)
    if tilt <= LARGEST_TILT and stated and abs(abs(stated[0]) - tilt) <= TILT_AGREES:
        return  # the scanner's own plane
    plane = "sagittal" if abs(normal[0]) > 0.9 else "coronal" if abs(normal[1]) > 0.9 else "oblique"
    raise NotCtImageError(
        f"a {plane} plane, {tilt:.0f} degrees from an axial one, which no gantry tilt in the header explains",
        where=elements.path, remedy="use the axial images", code=f"{plane} plane",
    )


def _millimetres(numbers: tuple[float, float]) -> str:
    return " x ".join(f"{number:.4g}" for number in numbers) + " mm"
