"""In which order slices are evaluated, and which one of them is shown."""

import numpy as np
import pandas as pd

SERIES = ["patient", "kernel", "thickness_mm", "scan"]


def by_series(pairs: pd.DataFrame, most: int | None = None) -> pd.DataFrame:
    """Pairs of slices (columns of :func:`lib.data.store.reading.pairs`) by patient and series; of each series all, or at
    most so many, evenly spaced: the middles of equal parts."""
    pairs = pairs.sort_values([*SERIES, "index"], ignore_index=True)
    if most is None:
        return pairs
    chosen = [group.iloc[(2 * np.arange(parts) + 1) * len(group) // (2 * parts)]
              for _, group in pairs.groupby(SERIES) for parts in [min(most, len(group))]]
    return pd.concat(chosen, ignore_index=True)


def example_row(slices: pd.DataFrame) -> int:
    """Position of Figure 3's slice in :func:`by_series`: first test patient, B30 and 1 mm (else the first series that there
    is), the middle slice. A rule, so that nobody picks a flattering one."""
    first = slices.iloc[0]
    series = slices[(slices["patient"] == first["patient"]) & (slices["kernel"] == first["kernel"])
                    & (slices["thickness_mm"] == first["thickness_mm"])]
    return int(series.index[len(series) // 2])
