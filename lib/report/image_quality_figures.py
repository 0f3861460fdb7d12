"""S6: residuals and their spectra; transfer of a lesion's edge, and how well the lesion is detected."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from scipy import fft

from lib.metrics import noise_power
from lib.metrics.regions import structured_window
from lib.metrics.task_transfer import FREQUENCIES, nyquist
from lib.report.image_quality import Found, name_of
from lib.report.labels import Labels
from lib.report.style import (
    LEVELS,
    SLICES_DPI,
    STYLE,
    colour_bar,
    legend_below,
    minus,
    new_figure,
    picture,
    save_figure,
    scale_bar,
    symmetric_limits,
)
from lib.report.words import number
from lib.stages.image_quality import LESION_HU, NDCT, residual_sd
from lib.stages.scenes import LESION_MM, SERIES

ACROSS: Final = 4
WINDOW: Final = 160  # pixels, side of what is shown of a slice, or as much as there is
TARGET: Final = ("#009e73", "*")  # the NDCT's colour and marker
FLOOR: Final = 1e-3  # of the shown 2-D spectra, relative to the highest


def _style(labels: Labels, name: str) -> dict:
    """Colour and line of an experiment's curve: solid for networks, dashed for what no network made."""
    colour = TARGET[0] if name == NDCT else labels.experiments[name].colour
    return {"color": colour, "linestyle": "--" if name in (NDCT, "ldct") else "-"}


def _marker(labels: Labels, name: str) -> str:
    return TARGET[1] if name == NDCT else labels.experiments[name].marker


def _mean_power(found: Found, name: str) -> np.ndarray:
    return np.mean([one.lesions.power for (each, _), one in found.items() if each == name and one.lesions], axis=(0, 1))


