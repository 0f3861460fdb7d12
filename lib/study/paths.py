"""Every path of a study, in one place."""

import os
from pathlib import Path

from lib import REPOSITORY
from lib.errors import StudyError
from lib.study.runs import Run

STATES = ("untrained", "pilot")  # of the network whose losses 02 measures
PROFILES = Path(__file__).resolve().parent / "profiles"
NOTEBOOKS = REPOSITORY / "notebooks"


class Paths:
    """Where one profile reads and writes. Nothing is created until something is written.

    ``root`` is the repository, or the folder that the environment variable ``OUTPUT`` names.
    """

    def __init__(self, root: Path, profile: str):
        self.root, self.profile = root, profile
        self.figures = root / "figures" / profile
        self.artifacts = root / "artifacts" / profile
        self.cohort = self.artifacts / "cohort"  # simulated: DICOM tree, organ masks, stamp
        self.croissant = self.cohort / "croissant.json"  # what is in it, for machines
        self.inserted = self.artifacts / "inserted"  # scans of DATA with an inserted low dose: DICOM tree, report
        self.volumes = self.artifacts / "volumes"  # HU volumes and their manifest
        self.manifest = self.volumes / "manifest.csv"
        self.medical = self.artifacts / "medical"  # the Medical encoder: weights, history, linear probe, stamp
        self.medical_weights = self.medical / "medical.weights.h5"
        self.probe = self.medical / "probe.csv"  # accuracy by encoder, layer and patient
        self.calibration = self.artifacts / "calibration"
        self.calibrated = self.calibration / "calibration.csv"  # losses, Psi and lambda of each experiment and state
        self.influence = self.artifacts / "influence.csv"  # the same, with the state 'own' of each run after its training
        self.features = self.artifacts / "features"  # of the targets, a folder per seed: a cache that the run deletes
        self.metrics = self.artifacts / "metrics.csv"  # a row per test slice and run
        self.evaluation = self.artifacts / "evaluation"
        self.examples = self.evaluation / "examples"  # denoised images of one test slice, for Figure 3
        self.real_data = root / "artifacts" / "real-data"  # of `make real-data`, for every profile
        self.real_anatomy = self.artifacts / "real_anatomy"  # what this profile's networks make of those scans
        self.supplement = self.figures / "supplement"  # tables and figures beyond the paper
        self.sweeps = self.figures / "sweeps"  # tables of `make sweep`
        self.exchange = self.artifacts / "exchange"  # losses and gradients of training pairs, files for each seed
        self.atlas = self.artifacts / "atlas"  # the same at every layer of every encoder at hand
        self.autoencoder = self.artifacts / "autoencoder"  # SACNN's, trained here: weights of its encoder, history, stamp
        self.autoencoder_weights = self.autoencoder / "encoder.weights.h5"
        self.presets = self.artifacts / "presets"  # S3: losses and gradients of pairs with the losses of the literature
        self.passport = self.artifacts / "passport"  # what each layer charges for each degradation of some test slices
        self.scenes = self.artifacts / "scenes"  # test slices without noise, lesions with many realisations of it: S6
        self.image_quality = self.artifacts / "image_quality"  # what S6 measures, files for each run
        self.stages = self.artifacts / "stages"
        self.executed = self.artifacts / "notebooks"  # the notebooks as they ran, with outputs
        self.log = self.artifacts / "paper.log"

    @classmethod
    def of(cls, profile: str) -> "Paths":
        """Those of a profile, below ``OUTPUT`` or the repository."""
        given = os.environ.get("OUTPUT") or REPOSITORY
        try:
            return cls(Path(given).expanduser().resolve(), profile)
        except (RuntimeError, OSError, ValueError) as error:  # no such user, too long, a null character
            raise StudyError(f"OUTPUT={given} is no folder ({error})", remedy="pass the path of one") from None

    def losses(self, seed: int, of: str = "") -> dict[str, Path]:
        """Losses of the training pairs of a seed by state of the network: of the study's losses, or of those ``of`` a grid
        (:func:`lib.study.grid.losses_key`)."""
        name = f"losses-{of}" if of else "losses"
        return {state: self.calibration / f"{name}_{state}_seed-{seed}.csv" for state in STATES}

    def training(self, run: Run) -> Path:
        """A run's folder: weights, history, log, checkpoints, stamp."""
        return self.artifacts / "training" / run.folder

    def weights(self, run: Run) -> Path:
        """The trained U-Net after the last epoch."""
        return self.training(run) / "unet.weights.h5"

    def history(self, run: Run) -> Path:
        """A row per epoch."""
        return self.training(run) / "history.csv"
