"""Perceptual losses of the literature as data: the eleven rows of the paper's Table 1, and two neighbours.

A lambda means nothing without the encoder, the input range, the reduction and the pixel term that it was chosen with, so a
preset has them all. Where a source is silent the paper's own convention stands in (block5_conv4 of VGG-19, three equal
channels in [0, 255], mean squares, MSE beside it), and ``assumed`` says so. ``left_out`` is what a training with this loss
lacks of the published system.
"""

from typing import Any, Literal, NamedTuple

from .adversarial import Adversarial
from .configuration import LossConfiguration

Evidence = Literal["code", "abstract", "table", "analogue"]
Confidence = Literal["high", "medium", "low", "very low"]

ADVERSARIAL = "the adversarial term (WGAN)"
PENALISED = "the adversarial term (WGAN-GP)"
MARCOS = {"block1_conv2": 1.0, "block2_conv2": 1.0, "block3_conv3": 1.0, "block4_conv3": 1.0}
SILENT = "layer, input range, reduction and pixel term"


class Preset(NamedTuple):
    """A published system's perceptual loss, with the networks and weights that it names."""

    reference: str  # as the paper's Table 1 has it, or the source's own name
    citation: str
    loss: LossConfiguration
    evidence: Evidence  # where its fields come from
    confidence: Confidence
    assumed: str = ""
    left_out: str = ""
    adversarial: Adversarial | None = None  # the term as published, where that is known: left out unless it is asked for
    of_torch: bool = False  # its weights are torchvision's, which were trained on standardised images, not on [0, 255]


def _vgg(**fields: Any) -> LossConfiguration:
    """Of VGG-19 at its last convolution, if ``fields`` say nothing else."""
    return LossConfiguration.from_dict({"encoder": "vgg19", "layers": {"block5_conv4": 1.0}, "lambda": 0.1} | fields)


