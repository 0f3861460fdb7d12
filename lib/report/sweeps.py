"""The table of ``make sweep``: a row for each training of a grid, whether it is there or not."""

from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd

from lib.report.labels import Labels
from lib.report.tables import save_table
from lib.report.words import number
from lib.stages.sweep import sweep_table
from lib.study.config import Study
from lib.study.grid import Arm, Grid
from lib.study.runs import Run


def save_sweep(study: Study, grid: Grid, runs: Sequence[tuple[Arm, Run]], done: Collection[Run]) -> Path:
    """Write ``<name of the grid>.csv``, ``.md`` and ``.tex`` below ``paths.sweeps``; of what is not ``done`` the column
    'missing' says so. Returns the CSV's path."""
    paths, labels = study.paths, Labels.of(study).beside(study.paths.sweeps)
    table = sweep_table(runs, {run: pd.read_csv(paths.history(run)) for run in done},
                        {run: pd.read_csv(paths.evaluation / f"{run.file}.csv") for run in done})
    shown = table.drop(columns=["moved"], errors="ignore")
    for column in shown.select_dtypes(float):
        shown[column] = shown[column].map(number)
    save_table(labels, table, grid.name or "sweep", f"Sweep: {len(done)} of {len(runs)} trainings", shown)
    return paths.sweeps / f"{grid.name or 'sweep'}.csv"
