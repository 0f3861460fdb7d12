"""``make bench``: every part beside its plain reference, and ``artifacts/bench.json``."""

import logging
import platform
import shutil
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import psutil

from benchmarks.measure import measured
from benchmarks.results import worse
from benchmarks.setting import Setting
from lib.artifacts.files import cannot_write, write_json
from lib.artifacts.provenance import arithmetic, commit
from lib.data.workers import cores
from lib.errors import OutputError
from lib.study.paths import Paths

log = logging.getLogger("lib.benchmarks")  # below `lib`, whose messages the command line shows

PARTS = {  # name in the JSON file: module of benchmarks, arguments
    "setting": ("setting",), "store": ("store",),
    "pipeline-1": ("patches", "1"), "pipeline-7": ("patches", "7"), "pipeline": ("patches",),
    "step-block3_conv2": ("step", "block3_conv2"), "step-block5_conv4": ("step", "block5_conv4"),
    "calibration": ("calibration",), "metrics": ("metrics",), "forward": ("forward",),
}
ONEDNN = {"step-block3_conv2", "step-block5_conv4", "calibration", "forward"}  # parts that its instruction set changes
NEEDED_BYTES, TINY_BYTES = 14e9, 1e9


def bench(*, tiny: bool = False) -> dict:
    """Measure everything on simulated data in a temporary folder and write ``artifacts/bench.json``.

    Parameters
    ----------
    tiny : bool
        Tiny sizes and one process for all parts of an instruction set, to try the code; the ratios and the memory then mean
        nothing.

    Returns
    -------
    dict
        What the file holds: the ratios (ours over the plain reference), ``pipeline_patches_per_s``, ``peak_rss_mib``, each
        on the instruction set where it is worse, ``machine``, and ``details`` with every absolute figure by part and
        instruction set.

    Raises
    ------
    StageError
        A part failed, or ours and the reference do not give the same results.
    OutputError
        No room on the disk, or it cannot be written.
    """
    file, begin, limits = results_file(), time.monotonic(), instruction_sets(str(arithmetic()["instructions"]))
    log.info("make bench, %s", "tiny sizes: the ratios mean nothing" if tiny else
             "about a quarter of an hour: keep the machine idle")
    with _temporary(file.parent, TINY_BYTES if tiny else NEEDED_BYTES) as folder:
        setting, details = Setting(Path(folder), tiny), {name: {} for name in PARTS}
        for instructions, parts in processes(limits, tiny=tiny):
            for name, found in measured(parts, setting, limits[instructions]).items():
                details[name][instructions] = found
                log.info("  %-20s%-10s%6.0f s", name, instructions, found["seconds"])
    results = worse(details) | {"machine": machine(), "quick": tiny}
    results["details"] = details | {"total_seconds": round(time.monotonic() - begin)}
    write_json(file, results)
    return results


def results_file() -> Path:
    """``artifacts/bench.json``."""
    return Paths.of("bench").root / "artifacts" / "bench.json"


def instruction_sets(own: str) -> dict[str, str | None]:
    """The columns on a processor whose best instructions are ``own``, which come first, and what oneDNN is held to there."""
    return {own: None} | ({"AVX2": "AVX2"} if own == "AVX-512" else {})


def processes(names: Iterable[str], *, tiny: bool) -> list[tuple[str, dict]]:
    """(instruction set, parts) of each process in the order of measuring: all sets of a part one after the other. The first
    set measures every part, the others those that :func:`again` names."""
    first, *others = names
    together = [PARTS] if tiny else [{name: part} for name, part in PARTS.items()]
    planned = [(each, {name: part for name, part in parts.items() if each == first or name in again(tiny=tiny)})
               for parts in together for each in (first, *others)]
    return [(each, parts) for each, parts in planned if parts]


def again(*, tiny: bool) -> set[str]:
    """Parts that are measured with each instruction set: tiny sizes try the code, for which the shortest will do."""
    return {"forward"} if tiny else ONEDNN


def machine() -> dict:
    """What the figures depend on."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        processor = names[0] if names else processor
    return {
        "processor": processor, "cores": cores(), "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": _gpu(), "system": platform.platform(), "python": platform.python_version(),
        "tensorflow": metadata.version("tensorflow"), "keras": metadata.version("keras"), "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "load_average": psutil.getloadavg(),
    }


def _gpu() -> str:
    """Names of NVIDIA's GPUs without TensorFlow, 'none' where there are none."""
    found = [line.partition(":")[2].strip() for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
             for line in path.read_text().splitlines() if line.startswith("Model")]
    return ", ".join(found) or "none"


def _temporary(parent: Path, needed: float) -> tempfile.TemporaryDirectory:
    """A temporary folder on the disk that also holds the volumes of a study, with room for so many bytes."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(parent).free) < needed:
            raise OutputError(f"the benchmark needs {needed / 1e9:.0f} GB for a while and {free / 1e9:.1f} GB are free",
                              where=parent, remedy="free some, or pass OUTPUT=folder on another disk")
        return tempfile.TemporaryDirectory(dir=parent, prefix="bench-")
    except OSError as error:
        raise cannot_write(parent, error) from error
