"""01: DICOM files to the store of HU volumes, and the simulated cohort where there are no scans."""

import pandas as pd

from lib.artifacts.cache import Step, digest
from lib.data.store.build import build_counted
from lib.data.store.parts import intact, records
from lib.data.store.reading import load_manifest
from lib.data.workers import cores
from lib.simulation.contents import INSERTION_PATIENTS, INSERTION_REPORT, SIMULATED_CONTENTS
from lib.study.config import Study


def prepare(study: Study, jobs: int | None = None) -> pd.DataFrame:
    """Simulate the cohort or insert its low dose where the study says so, then store its volumes; done once and kept.

    Reads ``jobs`` files at once, by default one on every processor core. Returns the manifest, a row per slice. Raises
    CohortError: nothing usable in the folder, or a subset of the split without pairs; OutputError: the store cannot be
    written, or another run is at work in it.
    """
    paths, jobs, patients = study.paths, jobs or cores(), []
    if study.cohort.simulation is not None:
        from lib.simulation.cohort import simulate

        simulate(paths.cohort, **study.cohort.simulation.model_dump())
        contents = paths.cohort / SIMULATED_CONTENTS
    elif study.cohort.insertion is not None:
        from lib.simulation.insertion import insert

        insert(study.cohort.data, paths.inserted, **study.cohort.insertion.model_dump(), jobs=jobs)
        contents = paths.inserted / INSERTION_REPORT
        patients = pd.read_csv(paths.inserted / INSERTION_PATIENTS, dtype=str)["patient"].tolist()
    else:
        contents = study.data
    step = Step("volumes", paths.volumes / "stamp.json", {"lib.stages.preprocess"}, {"data": digest(study.data)[:12]},
                {"scans": contents, "patients": patients}, [paths.manifest])
    if not (step.is_current() and intact(paths.volumes)):
        speed: dict[str, float] = {}
        with step.making(speed=speed) as outputs:
            speed |= build_counted(study.data, paths.volumes, jobs, patients)
            outputs.extend(records(paths.volumes))
    return load_manifest(paths.volumes)
