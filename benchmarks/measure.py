"""Time and memory: work and its reference by turns, each part of the benchmark in a process of its own."""

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.setting import Setting
from lib import REPOSITORY
from lib.artifacts.cache import peak_memory_mib
from lib.artifacts.files import write_json
from lib.errors import StageError


def by_turns(works: dict[str, Callable[[], object]], rounds: int, *, between: Callable[[], object] = lambda: None) -> dict:
    """Seconds of each work in each round, {name: [seconds]}: A B A B ..., so that all meet the same busy machine.

    ``between`` is called before each work and not timed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            between()
            begin = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def ratio(reference: list[float], ours: list[float]) -> float:
    """How many times faster ours is: the median over rounds of the times of neighbours."""
    return float(np.median(np.divide(reference, ours)))


def require_close(what: str, ours, reference, **tolerance: float) -> float:
    """The largest absolute difference. Raises StageError if it exceeds numpy's ``rtol`` and ``atol``."""
    ours, reference = (np.asarray(each, np.float64) for each in (ours, reference))
    difference = float(np.abs(ours - reference).max())
    if not np.allclose(ours, reference, **{"rtol": 0.0, "atol": 0.0, **tolerance}):
        raise StageError(f"{what}: ours and the plain reference differ by up to {difference:.3g}, allowed is {tolerance}")
    return difference


def measured(name: str, setting: Setting) -> dict:
    """Run ``benchmarks.NAME.run`` in a new process.

    Returns:
        What it returns, and ``peak_rss_mib``: of its process, plus that of its largest worker for each worker.

    Raises:
        StageError: with the last line that the part wrote.
    """
    results, log = setting.folder / f"{name}.json", setting.folder / f"{name}.log"
    environment = os.environ | {"OUTPUT": str(setting.folder), "TF_CPP_MIN_LOG_LEVEL": "3"}
    with log.open("wb") as stream:
        ended = subprocess.run([sys.executable, "-m", "benchmarks.measure", name, str(setting.folder),
                                str(int(setting.quick))], cwd=REPOSITORY, env=environment, stdout=stream, stderr=stream)
    if ended.returncode:
        lines = log.read_text(errors="replace").replace("\r", "\n").strip().splitlines()
        why = lines[-1] if lines else "no message"
        why = why if ended.returncode > 0 else f"ended by signal {-ended.returncode}, out of memory?"
        raise StageError(f"make bench: the part {name} failed: {why}")
    return json.loads(results.read_text(encoding="utf-8"))


def _main(name: str, folder: str, quick: str) -> None:
    module, _, argument = name.partition("-")
    run = importlib.import_module(f"benchmarks.{module}").run
    results = run(Setting(Path(folder), bool(int(quick))), *([argument] if argument else []))
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (peak_memory_mib() / resource.getrusage(
        resource.RUSAGE_SELF).ru_maxrss)
    peak = peak_memory_mib() + results.pop("children", 0) * child
    write_json(Path(folder) / f"{name}.json", results | {"peak_rss_mib": round(peak)})


if __name__ == "__main__":
    _main(*sys.argv[1:])
