"""A monitor of trainings: loss, pixel term and Psi over the steps of every run, at work or finished."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
from ipywidgets import Button, Checkbox, HBox, Layout, VBox, Widget
from matplotlib.lines import Line2D

from lib.explore.canvas import STYLE, missing, new_canvas, panel, table, text, write
from lib.explore.trainings import AT_WORK, FINISHED, Training, trainings
from lib.report.labels import Labels
from lib.report.words import counted, number

EVERY: Final = 5  # seconds between two looks
CURVES: Final = {"loss": "total loss (Eq. 4)", "mse": "pixel term", "psi": "Ψ"}
COLUMNS: Final = {"state": "At work: its process holds the folder. Broken off: run again, it goes on from its checkpoint",
                  "epoch": "The one that stands in the log's last row", "step": "Of the whole training",
                  "loss": "Mean over that epoch so far", "pixel term": "The same", "Ψ": "Algorithm 2 over that epoch so far",
                  "val. pixel term": "After the last whole epoch", "last row": "How long ago the log grew"}


class Monitor:
    """The widgets; ``folder``: with all trainings of a profile; ``epochs``: how many an experiment will have."""

    def __init__(self, folder: Path, profile: str, labels: Labels, epochs: Mapping[str, int]):
        self.folder, self.profile, self.labels, self.epochs = folder, profile, labels, epochs
        self.button = Button(description="Refresh", icon="refresh", tooltip="Read the logs again",
                             layout=Layout(width="auto"))
        self.button.on_click(lambda _: self.refresh())
        self.every = Checkbox(False, description=f"every {EVERY} seconds", indent=False, layout=Layout(width="auto"))
        self.every.observe(lambda _: self._go_on(), "value")
        self._next: asyncio.TimerHandle | None = None
        self.rows = text()
        self.lines: dict[tuple[str, str], tuple[Line2D, Line2D]] = {}
        self._draw()
        self.refresh()

    @property
    def widget(self) -> Widget:
        """All of it, to display."""
        return VBox([HBox([self.button, self.every], layout=Layout(align_items="center")), self.canvas, self.rows,
                     text(self.labels.provenance, small=True)])

    @mpl.rc_context(STYLE)
    def _draw(self) -> None:
        self.canvas = new_canvas(3.3, "Trainings: loss, pixel term and Psi over steps")
        axes = self.canvas.figure.subplots(1, 3, sharex=True, gridspec_kw={
            "left": 0.055, "right": 0.86, "top": 0.92, "bottom": 0.14, "wspace": 0.42})
        self.axes = dict(zip(CURVES, axes, strict=True))
        for name, panel_ in self.axes.items():
            panel_.set(title=CURVES[name], xlabel="step", yscale="linear" if name == "psi" else "log")
            panel_.grid(color="0.92", linewidth=0.6)
            panel_.xaxis.get_major_locator().set_params(integer=True, nbins=6)
        self.axes["psi"].axhline(self.labels.target_psi, color="0.4", linewidth=0.8, linestyle="--")

    def refresh(self) -> None:
        """Read all logs again, and show what they say."""
        order = list(self.labels.experiments)
        found = sorted(trainings(self.folder), key=lambda each: (
            each.state != AT_WORK, order.index(each.experiment) if each.experiment in order else len(order), each.seed))
        if not found:
            write(self.rows, str(missing("no training has begun", self.profile)))
            return
        for training in found:
            self._show(training)
        for panel_ in self.axes.values():
            panel_.relim()
            panel_.autoscale_view()
        self.axes["psi"].set_ylim(-0.02, 1.02)
        handles = {each.experiment: self.lines[each.name, "loss"][0] for each in found}
        self.canvas.figure.legends.clear()
        handles |= {"validation": Line2D([], [], color="0.3", marker="o", linestyle="none", markersize=4),
                    f"Ψ = {self.labels.target_psi:g}": Line2D([], [], color="0.4", linestyle="--", linewidth=0.8)}
        self.canvas.figure.legend(list(handles.values()), list(handles), loc="center right", frameon=False, fontsize=8)
        done = sum(each.state == FINISHED for each in found)
        write(self.rows, f"{counted(done, 'training')} of {len(found)} finished." + table(
            COLUMNS, {each.name: self._cells(each) for each in found}))
        self.canvas.draw_idle()

    def _show(self, training: Training) -> None:
        steps = training.steps
        begins = 1 + np.flatnonzero(np.diff(steps["epoch"]))  # the mean begins anew: no line from one epoch to the next
        for name, axes in self.axes.items():
            if (training.name, name) not in self.lines:
                label = self.labels.experiments.get(training.experiment)
                colour = label.colour if label else "0.5"
                (line,) = axes.plot([], [], color=colour, linewidth=1.2)
                (marks,) = axes.plot([], [], label.marker if label else "o", color=colour, markersize=5)
                self.lines[training.name, name] = line, marks
            line, marks = self.lines[training.name, name]
            line.set_data(*(np.insert(steps[each].to_numpy(float), begins, np.nan) for each in ("step", name)))
            marks.set_data(training.epochs["epoch"].to_numpy() * training.length, training.epochs[name].to_numpy())

    def _cells(self, training: Training) -> list[str]:
        last = training.steps.iloc[-1].to_dict() if len(training.steps) else dict.fromkeys(training.steps, np.nan)
        planned = f" of {self.epochs[training.experiment]}" if training.experiment in self.epochs else ""
        validation = training.epochs["mse"].iloc[-1] if len(training.epochs) else np.nan
        epoch, step = (f"{last[name]:.0f}" if last[name] == last[name] else "–" for name in ("epoch", "step"))
        return [training.state, epoch + planned, step, number(last["loss"]), number(last["mse"]),
                f"{last['psi']:.3f}" if last["psi"] == last["psi"] else "–", number(validation), ago(training.age)]

    def _go_on(self) -> None:
        """Look again in some seconds, as long as the box is ticked."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self.every.value:
            self._next = asyncio.get_running_loop().call_later(EVERY, self._again)

    def _again(self) -> None:
        self.refresh()
        self._go_on()


def ago(seconds: float) -> str:
    """'12 s ago', '3 min ago', '2 h ago', '5 days ago'."""
    for name, length, most in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172800)):
        if seconds < most:
            return f"{seconds / length:.0f} {name} ago"
    return f"{seconds / 86400:.0f} days ago"


@panel
def monitor(folder: Path, profile: str, labels: Labels, epochs: Mapping[str, int]) -> Widget:
    """The panel: reads logs when it is asked to, or every few seconds; it never writes, and a training does not notice it.

    Parameters
    ----------
    folder : Path, artifacts/<profile>/training
    profile : str
    labels : Labels, of the study
    epochs : mapping, how many an experiment is trained for, by name
    """
    return Monitor(folder, profile, labels, epochs).widget
