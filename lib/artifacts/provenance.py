"""Where a result comes from: commit, versions of packages, arithmetic, memory."""

import os
import platform
import resource
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

from lib import REPOSITORY

PACKAGES = ("tensorflow", "keras", "numpy", "scipy", "scikit-image", "pandas", "pydicom", "statsmodels", "finufft")

INSTRUCTIONS = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX", "sse4_1": "SSE4.1"}  # by Linux's name, the best first
ARITHMETIC = ("ONEDNN_MAX_CPU_ISA", "TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS",
              "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES")
"""Variables that choose how libraries add up."""


@cache
def commit() -> str:
    """Short commit of the checkout, '+changes' where tracked files differ from it, 'unknown' outside git."""
    git = ["git", "-C", str(REPOSITORY)]
    try:
        name = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "-uno", "--", "lib", "notebooks", "requirements.txt",
                                  "requirements-wheels.txt"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name.stdout.strip() + ("+changes" if changed.stdout.strip() else "")


def versions() -> dict[str, str]:
    """Python and the packages that results depend on."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def arithmetic() -> dict[str, str | int]:
    """What last digits depend on beside code and versions: processor, cores, and what is set of `ARITHMETIC`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {**_processor(), "cores": cores, **{name: os.environ[name] for name in ARITHMETIC if name in os.environ}}


@cache
def _processor() -> dict[str, str]:
    known = Path("/proc/cpuinfo")  # of Linux alone
    lines = known.read_text(encoding="utf-8").splitlines() if known.is_file() else []
    found = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = found.get("flags", "").split()
    return {"processor": found.get("model name") or platform.processor() or platform.machine(),
            "instructions": next((each for flag, each in INSTRUCTIONS.items() if flag in flags), platform.machine())}


def worded(known: dict[str, str | int]) -> str:
    """An :func:`arithmetic` in one line: 'processor AMD EPYC, instructions AVX2, cores 2'."""
    return ", ".join(f"{name} {value}" for name, value in known.items())


def peak_memory_mib() -> float:
    """Largest resident set of this process so far, MiB."""
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
