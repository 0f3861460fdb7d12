"""The part of a study that only the analyses beyond the paper read."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lib.perceptual.presets import CONVOLUTIONS, layers
from lib.study.sections import Positive, Section


class Autoencoder(Section):
    """Training of the encoder of SACNN's loss: ``steps`` of ``batch`` NDCT patches; ``lr`` falls to zero as a cosine."""

    patch_size: Annotated[int, Field(gt=0, multiple_of=4)] = 64  # the encoder halves it twice
    batch: Positive = 8
    steps: Positive = 400
    lr: Annotated[float, Field(gt=0)] = 5e-4


class Photographs(Section):
    """The example outside CT: ``patches`` of ``patch_size`` a side, drawn from each seed, train a small network with MSE
    alone for ``pilot_epochs``, then for ``epochs`` with each lambda; test photographs are cut to ``size``."""

    patch_size: Annotated[int, Field(ge=16, le=256, multiple_of=2)] = 32
    patches: Positive = 256
    batch: Positive = 8
    pilot_epochs: Positive = 30
    epochs: Positive = 4
    size: Annotated[int, Field(ge=32, le=300, multiple_of=2)] = 256


class Supplement(Section):
    """What the analyses beyond the paper measure. ``analyses``: which of them are made (S7 has the claims of these).

    * Trainings of a grid: ``seeds`` (from how many of the study's), ``training`` (its fields that differ), ``arms`` (how
      many of a loss; None: all; to try the way in little time), ``slices_per_series`` that are scored (None: as the others).
    * S1: ``pairs`` of training patches, of whose losses gradients are computed.
    * S3: ``autoencoder`` of SACNN's loss; ``networks``: weights of torchvision's networks that the user brings (.npz or
      .safetensors; without, another network stands in); ``adversarial``: whether a critic trains with the losses whose
      adversarial term is known (three times the work); ``preset_seeds``: from how many seeds (None: ``seeds``).
    * S4: ``atlas_pairs`` of training patches, ``atlas_layers``: Keras names of convolutions (None: all of the VGG).
    * S5: ``passport_patients`` of the test, of each of whom a window of ``passport_side`` pixels is degraded.
    * S6: ``observer_pairs`` of images with and without a lesion, of all test patients together, that the observer rates, and
      from which the noise's spectrum and a lesion's transfer are measured; more where they are too few to train it.
    * S8: ``photographs``.
    """

    analyses: tuple[Literal["S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8"], ...] = (
        "S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8")
    pairs: Positive = 64
    atlas_pairs: Positive = 32
    atlas_layers: tuple[str, ...] | None = None
    passport_patients: Positive = 8
    passport_side: Annotated[int, Field(ge=64, multiple_of=16)] = 256
    seeds: Positive = 2
    training: dict[str, Any] = Field(default_factory=dict)
    arms: Positive | None = None
    slices_per_series: Positive | None = None
    observer_pairs: Positive = 200
    autoencoder: Autoencoder = Autoencoder()
    photographs: Photographs = Photographs()
    adversarial: bool = False
    preset_seeds: Positive | None = None
    networks: dict[Literal["torchvision_resnet50", "torchvision_vgg16", "torchvision_vgg19"], Path] = Field(
        default_factory=dict)

    @model_validator(mode="after")
    def _layers(self) -> "Supplement":
        known = {name for encoder in CONVOLUTIONS for loss in layers(encoder).values() for name in loss.layer_names}
        if self.atlas_layers is not None and (not self.atlas_layers or set(self.atlas_layers) - known):
            raise ValueError(f"atlas_layers: {', '.join(self.atlas_layers) or 'none'}, expected Keras names of a VGG's "
                             "convolutions, for example block3_conv2")
        return self
