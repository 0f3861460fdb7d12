"""A picture of low-dose insertion: what is real, what was inserted, and the difference, in one slice."""

from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from lib.artifacts.provenance import commit
from lib.data.hu import WINDOW
from lib.report.style import (
    FOOTER,
    STYLE,
    WIDTH,
    colour_bar,
    frame,
    framed,
    in_footer,
    picture,
    scale_bar,
    symmetric_limits,
    write_png,
)

ZOOM: Final = 0.25  # side of the zoom, share of the shorter side of the slice


@mpl.rc_context(STYLE)
def figure_added_noise(
    path: Path, ndct_hu: np.ndarray, ldct_hu: np.ndarray, *, dose_fraction: float, source: str,
    sd_hu: tuple[float, float] | None = None, centre: tuple[int, int] | None = None, pixel_mm: float = np.nan,
) -> Path:
    """NDCT, inserted LDCT and their difference; a zoom of each below. Labels say which pixels are real.

    Parameters
    ----------
    path : Path, of the PNG, which has 300 dpi and the same bytes for the same input
    ndct_hu, ldct_hu : array, (rows, columns), HU
    dose_fraction : float, the inserted dose as a share of the normal one
    source : str, what the NDCT is, 'real scan, Br38, 3 mm'
    sd_hu : pair of floats, SD of the series in soft tissue at full and low dose, HU
    centre : pair of ints, row and column of the zoom's middle, by default the slice's
    pixel_mm : float, for the scale bars; NaN: unknown, no bars

    Returns
    -------
    Path
        ``path``.
    """
    difference = ldct_hu.astype(float) - ndct_hu
    side = max(2, round(ZOOM * min(ndct_hu.shape)))
    middle = centre or [most // 2 for most in ndct_hu.shape]
    top, left = (int(np.clip(at - side // 2, 0, most - side)) for at, most in zip(middle, ndct_hu.shape, strict=True))
    full, low = (f"SD in soft tissue {value:.1f} HU" for value in sd_hu) if sd_hu else ("", "")
    body = (ndct_hu > WINDOW[0]) & (ndct_hu < WINDOW[1])
    mean = f"\nmean in soft tissue {difference[body].mean():+.2f} HU".replace("-", "−") if body.any() else ""
    panels = [
        (f"(a) NDCT: {source.split(',', maxsplit=1)[0]}\n{full}", ndct_hu, WINDOW, "hu", "CT number (HU)"),
        (f"(b) LDCT: INSERTED, dose × {dose_fraction:g}\n{low}", ldct_hu, WINDOW, "hu", "CT number (HU)"),
        (f"(c) what was inserted: (b) − (a){mean}", difference, symmetric_limits(difference), "difference",
         "difference (HU)"),
    ]
    figure = Figure(figsize=(WIDTH, 5.8), layout="constrained")
    grid = figure.add_gridspec(3, 3, height_ratios=(1, 1, 0.04))
    for place, (title, image, limits, quantity, label) in enumerate(panels):
        whole, zoom = (figure.add_subplot(grid[line, place]) for line in (0, 1))
        shown = picture(whole, image, limits, title, quantity)
        picture(zoom, image[top : top + side, left : left + side], limits, "", quantity)
        frame(whole, (top, left), (side, side))
        framed(zoom)
        colour_bar(figure, shown, label, cax=figure.add_subplot(grid[2, place]), orientation="horizontal")
        if place == 0:
            scale_bar(whole, image.shape, pixel_mm)
            scale_bar(zoom, (side, side), pixel_mm)
    text = (f"Low dose: no acquisition, inserted by simulation at dose fraction {dose_fraction:g}. Normal dose: {source}. "
            f"Commit {commit()}.")
    figure.supxlabel(in_footer(text), fontsize=FOOTER, color="0.35")
    write_png(path, figure, text)
    return path
