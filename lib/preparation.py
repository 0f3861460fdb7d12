"""From nothing, or from DICOM files, to the study's HU volumes."""

import pandas as pd

from lib import volumes
from lib.provenance import Step, digest, file_sha256, folder_digest
from lib.study import CONTENTS, Study


def prepare(study: Study, jobs: int = 1) -> pd.DataFrame:
    """Simulate the cohort if the study reads no real scans, then store its volumes; done once and kept.

    Returns:
        The manifest, a row a slice.

    Raises:
        CohortError: nothing usable in the folder, or a subset of the split without pairs.
    """
    paths = study.paths
    if study.cohort.simulation is not None:
        from lib.cohort.simulate import simulate

        simulate(paths.cohort, study.cohort.simulation)
        contents = file_sha256(paths.cohort / CONTENTS)
    else:
        contents = folder_digest(study.data)
    step = Step("volumes", paths.volumes / "stamp.json", {"lib.volumes"}, {"data": digest(study.data)[:12]},
                {"scans": contents})
    if not step.is_current():
        with step.making() as outputs:
            manifest = volumes.preprocess(study.data, paths.volumes, jobs=jobs)
            outputs += [paths.manifest, *(paths.volumes / name for name in manifest["volume"].unique())]
    return volumes.load_manifest(paths.volumes)
