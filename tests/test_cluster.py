"""Stages on workers: several at once, one that dies, one that fails again and again, and nothing left behind."""

import json
import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest

from lib import REPOSITORY
from lib.errors import OutputError, StageError, StudyError
from lib.study.choices import portable
from lib.study.config import load_study
from lib.study.paths import Paths
from lib.study.runs import Run
from lib.workflow import cluster, tasks
from lib.workflow.make import make
from lib.workflow.stages import Stage, stages
from tests.conftest import BESIDE

ENDED = 120.0  # seconds that a process may take to be gone, on a slow and busy machine


def write(path: Path, text: str = "") -> None:
    """What a throwaway stage does: one line per attempt, and the process that did it."""
    with path.with_suffix(".attempts").open("a", encoding="utf-8") as stream:
        stream.write(f"{os.getpid()}\n")
    path.write_text(text or os.environ.get("CHOSEN", "unset"), encoding="utf-8")


def die(path: Path, times: int) -> None:
    """Killed from outside at its first attempts."""
    write(path)
    if len(attempts(path)) <= times:
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)


def fail(path: Path, times: int) -> None:
    """An exception that nobody foresaw, at its first attempts."""
    write(path)
    if len(attempts(path)) <= times:
        raise ZeroDivisionError("no\nuse")


def refuse(path: Path) -> None:
    """What a user must mend."""
    write(path)
    raise OutputError("the disk is full", where="/disk", remedy="free some space")


def sleep(path: Path) -> None:
    """Work that takes long, in a process of its own as a kernel is."""
    write(path)
    with subprocess.Popen([sys.executable, "-c", "import time; print(1, flush=True); time.sleep(300)"]):
        time.sleep(300)


