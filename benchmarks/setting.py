"""What all parts of the benchmark share: sizes, the study, the simulated cohort, random encoders."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.cohort import write_cohort
from lib.study.config import Study
from lib.study.paths import PROFILES

PATIENTS = [f"SIM{number:02d}" for number in range(1, 11)]


@dataclass(frozen=True)
class Setting:
    """The paper's sizes, or tiny ones: their ratios mean nothing.

    Attributes
    ----------
    folder : path
        Where everything is read and written; the environment variable OUTPUT names it, too.
    tiny : bool
        Sizes that only try the code.
    """

    folder: Path
    tiny: bool = False

    @property
    def dicom(self) -> Path:
        return self.folder / "dicom"

    def pick(self, full: int, tiny: int) -> int:
        """The first number, or the second one where sizes are tiny."""
        return tiny if self.tiny else full

    @property
    def size(self) -> int:
        """Rows and columns of a slice."""
        return self.pick(512, 64)

    @property
    def channels(self) -> int:
        """Of the first level of the U-Net."""
        return self.pick(32, 4)

    def study(self, *, train: int = 7, patches: int | None = None) -> Study:
        """The profile ``paper`` on the simulated cohort, with random VGG-19 weights.

        Parameters
        ----------
        train : int
            Patients to train on.
        patches : int, optional
            How many training patches; all unless given.
        """
        settings = yaml.safe_load((PROFILES / "paper.yaml").read_text(encoding="utf-8"))
        settings["cohort"] = {"data": self.dicom, "split": {
            "train": PATIENTS[:train], "validation": PATIENTS[7:8], "test": PATIENTS[8:]}}
        settings["encoder"]["weights"] = self.folder / "imagenet.weights.h5"
        settings["medical"]["weights"] = self.folder / "medical.weights.h5"
        settings["unet"]["channels"] = self.channels
        settings["training"] |= {"max_patches": patches and {"train": patches}}
        if self.tiny:
            settings["training"] |= {"patch_size": 32, "patch_skip": 32, "batch": 4}
        return Study(profile="paper", **settings)


def run(setting: Setting) -> dict:
    """Write the cohort as DICOM (contents repeat) and the weights of two random encoders; nothing is measured."""
    files = write_cohort(setting.dicom, len(PATIENTS), setting.pick(60, 2), setting.pick(24, 1), setting.size)
    import keras

    from lib.perceptual.encoders import network

    for seed, name in enumerate(("imagenet", "medical")):
        keras.utils.set_random_seed(seed)
        network("vgg19").save_weights(setting.folder / f"{name}.weights.h5")
    return {"files": files}
