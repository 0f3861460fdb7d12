"""Which slices are evaluated, and which one of them is shown."""

from typing import Final

import pandas as pd

from lib.errors import CohortError
from lib.study import ALIASES, Study
from lib.volumes import load_manifest, pairs, split_pairs

WINDOW: Final = (-160.0, 240.0)  # HU, the soft-tissue window of RED-CNN's evaluation


def evaluated_pairs(study: Study) -> pd.DataFrame:
    """The test slices: columns of :func:`lib.volumes.pairs`, patients in the order of the split.

    Raises:
        CohortError: the volumes hold no slice of a test patient.
    """
    everything = pairs(load_manifest(study.paths.volumes))
    found = split_pairs(everything, study.cohort.split.parts(), warn=lambda _: None)["test"]  # 01 has warned
    if found.empty:
        raise CohortError(f"no slices of the test patients {', '.join(study.cohort.split.test)} in "
                          f"{study.paths.volumes}: correct the split or preprocess their scans")
    order = {each: place for place, name in enumerate(study.cohort.split.test)
             for each in (name, ALIASES.get(name, name))}
    return (found.assign(place=found["patient"].map(order))
            .sort_values(["place", "kernel", "thickness_mm", "index"]).drop(columns="place").reset_index(drop=True))


def example_row(slices: pd.DataFrame) -> int:
    """Position of Figure 3's slice in :func:`evaluated_pairs`: first test patient, B30 and 1 mm (else the first series
    that there is), the middle slice. A rule, so that nobody picks a flattering one."""
    first = slices.iloc[0]
    series = slices[(slices["patient"] == first["patient"]) & (slices["kernel"] == first["kernel"])
                    & (slices["thickness_mm"] == first["thickness_mm"])]
    return int(series.index[len(series) // 2])
