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
    steps: Positive = 150
    lr: Annotated[float, Field(gt=0)] = 1e-3


class Supplement(Section):
    """What the analyses beyond the paper measure. ``pairs``: of training patches, of whose losses gradients are computed.
    ``passport_patients``: test patients, of each of whom a window of ``passport_side`` pixels is degraded.

    ``seeds``, ``training``, ``arms``: of the trainings of a grid: from how many of the study's seeds, fields of ``training``
    that differ, and how many arms of a loss (None: all; to try the way in little time).

    ``atlas_pairs``, ``atlas_layers``: of the atlas: of how many training patches, and at which of the VGGs' convolutions
    (Keras names; None: all).

    ``observer_pairs``: images with and without a lesion, of all test patients together, that the observer of S6 rates, and
    from which the noise's spectrum and a lesion's transfer are measured; more where they are too few to train it.

    ``autoencoder``: of SACNN's loss. ``networks``: weights of torchvision's networks that the user brings (.npz or
    .safetensors), for the losses of the literature that have them; without, another network stands in. ``adversarial``:
    whether a critic trains with the losses of the literature whose adversarial term is known (three times the work).
    ``preset_seeds``: from how many seeds these losses are trained (None: ``seeds``)."""

    pairs: Positive = 64
    atlas_pairs: Positive = 32
    atlas_layers: tuple[str, ...] | None = None
    passport_patients: Positive = 8
    passport_side: Annotated[int, Field(ge=64, multiple_of=16)] = 256
    seeds: Positive = 2
    training: dict[str, Any] = Field(default_factory=dict)
    arms: Positive | None = None
    observer_pairs: Positive = 200
    autoencoder: Autoencoder = Autoencoder()
    adversarial: bool = False
    preset_seeds: Positive | None = None
    networks: dict[Literal["torchvision_resnet50", "torchvision_vgg19"], Path] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _layers(self) -> "Supplement":
        known = {name for encoder in CONVOLUTIONS for loss in layers(encoder).values() for name in loss.layer_names}
        if self.atlas_layers is not None and (not self.atlas_layers or set(self.atlas_layers) - known):
            raise ValueError(f"atlas_layers: {', '.join(self.atlas_layers) or 'none'}, expected Keras names of a VGG's "
                             "convolutions, for example block3_conv2")
        return self
