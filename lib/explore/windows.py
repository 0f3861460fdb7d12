"""What of the HU scale is shown: the presets of a reading room."""

from typing import Final, NamedTuple

from lib.data.hu import WINDOW


class Window(NamedTuple):
    """HU at the middle of the grey scale, and how many HU it spans."""

    level: float
    width: float

    @property
    def limits(self) -> tuple[float, float]:
        """HU that are black and white."""
        return self.level - self.width / 2, self.level + self.width / 2


WINDOWS: Final = {
    "abdomen": Window(sum(WINDOW) / 2, WINDOW[1] - WINDOW[0]),  # that of the paper's figures
    "lung": Window(-600, 1500),
    "bone": Window(400, 1800),
}
"""Presets by name. Soft tissue is that of all figures here; lung and bone are the usual ones of radiology (level -600 and
width 1500; level 400 and width 1800)."""
