"""The chapter on methods: losses, perceptual influence, calibration, experiments, cohort, scores."""

from lib.data.hu import HU_MAX, HU_MIN, WINDOW
from lib.paper import published
from lib.perceptual.psi import TARGET_PSI
from lib.report.words import hu_range
from lib.site.abstract import lambdas
from lib.site.blocks import Block, Chapter, Prose, bullets, plain
from lib.site.gathered import Gathered

TASK = r"""
A U-Net $f_\theta$ (Ronneberger et al. 2015) maps a low-dose slice $\mathbf{x}$ (LDCT) to an estimate
$\hat{\mathbf{y}} = f_\theta(\mathbf{x})$ of the slice $\mathbf{y}$ at normal dose (NDCT). It has four levels, two
$3 \times 3$ convolutions with ReLU in each block, max pooling on the way down, skips by concatenation and a sigmoid at the
end. CT numbers become $[0, 1]$ by $(\mathrm{HU} + 1024) / 4096$. It learns from pairs of patches, and is tested on
whole slices.
"""

LOSSES = r"""
**The pixel term** (Eq. 2) and **the perceptual term** (Eq. 3) compare images and features. $\mathcal{E}_c^\phi$ are the
features of the encoder at layer $\phi$, pre-trained in the context $c$:

$$\ell_{\mathrm{MSE}}(\mathbf{a}, \mathbf{b}) = \lVert \mathbf{a} - \mathbf{b} \rVert^2, \qquad
\ell_{\mathrm{PL}}^{c, \phi}(\mathbf{a}, \mathbf{b}) =
\lVert \mathcal{E}_c^\phi(\mathbf{a}) - \mathcal{E}_c^\phi(\mathbf{b}) \rVert^2 .$$

**The total loss** (Eq. 4) weights the second by $\lambda$:

$$\ell_{\mathrm{total}}(\mathbf{a}, \mathbf{b}) = \ell_{\mathrm{MSE}}(\mathbf{a}, \mathbf{b})
+ \lambda \, \ell_{\mathrm{PL}}^{c, \phi}(\mathbf{a}, \mathbf{b}) .$$

The equations write squared norms; the paper's values of $\lambda$ make sense only with **means** over all elements, which is
what the authors' code computes, and what is computed here. The encoder sees the image three times, as its channels, times
255, without subtraction of a mean.
"""

INFLUENCE = r"""
**Perceptual influence** (Eq. 5) is the mean over $N$ training pairs of the share of the perceptual term in the total:

$$\Psi(\lambda, \phi, c) = \frac{1}{N} \sum_{i=1}^{N}
\frac{\lambda \, \ell_{\mathrm{PL}}^{c, \phi}(f_\theta(\mathbf{x}^{(i)}), \mathbf{y}^{(i)})}
{\ell_{\mathrm{MSE}}(f_\theta(\mathbf{x}^{(i)}), \mathbf{y}^{(i)})
+ \lambda \, \ell_{\mathrm{PL}}^{c, \phi}(f_\theta(\mathbf{x}^{(i)}), \mathbf{y}^{(i)})} .$$

**Algorithm 2** sums both losses over the pairs first, and takes the ratio of the sums. That is another number, unless every
pair has the same ratio. Ψ and λ\\* in tables and claims here are its own, unless a column says Eq. 5:

$$\Psi(\lambda, \phi, c) = \frac{\lambda S_{\mathrm{PL}}}{S_{\mathrm{MSE}} + \lambda S_{\mathrm{PL}}}, \qquad
S_{\mathrm{MSE}} = \sum_i \ell_{\mathrm{MSE}}^{(i)}, \quad S_{\mathrm{PL}} = \sum_i \ell_{\mathrm{PL}}^{(i)} .$$

**The weight for a wanted share** $\Psi^{*}$ follows from that exactly:

$$\lambda^{*} = \frac{\Psi^{*}}{1 - \Psi^{*}} \, \frac{S_{\mathrm{MSE}}}{S_{\mathrm{PL}}} .$$
"""

