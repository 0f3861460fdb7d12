"""``make paper`` and ``make supplement``: bring every stage up to date."""

import logging
import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack

from lib.artifacts.files import single_writer
from lib.errors import StageError
from lib.study import choices
from lib.study.config import Study
from lib.workflow.stages import Stage

log = logging.getLogger(__name__)


def due(waves: Sequence[Sequence[Stage]]) -> list[Stage]:
    """Stages that are out of date."""
    return [stage for wave in waves for stage in wave if not stage.is_current()]


def make(study: Study, waves: Sequence[Sequence[Stage]], jobs: int = 1, scheduler: str | None = None) -> list[Stage]:
    """Bring every stage up to date, several at once where they do not need each other.

    Parameters
    ----------
    waves : sequence
        Of :func:`lib.workflow.stages.stages` or :func:`lib.workflow.supplement.supplement`.
    jobs : int
        Worker processes on this machine.
    scheduler : str, optional
        Address of a Dask scheduler whose workers do it instead; they need this checkout and this disk.

    Returns
    -------
    list of Stage
        Those that ran.

    Raises
    ------
    StageError
        A stage failed; what other stages finished stays.
    OutputError
        Another run is at work on the profile's results.
    """
    ran, client = [], None
    total, number = sum(map(len, waves)), 0
    environment = choices.portable(os.environ) | {"PROFILE": study.profile, "OUTPUT": str(study.paths.root)}
    with single_writer(study.paths.artifacts), ExitStack() as stack:
        for wave in waves:
            placed = [(f"{place}/{total}", stage) for place, stage in enumerate(wave, start=number + 1)]
            number += len(wave)
            if not (late := [(place, stage) for place, stage in placed if not stage.is_current()]):
                continue
            from lib.workflow import cluster  # half a second, for nothing where all is up to date

            client = client or stack.enter_context(cluster.workers(jobs, scheduler, study.paths.log))
            try:
                cluster.perform_all(client, late, environment)
            except StageError as error:
                error.remedy = "; ".join(filter(None, [error.remedy, f"log: {study.paths.log}"]))
                raise
            ran += [stage for _, stage in late]
        shutil.rmtree(study.paths.features, ignore_errors=True)  # a cache, and a large one
    return ran
