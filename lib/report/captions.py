"""Captions of figures, and what is to be seen in each, for readers who do not see it."""

from collections.abc import Mapping
from typing import Final, NamedTuple


class Caption(NamedTuple):
    """What stands below a figure, and in its place."""

    title: str
    alt: str


FIGURES: Final[Mapping[str, Caption]] = {
    "fig1": Caption(
        "Figure 1. One test slice at low dose (LDCT) and at normal dose (NDCT) in the window [-160, 240] HU, and the box, as "
        "large as a training patch, that has most structure",
        "Two abdominal CT slices side by side, the low-dose one visibly noisier; below each an enlarged patch around a "
        "dark, sharp-edged structure, with a scale bar, and one grey bar in HU for all four."),
    "fig2": Caption(
        "Figure 2. Perceptual influence Ψ (Algorithm 2) against λ, in each state of the network, and from the authors' "
        "published losses",
        "Four panels of S-shaped curves that rise from 0 to 1 as λ grows from 1e-8 to 1: untrained network, pilot, each "
        "experiment's own network, the authors' logs. In each, the curves of the shallow layer lie decades to the left of "
        "those of the deep layer; markers show each experiment's λ, a line shows Ψ = 0.95."),
    "fig3": Caption(
        "Figure 3. One test slice after each network, its window with most structure, and what is left of the error",
        "A grid of CT slices: normal dose, low dose, and the output of each experiment; below each image an enlarged window "
        "and a map of the difference to normal dose in blue and red, with RMSE and bias in HU in its title."),
    "fig3_real": Caption(
        "The same networks on a scan of a real person with a quarter dose inserted",
        "A grid of chest CT slices: normal dose, inserted low dose, and the output of each experiment; below each an "
        "enlarged window at the spine and a map of the difference in blue and red, strongest for the baseline."),
    "fig_ssim": Caption(
        "SSIM of each patient after each experiment, by kernel and slice thickness",
        "Four panels, one for each kernel and slice thickness. Grey lines join the scores of one patient from the low-dose "
        "input through every experiment; bars mark means, whiskers the lowest and highest seed."),
    "fig_training": Caption(
        "The trainings: total loss, pixel term, weighted perceptual term and Ψ, epoch by epoch",
        "Two rows, training and validation, of four panels with a line for each run: losses on logarithmic axes, and Ψ with "
        "a dashed line at the target."),
    "fig_psi": Caption(
        "What perceptual influence is: the share of the weighted perceptual term in the total loss",
        "A drawing of the two terms of the loss as parts of one bar, which λ shifts, beside the curve of Ψ against λ."),
    "supplement/claims": Caption(
        "How many claims of each question stand, are undecided, fall",
        "Horizontal bars, one for each research question and each analysis of the supplement, divided into claims that "
        "stand, are undecided and fall, with their numbers."),
    "supplement/conventions": Caption(
        "By what factor conventions of a loss move λ*",
        "Two tables of coloured cells, untrained network and pilot: rows are conventions such as the input's range, columns "
        "are layers, each cell the factor on λ*."),
    "supplement/exchange": Caption(
        "The share of the gradient Γ against the share of the loss Ψ, and their exchange rate in each state of a training",
        "Three panels: two with nearly straight lines of Γ against Ψ on logit axes, at the output and at all weights, above "
        "the line of equal shares; the third shows the exchange rate from the untrained network to the end of training."),
    "supplement/image_quality": Caption(
        "Noise that is left after each network, and its power spectrum",
        "Rows of noise maps with small pictures of their spectra, one for each experiment, above two panels of noise power "
        "against spatial frequency, absolute and relative."),
    "supplement/image_quality_transfer": Caption(
        "Task transfer, texture beside noise, and detectability of a lesion",
        "Four panels: task transfer at the patient's surface and at a lesion's edge, texture left against noise left, and "
        "the AUC of a model observer for each experiment with its interval."),
    "supplement/other_images": Caption(
        "The same instrument on photographs brought back from half their resolution",
        "Five crops of one photograph, original, bicubic and three trainings; below, gains over bicubic of each photograph "
        "and Ψ and Γ over the epochs."),
    "supplement/passport": Caption(
        "What each layer of each encoder charges for one thing wrong, by the price of low-dose noise",
        "A tall table of coloured cells: rows are layers of each encoder, columns are degradations such as noise, blur, a "
        "shift of HU, gratings and a lost lesion; blue cells are cheap, red ones dear."),
    "supplement/passport_errors": Caption(
        "Does the price of an error predict how much of it a trained network leaves?",
        "Eight scatter plots, one for each degradation, of the error that is left against its price, with a point for each "
        "layer and its rank correlation above."),
    "supplement/presets": Caption(
        "Influence that the losses of the literature had, by loss and by gradient, and what it bought",
        "A row for each system of Table 1 and of this paper; three panels with points for Ψ, Γ and the SSIM gained over MSE "
        "alone."),
    "supplement/psi_atlas": Caption(
        "λ* and Γ at every convolution, in every context",
        "Four tables of coloured cells over layers and contexts: the logarithm of λ* with an untrained network and with the "
        "pilot, and Γ where Ψ is at the target."),
    "supplement/psi_target_sweep": Caption(
        "Image quality along the target of Ψ",
        "Six panels of scores against the target from 0 to 1 for two losses: SSIM, PSNR, SSIM in the window, bias and noise "
        "in the liver, and Γ; a grey bar marks 0.95."),
    "supplement/rules": Caption(
        "Rules that move λ during training, beside a fixed one",
        "Two rows, one for each loss, of four panels: λ by the fixed λ, Ψ and Γ over the steps with a line for each rule, "
        "and the difference in SSIM to the fixed λ."),
}
"""By file name without ending, below the folder of figures."""
