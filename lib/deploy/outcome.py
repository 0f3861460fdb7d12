"""What became of an input, for people and for programs; and a series as who measures it sees it. Nobody's name is in it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from lib.data.dicom.derived import NOTICE
from lib.data.dicom.identity import Problem
from lib.deploy.dicom_series import Stack
from lib.deploy.nifti import Volume
from lib.deploy.trained_range import Reason

BLOCK: Final = 24  # slices of a series that are measured: in memory at once


@dataclass(frozen=True)
class SeriesUnderTest:
    """What is shown of one series to whoever measures it; nothing here names a person or a file."""

    label: str  # 'series 1: kernel B30, 3 mm, 40 slices'
    source: Stack | Volume = field(repr=False)
    spacing_mm: tuple[float, float, float]  # of slices, rows, columns; NaN where nothing says it
    denoise: Callable[[np.ndarray], np.ndarray]  # HU, (slices, rows, columns), to HU
    reasons: tuple[Reason, ...]  # in what the series lies outside of what was trained on, or does not say
    share_outside: float  # of its voxels: outside the HU range
    image_type: str  # of the input, 'ORIGINAL/PRIMARY/AXIAL'; '' where it is not known

    def volume(self, most: int = BLOCK) -> np.ndarray:
        """HU of the series before the network: slices in its middle that follow each other, at most so many, (slices, rows,
        columns), float32."""
        slices = self.source.shape[0]
        count = min(most, slices)
        return self.source.block((slices - count) // 2, count)


@dataclass(frozen=True)
class Row:
    """One series in the report."""

    label: str
    folder: str  # below the output; '' for a series that was refused
    form: str  # DICOM or NIfTI
    slices: int
    rows: int
    columns: int
    kernel: str | None
    thickness_mm: float | None
    share_outside: float
    reasons: tuple[Reason, ...]
    state: str  # 'denoised', 'kept' (an earlier run did it), 'refused'
    seconds: float


@dataclass(frozen=True)
class Report:
    """What became of an input. ``evidence``: what the function of that name returned of each series that was not refused."""

    model: str
    series: list[Row]
    left_out: list[Problem]  # files that are no CT slice in HU, or that no series can be made of
    evidence: list[Any]

    def lines(self) -> list[str]:
        """A line per series, for a terminal; why one was refused or flagged is a warning of its own."""
        return [f"{row.label}: {row.state}" + f", {row.folder}, {row.seconds:.1f} s" * bool(row.folder)
                for row in self.series]

    def as_json(self) -> dict[str, Any]:
        """The same for programs; without names of files."""
        series = [vars(row) | {"seconds": round(row.seconds, 2), "reasons": [
            {"quantity": each.quantity, "found": each.found, "trained": list(each.trained), "refuses": each.refuses}
            for each in row.reasons]} for row in self.series]
        left_out = [{"kind": each.kind, "what": each.what, "count": each.count} for each in self.left_out]
        return {"model": self.model, "notice": NOTICE, "series": series, "left_out": left_out}


def label_of(number: int, source: Stack | Volume) -> str:
    """What a series is called, without anybody's name."""
    slices = source.shape[0]
    parts = [f"kernel {source.kernel}" if source.kernel else f"{source.form}, no kernel stated",
             f"{source.thickness_mm:g} mm" if source.thickness_mm else "no thickness stated",
             f"{slices} slice" + "s" * (slices != 1)]
    return f"series {number}: {', '.join(parts)}"
