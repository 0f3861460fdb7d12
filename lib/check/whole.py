"""`make check`: all of it, in one report."""

from collections.abc import Callable

import pandas as pd

from lib.check.report import Report
from lib.check.scans import check_split, find_scans
from lib.data.split import subsets
from lib.data.store.reading import load_manifest
from lib.errors import PaperError, VolumeError
from lib.study.config import Study


def check(study: Study, tell: Callable[[str], None] = print, burst: bool = True, scans: bool = True) -> bool:
    """Show what a run of ``study`` needs and what is there; whether it could start.

    Args:
        tell: gets the report line by line.
        burst: measure a few training steps, and estimate the run's time.
        scans: look at the scans; False uses the volumes that 01 has made.
    """
    report = Report(tell)
    if scans:
        pairs = find_scans(study, report)
        parts = check_split(study, pairs, report) if pairs is not None else None
    else:
        parts = _made(study, report)
        pairs = pd.concat(parts.values()) if parts else None
    from lib.check import machine  # imports TensorFlow: only now, so that the scans are shown at once

    machine.check_encoders(study, report)
    machine.check_devices(study, report)
    if parts:
        patches = machine.patches_of(study, parts)
        machine.check_room(study, pairs, patches, report)
        if not min(patches.values()):
            report.fail(f"no patch of {study.training.patch_size} x {study.training.patch_size} fits into the slices: pass "
                        "a smaller SET=training.patch_size")
        elif burst and not report.errors:
            machine.check_time(study, parts, patches, report)
    return report.conclude()


def _made(study: Study, report: Report) -> dict[str, pd.DataFrame] | None:
    try:
        manifest = load_manifest(study.paths.volumes)
        sizes = manifest.drop_duplicates("volume").set_index("volume")[["rows", "columns"]]
        return {name: part.join(sizes, on="ndct") for name, part in subsets(study, warn=report.warn).items()}
    except (VolumeError, PaperError) as error:
        report.fail(str(error))
        return None
