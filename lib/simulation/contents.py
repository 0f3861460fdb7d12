"""The lists of files by which a folder that we wrote is known."""

from pathlib import Path

SIMULATED_CONTENTS = "contents.csv"  # of a simulated cohort: every file with its SHA-256
INSERTION_REPORT = "insertion.csv"  # of a cohort with an inserted low dose: every series with its SHA-256
INSERTION_PATIENTS = "patients.csv"  # of the same: every patient with a normal-dose series, also where none could be used


def is_simulation(folder: Path) -> bool:
    """Whether ``folder`` was written by the simulation: only that leaves this list of its files."""
    return (folder / SIMULATED_CONTENTS).is_file()
