"""In which order slices are evaluated, and which one of them is shown."""

import pandas as pd


def by_series(pairs: pd.DataFrame) -> pd.DataFrame:
    """Pairs of slices (columns of :func:`lib.data.store.reading.pairs`) by patient and series."""
    return pairs.sort_values(["patient", "kernel", "thickness_mm", "index"], ignore_index=True)


def example_row(slices: pd.DataFrame) -> int:
    """Position of Figure 3's slice in :func:`by_series`: first test patient, B30 and 1 mm (else the first series that there
    is), the middle slice. A rule, so that nobody picks a flattering one."""
    first = slices.iloc[0]
    series = slices[(slices["patient"] == first["patient"]) & (slices["kernel"] == first["kernel"])
                    & (slices["thickness_mm"] == first["thickness_mm"])]
    return int(series.index[len(series) // 2])
