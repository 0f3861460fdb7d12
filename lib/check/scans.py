"""What scans there are, against what the study expects."""

import numpy as np
import pandas as pd

from lib.check.report import Report
from lib.data import split
from lib.data.dicom.discovery import Discovery, discover
from lib.data.doses import DOSES, FULL
from lib.data.patients import pseudonym_unless_known
from lib.data.workers import cores
from lib.errors import CohortError
from lib.paper import published
from lib.private import File
from lib.simulation.cohort import SPACING_MM, patient_names
from lib.simulation.scanner import ROLL_OFF
from lib.simulation.series import THICKNESSES_MM, thicken
from lib.study.sections import Cohort, Simulation

COLUMNS = ["patient", "kernel", "thickness_mm", "scan", "rows", "columns"]


def find_scans(cohort: Cohort, report: Report) -> pd.DataFrame | None:
    """Find the scans of DATA, show them, and list every problem with its file. Returns the pairs of slices that the study
    will have, a row (``COLUMNS``) per pair, and the collection in ``attrs``; None where there are none."""
    report.title("Scans")
    if (simulation := cohort.simulation) is not None:
        report.line(f"simulated here: {simulation.patients} patients, {simulation.slabs} x {simulation.slices} slices of "
                    f"1 mm each, {simulation.size} x {simulation.size} pixels, two kernels, two doses")
        return simulated_pairs(simulation)
    with report.failing():
        found = discover(cohort.data, jobs=cores())
        report.line("%s: collection %s, %s slices", File(cohort.data), found.collection, f"{len(found.headers):,}")
        report.line(counts(found).to_string())
        for problem in found.problems:
            report.warn(problem)
        for kind, count in found.ignored.items():
            report.line(f"left alone: {count:,} x {kind}")
        pairs = _pairs(found, cohort.insertion is not None)
        pairs.attrs["collection"] = "inserted" if cohort.insertion else found.collection
        if cohort.insertion:
            report.line(f"a low dose of {cohort.insertion.dose_fraction:g} is inserted into every normal-dose series")
            pairs["patient"] = [pseudonym_unless_known(patient, public=False) for patient in pairs["patient"]]
        if pairs.empty:
            raise CohortError("no slice at two doses: to insert a low dose into normal-dose scans, pass INSERT=0.25",
                              where=cohort.data)
        _expected(found, pairs, report)
        return pairs
    return None


def simulated_pairs(simulation: Simulation) -> pd.DataFrame:
    """The pairs that a simulation will have, as :func:`find_scans` returns them."""
    thin = SPACING_MM * np.arange(simulation.slices)
    thick, _ = thicken(thin, np.zeros((len(thin), 1, 1), np.float32))
    rows = [(patient, kernel, thickness) for patient in patient_names(simulation.patients) for kernel in ROLL_OFF
            for thickness, places in zip(THICKNESSES_MM, (thin, thick), strict=True)
            for _ in range(simulation.slabs * len(places))]
    pairs = pd.DataFrame(rows, columns=COLUMNS[:3]).assign(scan=1, rows=simulation.size, columns=simulation.size)
    pairs.attrs["collection"] = "simulated"
    return pairs


def counts(found: Discovery) -> pd.DataFrame:
    """Slices by patient (rows), series and dose (columns 'B30 1 mm', 'full'), with totals and what Mayo's should be."""
    order = [*DOSES, "pairs"]
    rows = [(key.patient, f"{key.kernel} {key.thickness_mm:g} mm", getattr(key, "dose", "pairs"), len(slices))
            for key, slices in (*found.series.items(), *found.pairs.items())]
    table = pd.DataFrame(rows, columns=["patient", "series", "dose", "slices"]).pivot_table(
        index="patient", columns=["series", "dose"], values="slices", aggfunc="sum", fill_value=0)
    table = table[sorted(table.columns, key=lambda column: (column[0], order.index(column[1])))]
    table.columns.names, table.index.name = [None, None], None
    table.loc["total"] = table.sum()
    if found.collection == "mayo2016":
        table.loc["expected"] = [published.PAIRS_BY_SERIES.get(series, 0) for series, _ in table.columns]
    return table.astype(int)


def _pairs(found: Discovery, inserted: bool) -> pd.DataFrame:
    series = {key: each for key, each in found.series.items() if key.dose == FULL} if inserted else found.pairs
    rows = [(key.patient, key.kernel, key.thickness_mm, key.number, grid.rows, grid.columns)
            for key, slices in series.items() for grid in [found.headers[slices[0][1]].grid] * len(slices)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _expected(found: Discovery, pairs: pd.DataFrame, report: Report) -> None:
    """How many pairs there are; Mayo's counts beside the expected ones."""
    expected = published.PAIRS_BY_SERIES if found.collection == "mayo2016" else {}
    report.line(f"{len(pairs):,} pairs" + (f"; the paper has {published.PAIRS:,}" if expected else ""))
    for name, total in expected.items():
        series = pairs[pairs["kernel"] + " " + pairs["thickness_mm"].map("{:g} mm".format) == name]
        if len(series) != total:
            report.warn(f"partial: {len(series):,} of {total:,} pairs of {name}")
        for patient, count in (published.SLICES_3MM_BY_PATIENT.items() if name.endswith(" 3 mm") and len(series) else ()):
            if (here := int((series["patient"] == patient).sum())) != count:
                report.warn(f"partial: {patient} has {here} of {count} pairs of {name}")


def check_split(cohort: Cohort, pairs: pd.DataFrame, report: Report) -> dict[str, pd.DataFrame] | None:
    """The pairs by subset, shown; None where a subset would be empty."""
    report.title("Split")
    collection, chosen = pairs.attrs["collection"], (cohort.given_split, cohort.split_seed)
    with report.failing():
        names = split.patients(*chosen, pairs["patient"], collection)
        parts = split.split_pairs(pairs, names)
        for remark in split.remarks(pairs["patient"], names):
            report.warn(remark)
        report.line(split.describe(*chosen, collection))
        for subset, part in parts.items():
            patients = sorted(part["patient"].unique())
            report.line(f"{subset:<11}{len(part):>7,} pairs, {len(patients)} patients: {', '.join(patients)}")
        return parts
    return None
