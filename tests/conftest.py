"""Shared by all tests: no choice of the caller's shell leaks in, and the smoke study that `make test` has run."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from lib import REPOSITORY, private
from lib.artifacts.provenance import arithmetic
from lib.study.choices import ENVIRONMENT
from lib.study.config import Study, load_study
from tests.named_scans import archive

BESIDE = "WHOLE_RUN_BESIDE_THE_TESTS"  # a variable by which the processes of whole runs are known
RUNS = ("smoke", "second", "named", "bench")  # whole runs, in the order in which they are made
SECOND, NAMED = "E4", "E1"  # the experiment of the second whole run, and of the one on scans of people with names
PRINTED = "printed.txt"  # what that one says


def pytest_addoption(parser):
    parser.addoption("--faults", choices=("short", "full"), default="short",
                     help="how many faults the fault tests try: short (the default, seconds) or full (minutes)")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """Each test writes below its own folder and sees no PROFILE, DATA, LAMBDA ... of the shell."""
    for name in (*ENVIRONMENT, "PROFILE", "JOBS", "SCHEDULER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OUTPUT", str(tmp_path))


@pytest.fixture(autouse=True)
def names_of_files() -> Iterator[None]:
    """Messages name files, as on a terminal."""
    with private.names():
        yield


@pytest.fixture
def study(tmp_path) -> Study:
    """The smoke study, with nothing made yet."""
    return load_study("smoke")


@pytest.fixture(scope="session")
def committed(tmp_path_factory) -> Path:
    """The folder ``figures`` of the last commit, or without git that which is there: a run of one's own writes over it."""
    packed = subprocess.run(["git", "archive", "HEAD", "figures"], cwd=REPOSITORY, capture_output=True, check=False)
    if packed.returncode:
        return REPOSITORY / "figures"
    folder = tmp_path_factory.mktemp("committed")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder / "figures"


def pytest_collection_modifyitems(config, items):
    """Tests of whole runs come last, in the order in which `whole_runs` makes these meanwhile; those marked `full` only
    with --faults=full."""
    if config.getoption("faults") != "full":
        left = [item for item in items if item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
    items.sort(key=lambda item: max((place for place, name in enumerate(RUNS, 1) if name in item.fixturenames), default=0))


@pytest.fixture(scope="session", autouse=True)
def whole_runs(request, tmp_path_factory) -> Iterator[Callable[[str], Path]]:
    """Whole runs of smoke that the session needs, one after the other beside its other tests.

    'smoke' is the repository's own, brought up to date, or from nothing where the one that is there was trained with other
    arithmetic (tests train, too, and compare bits); 'second' is one of a single experiment from nothing, elsewhere, with
    two jobs; 'named' one on scans of people with names (:mod:`tests.named_scans`); 'bench' is the benchmark on tiny sizes.

    Yields
    ------
    function
        Waits for the end of one, and returns the folder with its artifacts/smoke and figures/smoke.
    """
    elsewhere, apart = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("named")
    runs = {"smoke": (REPOSITORY, {}, "supplement", "--unchecked"),
            "second": (elsewhere, {"SET": f"experiments=[{SECOND}]"}, "paper", "--unchecked", "--jobs", "2"),
            "named": (apart, {"SET": f"experiments=[{NAMED}] supplement.analyses=[S6]", "INSERT": "0.25"},
                      "supplement"),
            "bench": (elsewhere, {}, "bench", "--quick")}
    plain = {name: value for name, value in os.environ.items() if name not in (*ENVIRONMENT, "OUTPUT")}
    needed = {name for item in request.session.items for name in item.fixturenames}
    needed |= {"smoke"} if "named" in needed else set()
    begun: list[subprocess.Popen] = []

    stamps = (REPOSITORY / "artifacts" / "smoke" / "training").rglob("stamp.json")
    if "smoke" in needed and any(json.loads(each.read_text()).get("arithmetic") != [arithmetic()] for each in stamps):
        shutil.rmtree(REPOSITORY / "artifacts" / "smoke")

    def run(root: Path, changes: dict[str, str], *command: str) -> Path:
        if root == apart:
            futures["smoke"].result()
            scans = archive(REPOSITORY / "artifacts" / "smoke" / "cohort", apart / "own")
            changes = changes | {"DATA": str(scans)}
        process = subprocess.Popen(
            [sys.executable, "-m", "lib", *command], cwd=REPOSITORY, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env={**plain, "PROFILE": "smoke", "OUTPUT": str(root), **changes, BESIDE: "1"})
        begun.append(process)
        printed, _ = process.communicate()
        assert process.returncode == 0, printed
        if root == apart:
            (apart / PRINTED).write_text(printed, encoding="utf-8")
        return root

    with ThreadPoolExecutor(1) as pool:
        futures: dict[str, Future] = {}
        for name in (name for name in RUNS if name in needed):
            futures[name] = pool.submit(run, *runs[name])
        yield lambda name: futures[name].result()
        pool.shutdown(wait=False, cancel_futures=True)
        for process in begun:
            process.terminate()  # of an ended one it does nothing


@pytest.fixture(scope="session")
def smoke(whole_runs) -> Path:
    """Folder with artifacts/smoke and figures/smoke of a whole run: the repository's, brought up to date."""
    return whole_runs("smoke")


@pytest.fixture(scope="session")
def second(whole_runs) -> Path:
    """The same of a run from nothing, elsewhere, with two stages at once."""
    return whole_runs("second")


@pytest.fixture(scope="session")
def named(whole_runs) -> Path:
    """The same of a run on scans of people with names, which are below `own`; `PRINTED` is what it said."""
    return whole_runs("named")


@pytest.fixture(scope="session")
def bench(whole_runs) -> Path:
    """Folder with artifacts/bench.json of the benchmark on tiny sizes."""
    return whole_runs("bench")


@pytest.fixture
def smoke_study(smoke, monkeypatch) -> Study:
    """The smoke study with everything made. Read only: tests that write copy what they need."""
    monkeypatch.setenv("OUTPUT", str(smoke))
    return load_study("smoke")
