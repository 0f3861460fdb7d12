"""Noise of a simulated patient next to that of the real challenge data: close enough to train on."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import ndimage

from lib.simulation.anatomy import ORGANS
from lib.simulation.noise import without_plane
from lib.simulation.scanner import ROLL_OFF
from lib.simulation.series import DOSES, THICKNESSES_MM, Series

REAL: dict[str, float] = {
    "liver SD, full dose, B30, 1 mm (HU)": 30.6,
    "liver SD, quarter dose, B30, 1 mm (HU)": 66.5,
    "quarter / full SD, B30, 1 mm": 2.15,
    "D45 / B30 SD, full dose, 1 mm": 2.8,
    "full-to-quarter noise correlation, B30, 1 mm": 0.39,
}
"""Measured on real images of the Mayo / AAPM 2016 Low-Dose CT Grand Challenge when the simulation was designed. They
are of few slices: patients differ in size and hence in SD. Quantities not listed have no real value: NaN."""

ROI_MM = 14.0
VESSEL_MARGIN_MM = 2.5
MIN_ROIS = 3


def compare_liver_noise(volumes: Mapping[tuple[str, str, float], Series], labels: np.ndarray) -> pd.DataFrame:
    """Noise in the liver of one simulated patient, measured as on real scans: no noiseless image is used.

    Square regions of 14 mm that hold nothing but liver, away from its vessels and edges, are freed of a tilted plane;
    the SD is pooled over them. Anatomy's own texture therefore counts, as it does on real scans.

    `volumes` is what `lib.simulation.series.scan` returns, its FOV taken as 350 mm; `labels` are indices into `ORGANS` of
    the 1 mm slices, (slices, size, size). Columns of the result: quantity, real (NaN where unknown), simulated; it has no
    row with fewer than three regions of pure liver.
    """
    z_thin, reference = volumes["full", "B30", THICKNESSES_MM[0]]
    if labels.shape != reference.shape:
        raise ValueError(f"labels of shape {labels.shape} for 1 mm slices of shape {reference.shape}")
    pixel_mm = 350.0 / labels.shape[-1]
    side = max(5, round(ROI_MM / pixel_mm))
    thin = _liver_rois(labels, side, pixel_mm)
    if len(thin) < MIN_ROIS:
        return pd.DataFrame(columns=["quantity", "real", "simulated"])
    rois = {THICKNESSES_MM[0]: thin}
    for thickness in THICKNESSES_MM[1:]:
        z = volumes["full", "B30", thickness][0]
        rois[thickness] = sorted({(int(np.argmin(np.abs(z - z_thin[k]))), r, c) for k, r, c in thin}) if len(z) else []

    noise = {key: _noise(hu, rois[key[2]], side) for key, (_, hu) in volumes.items()}
    sd = {key: float(np.sqrt(np.mean(patch**2))) if patch.size else np.nan for key, patch in noise.items()}
    simulated = {}
    for thickness in THICKNESSES_MM:
        for kernel in ROLL_OFF:
            for dose in DOSES:
                simulated[f"liver SD, {DOSES[dose]} dose, {kernel}, {thickness:g} mm (HU)"] = sd[dose, kernel, thickness]
            low, full = (sd[dose, kernel, thickness] for dose in ("low", "full"))
            simulated[f"quarter / full SD, {kernel}, {thickness:g} mm"] = low / full
            one, other = (noise[dose, kernel, thickness].ravel() for dose in DOSES)
            correlation = float(np.corrcoef(one, other)[0, 1]) if one.size else np.nan
            simulated[f"full-to-quarter noise correlation, {kernel}, {thickness:g} mm"] = correlation
        for dose in DOSES:
            ratio = sd[dose, "D45", thickness] / sd[dose, "B30", thickness]
            simulated[f"D45 / B30 SD, {DOSES[dose]} dose, {thickness:g} mm"] = ratio
    table = {name: (name, REAL.get(name, np.nan), simulated[name]) for name in (*REAL, *simulated)}
    return pd.DataFrame(table.values(), columns=["quantity", "real", "simulated"])


def _liver_rois(labels: np.ndarray, side: int, pixel_mm: float) -> list[tuple[int, int, int]]:
    """First slice, row and column of disjoint squares of pure liver, `VESSEL_MARGIN_MM` off everything else."""
    margin = int(np.ceil(VESSEL_MARGIN_MM / pixel_mm))
    liver = (ndimage.binary_erosion(plane == ORGANS.index("liver"), iterations=margin) for plane in labels)
    rows, columns = (range(0, length - side + 1, side) for length in labels.shape[1:])
    return [(k, r, c) for k, pure in enumerate(liver) for r in rows for c in columns
            if pure[r : r + side, c : c + side].all()]  # fmt: skip


def _noise(hu: np.ndarray, rois: list[tuple[int, int, int]], side: int) -> np.ndarray:
    """The regions less their best-fitting planes, shape (regions, side * side), HU."""
    patches = np.array([hu[k, r : r + side, c : c + side].ravel() for k, r, c in rois]).reshape(-1, side * side)
    return without_plane(patches, side)
