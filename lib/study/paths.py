"""Every path of a study, in one place."""

import os
from dataclasses import dataclass
from pathlib import Path

from lib import REPOSITORY
from lib.study.runs import Run

PROFILES = Path(__file__).resolve().parent / "profiles"
NOTEBOOKS = REPOSITORY / "notebooks"


@dataclass(frozen=True)
class Paths:
    """Where one profile reads and writes. Nothing is created until something is written.

    ``root`` is the repository, or the folder that the environment variable ``OUTPUT`` names.
    """

    root: Path
    profile: str

    @classmethod
    def of(cls, profile: str) -> "Paths":
        return cls(Path(os.environ.get("OUTPUT") or REPOSITORY).expanduser().resolve(), profile)

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts" / self.profile

    @property
    def figures(self) -> Path:
        return self.root / "figures" / self.profile

    @property
    def cohort(self) -> Path:
        """The simulated cohort: DICOM tree, organ masks, stamp."""
        return self.artifacts / "cohort"

    @property
    def inserted(self) -> Path:
        """Normal-dose scans of DATA with an inserted low dose: DICOM tree, report."""
        return self.artifacts / "inserted"

    @property
    def volumes(self) -> Path:
        """HU volumes and their manifest."""
        return self.artifacts / "volumes"

    @property
    def manifest(self) -> Path:
        return self.volumes / "manifest.csv"

    @property
    def medical(self) -> Path:
        """The Medical encoder: weights, history, linear probe, stamp."""
        return self.artifacts / "medical"

    @property
    def medical_weights(self) -> Path:
        return self.medical / "medical.weights.h5"

    @property
    def calibration(self) -> Path:
        return self.artifacts / "calibration"

    @property
    def calibrated(self) -> Path:
        """Losses, Psi and lambda of each experiment and state."""
        return self.calibration / "calibration.csv"

    @property
    def features(self) -> Path:
        """The targets' features, a folder per seed: a cache, deleted at the end of a run."""
        return self.artifacts / "features"

    def training(self, run: Run) -> Path:
        return self.artifacts / "training" / run.folder

    def weights(self, run: Run) -> Path:
        """The trained U-Net after the last epoch."""
        return self.training(run) / "unet.weights.h5"

    def history(self, run: Run) -> Path:
        return self.training(run) / "history.csv"

    @property
    def metrics(self) -> Path:
        """A row a test slice and experiment."""
        return self.artifacts / "metrics.csv"

    @property
    def evaluation(self) -> Path:
        return self.artifacts / "evaluation"

    @property
    def examples(self) -> Path:
        """Denoised images of one test slice, for Figure 3."""
        return self.evaluation / "examples"

    @property
    def stages(self) -> Path:
        return self.artifacts / "stages"

    @property
    def executed(self) -> Path:
        """The notebooks as they ran, with outputs."""
        return self.artifacts / "notebooks"

    @property
    def log(self) -> Path:
        return self.artifacts / "paper.log"
