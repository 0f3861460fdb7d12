"""A slice browser: LDCT, NDCT, what each network makes of it and what is left of the error, with the numbers of the region
in view."""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from html import escape
from typing import Final

import numpy as np
import pandas as pd
from ipywidgets import Button, Checkbox, Dropdown, HBox, IntSlider, Layout, VBox, Widget

from lib.data import split
from lib.data.patients import SUBSETS
from lib.errors import PaperError
from lib.explore.canvas import missing, panel, table, text, write
from lib.explore.images import Networks, Place, Slices
from lib.explore.latest import Latest, Shown
from lib.explore.pictures import LDCT, NDCT, Pictures
from lib.explore.region import COLUMNS, Box, Numbers, body_box, detail_box, in_view, numbers
from lib.explore.windows import WINDOWS
from lib.report.figures import symmetric_limits
from lib.report.labels import Labels
from lib.study.paths import Paths
from lib.study.runs import Run
from lib.study.sections import Cohort, UNet

FIRST: Final = ("mse", "E1")  # shown at the beginning, where they are trained: the control, and the paper's best
ROW: Final = Layout(flex_flow="row wrap", align_items="center")
LABEL: Final = {"description_width": "60px"}


class Browser:
    """The widgets. The picture answers at once; networks that have not seen a slice yet, and the numbers, follow from a
    thread, which then goes on with the slices beside it."""

    def __init__(self, slices: Slices, labels: Labels, trained: Sequence[str], seed: int):
        self.slices, self.labels, self.seed = slices, labels, seed
        self.latest, self._limits, self._settling = Latest(), {}, False
        patients = dict.fromkeys(slices.series["patient"])
        subset = dict(zip(slices.series["patient"], slices.series["subset"], strict=True))
        self.patient = Dropdown(description="Patient", options=[(f"{each} ({subset[each]})", each) for each in patients],
                                style=LABEL, layout=Layout(width="230px"))
        self.series = Dropdown(description="Series", style=LABEL, layout=Layout(width="230px"))
        self.slice = IntSlider(description="Slice", min=0, style=LABEL, layout=Layout(width="430px"))
        self.window = Dropdown(description="Window", style=LABEL, layout=Layout(width="464px"), options=[
            (f"{name}: level {each.level:g} HU, width {each.width:g} HU".replace("-", "−"), name)
            for name, each in WINDOWS.items()])
        self.views = [self._view(name, tooltip) for name, tooltip in {
            "Whole slice": "Show all of the slice", "Body": "Zoom to the body",
            "Detail": "Zoom to the part of the NDCT with most structure in soft tissue, by the rule of Figure 3"}.items()]
        begun = [name for name in FIRST if name in trained] or trained[:2]
        self.boxes = {name: Checkbox(name in begun, description=labels.experiments[name].short, indent=False,
                                     tooltip=labels.experiments[name].label,
                                     layout=Layout(width="auto", margin="0 16px 0 0"))
                      for name in trained}
        self.status, self.numbers = text(), text()
        self.holder = VBox()
        self._new_pictures()
        for widget, changed in ((self.patient, self._patient_changed), (self.series, self._series_changed),
                                (self.slice, self._slice_changed), (self.window, self._window_changed),
                                *((box, self._new_pictures) for box in self.boxes.values())):
            widget.observe(lambda _, changed=changed: None if self._settling else changed(), "value")
        self._patient_changed()

    @property
    def widget(self) -> Widget:
        """All of it, to display."""
        experiments = HBox([text("Networks&emsp;"), *self.boxes.values()], layout=ROW) if self.boxes else text(
            "No network is trained yet: LDCT and NDCT only.")
        return VBox([HBox([self.patient, self.series, self.slice], layout=ROW),
                     HBox([self.window, *self.views], layout=ROW), experiments, self.status, self.holder, self.numbers,
                     text(self.labels.provenance, small=True)])

    @property
    def chosen(self) -> list[str]:
        """The experiments that are shown."""
        return [name for name, box in self.boxes.items() if box.value]

    @property
    def place(self) -> Place:
        """The slice that is shown."""
        return Place(self.series.value, self.slice.value)

    def _view(self, name: str, tooltip: str) -> Button:
        button = Button(description=name, tooltip=tooltip, layout=Layout(width="auto"))
        button.on_click(lambda _: self._look_at(name))
        return button

    def _new_pictures(self) -> None:
        """Other networks: a figure with as many panels."""
        named = {LDCT: self.labels.experiments[LDCT].label, NDCT: "NDCT"} | {
            name: self.labels.experiments[name].label for name in self.chosen}
        view = self.pictures.view if self.holder.children else None
        self.pictures = Pictures({name: textwrap.fill(label, 34) for name, label in named.items()}, self.limits)
        self.holder.children = [self.pictures.canvas]
        if self.series.value is not None:
            self._fill(view)
        self.pictures.moved(self._ask)

    @property
    def limits(self) -> tuple[float, float]:
        """HU that are black and white."""
        return WINDOWS[self.window.value].limits

    def _patient_changed(self) -> None:
        rows = self.slices.series[self.slices.series["patient"] == self.patient.value]
        several = bool(rows["scan"].max() > 1)
        options = [(f"{row['kernel']}, {row['thickness_mm']:g} mm" + f", scan {row['scan']}" * several, place)
                   for place, row in rows.iterrows()]
        kept = self.series.label
        with self._at_once():
            self.series.options = options
            self.series.value = dict(options).get(kept, options[0][1])
        self._series_changed()

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        """Change several widgets without an answer to each."""
        self._settling = True
        try:
            yield
        finally:
            self._settling = False

    def _series_changed(self) -> None:
        """The middle slice, as in Figure 3."""
        count = len(self.slices.z_mm[self.series.value])
        with self._at_once():
            self.slice.disabled, self.slice.max = count == 1, count - 1
            self.slice.value = count // 2
        self._slice_changed()

    def _slice_changed(self) -> None:
        self._fill(self.pictures.view)

    def _fill(self, view: Box | None) -> None:
        """Show the slice, as far as it is known, at once, and ask for the rest."""
        place = self.place
        ldct, ndct = self.slices.ldct(place), self.slices.ndct(place)
        if place.series not in self._limits:  # one scale for a series: errors can be compared while one scrolls
            self._limits[place.series] = symmetric_limits(ldct - ndct)
        self.pictures.begin(ndct, self._limits[place.series], self.slices.pixel_mm[place.series][place.index], view)
        self.pictures.show(LDCT, ldct)
        for name in self.chosen:
            self.pictures.show(name, self.slices.known(name, place))
        self._ask()
        self.pictures.canvas.draw_idle()

    def _window_changed(self) -> None:
        self.pictures.window(self.limits)
        self._ask()

    def _look_at(self, name: str) -> None:
        ndct = self.slices.ndct(self.place)
        rows, columns = ndct.shape
        self.pictures.look_at({"Whole slice": lambda: Box(0, rows, 0, columns), "Body": lambda: body_box(ndct),
                               "Detail": lambda: detail_box(ndct)}[name]())

    def _ask(self) -> None:
        place, shape = self.place, self.slices.ndct(self.place).shape
        where = self.slices.series.iloc[place.series]
        write(self.status, escape(
            f"{where['patient']} ({where['subset']} patient), {where['kernel']}, {where['thickness_mm']:g} mm, z = "
            f"{self.slices.z_mm[place.series][place.index]:.1f} mm{', SIMULATED' * self.labels.simulated}; networks of seed "
            f"{self.seed}").replace("-", "−"))
        write(self.numbers, self.numbers.value, stale=True)
        box = in_view(*self.pictures.limits, shape)
        self.latest.ask(partial(self._work, place, self.chosen, box, self.limits))

    def _work(self, place: Place, names: list[str], box: Box, window: tuple[float, float]) -> Iterator[Shown]:
        """In the thread: what is unknown, then the numbers, then the slices beside."""
        try:
            for name in names:
                if self.slices.known(name, place) is None:
                    yield partial(self._arrived, name, self.slices.denoised(name, place))
            images = {LDCT: self.slices.ldct(place)} | {name: self.slices.denoised(name, place) for name in names}
            ndct, tissue = self.slices.ndct(place), self.slices.tissue(place)
            yield partial(self._write_numbers, {
                name: numbers(image, ndct, tissue, box, window) for name, image in images.items()}, box)
            for beside in (1, -1):
                if 0 <= place.index + beside < len(self.slices.z_mm[place.series]):
                    for name in names:
                        self.slices.denoised(name, Place(place.series, place.index + beside))
                        yield lambda: None
        except PaperError as error:
            yield partial(write, self.numbers, escape(str(error)))

    def _arrived(self, name: str, image: np.ndarray) -> None:
        self.pictures.show(name, image)
        self.pictures.canvas.draw_idle()

    def _write_numbers(self, found: dict[str, Numbers], box: Box) -> None:
        rows, columns = box.shape
        note = f"<div style='opacity:.75'>Region in view: {rows} × {columns} pixels, each image beside the NDCT.</div>"
        write(self.numbers, table(COLUMNS, {self.labels.experiments[name].short: each.cells()
                                            for name, each in found.items()}, note))


@panel
def slice_browser(paths: Paths, labels: Labels, cohort: Cohort, settings: UNet, runs: Sequence[Run]) -> Widget:
    """The panel: choose a patient, a series, a slice, a window and networks, and zoom; all panels zoom together.

    ``paths``, ``labels``, ``cohort``, ``settings``, ``runs``: of the study (``study.unet``, ``study.runs()``). Networks are
    those of the first seed.
    """
    if not paths.manifest.is_file():
        raise missing("there are no volumes", paths.profile)
    parts = split.subsets(paths.volumes, cohort.given_split, cohort.split_seed)
    pairs = pd.concat([parts[name].assign(subset=name) for name in reversed(SUBSETS)], ignore_index=True)
    seed = runs[0].seed
    files = {run.experiment: paths.weights(run) for run in runs if run.seed == seed and paths.weights(run).is_file()}
    return Browser(Slices(paths.volumes, pairs, Networks(settings, files)), labels, list(files), seed).widget