def presets() -> dict[str, Preset]:
    """By a name for files and tables, in the order of Table 1; 'Mahmoud' has two variants."""
    autoencoder = _vgg(encoder="sacnn", weights="SACNN", layers={"block3_conv4": 1.0})
    return {
        "Yang-2018": Preset(
            "Yang et al. [4]",
            "IEEE Trans. Med. Imaging 37(6):1348, doi:10.1109/TMI.2018.2827462",
            _vgg(preprocessing="caffe", reduction="sum", layers={"block5_conv4": 0.5}, pixel=None),
            "code",
            "high",
            "squares summed and halved, as in the code; the article divides them by their number; the critic's penalty has "
            "a weight of 10 and norms of images, as in the article, in the code 1 and norms over rows",
            PENALISED,
            Adversarial(),
        ),
        "Li-2020": Preset(
            "Li et al. [2]",
            "IEEE Trans. Med. Imaging 39(7):2289, doi:10.1109/TMI.2020.2968472",
            autoencoder,
            "code",
            "medium",
            "the autoencoder of the paper's authors (2-D, three channels in [0, 255], no batch norm), MSE with weight 1",
            f"{ADVERSARIAL}, in a third-party code with a gradient penalty; self-attention",
        ),
        "Marcos-2022": Preset(
            "Marcos et al. [16]",
            "Front. Signal Process. 1:812193, doi:10.3389/frsip.2021.812193",
            _vgg(
                encoder="vgg16",
                layers=MARCOS,
                input_range=(0, 1),
                **{"lambda": {"value": 0.1, "moves": {"rule": "epoch ratio", "target": 0.5}}},
            ),
            "analogue",
            "low",
            "no rescaling, mean squares summed over layers and the first λ from other code of the same group, which lists "
            "four layers and reads three; λ then makes the terms of the epoch before equal",
            "the published rule for λ, which is not known",
        ),
        "Trung-2019": Preset(
            "Trung et al. [10]",
            "NICS 2019:506, doi:10.1109/NICS48868.2019.9023861",
            _vgg(),
            "abstract",
            "low",
            "layer, input range and reduction",
        ),
        "Mahmoud-2023-ssim": Preset(
            "Mahmoud et al. [8], with SSIM",
            "Comput. Mater. Contin. 75(2), 2023",
            _vgg(pixel="ssim"),
            "abstract",
            "low",
            "layer, input range, reduction; 1 - SSIM with weight 1",
            ADVERSARIAL,
        ),
        "Mahmoud-2023-ssl": Preset(
            "Mahmoud et al. [8], with SSL",
            "Comput. Mater. Contin. 75(2), 2023; the term: You et al. 2018, doi:10.1109/ACCESS.2018.2858196",
            _vgg(pixel="l1", pixel_weight=0.11, pixel_more={"ssim": 0.89}),
            "abstract",
            "low",
            "layer, input range, reduction; 0.89 (1 - SSIM) + 0.11 L1, at one scale for You's several",
            ADVERSARIAL,
        ),
        "Zhang-2024": Preset(
            "Zhang et al. [11]",
            "Electronics 13(16):3184, doi:10.3390/electronics13163184",
            autoencoder,
            "table",
            "low",
            "SACNN's autoencoder for theirs, input range, reduction and pixel term",
            "an adversarial term, if there is one",
        ),
        "Saidulu-2024": Preset(
            "Saidulu et al. [9]",
            "IEEE Trans. Instrum. Meas. 73, doi:10.1109/TIM.2024.3403187",
            _vgg(weights="Medical", pixel="huber", pixel_more={"charbonnier": 1.0}),
            "abstract",
            "low",
            "layer, input range, reduction; Huber's delta 1, Charbonnier's epsilon 0.001, both with weight 1",
            "their own VGG-19 tuned on CT",
        ),
        "Saidulu-2025": Preset(
            "Saidulu et al. [17]",
            "Circuits Syst. Signal Process., doi:10.1007/s00034-025-03079-9",
            _vgg(weights="Medical", pixel=None),
            "abstract",
            "low",
            "layer, input range and reduction; no pixel term, as in [4]",
            f"{ADVERSARIAL}; their own VGG-19 tuned on CT",
        ),
        "Marcos-2025": Preset(
            "Marcos et al. [18]",
            "Algorithms 18(3):134, doi:10.3390/a18030134",
            _vgg(encoder="vgg16", layers=MARCOS, input_range=(0, 1), **{"lambda": 0.4}),
            "table",
            "low",
            "no rescaling, as in other code of the same group; mean squares summed over layers; MSE beside it",
        ),
        "CT-Mamba": Preset(
            "Li et al. [7]",
            "arXiv:2411.07930",
            _vgg(
                encoder="torchvision_resnet50",
                layers={f"layer{n}": 0.25 for n in (1, 2, 3, 4)},
                input_range=(0, 1),
                pixel="l1",
                pixel_weight=100.0,
                **{"lambda": 0.01},
            ),
            "code",
            "high",
            "",
            "after epoch 10 a noise power spectrum's L1 (1e-4) and a Pearson term (0.01); a constant 1e-4, without gradient",
            of_torch=True,
        ),
        "Huang-2021": Preset(
            "Huang et al. [12]",
            "Neurocomputing 428:104, doi:10.1016/j.neucom.2020.10.077",
            _vgg(**{"lambda": 0.001}),
            "table",
            "very low",
            f"VGG-19 for 'VGG', {SILENT}",
            f"{ADVERSARIAL} with attributes",
        ),
        "ldct-benchmark": Preset(
            "ldct-benchmark's WGAN-VGG",
            "Eulig et al. 2024, Med. Phys. 51(12):8776, and its public code",
            _vgg(
                layers={"block5_conv4:before": 1.0},
                distance="l1",
                pixel=None,
                input_range=(0, 4096),
                preprocessing={"mean": 481.454, "sd": 502.185},
                **{"lambda": 0.689},
            ),
            "code",
            "high",
            "torchvision's weights of VGG-19 where a file brings them; the critic as Yang's: theirs has LeakyReLUs of 0.01, "
            "no padding, a first momentum of 0.326 of its Adam and patches of 77 pixels",
            PENALISED,
            Adversarial(critic_steps=1, lr=7.1e-5),
            of_torch=True,
        ),
        "LPIPS-like": Preset(
            "LPIPS-like distance",
            "Zhang et al. 2018, CVPR:586; weights of the terms: VQGAN, Esser et al. 2021, CVPR:12873",
            _vgg(
                encoder="vgg16",
                layers={**MARCOS, "block5_conv3": 1.0},
                input_range=(0, 1),
                preprocessing="torch",
                features="unit",
                reduction="positions",
                pixel="l1",
                pixel_weight=2.0,
                **{"lambda": 1.0},
            ),
            "code",
            "medium",
            "of natural images, not of CT; λ = 1 beside L1 as VQGAN has it, whose images lie in [-1, 1]: twice the L1 of "
            "ours in [0, 1]",
            "LPIPS's learnt weights of channels: all are 1",
            of_torch=True,
        ),
    }