STATES = """
Ψ depends on the network whose outputs are compared. Three states of it are measured: an **untrained** one, as Algorithm 2
has it; a **pilot**, trained with the MSE alone; and each experiment's **own** network after its training, which is what the
authors drew as their Figure 2. How far λ\\* differs between them is part of the answer to RQ1.
"""

SCORES = f"""
SSIM, PSNR and NRMSE are computed on whole test slices in the authors' protocol (clipped to [0, 1], quantised to 8 bits over
{hu_range((HU_MIN, HU_MAX))}), and again in the window from {hu_range(WINDOW)} without quantisation. Means and standard
deviations are over slices and seeds. The paper tests slices as if they were independent (Wilcoxon, Cohen's d): so does
Table 4, on slices whose scores are averaged over seeds first. Here the patient is the unit beside that: intervals over
patients and seeds, sign-flip tests over patients with Holm's correction, and a mixed model.
"""

ALL = """
The literature's choices, as the paper lists them, and the hyperparameters of this run beside the paper's. Where the paper is
silent, the last rows say what is done here.
"""


def methods(run: Gathered) -> Chapter:
    """The chapter, with what this run used."""
    factor = TARGET_PSI / (1 - TARGET_PSI)
    at_target = (f"At Ψ = {TARGET_PSI:g}, the paper's target, the first factor is {factor:.3g}. The paper rounds λ\\* to a "
                 "power of ten.")
    blocks: list[Block] = [
        Prose("## The task"), Prose(TASK.strip()), *run.picture("fig1"),
        Prose("## The loss"), Prose(LOSSES.strip()),
        Prose("## Perceptual influence"), *run.picture("fig_psi"), Prose(INFLUENCE.strip()), Prose(at_target),
        Prose(STATES.strip()),
        Prose("## The experiments"), Prose(_experiments()), bullets(map(plain, lambdas(run.scores))),
        Prose("## The cohort"), Prose(_cohort(run)),
        Prose("## Scores and tests"), Prose(SCORES.strip()),
        Prose("## All settings"), Prose(ALL.strip()), *run.table("table1"), *run.table("table2"),
        *_trainings(run)]
    return Chapter("methods", "Methods", tuple(blocks))


def _experiments() -> str:
    return ("E1 and E2 take features of an encoder trained on ImageNet, at a shallow layer (block3\\_conv2) and at the last "
            "convolution; E3 and E4 the same of a Medical encoder. The *baseline* is what the literature does most: "
            "ImageNet, the last convolution, λ = 0.1, uncalibrated. The control *mse* has λ = 0. An asterisk (ImageNet\\*, "
            "Medical\\*) marks an encoder that stands in for the paper's; the head of the first page says what it is. λ of "
            "each experiment here:")


def _cohort(run: Gathered) -> str:
    papers = (f"The paper uses ten patients of the 2016 Mayo challenge, {published.PAIRS:,} pairs of slices: two kernels, "
              "two slice thicknesses; seven patients train, one validates, two test.")
    made = next((stamp["config"]["cohort.simulation"] for stamp in run.stamps
                 if "cohort.simulation" in stamp.get("config", {})), {})
    doses = f" at the full dose and {100 * made['dose_fraction']:g}\u00a0% of it" if "dose_fraction" in made else ""
    bodies = f"{made['patients']} random bodies" if "patients" in made else "random bodies"
    here = (f"This run's scans are **simulated**: {bodies}, projected, with photon "
            f"noise{doses}, reconstructed with two kernels in two slice thicknesses, as files like those of that cohort."
            if run.simulated else
            f"This run's scans: {plain(run.words[1] if len(run.words) > 1 else 'see below')}.")
    return f"{papers} {here} The scores below are of {int(run.scores['slices'].max()):,} test slices."


def _trainings(run: Gathered) -> list[Block]:
    shown = [*run.picture("fig_training"), *run.table("training"), *run.table("probe")]
    return [Prose("## How the trainings went"), *shown] if shown else []
