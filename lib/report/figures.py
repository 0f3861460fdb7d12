"""Pictures of slices: Figures 1 and 3 (curves: :mod:`lib.report.curves`; scores of patients: :mod:`lib.report.quality`).

Every function writes ``<name>.png`` and ``.pdf`` and returns the path of the PNG.
"""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np

from lib.data.hu import WINDOW
from lib.metrics.regions import body, structured_window
from lib.report.labels import Labels
from lib.report.style import (
    LEVELS,
    SLICES_DPI,
    STYLE,
    TALLEST,
    WIDTH,
    colour_bar,
    frame,
    framed,
    minus,
    new_figure,
    picture,
    save_figure,
    scale_bar,
    symmetric_limits,
)

ACROSS: Final = 4  # slices beside each other
SLICES_TALLEST: Final = TALLEST - 0.7  # inches, of two blocks of slices, without the provenance
ZOOM: Final = (0.125, 0.2)  # rows and columns of Figure 3's window, share of the slice's


@mpl.rc_context(STYLE)
def figure1(labels: Labels, ldct_hu: np.ndarray, ndct_hu: np.ndarray, where: str, pixel_mm: float) -> Path:
    """Figure 1: LDCT beside NDCT in the window [-160, 240] HU with a box as large as a training patch, its zoom below.

    The box is chosen by a rule: :func:`lib.metrics.regions.structured_window`.

    Parameters
    ----------
    ldct_hu, ndct_hu : array, (rows, columns), HU
    where, pixel_mm : what slice it is (:func:`lib.report.words.slice_name`); its pixel size, NaN if unknown: no scale bar
    """
    side = min(labels.settings["patch_size"], *ndct_hu.shape)
    top, left = structured_window(ndct_hu, (side, side))
    figure = new_figure(labels, 6.9)
    axes = figure.subplots(2, 2)
    for (whole, zoom), name, image in zip(axes.T, ("(a) LDCT", "(b) NDCT"), (ldct_hu, ndct_hu), strict=True):
        picture(whole, image, WINDOW, f"{name}, {image.shape[0]} × {image.shape[1]} pixels")
        frame(whole, (top, left), (side, side))
        scale_bar(whole, image.shape, pixel_mm)
        patch = image[top : top + side, left : left + side]
        shown = picture(zoom, patch, WINDOW, f"{name}, as large as a training patch: {side} × {side} pixels",
                        interpolation="nearest")
        scale_bar(zoom, patch.shape, pixel_mm)
        framed(zoom)
    figure.suptitle(f"{minus(where)}; framed: where the NDCT has most structure")
    colour_bar(figure, shown, "CT number (HU)", ax=axes, shrink=0.6, aspect=35)
    return save_figure(labels, figure, "fig1")


@mpl.rc_context(STYLE)
def figure3(labels: Labels, examples: Mapping[str, np.ndarray], where: str, pixel_mm: float, name: str = "fig3") -> Path:
    """Figure 3: one test slice after each network, a window of it, and what is left of the error.

    For NDCT, LDCT and each experiment, four beside each other: the image, cut to the body, in [-160, 240] HU; its window
    with most structure (:func:`lib.metrics.regions.structured_window`); image minus NDCT, all on one scale. RMSE and bias
    (mean error) are those in the body.

    Parameters
    ----------
    examples : mapping, 'ndct', 'ldct' and experiments by name, (rows, columns), HU
    where, pixel_mm : as for :func:`figure1`
    name : of the file
    """
    inside = body(examples["ndct"])
    rows, columns = (slice(each.min(), each.max() + 1) for each in np.nonzero(inside if inside.any() else ~inside))
    cut = {each: image[rows, columns].astype(float) for each, image in examples.items()}
    shown, ndct, inside = ["ndct", *(each for each in labels.experiments if each in cut)], cut["ndct"], inside[rows, columns]
    shape = tuple(min(max(8, round(share * whole)), part)
                  for share, whole, part in zip(ZOOM, examples["ndct"].shape, ndct.shape, strict=True))
    top, left = structured_window(ndct, shape)
    limits = symmetric_limits(cut.get("ldct", cut[shown[-1]]) - ndct)
    tall, flat, blocks = ndct.shape[0] / ndct.shape[1], shape[0] / shape[1], -(-len(shown) // ACROSS)
    height = blocks * (WIDTH / ACROSS * (2 * tall + flat) + 0.5) + 0.35
    figure = new_figure(labels, min(height, max(1.0, blocks / 2) * SLICES_TALLEST))  # images become smaller
    panels = figure.subplots(3 * blocks, ACROSS, squeeze=False, height_ratios=[tall, flat, tall] * blocks)
    for each in panels.flat:
        each.set_axis_off()
    for place, each in enumerate(shown):
        whole, zoom, error = panels[3 * (place // ACROSS) :, place % ACROSS][:3]
        difference = cut[each] - ndct
        image = picture(whole, cut[each], WINDOW, _title(labels, each, difference[inside]), levels=LEVELS)
        picture(zoom, cut[each][top : top + shape[0], left : left + shape[1]], WINDOW, levels=LEVELS)
        zoom.set_axis_on()
        framed(zoom)
        frame(whole, (top, left), shape)
        if each == "ndct":
            scale_bar(whole, ndct.shape, pixel_mm)
            scale_bar(zoom, shape, pixel_mm)
        else:
            mapped = picture(error, difference, limits, "", "difference", LEVELS)
            frame(error, (top, left), shape)
    for height, drawn, label in ((0.75, image, "CT number (HU)"), (0.25, mapped, "image − NDCT (HU)")):
        colour_bar(figure, drawn, label, cax=panels[2, 0].inset_axes([0.08, height, 0.84, 0.08]), orientation="horizontal")
    figure.suptitle(f"{minus(where)}\nframed: the window in which the NDCT has most structure, enlarged below")
    return save_figure(labels, figure, name, dpi=SLICES_DPI)


def _title(labels: Labels, name: str, difference: np.ndarray) -> str:
    """Whose image, and its error in the body; a panel holds some 28 characters."""
    if name == "ndct":
        return "NDCT"
    numbers = f"RMSE {np.sqrt(np.mean(difference**2)):.1f}, bias {difference.mean():+.1f} HU" if difference.size else ""
    return "\n".join([textwrap.fill(labels.experiments[name].label, 28), numbers.replace("-", "−")])
