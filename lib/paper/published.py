"""Every published number of the paper, in one place.

Source: G. A. Viana, L. F. Alves Pereira, T. I. Ren, G. D. C. Cavalcanti, J. Sijbers, *Perceptual Influence:
Improving the Perceptual Loss Design for Low-Dose CT Enhancement*. What its text leaves out (the losses of the last
epoch, the reading of L097, the number of parameters) was read from the authors' public code and logs.
"""

from typing import Final, NamedTuple


class Losses(NamedTuple):
    """Mean losses over one training epoch, as published."""

    mse: float
    pl: float


class Table3Row(NamedTuple):
    """One row of Table 3: means and population SDs over the test slices."""

    ssim_mean: float
    ssim_sd: float
    psnr_mean: float
    psnr_sd: float
    nrmse_mean: float
    nrmse_sd: float
    rank: int


# Section 5.2. What the losses are is in lib.perceptual.presets.
LAMBDAS: Final[dict[str, float]] = {"baseline": 1e-1, "E1": 1e-5, "E2": 1e-2, "E3": 1e-5, "E4": 1e-4}
CALIBRATED: Final = ("E1", "E2", "E3", "E4")

# The authors' training logs, of networks that were trained at LAMBDAS: the state 'own'. Epoch 10 drew their Figure 2. Its
# lambda* rounds to LAMBDAS, which shows that the choice is consistent with itself; what made it is not known.
PUBLISHED_LOSSES: Final[dict[str, dict[int, Losses]]] = {
    "E1": {1: Losses(2.040777e-4, 576.0071), 5: Losses(9.793945e-5, 433.1810), 10: Losses(9.700160e-5, 422.3484)},
    "E2": {1: Losses(2.935977e-4, 0.7757400), 5: Losses(1.266494e-4, 0.5371675), 10: Losses(1.242053e-4, 0.5127434)},
    "E3": {1: Losses(2.442131e-3, 737.3932), 5: Losses(1.740289e-4, 192.3780), 10: Losses(1.610927e-4, 163.5731)},
    "E4": {1: Losses(2.733331e-4, 18.79794), 5: Losses(1.142932e-4, 9.153959), 10: Losses(1.096867e-4, 8.193006)},
}

TABLE_3: Final[dict[str, Table3Row]] = {
    "baseline": Table3Row(0.929, 0.053, 38.98, 2.45, 0.068, 0.019, 4),
    "E1": Table3Row(0.944, 0.043, 42.61, 3.87, 0.048, 0.021, 1),
    "E2": Table3Row(0.933, 0.050, 41.52, 3.62, 0.054, 0.022, 3),
    "E3": Table3Row(0.899, 0.062, 39.70, 3.40, 0.065, 0.026, 5),
    "E4": Table3Row(0.937, 0.045, 41.80, 3.39, 0.051, 0.020, 2),
}


class Table4Row(NamedTuple):
    """One row of Table 4: E1 against another experiment."""

    ssim_e1: float
    ssim_other: float
    p_value: float
    cohens_d: float


TABLE_4: Final[dict[str, Table4Row]] = {
    "baseline": Table4Row(0.9443, 0.9293, 0.0, 0.31),
    "E2": Table4Row(0.9443, 0.9333, 0.0, 0.24),
    "E3": Table4Row(0.9443, 0.8987, 0.0, 0.86),
    "E4": Table4Row(0.9443, 0.9370, 0.0, 0.17),
}

# Table 2, in its order: name, description, value.
TABLE_2: Final[tuple[tuple[str, str, float], ...]] = (
    ("patch_size", "Size of the patches extracted from the images for training.", 96),
    ("patch_skip", "Step size for extracting patches while traversing the image.", 96),
    ("batch", "Number of samples used per iteration during training.", 16),
    ("epochs", "Total number of training epochs.", 10),
    ("lr", "Learning rate used during the CNN training.", 1e-3),
    ("beta_1", "First momentum parameter for the Adam optimizer.", 0.9),
    ("beta_2", "Second momentum parameter for the Adam optimizer.", 0.999),
    ("seed", "Seed to ensure reproducibility in the experiments.", 5),
    ("channels", "Number of channels in the first U-Net layer.", 32),
)


class Literature(NamedTuple):
    """One row of Table 1."""

    reference: str
    encoder: str
    lambda_: str
    phi: str
    context: str
    notes: str


_FOUR_LAYERS = "block1_conv2, block2_conv2, block3_conv3, block4_conv3"
TABLE_1: Final[tuple[Literature, ...]] = (
    Literature("Yang et al. [4]", "VGG-19", "0.1", "block5_conv4", "ImageNet",
               "lambda chosen based on experimental experience."),
    Literature("Li et al. [2]", "Autoencoder", "0.1", "Last encoder layer", "Medical", "lambda chosen based on [4]."),
    Literature("Marcos et al. [16]", "VGG-16", "Adaptive", _FOUR_LAYERS, "ImageNet", "lambda adapted based on epoch loss."),
    Literature("Trung et al. [10]", "VGG-19", "0.1", "NS", "ImageNet", "lambda choice is not explained."),
    Literature("Mahmoud et al. [8]", "VGG-19", "0.1", "NS", "ImageNet", "lambda chosen based on [4]."),
    Literature("Zhang et al. [11]", "Autoencoder", "0.1", "Last encoder layer", "Medical",
               "The choice of lambda lacks explanation."),
    Literature("Saidulu et al. [9]", "VGG-19", "0.1", "NS", "ImageNet + Medical",
               "Fine-tuned for CT-specific features; perform hyperparameter optimization; lambda chosen based on [4]."),
    Literature("Saidulu et al. [17]", "VGG-19", "0.1", "NS", "ImageNet + Medical",
               "Fine-tuned for CT-specific features; lambda chosen based on hyperparameter optimization."),
    Literature("Marcos et al. [18]", "VGG-16", "0.4", _FOUR_LAYERS, "ImageNet", "lambda chosen based on ablation studies."),
    Literature("Li et al. [7]", "ResNet-50", "0.01", "Last layer of its four main stages", "ImageNet",
               "The choice of lambda lacks explanation."),
    Literature("Huang et al. [12]", "VGG", "0.001", "NS", "ImageNet", "lambda choice is not explained."),
)

# Section 5.1. The paper prints L097, a misprint: the data hold L096.
SPLIT: Final[dict[str, tuple[str, ...]]] = {
    "train": ("L067", "L310", "L286", "L333", "L291", "L109", "L143"),
    "validation": ("L192",), "test": ("L096", "L506"),
}
PAIRS: Final = 16_628
SLICES_1MM, SLICES_3MM, KERNELS = 5_936, 2_378, 2
PAIRS_BY_SERIES: Final = {f"{kernel} {thickness} mm": slices for kernel in ("B30", "D45")
                          for thickness, slices in ((1, SLICES_1MM), (3, SLICES_3MM))}
# Second-hand: not in the paper; the ten do sum to its 2,378.
SLICES_3MM_BY_PATIENT: Final = {"L067": 224, "L096": 330, "L109": 128, "L143": 234, "L192": 240, "L286": 210, "L291": 343,
                                "L310": 214, "L333": 244, "L506": 211}
UNET_PARAMETERS, PATCHES_PER_SLICE, ALPHA = 7_759_521, 25, 0.05
