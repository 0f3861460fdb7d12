"""`make check`: all of it, in one report."""

from pathlib import Path

import pandas as pd

from lib.check.report import Report
from lib.check.scans import check_split, find_scans
from lib.data import split
from lib.data.store.reading import load_manifest
from lib.study.config import Study
from lib.study.sections import Cohort


def check(study: Study, burst: bool = True, scans: bool = True) -> bool:
    """Say what a run of ``study`` needs and what is there; whether it could start. ``burst``: measure training steps, and
    estimate the run's time; ``scans``: look at these, not at the volumes of 01."""
    report = Report()
    if scans:
        pairs = find_scans(study.cohort, report)
        parts = check_split(study.cohort, pairs, report) if pairs is not None else None
    else:
        parts = _made(study.paths.volumes, study.cohort, report)
        pairs = pd.concat(parts.values()) if parts else None
    from lib.check import burst as measured  # these import TensorFlow: only now, so that the scans are shown at once
    from lib.check import machine

    machine.check_encoders(study, report)
    machine.check_devices(study, report)
    if parts:
        patches, size = machine.patches_of(study.training, parts), study.training.patch_size
        machine.check_room(study, pairs, patches, report)
        if not min(patches.values()):
            report.fail(f"no patch of {size} x {size} fits into the slices; pass a smaller SET=training.patch_size")
        elif burst and not report.errors:
            measured.check_time(study, parts, patches, report)
    return report.conclude()


def _made(volumes: Path, cohort: Cohort, report: Report) -> dict[str, pd.DataFrame] | None:
    with report.failing():
        sizes = load_manifest(volumes).drop_duplicates("volume").set_index("volume")[["rows", "columns"]]
        parts = split.subsets(volumes, cohort.given_split, cohort.split_seed)
        return {name: part.join(sizes, on="ndct") for name, part in parts.items()}
    return None
