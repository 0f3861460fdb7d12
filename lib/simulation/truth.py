"""What a simulated scan is without noise: the same phantom, scanner and kernel, and photons without number."""

import json
from pathlib import Path

import numpy as np

from lib.errors import CohortError
from lib.simulation.abdomen import Abdomen
from lib.simulation.phantom import draw
from lib.simulation.scanner import Scanner


def noise_free(cohort: Path, patient: str, z_mm: float, kernel: str) -> tuple[np.ndarray, np.ndarray]:
    """A thin slice of a simulated patient as its series would be without noise, HU, float32, and its organ labels, uint8
    (:data:`lib.simulation.anatomy.ORGANS`); both (rows, columns). Drawn again from the seed that the cohort keeps.

    Parameters
    ----------
    cohort : Path, folder that :func:`lib.simulation.cohort.simulate` wrote
    patient : str, 'SIM01'
    z_mm, kernel : place and kernel of the slice, a key of :data:`lib.simulation.scanner.ROLL_OFF`

    Raises
    ------
    CohortError : the cohort does not say how the patient was made
    """
    stamp = cohort / "patients" / f"{patient}.json"
    try:
        made = json.loads(stamp.read_text(encoding="utf-8"))
        seed, size = int(made["seed"]), int(made["config"]["size"])
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise CohortError("how this simulated patient was made is not there", where=stamp,
                          remedy="simulate the cohort again") from error
    hu, labels = draw(Abdomen.random(seed), np.array([z_mm]), size)
    scanner = Scanner(size=size)
    sharp = scanner.reconstruct(scanner.project(hu), "D45")
    return (sharp if kernel == "D45" else scanner.soften(sharp, "D45", kernel))[0], labels[0]
