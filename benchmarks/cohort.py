"""A simulated DICOM cohort of any size, fast: a handful of simulated slices repeat under headers that all differ.

For benchmarks and trials at full size only: nothing can be learnt from its contents.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lib.data.dicom.mayo import mayo_file_name, mayo_folder, write_slice
from lib.data.workers import Workers, cores
from lib.paper import published
from lib.simulation.abdomen import Abdomen
from lib.simulation.cohort import SPACING_MM
from lib.simulation.exposure import draw_i0
from lib.simulation.phantom import draw
from lib.simulation.scanner import Scanner
from lib.simulation.series import DOSES, scan

SPACINGS_MM = {1.0: SPACING_MM, 3.0: 2.0}  # by slice thickness
CONTENTS = 10  # slices that are simulated
RUN = 100  # slices that one process writes at a time


def paper_size() -> dict:
    """Arguments of `write_cohort` for the paper's own numbers: 10 patients, 33,256 files with both kernels and doses.

    The 1 mm slices of each patient are not published: they are in proportion to the 3 mm ones.
    """
    thick = list(published.SLICES_3MM_BY_PATIENT.values())
    ends = np.rint(np.cumsum(thick) * published.SLICES_1MM / sum(thick)).astype(int)
    return {"patients": len(thick), "slices_1mm": np.diff(ends, prepend=0).tolist(), "slices_3mm": thick}


def write_cohort(
    out: Path, patients: int, slices_1mm: int | Sequence[int], slices_3mm: int | Sequence[int], size: int = 512,
    *, kernels: Sequence[str] = ("B30", "D45"), seed: int = 1, jobs: int | None = None,
) -> int:
    """Write SIM01, SIM02 ... below `out` in the Mayo form, in all of `kernels` and both doses.

    Parameters
    ----------
    slices_1mm, slices_3mm : int or sequence of int
        Slices per series, the same for all patients or one number each; 0 leaves the series out.
    size : int
        Pixels along a side.
    jobs : int, optional
        Processes, by default one on every processor core.

    Returns
    -------
    int
        The number of files.
    """
    series = _contents(size, seed)
    counts = {1.0: _each(slices_1mm, patients), 3.0: _each(slices_3mm, patients)}
    runs = [
        (out, f"SIM{number + 1:02d}", dose, kernel, thickness_mm, range(first, min(first + RUN, each[number])))
        for number in range(patients) for thickness_mm, each in counts.items() for kernel in kernels
        for dose in DOSES.values() for first in range(0, each[number], RUN)
    ]  # fmt: skip
    total = sum(len(run[-1]) for run in runs)
    with Workers(jobs or cores()) as workers, tqdm(total=total, desc="writing DICOM", unit="slice", delay=2) as bar:
        executor = workers.executor(total)
        for first in range(0, len(runs), 4 * workers.jobs):
            some = runs[first : first + 4 * workers.jobs]
            for count in executor.map(_write, some, [series[run[2], run[3]] for run in some]):
                bar.update(count)
    return total


def _each(slices: int | Sequence[int], patients: int) -> list[int]:
    return [slices] * patients if isinstance(slices, int) else list(slices)


def _contents(size: int, seed: int) -> dict[tuple[str, str], np.ndarray]:
    """(dose, kernel) -> HU, int16, (CONTENTS, size, size)."""
    z_mm = -100.0 - SPACING_MM * np.arange(CONTENTS)
    hu, _ = draw(Abdomen.random(seed), z_mm, size)
    scans = scan(hu, z_mm, Scanner(size=size), np.random.default_rng(seed), draw_i0(seed))
    return {(DOSES[dose], kernel): np.rint(images).astype(np.int16)
            for (dose, kernel, thickness_mm), (_, images) in scans.items() if thickness_mm == 1.0}


def _write(run: tuple, images: np.ndarray) -> int:
    """Write some slices of one series; z falls as InstanceNumber rises."""
    out, patient, dose, kernel, thickness_mm, places = run
    key = {"patient": patient, "dose": dose, "kernel": kernel, "thickness_mm": thickness_mm}
    folder = Path(out) / mayo_folder(**key)
    for place in places:
        name = mayo_file_name(**key, instance=place + 1)
        write_slice(folder / name, images[place % len(images)], instance=place + 1,
                    z_mm=round(-place * SPACINGS_MM[thickness_mm], 3), **key)
    return len(places)
