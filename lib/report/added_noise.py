"""A picture of low-dose insertion: what is real, what was inserted, and the difference, in one slice."""

import textwrap
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lib.artifacts.files import atomic
from lib.artifacts.provenance import commit
from lib.data.hu import WINDOW
from lib.report.figures import DPI, FOOTER, STYLE, WIDTH, picture, symmetric_limits

ZOOM: Final = 0.25  # side of the zoom, share of the shorter side of the slice


@mpl.rc_context(STYLE)
def figure_added_noise(
    path: Path, ndct_hu: np.ndarray, ldct_hu: np.ndarray, *, dose_fraction: float, source: str,
    sd_hu: tuple[float, float] | None = None, centre: tuple[int, int] | None = None,
) -> Path:
    """NDCT, inserted LDCT and their difference; a zoom of each below. Labels say which pixels are real.

    ``ndct_hu``, ``ldct_hu``: (rows, columns), HU. ``dose_fraction``: the inserted dose as a share of the normal one.
    ``source``: what the NDCT is, 'real scan, Br38, 3 mm'. ``sd_hu``: SD of the series in soft tissue at full and low dose.
    ``centre``: row and column of the zoom's middle, by default the slice's. Returns ``path``, a PNG of 300 dpi, the same
    bytes for the same input.
    """
    difference = ldct_hu.astype(float) - ndct_hu
    side = max(2, round(ZOOM * min(ndct_hu.shape)))
    middle = centre or [most // 2 for most in ndct_hu.shape]
    top, left = (int(np.clip(at - side // 2, 0, most - side)) for at, most in zip(middle, ndct_hu.shape, strict=True))
    full, low = (f"SD in soft tissue {value:.1f} HU" for value in sd_hu) if sd_hu else ("", "")
    body = (ndct_hu > WINDOW[0]) & (ndct_hu < WINDOW[1])
    mean = f"\nmean in soft tissue {difference[body].mean():+.2f} HU" if body.any() else ""
    panels = [
        (f"(a) NDCT: {source.split(',', maxsplit=1)[0]}\n{full}", ndct_hu, WINDOW, "gray"),
        (f"(b) LDCT: INSERTED, dose × {dose_fraction:g}\n{low}", ldct_hu, WINDOW, "gray"),
        (f"(c) what was inserted: (b) − (a){mean}", difference, symmetric_limits(difference), "RdBu_r"),
    ]
    figure = Figure(figsize=(WIDTH, 5.8), layout="constrained")
    grid = figure.add_gridspec(3, 3, height_ratios=(1, 1, 0.04))
    for place, (title, image, limits, colours) in enumerate(panels):
        whole, zoom = (figure.add_subplot(grid[line, place]) for line in (0, 1))
        shown = picture(whole, image, limits, title, colours)
        whole.add_patch(Rectangle((left - 0.5, top - 0.5), side, side, fill=False, color="red", linewidth=1.0))
        picture(zoom, image[top : top + side, left : left + side], limits, cmap=colours)
        bar = figure.colorbar(shown, cax=figure.add_subplot(grid[2, place]), extend="both", orientation="horizontal",
                              label="HU" if place < 2 else "difference (HU)")
        bar.outline.set_visible(False)
    text = (f"Low dose: no acquisition, inserted by simulation at dose fraction {dose_fraction:g}. Normal dose: {source}. "
            f"Commit {commit()}.")
    figure.supxlabel(textwrap.fill(text, int(WIDTH * 72 / (FOOTER * 0.54))), fontsize=FOOTER, color="0.35")
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=DPI, metadata={"Software": None, "Description": text})
    return path
