"""``make bench``: every part beside its plain reference, and ``artifacts/bench.json``."""

import logging
import platform
import shutil
import tempfile
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import psutil

from benchmarks.measure import measured
from benchmarks.setting import Setting
from lib.artifacts.files import cannot_write, write_json
from lib.artifacts.provenance import commit
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
RESULTS = {  # name in the JSON file: part, name there, target, what it is
    "store_ratio": ("store", "store_ratio", 2.0, "DICOM to store, slices/s"),
    "pipeline_ratio": ("pipeline", "pipeline_ratio", 10.0, "patches, patches/s"),
    "pipeline_patches_per_s": ("pipeline", "pipeline_patches_per_s", 13000.0, "patches/s"),
    "step_ratio_block3_conv2": ("step-block3_conv2", "step_ratio", 1.15, "training step, block3_conv2"),
    "step_ratio_block5_conv4": ("step-block5_conv4", "step_ratio", 1.25, "training step, block5_conv4"),
    "calibration_ratio": ("calibration", "calibration_ratio", 3.0, "calibration of four configurations"),
    "metrics_ratio": ("metrics", "metrics_ratio", 4.0, "metrics of all experiments"),
    "forward_ratio": ("forward", "forward_ratio", 1.3, "U-Net on whole slices"),
    "conv_fraction_of_ceiling": ("step-block5_conv4", "fraction_of_ceiling", None, "step over the best convolution"),
}
NEEDED_BYTES, TINY_BYTES = 14e9, 1e9


def bench(*, tiny: bool = False) -> dict:
    """Measure everything on simulated data in a temporary folder and write ``artifacts/bench.json``.

    Parameters
    ----------
    tiny : bool
        Tiny sizes and one process for all parts, to try the code; the ratios and the memory then mean nothing.

    Returns
    -------
    dict
        What the file holds: the ratios (ours over the plain reference), ``pipeline_patches_per_s``, ``peak_rss_mib``,
        ``machine``, and ``details`` with every absolute figure by part.

    Raises
    ------
    StageError
        A part failed, or ours and the reference do not give the same results.
    OutputError
        No room on the disk, or it cannot be written.
    """
    file, begin = results_file(), time.monotonic()
    log.info("make bench, %s", "tiny sizes: the ratios mean nothing" if tiny else "about ten minutes: keep the machine idle")
    with _temporary(file.parent, TINY_BYTES if tiny else NEEDED_BYTES) as folder:
        setting, details = Setting(Path(folder), tiny), {}
        for parts in [PARTS] if tiny else [{name: part} for name, part in PARTS.items()]:
            for name, found in measured(parts, setting).items():
                details[name] = found
                log.info("  %-20s%6.0f s", name, found["seconds"])
    results = {name: details[part][key] for name, (part, key, _, _) in RESULTS.items()}
    peaks = [found["peak_rss_mib"] for name, found in details.items() if name != "setting"]
    results |= {"peak_rss_mib": max(peaks), "machine": machine(), "quick": tiny}
    results["details"] = details | {"total_seconds": round(time.monotonic() - begin)}
    write_json(file, results)
    return results


def results_file() -> Path:
    """``artifacts/bench.json``."""
    return Paths.of("bench").root / "artifacts" / "bench.json"


def table(results: dict) -> list[str]:
    """The results as lines of text, with the targets."""
    lines = [f"{'':<40}{'measured':>10}{'target':>10}"]
    for name, (_, _, target, what) in RESULTS.items():
        digits = ",.0f" if name.endswith("per_s") else ".2f"
        wanted = "" if target is None else f"{target:>10{digits}}" + ("" if results[name] >= target else "  missed")
        lines.append(f"{what:<40}{results[name]:>10{digits}}{wanted}")
    return [*lines, f"{'peak memory of a part, MiB':<40}{results['peak_rss_mib']:>10,.0f}"]


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
