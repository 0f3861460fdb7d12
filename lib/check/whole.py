"""`make check`: all of it, in one report."""

import pandas as pd

from lib.check.report import Report
from lib.check.scans import check_split, find_scans
from lib.data import split
from lib.data.store.reading import load_manifest
from lib.study.config import Study


def check(study: Study, burst: bool = True, scans: bool = True, report: Report | None = None) -> bool:
    """In ``report``: what a run of ``study`` needs and what is there; whether it could start. ``burst``: measure training
    steps, and estimate the run's time; ``scans``: look at these, not at the volumes of 01."""
    report, cohort, volumes, parts = report or Report(), study.cohort, study.paths.volumes, None
    if scans:
        pairs = find_scans(cohort, report)
        parts = check_split(cohort, pairs, report) if pairs is not None else None
    else:
        with report.failing():
            sizes = load_manifest(volumes).drop_duplicates("volume").set_index("volume")[["rows", "columns"]]
            made = split.subsets(volumes, cohort.given_split, cohort.split_seed)
            parts = {name: part.join(sizes, on="ndct") for name, part in made.items()}
            pairs = pd.concat(parts.values())
    from lib.check import burst as measured  # these import TensorFlow: only now, so that the scans are shown at once
    from lib.check import machine

    machine.check_encoders(study, report)
    machine.check_devices(study, report)
    if parts:
        patches, size = machine.patches_of(study.training, parts), study.training.patch_size
        with report.failing():
            machine.check_room(study, pairs, patches, report)
        if not min(patches.values()):
            report.fail(f"no patch of {size} x {size} fits into the slices; pass a smaller SET=training.patch_size")
        elif burst and not report.errors:
            measured.check_time(study, parts, patches, report)
    return report.conclude()
