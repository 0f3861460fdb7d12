"""The losses of the literature, and the paper's, as a grid: each on the networks that this study has, at one budget."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from lib.perceptual import presets
from lib.perceptual.configuration import BEFORE, LossConfiguration, Standardised
from lib.perceptual.literature import ADVERSARIAL, PENALISED, Preset
from lib.perceptual.literature import presets as literature
from lib.study.config import KERAS_IMAGENET, SACNN, Study
from lib.study.grid import Arm, Grid
from lib.study.sections import Encoder

EQUAL: Final = "equal"  # the name of every arm's change, which changes nothing but the name: the budget is the grid's
CONTROL: Final = "mse"
LAST: Final = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}  # convolutions of each block
AT_STRIDE: Final = {"layer1": 3, "layer2": 4, "layer3": 5}  # a ResNet's stage, and the VGG's block of its stride
TORCH_SD: Final = 255 * 0.226  # grey levels: torchvision's standard deviation, the mean of its three channels'
PAPERS: Final = "Viana et al., this paper"


class Row(NamedTuple):
    """A preset as it runs here."""

    preset: Preset
    loss: LossConfiguration  # with the network, weights and layers that stand in for its own
    encoder_here: str  # what stood in for what, and why; empty: nothing did
    arm: Arm  # whose training is its own: rows of equal losses share one


class PresetGrid(NamedTuple):
    """The trainings, and the rows of the table that they fill, by preset."""

    grid: Grid
    rows: dict[str, Row]


def preset_grid(study: Study) -> PresetGrid:
    """Every preset as this study can run it, then the paper's experiments that the study has, and the control MSE.

    ``study.supplement`` says from how many seeds, with which training, how many of the literature's and of the paper's, and
    which files of torchvision's networks there are, and whether critics train with those whose adversarial term is known.
    """
    settings, medical = study.supplement, study.uses("Medical")
    names = [CONTROL, *(name for name in study.chosen if name in presets.paper() and name != CONTROL)][: settings.arms]
    rows: dict[str, Row] = {}
    arms: dict[LossConfiguration, Arm] = {study.configurations[name]: Arm(name, EQUAL) for name in reversed(names)}
    for name, published in list(literature().items())[: settings.arms]:
        critic = published.adversarial if settings.adversarial else None
        preset = published._replace(left_out=without_adversarial(published.left_out)) if critic else published
        loss, standing = here(preset, study.encoder, medical, settings.networks)
        loss = replace(loss, adversarial=critic)
        rows[name] = Row(preset, loss, standing, arms.setdefault(loss, Arm(name, EQUAL)))
    originals = presets.paper()
    for name in names:
        loss = study.configurations[name]
        preset = Preset(f"{PAPERS}: {name}", "", originals[name], "code", "high")
        rows[name] = Row(preset, loss, _standing(originals[name], loss, study.encoder), Arm(name, EQUAL))
    own = {row.arm.loss: row.loss.as_dict() for row in rows.values() if row.arm.loss not in names}
    grid = Grid(losses=tuple(dict.fromkeys(row.arm.loss for row in rows.values())), configurations=own, arms={EQUAL: {}},
                seeds=study.seeds[: settings.preset_seeds or settings.seeds],
                training=settings.training | {"features_gib": 0},  # of fourteen encoders, each for few steps
                slices_per_series=settings.slices_per_series)
    return PresetGrid(grid, rows)


def without_adversarial(left_out: str) -> str:
    """What else a training lacks than the adversarial term.

    >>> without_adversarial("the adversarial term (WGAN-GP); self-attention"), without_adversarial("a Pearson term")
    ('self-attention', 'a Pearson term')
    """
    return left_out.removeprefix(PENALISED).removeprefix(ADVERSARIAL).lstrip(",; ")


def here(preset: Preset, encoder: Encoder, medical: bool, files: Mapping[str, Path]) -> tuple[LossConfiguration, str]:
    """A loss of the literature on the networks of a study, and what stood in for what.

    Parameters
    ----------
    encoder : Encoder, the study's VGG
    medical : bool, whether the study has a Medical encoder
    files : mapping, torchvision's weights that the user brought: 'torchvision_resnet50', 'torchvision_vgg16' or '_vgg19'
    """
    loss = preset.loss
    if loss.weights == SACNN:
        return loss, "an autoencoder trained here on the cohort for theirs, whose weights are not public"
    theirs = f"torchvision_{loss.encoder.removeprefix('torchvision_')}"
    if preset.of_torch and theirs in files:
        return replace(loss, weights=str(files[theirs])), ""
    shown, change = for_keras(loss) if preset.of_torch and not _states(encoder.weights) else (loss, "")
    weights = "Medical" if loss.weights == "Medical" and medical else "ImageNet"
    if encoder.weights == "keras" and loss.encoder in KERAS_IMAGENET and weights == loss.weights == "ImageNet":
        what = f"Keras's weights of {loss.encoder} for torchvision's, of which no file was brought"
        return shown, f"{what}; {change}" if preset.of_torch else ""
    on = encoder.architecture
    layers = tuple((corresponding(name, loss.encoder, on), weight) for name, weight in loss.layers)
    found = replace(shown, encoder=on, weights=weights, layers=layers)
    return found, "; ".join(filter(None, [_standing(loss, found, encoder), change]))


def for_keras(loss: LossConfiguration) -> tuple[LossConfiguration, str]:
    """A loss whose input is that of torchvision's weights, with what weights like Keras's (trained on [0, 255] less means)
    take for the same image, and the change in words: one SD of torchvision's is 255 x 0.226 there."""
    if loss.preprocessing == "torch":
        low, high = (255.0 * end for end in loss.input_range)
        return (replace(loss, input_range=(low, high), preprocessing="caffe"),
                f"shown [{low:g}, {high:g}] less means, as its weights were trained, for [0, 1] by mean and SD")
    if isinstance(own := loss.preprocessing, Standardised):
        found = replace(loss, preprocessing=Standardised(own.mean, own.sd / TORCH_SD))
    else:
        low, high = (TORCH_SD * end for end in loss.input_range)
        found = replace(loss, input_range=(low, high))
    return found, f"shown {TORCH_SD:.1f} times the numbers, an SD of the images that its weights were trained on"


