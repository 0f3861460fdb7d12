"""Lambda on the Psi curve: the same weight means another share of the loss at every layer, in every context."""

from html import escape
from typing import Final

import matplotlib as mpl
import numpy as np
from ipywidgets import Button, Dropdown, FloatLogSlider, HBox, Layout, VBox, Widget
from matplotlib.axes import Axes

from lib.explore.canvas import STYLE, new_canvas, panel, text, write
from lib.explore.pair_losses import Influence, Losses, influence, measured, shares
from lib.perceptual.psi import decade, psi, psi_algorithm2
from lib.report.contexts import context_names
from lib.report.labels import UNLEARNT, Labels
from lib.report.words import number
from lib.study.paths import Paths

PAPERS_AXIS: Final = (-8, 0)  # decades, of Figure 2 here; more where a lambda* lies beyond
STATES: Final = {"untrained": "untrained U-Net (Algorithm 2 as printed)", "pilot": "pilot: U-Net trained with MSE alone",
                 "own": "{}'s own U-Net, last epoch (means only)",
                 "authors": "the authors' own {}, VGG-19, epoch 10 (means only)"}
PIXEL, PERCEPTUAL, STAR, PAPER = "#999999", "#0072b2", "#d55e00", "#009e73"  # Okabe-Ito
LABEL: Final = {"description_width": "70px"}


