"""Options that several commands read, and JSON for scripts."""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import lib.log
from lib.artifacts.files import cannot_write
from lib.errors import StudyError
from lib.study.config import Study
from lib.study.runs import Run
from lib.workflow.parent import end_with_parent

Command = Callable[[argparse.Namespace], int | None]
"""Takes the options; returns an exit status, None for 0. Raises PaperError for what a user can mend."""


def jobs_of(text: str) -> int:
    """JOBS or ``--jobs`` as a number. Raises StudyError."""
    if not text.isdecimal() or int(text) < 1:
        raise StudyError(f"JOBS={text} is not a number of jobs", remedy="pass 1 or more")
    return int(text)


def scheduler() -> str | None:
    """The address in SCHEDULER. Raises StudyError."""
    address = os.environ.get("SCHEDULER") or None
    if address and not re.fullmatch(r"[a-z]+://.+", address):
        raise StudyError(f"SCHEDULER={address} is no address", remedy="for example SCHEDULER=tcp://host:8786")
    return address


def run_of(study: Study, experiment: str, seed: int | None) -> Run:
    """A run of the study, or one from another seed. Raises StudyError."""
    if experiment not in study.configurations:
        raise StudyError(f"{experiment} is not an experiment", remedy=f"choose one of {', '.join(study.configurations)}")
    if seed is not None and seed < 0:
        raise StudyError(f"--seed {seed} is too small", remedy="pass 0 or more")
    return Run(experiment, study.seed if seed is None else seed)


def begin(study: Study, arguments: argparse.Namespace) -> None:
    """Of a long command: it ends with its parent, and logs to the study's file."""
    if arguments.end_with_parent:
        end_with_parent(arguments.end_with_parent)
    try:
        lib.log.to_file(study.paths.log)
    except OSError as error:
        raise cannot_write(study.paths.log, error) from error


def print_json(value: Any) -> None:
    """One JSON document on standard output; what JSON has no word for (NaN) is null."""
    print(json.dumps(_finite(value), indent=1, default=str, allow_nan=False), file=sys.stdout)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value
