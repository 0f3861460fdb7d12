"""What scans there are, against what the study expects."""

import numpy as np
import pandas as pd

from lib.check.report import Report
from lib.data import split
from lib.data.dicom.discovery import Discovery, discover
from lib.data.doses import DOSES, FULL
from lib.data.patients import SUBSETS, pseudonym_unless_known
from lib.data.workers import cores
from lib.errors import CohortError
from lib.paper import published
from lib.simulation.cohort import SPACING_MM, patient_names
from lib.simulation.scanner import ROLL_OFF
from lib.simulation.series import THICKNESSES_MM, thicken
from lib.study.sections import Cohort, Simulation


def find_scans(cohort: Cohort, report: Report) -> pd.DataFrame | None:
    """Find the scans of DATA, show them, and list every problem with its file.

    Returns
    -------
    DataFrame or None
        Pairs of slices that the study will have, a row per pair: patient, kernel, thickness_mm, rows, columns, and the
        collection in ``attrs``.
    """
    report.title("Scans")
    if cohort.simulation is not None:
        simulation = cohort.simulation
        report.line(f"simulated here: {simulation.patients} patients, {simulation.slices} slices of 1 mm each, "
                    f"{simulation.size} x {simulation.size} pixels, two kernels, two doses")
        return simulated_pairs(simulation)
    try:
        found = discover(cohort.data, jobs=cores())
    except CohortError as error:
        report.fail(str(error))
        return None
    report.line(f"{cohort.data}: collection {found.collection}, {len(found.headers):,} slices")
    report.line(counts(found).to_string())
    for problem in found.problems:
        report.warn(str(problem) + (f" ({problem.count} files)" if problem.count > 1 else ""))
    for kind, count in found.ignored.items():
        report.line(f"left alone: {count:,} x {kind}")
    pairs = _pairs(found, cohort.insertion is not None)
    pairs.attrs["collection"] = found.collection
    if cohort.insertion:
        report.line(f"a low dose of {cohort.insertion.dose_fraction:g} is inserted into every normal-dose series")
        pairs["patient"] = [pseudonym_unless_known(patient, public=False) for patient in pairs["patient"]]
        pairs.attrs["collection"] = "inserted"
    if pairs.empty:
        report.fail(f"{cohort.data}: no slice at two doses: to insert a low dose into normal-dose scans, pass "
                    "INSERT=0.25")
        return None
    _expected(found, pairs, report)
    return pairs


def simulated_pairs(simulation: Simulation) -> pd.DataFrame:
    """The pairs that a simulation will have, as :func:`find_scans` returns them."""
    thin = SPACING_MM * np.arange(simulation.slices)
    thick, _ = thicken(thin, np.zeros((len(thin), 1, 1), np.float32))
    rows = [(patient, kernel, thickness) for patient in patient_names(simulation.patients) for kernel in ROLL_OFF
            for thickness, places in zip(THICKNESSES_MM, (thin, thick), strict=True) for _ in places]
    pairs = pd.DataFrame(rows, columns=["patient", "kernel", "thickness_mm"])
    pairs = pairs.assign(rows=simulation.size, columns=simulation.size)
    pairs.attrs["collection"] = "simulated"
    return pairs


def counts(found: Discovery) -> pd.DataFrame:
    """Slices by patient (rows), series and dose (columns 'B30 1 mm', 'full'), with totals and what Mayo's should be."""
    rows = [(key.patient, f"{key.kernel} {key.thickness_mm:g} mm", dose, len(slices))
            for dose, group in (*((dose, found.series) for dose in DOSES), ("pairs", found.pairs))
            for key, slices in group.items() if getattr(key, "dose", dose) == dose]
    table = pd.DataFrame(rows, columns=["patient", "series", "dose", "slices"]).pivot_table(
        index="patient", columns=["series", "dose"], values="slices", aggfunc="sum", fill_value=0)
    order = {name: place for place, name in enumerate((*DOSES, "pairs"))}
    table = table[sorted(table.columns, key=lambda column: (column[0], order[column[1]]))]
    table.columns.names, table.index.name = [None, None], None
    table.loc["total"] = table.sum()
    if found.collection == "mayo2016":
        table.loc["expected"] = [published.PAIRS_BY_SERIES.get(series, 0) for series, _ in table.columns]
    return table.astype(int)


def _pairs(found: Discovery, inserted: bool) -> pd.DataFrame:
    places = [(key, slices[0][1], len(slices)) for key, slices in found.pairs.items()]
    if inserted:
        places = [(key, slices[0][1], len(slices)) for key, slices in found.series.items() if key.dose == FULL]
    rows = [(key.patient, key.kernel, key.thickness_mm, found.headers[first].rows, found.headers[first].columns)
            for key, first, count in places for _ in range(count)]
    return pd.DataFrame(rows, columns=["patient", "kernel", "thickness_mm", "rows", "columns"])


def _expected(found: Discovery, pairs: pd.DataFrame, report: Report) -> None:
    """Mayo's counts beside the expected ones."""
    report.line(f"{len(pairs):,} pairs" + (f"; the paper has {published.PAIRS:,}" if found.collection == "mayo2016" else ""))
    if found.collection != "mayo2016":
        return
    for name, total in published.PAIRS_BY_SERIES.items():
        series = pairs[pairs["kernel"] + " " + pairs["thickness_mm"].map("{:g} mm".format) == name]
        if len(series) != total:
            report.warn(f"partial: {len(series):,} of {total:,} pairs of {name}")
        for patient, count in (published.SLICES_3MM_BY_PATIENT.items() if name.endswith(" 3 mm") and len(series) else ()):
            here = int((series["patient"] == patient).sum())
            if here != count:
                report.warn(f"partial: {patient} has {here} of {count} pairs of {name}")


def check_split(cohort: Cohort, pairs: pd.DataFrame, report: Report) -> dict[str, pd.DataFrame] | None:
    """The pairs by subset, shown; None where a subset would be empty."""
    report.title("Split")
    collection, chosen = pairs.attrs["collection"], (cohort.given_split, cohort.split_seed)
    try:
        names = split.patients(*chosen, pairs["patient"], collection)
        parts = split.split_pairs(pairs, names)
    except CohortError as error:
        report.fail(str(error))
        return None
    for remark in split.remarks(pairs["patient"], names):
        report.warn(remark)
    report.line(split.describe(*chosen, collection))
    for subset in SUBSETS:
        patients = sorted(parts[subset]["patient"].unique())
        report.line(f"{subset:<11}{len(parts[subset]):>7,} pairs, {len(patients)} patients: {', '.join(patients)}")
    return parts
