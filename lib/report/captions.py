"""A caption of each figure, and what somebody who cannot see it needs: for notebooks and the rendered paper.

No number stands here that another run would change. By the file's path below ``figures/<profile>``, without its ending.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from lib.data.hu import WINDOW
from lib.report.words import hu_range


class Caption(NamedTuple):
    """What a figure is, in a sentence, and what it shows, in place of the picture."""

    title: str
    alt: str


PAPER: Final[Mapping[str, Caption]] = {
    "fig1": Caption(
        "A low-dose slice, the normal-dose slice of the same place, and a window of both as large as a training patch.",
        f"Four CT images in grey, window {hu_range(WINDOW)}. Above, the whole slice: (a) low dose, grainy, and (b) normal "
        "dose, less so; a yellow box marks the window with the most structure, as large as a training patch. Below, that "
        "window of each, enlarged, pixel by pixel. Scale bars in millimetres are at the lower left, a colour bar in HU at "
        "the right."),
    "fig_psi": Caption(
        "What perceptual influence Ψ is: the share of the perceptual term in the total loss, before and after "
        "calibration.",
        "Four parts. (a) A flow of one training step: the U-Net turns the LDCT slice into a prediction; prediction and "
        "NDCT target enter the pixel term, and, through a fixed encoder with layer ϕ and context c, the perceptual loss, "
        "which is multiplied by λ; both add up to the total loss, whose gradient trains the U-Net. Ψ is λ times the "
        "perceptual loss divided by the total. (b) With λ = 1 a bar for each experiment is filled by the perceptual term "
        "almost entirely. (c) With the calibrated λ* the pixel term has its small intended share in every experiment, "
        "though each λ* is another; they are written on the bars. (d) Ψ, vertical from 0 to 1, against λ on a "
        "logarithmic axis: an S-shaped curve for each layer and context, shifted by decades against each other; a marker "
        "shows where each reaches the target."),
    "fig2": Caption(
        "Perceptual influence Ψ against the weight λ, for each experiment, in three states of the network and for "
        "the authors' published losses.",
        "Four panels with the same axes: λ on a logarithmic axis, Ψ from 0 to 1. In each, S-shaped curves rise from 0 to "
        "1; colour is the context of the encoder (blue ImageNet, orange Medical), line style its layer. A grey line "
        "marks the target of Ψ; hollow markers show each experiment at the λ that it trains with. (a) the untrained "
        "U-Net, (b) the pilot trained with MSE alone, (c) each experiment's own network, (d) the authors' losses. Curves "
        "of shallow layers lie left of those of deep ones. Where Equation 5 was measured, its largest difference from "
        "the curves is written."),
    "fig3": Caption(
        "One test slice after each network: the image, its window with the most structure, and the error.",
        "Blocks of three rows, a column for each image: NDCT, the LDCT input, and the output of each experiment. First "
        f"row: the slice in grey, window {hu_range(WINDOW)}, with a yellow box where the NDCT has the most structure. "
        "Second row: that box, enlarged. Third row: image minus NDCT, blue below 0, white at 0, red above 0 HU, on one "
        "scale for all. RMSE and bias in the body, in HU, stand above each column; scale bars in millimetres are on the "
        "NDCT; two colour bars in HU stand in place of the NDCT's error."),
    "fig_training": Caption(
        "The total loss, its two terms and Ψ along the training, on training and validation data.",
        "Eight panels: above training, below validation; from left to right the total loss, the pixel term, λ times the "
        "perceptual loss, all three on the same logarithmic axis, and Ψ on an axis of its own with a dashed line at the "
        "target. The horizontal axis is the epoch. A line with markers for each experiment and seed; colour and marker "
        "are the experiment's."),
    "fig_ssim": Caption(
        "SSIM of every test patient after each experiment, a panel for each kernel and slice thickness.",
        "Panels by kernel and thickness; horizontal the LDCT input and the experiments, vertical SSIM, with one scale "
        "for panels that stand side by side. A grey line joins the scores of one patient; each point is a patient's mean "
        "over slices and seeds. A black bar is the mean over patients, a whisker reaches from the lowest seed to the "
        "highest."),
    "fig3_real": Caption(
        "A slice of a real scan with inserted low dose after each network: the image, its window with the most structure, "
        "and the error.",
        "As Figure 3, on a scan of a real body that no network was trained on. Blocks of three rows, a column for each "
        "image: NDCT, LDCT with a quarter of the dose inserted by simulation, each experiment's output. First row: the "
        f"slice in grey, window {hu_range(WINDOW)}, with a yellow box; second: that box, enlarged; third: image minus NDCT, "
        "blue below 0, white at 0, red above 0 HU. RMSE and bias in the body stand above each column, scale bars are in "
        "millimetres."),
}

SUPPLEMENT: Final[Mapping[str, Caption]] = {
    "exchange": Caption(
        "What a share of the loss is worth as a share of the gradient.",
        "Three panels. (a) and (b), of the pilot: Γ, the perceptual share of the gradient at the output and at all "
        "weights, against Ψ, its share of the loss, both on axes of odds from near 0 to near 1; each loss is a straight "
        "line parallel to the dotted diagonal where both are equal, and a dot marks the target of Ψ. (c) The exchange "
        "rate, odds of Γ by odds of Ψ, on a logarithmic axis: a line for each training, from the untrained network over "
        "the pilot and each epoch to the end. Colour is the context, line style the layer."),
    "rules": Caption(
        "What a λ that moves during training does, beside one that stays.",
        "A row of four panels for each loss. The first three have training steps on the horizontal axis: λ divided by "
        "the fixed one on a logarithmic axis, Ψ and Γ on axes of odds; a line for each rule and seed. The fourth shows "
        "SSIM minus that of the fixed λ with the same seed: a point for each seed, a short line for their mean, a grey "
        "band where two count as equal. Colour and marker are the rule's."),
    "presets": Caption(
        "Losses of the literature and of this paper: Ψ and Γ before and after training, and SSIM beside MSE alone.",
        "A line for each system, with its λ. Left and middle: Ψ and Γ on axes of odds, an open circle before its "
        "training joined to a filled one after it; a triangle at the right edge has no pixel term; a vertical line marks "
        "the target of Ψ, and Γ of one half. Right: a diamond for SSIM minus that of MSE alone; a grey band where two "
        "count as equal. Darker fill is higher confidence in what was published; an asterisk marks another network in "
        "place of the system's."),
    "psi_atlas": Caption(
        "The λ* that gives the target of Ψ, and the share Γ of the gradient there, at every layer of every encoder.",
        "Four heat maps of contexts (rows) by layers from shallow to deep (columns), with numbers in their cells. (a) "
        "and (b): the decimal logarithm of λ* with the untrained U-Net and with the pilot, dark violet low to yellow "
        "high. (c) and (d): Γ at the output at that λ*, dark blue low to yellow high. A colour bar stands beside each "
        "pair."),
    "conventions": Caption(
        "By how much other conventions of a perceptual loss multiply λ*.",
        "Two heat maps, (a) with the untrained U-Net and (b) with the pilot: a row for each convention (sum instead of "
        "mean, input range, normalisation, channels, before the ReLU), a column for each layer, the factor in each cell. "
        "Orange is below 1, white 1, violet above 1; the colour bar is logarithmic."),
    "passport": Caption(
        "What a loss charges for each degradation, relative to low-dose noise of the same MSE.",
        "Heat maps one below the other: the pixel losses, then each encoder with a row for each layer. Columns are "
        "degradations: left of a black line all of one MSE, right of it as large as in practice. Each cell has its "
        "price; green is below 1, white 1, brown above 1, on a logarithmic colour bar."),
    "passport_errors": Caption(
        "Whether a layer's price of a degradation predicts that error of the network trained with it.",
        "A panel for each degradation: horizontal the price on a logarithmic axis, vertical the error of the trained "
        "network in the unit on the axis; a point for each layer, colour and marker are its block's. Titles have the "
        "rank correlation over layers and its interval."),
    "image_quality": Caption(
        "What is left of the noise after each network: residuals, and their noise power spectra.",
        "Above, a window of one slice after each network: image minus the noise-free slice, blue below 0, white at 0, "
        "red above 0 HU, with its standard deviation in the title and a scale bar in millimetres; where noise alone was "
        "measured its two-dimensional spectrum stands in a corner, zero frequency in the middle, bright is strong. "
        "Below, where the truth is known, noise power against spatial frequency per millimetre: left in HU² mm² on a "
        "logarithmic axis, right relative to its integral, with a triangle at the mean frequency. NDCT and LDCT are "
        "dashed."),
    "image_quality_transfer": Caption(
        "How sharp edges stay, what is left of noise and texture, and how well a low-contrast lesion is detected.",
        "Up to four panels. Task transfer from 0 to above 1 against spatial frequency per millimetre, at the patient's "
        "surface and at the edge of a lesion. Texture left against noise left, both in per cent: small points are "
        "patients and seeds, large markers the means, a line is what Gaussian filters do. The area under the observer's "
        "ROC curve: a small dot for each patient, the mean with its bootstrap interval; a line marks chance. NDCT and "
        "LDCT are dashed."),
    "other_images": Caption(
        "The same choice of λ on photographs: examples, gains over bicubic interpolation, and the shares along the "
        "training.",
        "Above, the middle of one test photograph: target, bicubic interpolation, and the network trained with MSE "
        "alone, with an equal share of gradients, and with the target of Ψ. Below, the gain over bicubic in decibels, of "
        "PSNR and of the features, a circle for each photograph and seed with a line for the mean; then Ψ and Γ from 0 "
        "to 1 against the epoch, a line for each seed."),
    "psi_target_sweep": Caption(
        "Image quality along the target of Ψ, from the pixel term alone to the perceptual term alone.",
        "Panels with the target of Ψ on the horizontal axis, from 0 to 1 in unequal steps: SSIM, PSNR in decibels, SSIM "
        "in the abdominal window, bias and noise in the liver in HU where organs are known, and Γ at the output. A point "
        "for each training, a line through means over seeds for each loss, told apart by colour and marker; a dotted "
        "line is the LDCT input, a grey band the target that the study uses."),
    "claims": Caption(
        "How many claims of each question stand, are undecided, or fall.",
        "A horizontal bar for each research question and analysis, its parts the number of claims: blue stand, grey are "
        "undecided, orange fall. The numbers are written in the bars."),
}

FIGURES: Final[Mapping[str, Caption]] = {**PAPER, **{f"supplement/{name}": caption for name, caption in SUPPLEMENT.items()}}


def caption_of(figure: Path) -> Caption:
    """The caption of a figure's file, PNG or PDF. Raises KeyError where a figure has none."""
    return (SUPPLEMENT if figure.parent.name == "supplement" else PAPER)[figure.stem]