class PsiCurve:
    """The widgets. Lines are made once: whatever moves gives them other numbers."""

    def __init__(self, found: list[Losses], labels: Labels):
        self.found, self.labels, self.chosen = found, labels, found[0]
        exact = [each.star(labels.target_psi) for each in found]
        ends = [np.log10([each for each in exact if 0 < each < np.inf] or 1.0)]
        self.decades = (int(min(PAPERS_AXIS[0], np.floor(np.min(ends)) - 1)),
                        int(max(PAPERS_AXIS[1], np.ceil(np.max(ends)) + 1)))
        self.lambdas = np.logspace(*self.decades, 40 * (self.decades[1] - self.decades[0]) + 1)
        self.names = context_names(labels, dict.fromkeys(each.context for each in found))
        self.context = Dropdown(description="Context c", options=self._contexts(), style=LABEL, layout=Layout(width="230px"))
        self.layer = Dropdown(description="Layer ϕ", style=LABEL, layout=Layout(width="260px"))
        self.state = Dropdown(description="Network", style=LABEL, layout=Layout(width="420px"))
        self.slider = FloatLogSlider(description="λ", min=self.decades[0], max=self.decades[1], step=0.02,
                                     readout_format=".2e", style=LABEL, layout=Layout(width="560px"))
        self.jumps = HBox()
        self.words = text()
        self._draw()
        for widget, changed in ((self.context, self._context_changed), (self.layer, self._layer_changed),
                                (self.state, self._loss_changed), (self.slider, self._lambda_changed)):
            widget.observe(lambda _, changed=changed: changed(), "value")
        self._context_changed()

    @property
    def widget(self) -> Widget:
        """All of it, to display."""
        return VBox([HBox([self.context, self.layer, self.state], layout=Layout(flex_flow="row wrap")),
                     HBox([self.slider, self.jumps], layout=Layout(flex_flow="row wrap")), self.canvas, self.words,
                     text(self.labels.provenance, small=True)])

    def _contexts(self) -> list[tuple[str, str]]:
        return [(name.removesuffix(UNLEARNT), context) for context, name in self.names.items()]

    @mpl.rc_context(STYLE)
    def _draw(self) -> None:
        self.canvas = new_canvas(4.5, "Perceptual influence against lambda")
        curve, bar = self.canvas.figure.subplots(2, 1, height_ratios=(10, 1), gridspec_kw={
            "left": 0.06, "right": 0.755, "top": 0.975, "bottom": 0.03, "hspace": 0.44})
        self._draw_curve(curve)
        self._draw_bar(bar)

    def _draw_curve(self, axes: Axes) -> None:
        axes.set(xscale="log", xlim=(self.lambdas[0], self.lambdas[-1]), ylim=(-0.02, 1.05),
                 xlabel="λ, weight of the perceptual term (a grid line a decade)", ylabel="perceptual influence Ψ",
                 xticks=np.logspace(*self.decades, 1 + np.ptp(self.decades)))
        axes.grid(which="major", color="0.9", linewidth=0.6)
        axes.minorticks_off()
        axes.axhline(self.labels.target_psi, color=STAR, linewidth=0.8, linestyle="--")
        axes.text(self.lambdas[0], self.labels.target_psi - 0.01, f"  Ψ = {self.labels.target_psi:g}", color=STAR, va="top")
        empty = np.full(len(self.lambdas), np.nan)
        self.others = [axes.plot(self.lambdas, empty, color="0.75", linewidth=0.8, zorder=1)[0] for _ in self.found]
        self.band = axes.fill_between(self.lambdas, 0, 0, color=PERCEPTUAL, alpha=0.18, linewidth=0,
                                      label="80 % of the pairs by themselves")
        (self.eq5,) = axes.plot(self.lambdas, empty, ":", color=PERCEPTUAL, label="Ψ by Eq. 5: mean share of pairs")
        (self.alg2,) = axes.plot(self.lambdas, empty, color=PERCEPTUAL, linewidth=2, label="Ψ by Algorithm 2: share of sums")
        (self.star,) = axes.plot([], [], "*", color=STAR, markersize=13, zorder=5, label="λ*, where Ψ is the target")
        (self.papers,) = axes.plot([], [], "D", color=PAPER, markersize=7, zorder=4, label="the paper's λ (its own encoder)")
        (self.used,) = axes.plot([], [], "o", color="black", markerfacecolor="none", markersize=12, zorder=6,
                                 label="λ in this study's training")
        self.below = axes.vlines(1, 0, 0, color="0.25", linewidth=0.8, zorder=3)
        self.value = axes.annotate("", (1, 0), (10, -14), textcoords="offset points", fontweight="bold", zorder=8)
        (self.point,) = axes.plot([], [], "o", color="black", markersize=7, zorder=7, label="λ of the slider")
        handles = [self.point, self.alg2, self.eq5, self.band, self.star, self.used, self.papers]
        axes.legend(handles=[*handles, mpl.lines.Line2D([], [], color="0.75", label="other layers and contexts")],
                    loc="center left", bbox_to_anchor=(1.01, 0.5), labelspacing=0.9)

    def _draw_bar(self, axes: Axes) -> None:
        axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        (self.pixel_part,) = axes.barh(0.5, 1, 1, color=PIXEL)
        (self.perceptual_part,) = axes.barh(0.5, 0, 1, color=PERCEPTUAL)
        self.title = axes.set_title("", loc="left")
        self.parts = [axes.text(0.01, 0.5, "", va="center", color="black"),
                      axes.text(0.99, 0.5, "", va="center", ha="right", color="white")]

    def _context_changed(self) -> None:
        some = dict.fromkeys(each.layer for each in self.found if each.context == self.context.value)
        kept = self.layer.value
        self.layer.options = sorted(some)
        self.layer.value = kept if kept in some else self.layer.options[0]
        self._layer_changed()

    def _layer_changed(self) -> None:
        if self.layer.value is None:
            return
        some, kept = self._here(), self.state.label
        options = [(self._state_name(each), place) for place, each in some.items()]
        self.state.options = options
        self.state.value = dict(options).get(kept, options[min(1, len(options) - 1)][1])
        self._loss_changed()

    def _here(self) -> dict[int, Losses]:
        return {place: each for place, each in enumerate(self.found)
                if (each.context, each.layer) == (self.context.value, self.layer.value)}

    def _state_name(self, losses: Losses) -> str:
        state, _, experiment = losses.state.partition(": ")
        several = len({each.seed for each in self.found if each.state == losses.state}) > 1
        return STATES[state].format(experiment) + (f", seed {losses.seed}" if several else "")

    def _loss_changed(self) -> None:
        """Another curve: the slider goes to the lambda of training, else to lambda*."""
        if self.state.value is None:
            return
        losses = self.chosen = self.found[self.state.value]
        for line, each in zip(self.others, self.found, strict=True):
            shown = each is not losses and (each.state, each.seed) == (losses.state, losses.seed)
            line.set_visible(shown)
            if shown:
                line.set_ydata(psi_algorithm2(each.pixel, each.perceptual, self.lambdas))
        self.alg2.set_ydata(psi_algorithm2(losses.pixel, losses.perceptual, self.lambdas))
        for artist in (self.eq5, self.band):
            artist.set_visible(losses.pairs > 0)
        if losses.pairs:
            self.eq5.set_ydata(psi(losses.pixel, losses.perceptual, self.lambdas))
            self.band.set_data(self.lambdas, *np.nanpercentile(shares(losses, self.lambdas), (10, 90), axis=1))
        self._mark(losses)

    def _mark(self, losses: Losses) -> None:
        target, used = self.labels.target_psi, {name: each for name, each in losses.used.items() if each > 0}
        exact = losses.star(target)
        self.star.set_data([exact], [target])
        for line, values in ((self.used, used), (self.papers, losses.papers)):
            line.set_data(list(values.values()), [influence(losses, each).psi_alg2 for each in values.values()])
        groups: dict[float, list[str]] = {exact: ["λ*"]}
        for name, each in used.items():
            same = ", and the paper's" if losses.papers.get(name) == each else ""
            groups.setdefault(each, []).append(f"{name}'s λ here{same}")
        for name, each in losses.papers.items():
            if used.get(name) != each:
                groups.setdefault(each, []).append(f"the paper's λ of {name}")
        self.jumps.children = [self._jump(", ".join(names), lambda_) for lambda_, names in groups.items()
                               if self.lambdas[0] <= lambda_ <= self.lambdas[-1]]
        self._goto(next(iter(used.values()), exact))

    def _jump(self, name: str, lambda_: float) -> Button:
        button = Button(description=name, tooltip=f"Set the slider to {number(lambda_)}", layout=Layout(width="auto"))
        button.on_click(lambda _: self._goto(lambda_))
        return button

    def _goto(self, lambda_: float) -> None:
        before, self.slider.value = self.slider.value, float(np.clip(lambda_, self.lambdas[0], self.lambdas[-1]))
        if self.slider.value == before:  # nothing was announced
            self._lambda_changed()

    def _lambda_changed(self) -> None:
        lambda_, losses = self.slider.value, self.chosen
        here = influence(losses, lambda_)
        self.below.set_segments([[(lambda_, -0.02), (lambda_, here.psi_alg2)]])
        self.value.set_text(f"Ψ = {here.psi_alg2:.3f}")
        self.value.xy = lambda_, here.psi_alg2
        self.point.set_data([lambda_], [here.psi_alg2])
        self.pixel_part.set_width(1 - here.psi_alg2)
        self.perceptual_part.set(x=1 - here.psi_alg2, width=here.psi_alg2)
        for label, share, name in zip(self.parts, (1 - here.psi_alg2, here.psi_alg2), ("pixel term", "λ × perceptual loss"),
                                      strict=True):
            label.set_text(f"{name} {share:.1%}" if share > 0.2 else "")
        self.title.set_text(f"The loss at λ = {number(lambda_)}: {number(here.pixel)} + {number(here.weighted)} = "
                            f"{number(here.pixel + here.weighted)}")
        write(self.words, self._in_words(lambda_, losses, here))
        self.canvas.draw_idle()

    def _in_words(self, lambda_: float, losses: Losses, here: Influence) -> str:
        exact = losses.star(self.labels.target_psi)
        context = context_names(self.labels, [losses.context], losses.layer)[losses.context]
        ratio = lambda_ / exact
        beside = "that is λ" if 0.99 < ratio < 1.01 else f"λ is {number(ratio)} times that"
        odds = f"{number(here.odds)} parts perceptual for one of the pixel term"
        if here.odds < 1:
            odds = f"{number(1 / here.odds)} parts of the pixel term for one perceptual"
        eq5 = (f"by Eq. 5, the mean over {losses.pairs} pairs, {here.psi_eq5:.3f} (80 % of them between {here.low:.3f} and "
               f"{here.high:.3f})" if losses.pairs else "Eq. 5 needs the losses of each pair: only means are known")
        where = f"{losses.layer}, {escape(context)}"
        return (f"<b>At {where}, λ = {number(lambda_)} gives Ψ = {here.psi_alg2:.3f}</b> by Algorithm 2; {eq5}."
                f"<br>Pixel term {number(here.pixel)}, perceptual loss {number(here.perceptual)}, times λ "
                f"{number(here.weighted)}: {odds}.<br>Ψ = {self.labels.target_psi:g} needs λ* = {number(exact)}, "
                f"whose nearest decade is {number(decade(exact))}; {beside}.")


@panel
def psi_curve(paths: Paths, labels: Labels) -> Widget:
    """The panel: choose context, layer and network, and move lambda; what Psi and the loss become stands below.

    ``paths``: of the study, whose calibration (and atlas, and influence of 04) is read; ``labels``: its labels.
    """
    return PsiCurve(measured(paths), labels).widget
