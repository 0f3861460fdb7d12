"""What a network saw in training, and what of a series lies outside of it."""

import math
from pathlib import Path
from typing import Final, NamedTuple

import pandas as pd

from lib.data import split
from lib.data.hu import HU_MAX, HU_MIN

SPACING_MARGIN: Final = 0.1  # of the pixel spacing: no training saw every field of view
SHARE: Final = 1e-3  # of a series' voxels that may lie outside the HU range: metal, undeclared padding
THICKNESS_MARGIN: Final = 1e-3  # mm
UNITS: Final = {
    "slice thickness": " mm", "pixel spacing": " mm", "voxels outside the HU range": " %", "lowest number": " HU",
}


class Reason(NamedTuple):
    """One thing in which a series differs from what a network was trained on, or might."""

    quantity: str  # 'kernel', 'slice thickness', 'pixel spacing', ...
    found: str | float | None  # None: the series does not say
    trained: tuple  # kernels, or both ends of a range; () where nobody knows

    @property
    def refuses(self) -> bool:
        """Whether the series lies outside; what nobody knows is said, and does not."""
        return self.found is not None

    def __str__(self) -> str:
        unit = UNITS.get(self.quantity, "")
        found = "not stated" if self.found is None else f"{_number(self.found)}{unit}"
        if all(isinstance(each, str) for each in self.trained):
            return f"{self.quantity} {found} (trained: {', '.join(self.trained) or 'not known'})"
        low, high = map(_number, self.trained)
        return f"{self.quantity} {found} (trained: {low if low == high else f'{low} to {high}'}{unit})"


class Scan(NamedTuple):
    """What is compared of a series."""

    kernel: str | None  # as `lib.data.dicom.slice.kernel_name` has it
    thickness_mm: float | None
    spacing_mm: tuple[float, float] | None  # of rows, of columns
    share_outside: float  # of its voxels, padding apart: below or above the HU range


class TrainedRange(NamedTuple):
    """The slices that trainings of a study saw. Their HU are the range that networks take as [0, 1] and can give back."""

    kernels: tuple[str, ...]
    thickness_mm: tuple[float, float]  # smallest, largest
    pixel_mm: tuple[float, float]  # the same; NaN where no header said it
    hu: tuple[float, float] = (HU_MIN, HU_MAX)

    def reasons(self, scan: Scan) -> list[Reason]:
        """In what a series lies outside, or does not say."""
        found = []
        if scan.kernel not in self.kernels:
            found.append(Reason("kernel", scan.kernel, self.kernels))
        low, high = self.thickness_mm
        if scan.thickness_mm is None or not low - THICKNESS_MARGIN <= scan.thickness_mm <= high + THICKNESS_MARGIN:
            found.append(Reason("slice thickness", scan.thickness_mm, self.thickness_mm))
        low, high = self.pixel_mm[0] * (1 - SPACING_MARGIN), self.pixel_mm[1] * (1 + SPACING_MARGIN)
        if scan.spacing_mm is None or math.isnan(low):
            found.append(Reason("pixel spacing", None, () if math.isnan(low) else self.pixel_mm))
        else:
            found += [Reason("pixel spacing", side, self.pixel_mm) for side in dict.fromkeys(scan.spacing_mm)
                      if not low <= side <= high]
        if scan.share_outside > SHARE:
            found.append(Reason("voxels outside the HU range", 100 * scan.share_outside, (0.0, 100 * SHARE)))
        return found


def trained_range(volumes: Path, given: split.Split, seed: int) -> TrainedRange:
    """What trainings on a store of volumes saw, with the division of patients that `lib.data.split.subsets` makes of
    ``given`` and ``seed``. Raises VolumeError: there is no store; CohortError."""
    seen: pd.DataFrame = split.subsets(volumes, given, seed)["train"]
    ends = [(float(seen[name].min()), float(seen[name].max())) for name in ("thickness_mm", "pixel_mm")]
    return TrainedRange(tuple(sorted(seen["kernel"].unique())), *ends)


def _number(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
