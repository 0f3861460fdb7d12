"""S6's test slices: what a simulation knows of them, and one lesion in each patient with many realisations of the noise."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage
from tqdm import tqdm

from lib.artifacts.cache import Step
from lib.artifacts.files import atomic
from lib.data.organ_masks import OrganMasks
from lib.errors import StageError
from lib.metrics.observer import CYCLES, LEAST_FREEDOM, ORIENTATIONS
from lib.metrics.task_transfer import disc
from lib.simulation.anatomy import LABEL
from lib.simulation.contents import SIMULATED_CONTENTS
from lib.simulation.truth import Acquisition, noise_free_slice, realisations
from lib.study.config import Study

SERIES: Final = ("B30", 1.0)  # kernel and thickness, mm, of the scenes
CROP: Final = 96  # pixels, side of what is denoised
CORE: Final = 64  # pixels around the lesion that are measured: farther in than a network notices where the crop ends
LESION_MM: Final = 10.0  # diameter
BETWEEN: Final = np.array([0.3, -0.4])  # pixels, from a pixel's centre: distances from the edge are of many sizes then
HOSTS: Final = ("liver", "spleen", "kidney", "muscle")  # organs that may have the lesion, the first that any slice shows
SEED: Final = 0x56  # of the noise, beside the patient's own


class Scene(NamedTuple):
    """One test patient, where the scans are simulated."""

    free: np.ndarray  # float32, (slices, size, size), HU: the measured slices without noise
    object_hu: np.ndarray  # float32, the same shape: the patient behind them, before the scanner
    full: np.ndarray  # float32, (pairs, CROP, CROP), HU: the lesion's place at full dose, without the lesion
    low: np.ndarray  # float32, the same with the same photons thinned to the low dose
    truth: np.ndarray  # float32, (CROP, CROP), HU: the same without noise
    lesion: np.ndarray  # float32, (CROP, CROP): a disc of height 1 as the scanner shows it
    disc: np.ndarray  # float32, (CROP, CROP): the disc itself
    organ: np.ndarray  # bool, (CROP, CROP): the organ around it
    centre: np.ndarray  # float, (2,): row and column of the lesion in the crop


def scenes(study: Study, slices: pd.DataFrame) -> dict[str, Scene]:
    """The scene of each test patient, made once and kept in ``paths.scenes``; ``slices``: those that are measured (rows of
    :func:`lib.data.slices.by_series`). Nothing where the scans are not simulated.

    Raises CohortError for a simulated patient without masks or stamp, StageError for slices that are too small.
    """
    if not study.simulated:
        return {}
    patients, found = slices["patient"].unique().tolist(), {}
    pairs = pairs_of_each(study.supplement.observer_pairs, len(patients))
    for patient in tqdm(patients, desc="scenes", unit="patient", delay=2):
        rows = slices[slices["patient"] == patient]
        path = study.paths.scenes / f"{patient}.npz"
        step = Step(f"scene of {patient}", path.with_suffix(".json"), {"lib.stages.scenes"},
                    {"pairs": pairs, "slices": rows[["kernel", "thickness_mm", "z_mm"]].to_dict("records")},
                    {"masks": study.data / SIMULATED_CONTENTS}, [path])
        if not step.is_current():
            with step.making(patient=patient), atomic(path) as temporary:
                np.savez(temporary, **_scene(study.data, patient, rows, pairs)._asdict())
        with np.load(path, allow_pickle=False) as kept:
            found[patient] = Scene(**kept)
    return found


def pairs_of_each(pairs: int, patients: int) -> int:
    """How many pairs each patient has, so that all have ``pairs`` together, and the observer enough to train on."""
    least = -(-LEAST_FREEDOM * len(CYCLES) * ORIENTATIONS // patients) + 1
    return max(2 * least, -(-pairs // patients))


def _scene(cohort: Path, patient: str, slices: pd.DataFrame, pairs: int) -> Scene:
    made = Acquisition.of(cohort, patient)
    if made.size < CROP:
        raise StageError(f"slices of {made.size} pixels: expected {CROP} at least", where=patient,
                         remedy="simulate larger ones, or leave S6 out")
    scanner = made.scanner()
    whole = [noise_free_slice(made, row.z_mm, row.kernel, row.thickness_mm, scanner) for row in slices.itertuples()]
    masks = OrganMasks(cohort / "masks", [patient])
    made.require_same(made.z_mm[0], masks.at(patient, made.z_mm[0]), patient)
    z_mm, place, organ = host({float(z): masks.at(patient, z) for z in made.z_mm}, scanner.pixel_mm)
    here = noise_free_slice(made, z_mm, *SERIES, scanner)
    corner = np.clip(np.array(place) - CROP // 2, 0, made.size - CROP)
    cut = tuple(slice(start, start + CROP) for start in corner)
    centre = np.array(place) - corner + BETWEEN
    ideal = np.zeros((made.size, made.size), np.float32)
    ideal[cut] = disc(CROP, scanner.pixel_mm, (centre[0], centre[1]), LESION_MM)
    empty = np.full_like(ideal, -1000.0)
    sharp = scanner.reconstruct(scanner.project(np.stack([empty + ideal, empty])), "D45")
    shown = scanner.soften(sharp, "D45", SERIES[0])
    noisy = [[dose[:, *cut] for dose in both]
             for both in realisations(made, here.object_hu, SERIES[0], pairs, [SEED, made.own_seed], scanner)]
    full, low = (np.concatenate(each) for each in zip(*noisy, strict=True))
    free, object_hu = (np.stack(each) for each in list(zip(*whole, strict=True))[:2])
    return Scene(free, object_hu, full, low, here.hu[cut], (shown[0] - shown[1])[cut], ideal[cut],
                 here.labels[cut] == LABEL[organ], centre)


def host(labels: Mapping[float, np.ndarray], pixel_mm: float) -> tuple[float, tuple[int, int], str]:
    """Where a patient's lesion is: z in mm, row and column, organ. The centre of the largest circle in the first of
    ``HOSTS`` that has room for the lesion in any slice, else of the largest in any; far enough from the image's border.

    Parameters
    ----------
    labels : mapping, by z in mm: indices into :data:`lib.simulation.anatomy.ORGANS`, (size, size)
    """
    border, found = CORE // 2, {}
    for organ in HOSTS:
        depths = {z: ndimage.distance_transform_edt(each == LABEL[organ])[border:-border, border:-border]
                  for z, each in labels.items()}
        z_mm = max(depths, key=lambda z: depths[z].max())
        row, column = np.unravel_index(depths[z_mm].argmax(), depths[z_mm].shape)
        found[organ] = float(depths[z_mm].max()), z_mm, (int(row) + border, int(column) + border)
    room = LESION_MM / pixel_mm
    chosen = next((organ for organ in HOSTS if found[organ][0] >= room), max(HOSTS, key=lambda organ: found[organ][0]))
    return *found[chosen][1:], chosen