def delegate(path: Path) -> None:
    """Work that starts processes of its own, as the reading of many files does."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        write(path, str(pool.submit(os.getpid).result()))


def growth(path: Path) -> None:
    write(path, os.environ["TF_FORCE_GPU_ALLOW_GROWTH"])


def attempts(path: Path) -> list[int]:
    file = path.with_suffix(".attempts")
    return [int(line) for line in file.read_text(encoding="utf-8").split()] if file.is_file() else []


@pytest.fixture
def stage(tmp_path):
    def named(name: str, function: str, **parameters) -> Stage:
        path = tmp_path / f"{name}.txt"
        return Stage(name, tmp_path / f"{name}.json", {"lib.paper.published"}, {}, outputs=[path],
                     function=f"{__name__}:{function}", parameters={"path": path, **parameters})

    return named


@pytest.fixture
def do(tmp_path):
    """Do stages of one wave on two workers; afterwards no process is left."""
    before = set(psutil.Process().children(recursive=True))

    def perform(*wave: Stage, jobs: int = 2, environment=None) -> None:
        with cluster.workers(jobs, None, tmp_path / "prints") as client:
            assert len(client.scheduler_info()["workers"]) == jobs
            cluster.perform_all(client, [(f"{number}/9", each) for number, each in enumerate(wave)], environment or {})

    yield perform
    assert not left(before)


def left(before: set[psutil.Process]) -> list[psutil.Process]:
    """Processes below this one that were not there before; the resource tracker of multiprocessing stays.

    Those of a whole run that conftest makes beside the tests do not count.
    """
    deadline = time.monotonic() + ENDED
    while True:
        found = [process for process in set(psutil.Process().children(recursive=True)) - before if alive(process)]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def alive(process: psutil.Process) -> bool:
    try:
        return (process.status() != psutil.STATUS_ZOMBIE and BESIDE not in process.environ()
                and "resource_tracker" not in " ".join(process.cmdline()))
    except psutil.NoSuchProcess:
        return False


def test_stages_run_at_once_with_the_choices_of_whoever_asked(stage, do, monkeypatch, caplog):
    monkeypatch.setenv("CHOSEN", "here")
    caplog.set_level(logging.DEBUG, logger="lib")
    three = [stage(name, "write") for name in "abc"]
    do(*three, environment={"CHOSEN": "there", "LAMBDA": None})
    assert all(each.is_current() for each in three)
    assert {each.parameters["path"].read_text(encoding="utf-8") for each in three} == {"there"}
    pids = {pid for each in three for pid in attempts(each.parameters["path"])}
    assert os.getpid() not in pids and len(pids) == 2
    assert "[0/9] a" in caplog.messages and any(line.startswith("[0/9] a done in ") for line in caplog.messages)


@pytest.mark.parametrize(("own", "found"), [(None, "true"), ("false", "false")])
def test_a_worker_leaves_room_on_a_gpu_unless_told_otherwise(own, found, stage, do, monkeypatch):
    monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH", raising=False)
    if own:
        monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", own)
    asked = stage("asked", "growth")
    do(asked, jobs=1)
    assert asked.parameters["path"].read_text(encoding="utf-8") == found


def test_a_dead_worker_loses_its_task_only_and_it_is_tried_again(stage, do):
    unlucky, other = stage("unlucky", "die", times=1), stage("other", "write")
    do(unlucky, other)
    assert unlucky.is_current() and other.is_current()
    assert len(set(attempts(unlucky.parameters["path"]))) == 2 and len(attempts(other.parameters["path"])) == 1


def test_a_worker_that_dask_gives_up_is_replaced(stage, do, monkeypatch):
    monkeypatch.setitem(cluster.SETTINGS, "distributed.deploy.lost-worker-timeout", "10ms")
    unlucky = stage("unlucky", "die", times=2)
    do(unlucky, jobs=1)
    assert unlucky.is_current() and len(set(attempts(unlucky.parameters["path"]))) >= 3


def test_what_a_worker_was_at_when_dask_closed_it_has_not_failed(tmp_path):
    """An attempt counts once it is begun, unless Dask closes the worker in mid-task."""
    path = tmp_path / "new" / "stage.tries"
    for _ in range(2):
        with tasks.attempt(path, 3) as left:
            assert left
    with tasks.attempt(path, 3) as left:
        assert left and path.stat().st_size == 3
        tasks.dask_teardown(None)
    tasks.dask_teardown(None)  # of a worker that is at nothing
    assert path.stat().st_size == 2
    with tasks.attempt(path, 3) as left, tasks.attempt(path, 3) as another:
        assert left and not another and path.stat().st_size == 3


def test_what_fails_thrice_is_reported_and_the_others_finish(stage, do, caplog):
    caplog.set_level(logging.DEBUG, logger="lib")
    dead, broken, other = stage("dead", "die", times=9), stage("broken", "fail", times=9), stage("other", "write")
    with pytest.raises(StageError) as caught:
        do(dead, broken, other)
    text = str(caught.value)
    assert text.startswith("2 stages failed: ") and "\n" not in text
    assert "dead: its process was killed from outside" in text
    assert "broken: ZeroDivisionError: no use (it failed 3 times)" in text
    assert len(attempts(dead.parameters["path"])) == len(attempts(broken.parameters["path"])) == 3
    assert other.is_current() and not dead.is_current() and not broken.is_current()
    assert not list(dead.stamp.parent.glob("*.tries"))
    assert "Traceback" in caplog.text, "the log says more"


def test_a_stage_may_start_processes_of_its_own(stage, do):
    busy = stage("busy", "delegate")
    do(busy, jobs=1)
    assert int(busy.parameters["path"].read_text(encoding="utf-8")) != attempts(busy.parameters["path"])[0]


def test_what_fails_once_ends_well(stage, do):
    shaky = stage("shaky", "fail", times=1)
    do(shaky, jobs=1)
    assert shaky.is_current() and len(attempts(shaky.parameters["path"])) == 2


def test_what_the_user_must_mend_is_not_tried_again(stage, do):
    full = stage("full", "refuse")
    with pytest.raises(StageError, match="^full: OutputError: /disk: the disk is full; free some space$"):
        do(full, jobs=1)
    assert len(attempts(full.parameters["path"])) == 1


def test_a_stage_that_forgets_an_output_is_refused(stage, do, tmp_path):
    forgetful = stage("forgetful", "write")
    forgetful.outputs = [*forgetful.outputs, tmp_path / "absent.csv"]
    with pytest.raises(StageError, match="^forgetful: ended without writing absent.csv$"):
        do(forgetful, jobs=1)


def test_an_interrupt_ends_everything_at_once(stage, tmp_path):
    before = set(psutil.Process().children(recursive=True))
    long = [stage("long", "sleep"), stage("longer", "sleep")]
    with pytest.raises(KeyboardInterrupt), cluster.workers(2, None, tmp_path / "prints") as client:  # noqa: PT012
        futures = [client.submit(cluster._task, each, "1/1", {}) for each in long]
        while not all(attempts(each.parameters["path"]) for each in long):
            time.sleep(0.1)
        begin = time.monotonic()
        raise KeyboardInterrupt
    assert time.monotonic() - begin < ENDED / 2 and len(futures) == 2 and not left(before)


@pytest.fixture
def scheduler(tmp_path):
    """A scheduler and a worker as a user starts them, each a process, at any free port."""
    address = tmp_path / "scheduler.json"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
               "--no-dashboard", "--no-show", "--scheduler-file", str(address)]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(address), "--nthreads", "1",
              "--memory-limit", "0", "--no-dashboard", "--local-directory", str(tmp_path / "scratch")]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment, "cwd": tmp_path}
    processes = [subprocess.Popen(command, **quiet), subprocess.Popen(worker, **quiet)]
    while not address.is_file():
        time.sleep(0.1)
        assert processes[0].poll() is None
    yield json.loads(address.read_text(encoding="utf-8"))["address"]
    for process in reversed(processes):
        for each in [*psutil.Process(process.pid).children(recursive=True), process]:
            each.kill()
        process.wait()


def test_the_workers_of_a_scheduler_elsewhere_do_the_same(stage, scheduler, tmp_path):
    two = [stage("a", "write"), stage("b", "fail", times=1)]
    with cluster.workers(1, scheduler, tmp_path / "prints") as client:
        cluster.perform_all(client, [("1/2", two[0]), ("2/2", two[1])], {"CHOSEN": "there"})
    assert all(each.is_current() for each in two)
    assert two[0].parameters["path"].read_text(encoding="utf-8") == "there"


def test_work_that_nobody_waits_for_any_more_ends_elsewhere_too(stage, scheduler, tmp_path):
    long = stage("long", "sleep")
    with pytest.raises(KeyboardInterrupt), cluster.workers(1, scheduler, tmp_path / "prints") as client:  # noqa: PT012
        future = client.submit(cluster._task, long, "1/1", {})
        while not (pids := attempts(long.parameters["path"])) or not psutil.Process(pids[0]).children():
            time.sleep(0.1)
        child = psutil.Process(pids[0]).children()[0]
        raise KeyboardInterrupt
    assert future is not None
    deadline = time.monotonic() + ENDED
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(child)


def test_a_worker_killed_in_mid_training_costs_what_follows_the_last_checkpoint(smoke, tmp_path, monkeypatch, caplog):
    """The machine dies, with worker and kernel; another attempt ends with the very weights of an undisturbed run."""
    caplog.set_level(logging.INFO, logger="lib")
    undisturbed = Paths(smoke, "smoke")
    disturbed = Paths(tmp_path, "smoke")
    left_out = shutil.ignore_patterns("E1", "E2", "E3", "E4", "cohort")
    shutil.copytree(undisturbed.artifacts, disturbed.artifacts, ignore=left_out)
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    study, run = load_study("smoke"), Run("E1", 5)
    training = next(stage for wave in stages(study) for stage in wave if stage.name == "03_train_E1_seed-5")
    folder = disturbed.training(run)

    def kill(worker: psutil.Process) -> None:
        while not any(folder.glob("step-*.json")):
            time.sleep(0.001)
        for process in [*worker.children(recursive=True), worker]:
            process.kill()
        killed.append((folder / "stamp.json").is_file())

    killed: list[bool] = []
    with cluster.workers(1, None, tmp_path / "prints") as client:
        killer = threading.Thread(target=kill, args=(psutil.Process(client.submit(os.getpid).result()),), daemon=True)
        killer.start()
        cluster.perform_all(client, [("1/1", training)], {**portable(os.environ), "OUTPUT": str(tmp_path)})
    assert killed == [False] and training.is_current()
    assert caplog.messages.count("[1/1] 03_train_E1_seed-5") == 2
    one, other = (arrays(paths.weights(run)) for paths in (undisturbed, disturbed))
    assert one and set(one) == set(other) and all(np.array_equal(one[name], other[name]) for name in one)


def arrays(path: Path) -> dict[str, np.ndarray]:
    """The weights in a file, by name."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return found


def test_a_scheduler_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(cluster, "PATIENCE", 0.5)
    with pytest.raises(StudyError, match="SCHEDULER=tcp://127.0.0.1:9: no scheduler answers"), \
            cluster.workers(1, "tcp://127.0.0.1:9", tmp_path / "prints"):
        pass


def test_where_nothing_is_due_no_cluster_is_started(study, monkeypatch):
    monkeypatch.setattr(Stage, "is_current", lambda self: True)
    monkeypatch.setattr(cluster, "workers", None)
    assert make(study, stages(study)) == []
