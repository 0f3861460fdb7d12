"""Where a result comes from: commit, versions of packages, memory."""

import platform
import resource
import subprocess
import sys
from functools import cache
from importlib import metadata

from lib import REPOSITORY

PACKAGES = ("tensorflow", "keras", "numpy", "scipy", "scikit-image", "pandas", "pydicom", "statsmodels", "finufft")


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


def peak_memory_mib() -> float:
    """Largest resident set of this process so far, MiB."""
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