@mpl.rc_context(STYLE)
def figure_noise(labels: Labels, found: Found, residuals: Mapping[str, np.ndarray], reference_hu: np.ndarray, where: str,
                 pixel_mm: float) -> Path:
    """What is left of the noise: the residual of one slice after each network, in the window with most structure, the 2-D
    noise power spectrum in its corner, on one logarithmic scale; below the radial spectra, and the same relative to their
    own integral (texture).

    Parameters
    ----------
    found : mapping, of :func:`lib.stages.image_quality.measured`
    residuals : mapping, by experiment ('ndct' and 'ldct' among them): image less noise-free slice (without one: less NDCT),
        (rows, columns), HU
    reference_hu : array, (rows, columns), the NDCT, by which the window is chosen, and the soft tissue whose SD is said
    where, pixel_mm : what slice it is; of the spectra
    """
    names = [name for name in dict.fromkeys(each for each, _ in found) if name in residuals]
    spectra = {name: _mean_power(found, name) for name in names if any(
        one.lesions for (each, _), one in found.items() if each == name)}
    side = min(WINDOW, *reference_hu.shape)
    top, left = structured_window(reference_hu, (side, side))
    limits = symmetric_limits(residuals.get("ldct", residuals[names[-1]])[top : top + side, left : left + side])
    rows = -(-len(names) // ACROSS)
    figure = new_figure(labels, 2.05 * rows + (3.1 if spectra else 0.8))
    above, below = figure.subfigures(2, 1, height_ratios=(2.05 * rows + 0.5, 2.4)) if spectra else (figure, None)
    panels, power = above.subplots(rows, ACROSS, squeeze=False), None
    for panel in panels.flat:
        panel.set_axis_off()
    for panel, name in zip(panels.flat, names, strict=False):
        shown = residuals[name][top : top + side, left : left + side]
        sd = number(float(f"{residual_sd(residuals[name], reference_hu):.2g}"))
        drawn = picture(panel, shown, limits, f"{name_of(labels, name)}: SD {sd} HU", "difference", LEVELS, "nearest")
        power = _corner(panel, spectra[name]) if name in spectra else power
    scale_bar(panels[0, 0], (side, side), pixel_mm)
    bars = [(drawn, f"residual: image − {'noise-free slice' if NDCT in residuals else NDCT.upper()} (HU)", "both")]
    bars += [(power, "in the corner: 2-D NPS by its highest value, log$_{10}$", "min")] if power is not None else []
    for some, (image, label, extend) in zip(np.array_split(panels[-1], len(bars)), bars, strict=True):
        colour_bar(above, image, label, extend, ax=list(some), orientation="horizontal", shrink=0.9, aspect=30)
    above.suptitle(minus(where))
    if below is not None:
        _radial(labels, below.subplots(1, 2), spectra, pixel_mm)
        handles = [Line2D([], [], label=name_of(labels, name), **_style(labels, name)) for name in spectra]
        legend_below(below, handles, 8)
    return save_figure(labels, figure, "image_quality", dpi=SLICES_DPI)


def _corner(panel: Axes, power: np.ndarray) -> AxesImage:
    """A 2-D spectrum, its logarithm relative to its own highest value, zero frequency in the middle."""
    inset = panel.inset_axes([0.70, 0.70, 0.30, 0.30])
    shown = np.log10(np.maximum(fft.fftshift(power) / power.max(), FLOOR))
    return picture(inset, shown, (np.log10(FLOOR), 0.0), "", "power", LEVELS, "nearest")


def _radial(labels: Labels, panels: Iterable[Axes], spectra: Mapping[str, np.ndarray], pixel_mm: float) -> None:
    first, second = panels
    for name, power in spectra.items():
        frequency, rings = noise_power.radial(power, pixel_mm)
        first.plot(frequency, rings, **_style(labels, name))
        second.plot(frequency, rings / (rings.sum() * (frequency[1] - frequency[0])), **_style(labels, name))
        second.plot(noise_power.summary(power, pixel_mm).mean, 0, "^", color=_style(labels, name)["color"], markersize=5,
                    clip_on=False, zorder=5)
    series = f"{SERIES[0]}, {SERIES[1]:g} mm"
    first.set(yscale="log", xlabel="frequency (1/mm)", ylabel="NPS (HU² mm²)", title=f"noise alone, {series}")
    top = max(float(noise_power.radial(power, pixel_mm)[1].max()) for power in spectra.values())
    first.set_ylim(top * 1e-4, top * 2)
    second.set(xlabel="frequency (1/mm)", ylabel="NPS / its integral (mm)", ylim=(0, None),
               title="the same, relative: texture (triangle: mean frequency)")


@mpl.rc_context(STYLE)
def figure_transfer(labels: Labels, found: Found, table: pd.DataFrame, detected: pd.DataFrame) -> Path:
    """Task transfer at the patient's surface and at the edge of a low-contrast lesion, means over patients and seeds; what
    is left of the noise and of the organ's texture; the observer's AUC, with its bootstrap interval. Scans with pixels of
    unknown size have no transfer; where all are such, the panel says so."""
    names = list(dict.fromkeys(name for name, _ in found))
    lesions = len(detected) > 0
    figure = new_figure(labels, 5.0 if lesions else 2.8)
    panels = figure.subplots(2, 2) if lesions else np.array([[figure.subplots()]])
    highest = nyquist(float(table["pixel_mm"].min()))  # NaN: no scan says how large its pixels are
    for name in names:
        own = [one for (each, _), one in found.items() if each == name]
        _curve(panels[0, 0], [one.edges[_surface(one.slices)] for one in own], highest, _style(labels, name))
        if lesions:
            _curve(panels[0, 1], [one.lesions.transfer for one in own if one.lesions], highest, _style(labels, name))
    first = next(iter(found.values())).slices
    kernel, thickness_mm = first.loc[_surface(first), ["kernel", "thickness_mm"]].iloc[0]
    panels[0, 0].set_title(f"patient's surface, {kernel}, {thickness_mm:g} mm")
    if lesions:
        panels[0, 1].set_title(f"edge of a lesion of {LESION_HU:g} HU, {LESION_MM:g} mm, at the low dose".replace("-", "−"))
        _kept(labels, panels[1, 0], table, names)
        filters = next(one.lesions.gaussian for one in found.values() if one.lesions)
        known = filters[np.isfinite(filters).all(axis=(1, 2))]
        if len(known):
            panels[1, 0].plot(*100 * known.mean(axis=0).T, color="0.6", linewidth=0.8, zorder=0)
        _auc(labels, panels[1, 1], table, detected)
    for panel in panels[0] if np.isfinite(highest) else ():
        panel.axhline(0.5, color="0.8", linewidth=0.6, zorder=0)
        panel.set(xlabel="frequency (1/mm)", ylabel="task transfer", ylim=(0, 1.3), xlim=(0, highest))
    if not np.isfinite(highest):
        panels[0, 0].set_axis_off()
        panels[0, 0].set_title("No scan says how large its pixels are: no transfer", y=0.5)
    handles = [Line2D([], [], label=name_of(labels, name), marker=_marker(labels, name) if lesions else "", markersize=5,
                      **_style(labels, name)) for name in names]
    legend_below(figure, handles, 8)
    return save_figure(labels, figure, "image_quality_transfer")


def _surface(slices: pd.DataFrame) -> np.ndarray:
    """Which slices are of the first kernel, and of the thinnest that it has."""
    own = slices["kernel"] == slices["kernel"].iloc[0]
    return (own & (slices["thickness_mm"] == slices.loc[own, "thickness_mm"].min())).to_numpy()


def _curve(panel: Axes, curves: Sequence[np.ndarray], highest: float, style: dict) -> None:
    """Means over all curves, of each frequency over those that know it: pixels may be of unknown size."""
    within = highest >= FREQUENCIES
    mean = np.ma.masked_invalid(np.concatenate(curves)).mean(axis=0)
    panel.plot(FREQUENCIES[within], np.ma.filled(mean, np.nan)[within], **style)


def _kept(labels: Labels, panel: Axes, table: pd.DataFrame, names: list[str]) -> None:
    """A small point for each patient and seed, a large one for their mean."""
    rows = table[table["auc"].notna()]
    for name in names:
        some, colour = rows[rows["experiment"] == name], _style(labels, name)["color"]
        panel.plot(100 * some["noise_left"], 100 * some["texture"], ".", color=colour, markersize=2.5, alpha=0.5)
        panel.plot(100 * some["noise_left"].mean(), 100 * some["texture"].mean(), _marker(labels, name), color=colour,
                   markersize=5.5)
    (left, right), (bottom, top) = (_around(100 * rows[column]) for column in ("noise_left", "texture"))
    panel.set(xlabel="noise left (% of LDCT's SD)", ylabel="texture left (% of its amplitude)", xlim=(left, right),
              ylim=(bottom, top), title="noise and the organ's texture (line: Gaussian filters)")


def _around(values: pd.Series) -> tuple[float, float]:
    """Limits of an axis; any where nothing is known."""
    if values.isna().all():
        return 0.0, 100.0
    room = 0.05 * float(values.max() - values.min()) + 1.0
    return float(values.min()) - room, float(values.max()) + room


def _auc(labels: Labels, panel: Axes, table: pd.DataFrame, detected: pd.DataFrame) -> None:
    """A point for each patient (mean over seeds), and the mean with its interval over pairs, not over patients."""
    rows = table[table["auc"].notna()].groupby(["experiment", "patient"])["auc"].mean()
    for place, row in enumerate(detected.itertuples()):
        own, colour = rows.loc[row.experiment], _style(labels, row.experiment)["color"]
        panel.plot([place - 0.18] * len(own), own, ".", color=colour, markersize=3)
        panel.errorbar(place + 0.1, row.auc, [[row.auc - row.auc_low], [row.auc_high - row.auc]], fmt="o", color=colour,
                       markersize=4, capsize=2.5, linewidth=1.0)
    panel.axhline(0.5, color="0.8", linewidth=0.6, zorder=0)
    panel.set_xticks(range(len(detected)), [name_of(labels, name) for name in detected["experiment"]], rotation=40)
    panel.set(ylabel="AUC", title="lesion detected (dot: patient; bar: bootstrap of pairs)",
              ylim=(min(0.45, float(rows.min()) - 0.02), 1.02))
