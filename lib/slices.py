"""Which slices are evaluated, and which one of them is shown."""

from typing import Final

import pandas as pd

from lib.split import subsets
from lib.study import Study

WINDOW: Final = (-160.0, 240.0)  # HU, the soft-tissue window of RED-CNN's evaluation


def evaluated_pairs(study: Study) -> pd.DataFrame:
    """The test slices: columns of :func:`lib.volumes.pairs`, by patient and series.

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
