"""Which slices are evaluated, and which one of them is shown."""

import pandas as pd

from lib.data.split import subsets
from lib.study.config import Study


def evaluated_pairs(study: Study) -> pd.DataFrame:
    """The test slices: columns of :func:`lib.data.store.reading.pairs`, by patient and series.

    Raises:
        CohortError: the volumes hold no slice of a test patient.
    """
    found = subsets(study)["test"]
    return found.sort_values(["patient", "kernel", "thickness_mm", "index"], ignore_index=True)


def example_row(slices: pd.DataFrame) -> int:
    """Position of Figure 3's slice in :func:`evaluated_pairs`: first test patient, B30 and 1 mm (else the first series
    that there is), the middle slice. A rule, so that nobody picks a flattering one."""
    first = slices.iloc[0]
    series = slices[(slices["patient"] == first["patient"]) & (slices["kernel"] == first["kernel"])
                    & (slices["thickness_mm"] == first["thickness_mm"])]
    return int(series.index[len(series) // 2])
