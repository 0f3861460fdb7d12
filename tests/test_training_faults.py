"""A training that is killed at random moments, again and again, and ends as one that was not."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from lib import REPOSITORY
from lib.artifacts.files import single_writer
from lib.study import load_study
from lib.study.paths import Paths
from lib.study.runs import Run
from tests.test_training import load, same

RUN = Run("baseline", 5)


@pytest.fixture
def moments() -> list[float]:
    """Seconds after which a process is killed: from its imports to its last step, and beyond."""
    return np.random.default_rng(3).uniform(3.0, 14.0, 20).tolist()


def begin(root) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "lib", "train", "baseline"], cwd=REPOSITORY, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "PROFILE": "smoke", "OUTPUT": str(root), "SET": "training.epochs=6"})


def finish(root) -> None:
    process = begin(root)
    _, error = process.communicate()
    assert process.returncode == 0, error[-2000:]


def state(paths: Paths) -> tuple[int, bool]:
    """The newest step that a checkpoint holds, and whether the training is done; every file is whole."""
    folder = paths.training(RUN)
    for path in folder.glob("step-*.json"):
        assert json.loads(path.read_text(encoding="utf-8"))["sha256"], "half-written"
    assert len(list(folder.glob("step-*.json"))) <= 3
    steps = [int(path.stem.removeprefix("step-")) for path in folder.glob("step-*.json")]
    return max(steps, default=0), (folder / "stamp.json").is_file()


@pytest.fixture
def roots(smoke, tmp_path):
    """Two folders with all that the baseline's training needs, whose lambda needs no calibration; one stays undisturbed."""
    for name in ("disturbed", "undisturbed"):
        for part in ("volumes", "medical", "training/pilot"):
            shutil.copytree(smoke / "artifacts" / "smoke" / part, tmp_path / name / "artifacts" / "smoke" / part)
    return [Paths(tmp_path / name, "smoke") for name in ("disturbed", "undisturbed")]


@pytest.mark.full
def test_killed_at_random_moments_it_ends_as_undisturbed(roots, moments):
    disturbed, undisturbed = roots
    finish(undisturbed.root)
    known, kills = 0, 0
    for number, moment in enumerate(moments):
        process = begin(disturbed.root)
        time.sleep(moment)
        process.send_signal(signal.SIGTERM if number % 4 == 3 else signal.SIGKILL)
        process.communicate()
        step, done = state(disturbed)
        kills += process.returncode != 0
        assert done or step >= known, "a checkpoint was lost"
        if done:  # it was quicker: begin anew, so that every moment is tried
            shutil.rmtree(disturbed.training(RUN))
        known = 0 if done else step
    assert kills
    finish(disturbed.root)
    study = load_study("smoke")
    same(*(load(study, each, RUN) for each in roots))
    histories = [pd.read_csv(each.history(RUN)).drop(columns="seconds") for each in roots]
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    logs = [(each.training(RUN) / "log.csv").read_text(encoding="utf-8") for each in roots]
    assert logs[0] == logs[1]


def test_a_second_training_of_the_same_experiment_says_so_and_stops(roots):
    with single_writer(roots[0].training(RUN)):
        second = begin(roots[0].root)
        _, error = second.communicate()
    assert second.returncode == 1 and "error: another run is at work in" in error and "Traceback" not in error
