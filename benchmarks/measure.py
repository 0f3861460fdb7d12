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
from lib.artifacts.files import write_json
from lib.artifacts.provenance import peak_memory_mib
from lib.errors import StageError

LIMIT = "ONEDNN_MAX_CPU_ISA"  # the variable that holds oneDNN to an instruction set


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
        raise StageError(f"ours and the plain reference differ by up to {difference:.3g}, allowed is {tolerance}",
                         where=what)
    return difference


def measured(parts: dict[str, tuple[str, ...]], setting: Setting, limit: str | None = None) -> dict[str, dict]:
    """Run parts, one after the other in one new process.

    Parameters
    ----------
    parts : mapping of str to tuple of str
        By name: the module of ``benchmarks`` whose ``run`` it is, and the arguments of that.
    limit : str, optional
        The instruction set that oneDNN is held to; by default it takes the processor's own, whatever the environment says.

    Returns
    -------
    dict
        By name what the part returned, its ``seconds``, ``onednn_limit`` (None: the processor's own), and ``peak_rss_mib``:
        of the process so far, plus that of its largest worker for each worker.

    Raises
    ------
    StageError
        With the last line that the part wrote.
    """
    results, output = setting.folder / "results.json", setting.folder / "output.log"
    write_json(results, {})
    environment = {name: value for name, value in os.environ.items() if name != LIMIT}
    environment |= {"OUTPUT": str(setting.folder), "TF_CPP_MIN_LOG_LEVEL": "3"} | ({LIMIT: limit} if limit else {})
    with output.open("wb") as stream:
        ended = subprocess.run(
            [sys.executable, "-m", "benchmarks.measure", json.dumps(parts), str(setting.folder), str(int(setting.tiny))],
            cwd=REPOSITORY, env=environment, stdout=stream, stderr=stream, check=False)
    found = json.loads(results.read_text(encoding="utf-8"))
    if ended.returncode:
        failed = next(name for name in parts if name not in found)
        lines = output.read_text(errors="replace").replace("\r", "\n").strip().splitlines()
        why = lines[-1] if lines else "no message"
        why = why if ended.returncode > 0 else f"ended by signal {-ended.returncode}, out of memory?"
        raise StageError(f"the part {failed} failed: {why}", where=f"make bench, {LIMIT}={limit}" if limit else "make bench")
    return found


def _main(parts: dict[str, list[str]], setting: Setting) -> None:
    """The new process: the results so far are in a file after every part."""
    found: dict[str, dict] = {}
    for name, (module, *arguments) in parts.items():
        begin = time.monotonic()
        results = importlib.import_module(f"benchmarks.{module}").run(setting, *arguments)
        usage = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF)]
        peak = peak_memory_mib() * (1 + results.pop("children", 0) * usage[0] / usage[1])
        found[name] = results | {"peak_rss_mib": round(peak), "seconds": round(time.monotonic() - begin, 1),
                                 "onednn_limit": os.environ.get(LIMIT)}
        write_json(setting.folder / "results.json", found)


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]), Setting(Path(sys.argv[2]), sys.argv[3] == "1"))