def _states(weights: str | Path) -> bool:
    """Whether a study's weights are themselves a state of torchvision's network."""
    return isinstance(weights, Path) and weights.suffix in (".npz", ".safetensors")


def corresponding(layer: str, of: str, on: str) -> str:
    """The layer of a VGG that stands in for another network's: at a block's last convolution for that, at the same place
    elsewhere, at the same stride for a stage of a ResNet.

    >>> corresponding("block5_conv4:before", "vgg19", "vgg16"), corresponding("layer2", "torchvision_resnet50", "vgg19")
    ('block5_conv3:before', 'block4_conv4')
    """
    name, before = layer.removesuffix(BEFORE), layer[len(layer.removesuffix(BEFORE)) :]
    if name == "layer4":
        return "block5_pool"
    if name in AT_STRIDE:
        block = AT_STRIDE[name]
        return f"block{block}_conv{LAST[on][block - 1]}"
    block, convolution = (int(part[-1]) for part in name.split("_"))
    last = LAST[on][block - 1]
    return f"block{block}_conv{last if convolution == LAST[of][block - 1] else min(convolution, last)}{before}"


def _standing(theirs: LossConfiguration, ours: LossConfiguration, encoder: Encoder) -> str:
    """In words what stood in for a loss's own encoder, weights and layers; empty if nothing did."""
    if ours.encoder is None:
        return ""
    own = (theirs.encoder, theirs.weights, theirs.layer_names) == (ours.encoder, ours.weights, ours.layer_names)
    tuned = "the Medical encoder of this study" if ours.weights == "Medical" else ""
    origin = tuned or {"package": "the packaged trunk", "keras": "ImageNet (Keras)"}.get(str(encoder.weights), "a file")
    if own and not tuned and encoder.weights != "package":
        return ""
    at = "" if theirs.layer_names == ours.layer_names else f" at {', '.join(ours.layer_names)}"
    of = "" if theirs.layer_names == ours.layer_names else f" at {', '.join(theirs.layer_names)}"
    why = "whose weights cannot be had offline"
    if theirs.weights == "Medical":
        why = "whose weights are not public"
    elif theirs.encoder.startswith("torchvision"):
        why = "of which no file was brought"
    return f"{ours.encoder} ({origin}){at} for {theirs.encoder}{of}, {why}"
