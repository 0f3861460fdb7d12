"""Who does the stages: Dask's workers, here (``JOBS``) or wherever a scheduler has some (``SCHEDULER``).

A worker that dies loses its task only: it is tried again, on another worker or on the one that takes its place, and
goes on from its checkpoint.
"""

import logging
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import dask
import psutil
from distributed import Client, Future, KilledWorker, LocalCluster, as_completed, get_worker
from distributed.utils import silence_logging_cmgr
from tornado.ioloop import PeriodicCallback

from lib.artifacts.files import REFUSED, cannot_write
from lib.errors import PaperError, StageError, StudyError
from lib.log import ROOT
from lib.workflow.lines import KILLED, in_a_line
from lib.workflow.stages import Stage
from lib.workflow.tasks import PRINTS, attempt, end, perform

log = logging.getLogger(__name__)

TRIES = 3
SETTINGS = {
    "distributed.scheduler.allowed-failures": 1000,  # ours are counted by _tries
    "distributed.nanny.pre-spawn-environ": {},  # as many threads as the machine has cores
}
PATIENCE = 10.0  # seconds for a scheduler to answer
LOOKS = 5.0  # seconds between two looks at whether all workers are there


@contextmanager
def workers(jobs: int, scheduler: str | None, prints: Path) -> Iterator[Client]:
    """``jobs`` workers of this machine, or those of a scheduler; on the way out those of this machine are gone.

    Parameters
    ----------
    prints : Path
        Where the former append what their libraries print.

    Raises
    ------
    StudyError
        No scheduler answers at that address.
    """
    if scheduler:
        try:
            client = Client(scheduler, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            raise StudyError(f"no scheduler answers ({error})", where=f"SCHEDULER={scheduler}",
                             remedy="start one with `dask scheduler`, or leave it out and pass JOBS=n") from None
        with silence_logging_cmgr(logging.CRITICAL, "distributed.client"), client:  # what fails is said once, by us
            if not client.scheduler_info()["workers"]:
                log.warning("no worker at %s yet: start some with `dask worker %s --nthreads 1 --memory-limit 0`",
                            scheduler, scheduler)
            client.forward_logging(ROOT)
            yield client
        return
    with ExitStack() as last, TemporaryDirectory() as scratch, dask.config.set(SETTINGS), LocalCluster(
        n_workers=jobs, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL,
        preload="lib.workflow.tasks", env={PRINTS: str(prints)}, local_directory=scratch,
    ) as cluster, Client(cluster, set_as_default=False) as client:
        last.callback(_end, cluster)  # again, for a worker that was starting
        client.forward_logging(ROOT)
        # Dask gives up a worker that dies while it starts, and closes one that is slow to come back; it replaces neither
        keeper = PeriodicCallback(partial(cluster.scale, jobs), 1000 * LOOKS)
        client.loop.add_callback(keeper.start)
        try:
            yield client
        finally:
            keeper.stop()
            _end(cluster)


def _end(cluster: LocalCluster) -> None:
    """Kill the workers and all that they started, at once: Dask itself would wait for their tasks."""
    for nanny in cluster.workers.values():
        nanny.close_gracefully()  # it replaces no worker any more
    for process in multiprocessing.active_children():
        if process.name.startswith("Dask Worker"):
            with suppress(psutil.Error):
                worker = psutil.Process(process.pid)
                end([*worker.children(recursive=True), worker])


def perform_all(client: Client, wave: Sequence[tuple[str, Stage]], environment: Mapping[str, str | None]) -> None:
    """Do stages that do not need each other; those that fail do not stop the others.

    Parameters
    ----------
    wave : sequence of (str, Stage)
        Each with its place in the whole run, '3/11'.

    Raises
    ------
    StageError
        What failed: at once if a user must mend it, after three attempts otherwise.
    """
    futures = {}
    for number, (place, stage) in enumerate(wave):
        _tries(stage).unlink(missing_ok=True)
        key = f"{stage.name}-{uuid4().hex}"
        futures[client.submit(_task, stage, place, dict(environment), key=key, retries=TRIES, priority=-number)] = stage
    failed: list[PaperError] = []
    for number, future in enumerate(as_completed(futures, loop=client.loop), start=1):
        if error := _failure(future, futures[future]):
            failed.append(error)
            if number < len(futures):
                log.warning("%s; the other stages go on", error)
    for stage in futures.values():
        _tries(stage).unlink(missing_ok=True)
    if len(failed) == 1:
        raise failed[0]
    if failed:
        raise StageError(f"{len(failed)} stages failed: {' | '.join(map(str, failed))}")


def _tries(stage: Stage) -> Path:
    """A byte per attempt. Dask's own count blames a death on the tasks that waited at the worker, too."""
    return stage.stamp.with_suffix(".tries")


def _task(stage: Stage, place: str, environment: Mapping[str, str | None]) -> PaperError | None:
    logging.getLogger(ROOT).setLevel(logging.DEBUG)
    worker = get_worker()
    key = worker.get_current_task()

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state != "cancelled"

    try:
        with attempt(_tries(stage), TRIES) as left:
            return perform(stage, place, environment, wanted) if left else _given_up(stage, KILLED)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in REFUSED:  # another attempt would be refused, too
            return cannot_write(Path(error.filename or stage.stamp.parent), error)
        if not _tries(stage).is_file() or _tries(stage).stat().st_size < TRIES:
            raise  # Dask tries again
        return _given_up(stage, in_a_line(error))


def _given_up(stage: Stage, what: str) -> StageError:
    return StageError(f"{what} (it failed {TRIES} times)", where=stage.name)


def _failure(future: Future, stage: Stage) -> PaperError | None:
    if future.status == "finished":
        error = future.result()
        if error is None and not stage.is_current():
            return StageError("was done, and its outputs are not here", where=stage.name,
                              remedy="start the workers in this checkout, on this disk")
        return error
    if future.status == "error":
        error = future.exception()
        return _given_up(stage, KILLED if isinstance(error, KilledWorker) else in_a_line(error))
    return StageError(f"is {future.status}: the scheduler is gone", where=stage.name,
                      remedy="start it again, the same command goes on from here")
