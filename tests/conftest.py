"""Shared by all tests: no choice of the caller's shell leaks in, and the smoke study that `make test` has run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lib import REPOSITORY
from lib.study.choices import ENVIRONMENT
from lib.study.config import Study, load_study


def pytest_addoption(parser):
    parser.addoption("--faults", choices=("short", "full"), default="short",
                     help="how many faults the fault tests try: short (the default, seconds) or full (minutes)")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """Each test writes below its own folder and sees no PROFILE, DATA, LAMBDA ... of the shell."""
    for name in (*ENVIRONMENT, "PROFILE", "JOBS", "SCHEDULER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OUTPUT", str(tmp_path))


@pytest.fixture
def study(tmp_path) -> Study:
    """The smoke study, with nothing made yet."""
    return load_study("smoke")


@pytest.fixture(scope="session")
def smoke() -> Path:
    """Folder with artifacts/smoke and figures/smoke of a whole run: the repository's, brought up to date."""
    environment = {name: value for name, value in os.environ.items() if name not in (*ENVIRONMENT, "OUTPUT")}
    ended = subprocess.run([sys.executable, "-m", "lib", "paper", "--unchecked"], cwd=REPOSITORY, text=True,
                           capture_output=True, env={**environment, "PROFILE": "smoke"}, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return REPOSITORY


@pytest.fixture
def smoke_study(smoke, monkeypatch) -> Study:
    """The smoke study with everything made. Read only: tests that write copy what they need."""
    monkeypatch.setenv("OUTPUT", str(smoke))
    return load_study("smoke")
