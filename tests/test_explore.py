"""The explorer: its numbers by algebra and by the library that it shows, its panels without a browser, and in JupyterLab."""

import csv
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from ipywidgets import HTML

from lib import REPOSITORY
from lib.data.hu import WINDOW, normalise
from lib.explore.images import Kept, Networks, Place, Slices
from lib.explore.latest import Latest
from lib.explore.monitor import Monitor, ago, monitor
from lib.explore.pair_losses import Losses, influence, measured, shares
from lib.explore.pictures import LDCT, NDCT
from lib.explore.psi_curve import PsiCurve, psi_curve
from lib.explore.region import COLUMNS, Box, body_box, detail_box, in_view, numbers
from lib.explore.slices import Browser, slice_browser
from lib.explore.trainings import AT_WORK, BROKEN_OFF, FINISHED, trainings
from lib.explore.windows import WINDOWS
from lib.metrics.image_quality import authors_metrics, window_metrics
from lib.metrics.regions import soft_tissue
from lib.report.labels import Labels
from lib.study.sections import UNet
from tests.browser import chromium

# ipympl's toolbar passes its canvas on to traitlets, and Keras copies in a way of its own
pytestmark = [pytest.mark.filterwarnings("ignore:Passing unrecognized arguments:DeprecationWarning"),
              pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")]
SEED = 5
SHAPE = 53, 37  # odd, and no square


def said(widget) -> str:
    """All that a panel says in words."""
    if isinstance(widget, HTML):
        return re.sub(r"<[^>]*>", " ", widget.value)
    return "\n".join(said(each) for each in getattr(widget, "children", ()))


def losses(pixel, perceptual, **more) -> Losses:
    return Losses("ImageNet", "block3_conv2", "pilot", SEED, np.array(pixel, float), np.array(perceptual, float), **more)


def calibration(paths) -> None:
    """What 02 leaves: baseline and E2 share their loss; 'mine' has E2's layer, and terms of its own."""
    pairs = pd.DataFrame({"mse": [1.0, 2.0, 3.0], "baseline": [10.0, 20.0, 60.0], "E2": [10.0, 20.0, 60.0],
                          "E1": [100.0, 300.0, 200.0], "mine pixel": [2.0, 2.0, 8.0], "mine": [4.0, 4.0, 4.0]})
    rows = []
    for state, scale in (("untrained", 1.0), ("pilot", 2.0)):
        path = paths.losses(SEED)[state]
        path.parent.mkdir(parents=True, exist_ok=True)
        (pairs * scale).to_csv(path, index=False)
        rows += [{"experiment": name, "seed": SEED, "state": state, "context": "ImageNet", "phi": phi, "lambda_used": used}
                 for name, phi, used in (("baseline", "block5_conv3", 0.1), ("E1", "block3_conv2", 0.02),
                                         ("E2", "block5_conv3", 0.01), ("mine", "block5_conv3", np.nan))]
    pd.DataFrame(rows).to_csv(paths.calibrated, index=False)


def test_psi_of_two_pairs_by_algebra():
    """Shares 1/2 and 3/4 of single pairs, 4/6 of the sums."""
    here = influence(losses([1, 1], [1, 3]), 1.0)
    assert here.psi_alg2 == pytest.approx(4 / 6) and here.psi_eq5 == pytest.approx(5 / 8)
    assert here.odds == pytest.approx(2) and here.weighted == pytest.approx(2) and 1 / 2 <= here.low < here.high <= 3 / 4
    assert influence(losses([1, 1], [1, 3]), losses([1, 1], [1, 3]).star(0.8)).psi_alg2 == pytest.approx(0.8)
    assert shares(losses([1, 0], [1, 0]), np.array([3.0]))[0] == pytest.approx([3 / 4, np.nan], nan_ok=True)
    only_means = influence(losses([2], [3]), 2.0)
    assert only_means.psi_alg2 == pytest.approx(6 / 8) and np.isnan([only_means.psi_eq5, only_means.low]).all()


def test_losses_are_read_as_the_calibration_reads_them(study):
    from lib.stages.calibrate import terms

    calibration(study.paths)
    found = {(each.layer, each.state): each for each in measured(study.paths)}
    for state in ("untrained", "pilot"):
        table = pd.read_csv(study.paths.losses(SEED)[state])
        for name, layer in (("E1", "block3_conv2"), ("E2", "block5_conv3"), ("mine", "block5_conv3 (mine)")):
            read = found[layer, state]
            for ours, theirs in zip((read.pixel, read.perceptual), terms(table, name), strict=True):
                assert np.array_equal(ours, theirs)
    assert found["block5_conv3", "pilot"].used == {"baseline": 0.1, "E2": 0.01}
    assert found["block5_conv3", "pilot"].papers == {"baseline": 0.1, "E2": 0.01}
    authors = found["block3_conv2", "authors: E1"]
    assert influence(authors, 4.36e-6).psi_alg2 == pytest.approx(0.95, abs=1e-3) and authors.pairs == 0


def test_layers_of_the_atlas_join_those_of_the_calibration(study):
    calibration(study.paths)
    study.paths.atlas.mkdir(parents=True)
    pd.DataFrame({"context": "ImageNet", "layer": ["block1_conv1", "block3_conv2"], "state": "pilot", "pixel": 1.0,
                  "perceptual": 7.0}).to_csv(study.paths.atlas / "pairs_seed-5.csv", index=False)
    found = [each for each in measured(study.paths) if each.state == "pilot"]
    assert [each.layer for each in found] == ["block5_conv3", "block3_conv2", "block5_conv3 (mine)", "block1_conv1"]
    assert found[-1].star(0.5) == pytest.approx(1 / 7)


def test_a_move_on_the_curve_moves_the_point_and_the_words(study):
    calibration(study.paths)
    panel = PsiCurve(measured(study.paths), Labels.of(study))
    assert panel.layer.value == "block3_conv2" and panel.slider.value == 0.02  # E1's
    axes = panel.canvas.figure.axes
    for lambda_ in (1e-4, 0.01):
        panel.slider.value = lambda_
        expected = lambda_ * 600 / (6 + lambda_ * 600)
        assert panel.point.get_xydata()[0] == pytest.approx([lambda_, expected])
        assert panel.perceptual_part.get_width() == pytest.approx(expected)
        assert f"Ψ = {expected:.3f}" in said(panel.words) and panel.canvas.figure.axes == axes
    assert panel.star.get_xdata() == pytest.approx([19 * 6 / 600])
    panel.layer.value = "block5_conv3"
    assert [button.description for button in panel.jumps.children] == [
        "λ*", "baseline's λ here, and the paper's", "E2's λ here, and the paper's"]
    panel.jumps.children[0].click()
    assert panel.slider.value == pytest.approx(19 * 6 / 90) and "that is λ" in said(panel.words)
    panel.layer.value, panel.slider.value = "block5_conv3 (mine)", 3.0
    assert panel.alg2.get_ydata()[-1] > 0.5 and "Ψ = 0.750" in said(panel.words)


def test_each_panel_without_artefacts_says_in_one_line_what_makes_them(study):
    labels = Labels.of(study)
    panels = (psi_curve(study.paths, labels), slice_browser(study.paths, labels, study.cohort, study.unet, study.runs()))
    for panel in panels:
        assert "run: make paper PROFILE=smoke" in said(panel) and len(said(panel).splitlines()) == 1
    assert "run: make paper PROFILE=smoke" in said(monitor(study.paths.artifacts / "training", study.profile, labels, {}))


def test_window_presets():
    assert WINDOWS["abdomen"].limits == WINDOW
    assert WINDOWS["lung"].limits == (-1350, 150) and WINDOWS["bone"].limits == (-500, 1300)


def test_pixels_in_view():
    assert in_view((-0.5, 36.5), (52.5, -0.5), SHAPE) == (0, 53, 0, 37)  # as matplotlib shows a whole image
    assert in_view((3.5, 9.5), (20.2, 10.8), SHAPE) == (11, 21, 4, 10)
    assert in_view((-80, 400), (400, -80), SHAPE) == (0, 53, 0, 37) and in_view((5.1, 5.9), (9, 3), SHAPE).shape == (7, 0)


def phantom(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """LDCT and NDCT: a body of soft tissue in air."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    body = ((rows - 26) / 22) ** 2 + ((columns - 18) / 15) ** 2 < 1
    ndct = np.where(body, 60.0, -1000.0) + random.normal(0, 5, SHAPE)
    return (ndct + random.normal(0, 20, SHAPE)).astype(np.float32), ndct.astype(np.float32)


def test_numbers_of_a_region_are_the_librarys_on_the_crop():
    ldct, ndct = phantom()
    box = Box(7, 40, 9, 30)
    crop = np.s_[7:40, 9:30]
    found = dict(zip(COLUMNS, numbers(ldct, ndct, soft_tissue(ndct), box, (-160, 240)).values, strict=True))
    authors, window = authors_metrics(normalise(ldct[crop]), normalise(ndct[crop])), window_metrics(ldct[crop], ndct[crop])
    assert (found["SSIM"], found["PSNR (dB)"], found["NRMSE"]) == authors[:3]
    assert (found["SSIM in window"], found["PSNR in window (dB)"]) == window[:2]
    error = ldct[crop].astype(float) - ndct[crop]
    assert found["bias (HU)"] == error.mean() and found["error SD (HU)"] == error.std()
    tissue = soft_tissue(ndct)[crop]
    assert tissue.sum() > 100 and found["noise SD (HU)"] == ldct[crop][tissue].astype(float).std()


def test_numbers_of_a_region_that_is_too_small():
    ldct, ndct = phantom()
    small = numbers(ldct, ndct, soft_tissue(ndct), Box(10, 16, 10, 30), (-160, 240)).cells()
    assert small[:5] == ["–"] * 5 and "–" not in small[5:7] and small[7] == "–"
    assert numbers(ldct, ndct, soft_tissue(ndct), Box(5, 5, 1, 9), (-160, 240)).cells() == ["–"] * len(COLUMNS)
    assert numbers(ndct, ndct, soft_tissue(ndct), Box(0, 53, 0, 37), (-160, 240)).cells()[:2] == ["1.0000", "∞"]


def test_views_by_rule():
    _, ndct = phantom()
    assert body_box(ndct) == (5, 48, 4, 33) and body_box(np.full(SHAPE, -1000.0)) == (0, 53, 0, 37)
    detail = detail_box(ndct)
    assert detail.shape == (16, 16) and (detail.of(ndct) > -500).any()


def test_kept_images_are_those_looked_at_last():
    kept = Kept(mib=2.5)
    images = {(name,): np.zeros((512, 512), np.float32) for name in "abc"}
    for key in list(images)[:2]:
        kept.put(key, images[key])
    assert kept.get(("a",)) is images["a",]
    kept.put(("c",), images["c",])
    assert [kept.get(key) is not None for key in images] == [True, False, True]


def store(folder: Path) -> tuple[Slices, list]:
    """Two series of one patient, and a network that adds 10 HU; every call of it is counted."""
    rows, calls = [], []
    for number, (kernel, slices) in enumerate((("B30", 3), ("D45", 1))):
        for dose, place in (("ldct", 0), ("ndct", 1)):
            volume = np.stack([phantom(10 * number + index)[place] for index in range(slices)])
            np.save(folder / f"{kernel}_{dose}.npy", volume.round().astype(np.int16))
        rows += [{"patient": "P1", "kernel": kernel, "thickness_mm": 1.0, "scan": 1, "index": index, "z_mm": -3.0 + index,
                  "pixel_mm": 2.0, "subset": "test", "ldct": f"{kernel}_ldct.npy", "ndct": f"{kernel}_ndct.npy"}
                 for index in range(slices)]

    def denoise(name: str, image: np.ndarray) -> np.ndarray:
        calls.append(name)
        return image + 10

    return Slices(folder, pd.DataFrame(rows), denoise), calls


def test_a_slice_is_denoised_once(tmp_path):
    slices, calls = store(tmp_path)
    place = Place(0, 2)
    assert slices.known("E1", place) is None
    for _ in range(2):
        assert np.array_equal(slices.denoised("E1", place), slices.ldct(place) + 10)
    assert calls == ["E1"] and slices.known("E1", place) is not None and slices.known("E1", Place(0, 1)) is None
    assert np.array_equal(slices.ndct(place), np.load(tmp_path / "B30_ndct.npy")[2])


def test_the_browser_shows_what_is_chosen(study, tmp_path):
    slices, _ = store(tmp_path)
    browser_ = Browser(slices, Labels.of(study), ["mse", "E1"], SEED)
    browser_.latest.wait()
    assert browser_.place == (0, 1) and browser_.chosen == ["mse", "E1"] and not browser_.slice.disabled
    for index in (0, 2):
        browser_.slice.value = index
        browser_.latest.wait()
        shown = {name: np.asarray(image.get_array()) for name, image in browser_.pictures.images.items()}
        ldct = slices.ldct(Place(0, index))
        assert np.array_equal(shown[LDCT], ldct) and np.array_equal(shown["E1"], ldct + 10)
        assert np.array_equal(np.asarray(browser_.pictures.errors["E1"].get_array()), ldct + 10 - shown[NDCT])
    assert "z = −1.0 mm, SIMULATED" in said(browser_.status) and "53 × 37 pixels" in said(browser_.numbers)
    browser_.window.value = "bone"
    assert {image.get_clim() for image in browser_.pictures.images.values()} == {WINDOWS["bone"].limits}
    browser_.series.value = 1
    browser_.latest.wait()
    assert browser_.place == (1, 0) and browser_.slice.disabled
    browser_.boxes["mse"].value = False
    browser_.latest.wait()
    assert set(browser_.pictures.images) == {LDCT, NDCT, "E1"}


def test_all_panels_have_one_zoom_and_the_numbers_follow(study, tmp_path):
    slices, _ = store(tmp_path)
    browser_ = Browser(slices, Labels.of(study), ["mse"], SEED)
    axes = [image.axes for image in (*browser_.pictures.images.values(), *browser_.pictures.errors.values())]
    axes[-1].set(xlim=(9.5, 29.5), ylim=(39.5, 6.5))  # as the toolbar does
    browser_.latest.wait()
    assert {each.get_xlim() for each in axes} == {(9.5, 29.5)} and "33 × 20 pixels" in said(browser_.numbers)
    ldct, ndct = slices.ldct(browser_.place), slices.ndct(browser_.place)
    cells = numbers(ldct, ndct, slices.tissue(browser_.place), Box(7, 40, 10, 30), WINDOW).cells()
    assert " ".join(cells) in " ".join(said(browser_.numbers).split())
    assert browser_.pictures.length.get_text() == "10 mm"  # of 40 mm across
    browser_.slice.value = 0
    assert axes[0].get_ylim() == (39.5, 6.5)  # stays


def test_networks_are_those_of_their_files(tmp_path):
    """One network with the weights of each in turn answers like each network by itself."""
    from lib.denoiser.inference import denoise
    from lib.networks.unet import unet

    single = {name: unet(2, seed=seed) for seed, name in enumerate(("E1", "E2"))}
    files = {name: tmp_path / f"{name}.weights.h5" for name in single}
    for name, network in single.items():
        network.save_weights(files[name])
    networks = Networks(UNet(channels=2, output_bias="zero"), files)
    for name in ("E1", "E2", "E1"):
        ours, theirs = networks(name, phantom()[0]), denoise(single[name], phantom()[0])
        assert np.abs(ours - theirs).max() < 0.1 and ours.shape == SHAPE
    assert np.abs(networks("E1", phantom()[0]) - networks("E2", phantom()[0])).max() > 1


def test_of_several_requests_the_newest_matters():
    latest, begun, shown = Latest(pause=0.0), threading.Event(), []
    go_on = threading.Event()

    def work(name: str) -> Iterator:
        begun.set()
        for part in range(3):
            go_on.wait(30)
            yield lambda part=part: shown.append((name, part))

    latest.ask(lambda: work("first"))
    assert begun.wait(30)
    for name in ("second", "third"):
        latest.ask(lambda name=name: work(name))
    go_on.set()
    latest.wait()
    assert shown == [("third", part) for part in range(3)]


def test_an_error_in_the_thread_is_none_that_nobody_sees():
    latest = Latest(pause=0.0)

    def work() -> Iterator:
        yield lambda: None
        raise ZeroDivisionError

    for later in (0, 0.1):  # while it works, and when it has long ended
        latest.ask(work)
        time.sleep(later)
        with pytest.raises(ZeroDivisionError):
            latest.wait()
    latest.wait()  # said once


def training(folder: Path, name: str, steps: int, perceptual: bool = True) -> Path:
    """A training's folder after some steps, three an epoch; the last line is being written."""
    place = folder / name / f"seed-{SEED}"
    place.mkdir(parents=True)
    with (place / "log.csv").open("w", newline="") as stream:
        rows = [[name, SEED, step, 1 + (step - 1) // 3, 0.5 + step, 0.1 * step, 0.9 if perceptual else 0] for step in
                range(1, steps + 1)]
        csv.writer(stream).writerows([["experiment", "seed", "step", "epoch", "loss", "mse", "psi"], *rows])
        stream.write(f"{name},{SEED},{steps + 1},1")
    return place


def test_a_monitor_says_how_each_training_stands(study, tmp_path):
    folder = tmp_path / "training"
    finished, stopped, working = (training(folder, name, steps, name != "mse") for name, steps in
                                  (("mse", 6), ("E1", 4), ("E2", 2)))
    (finished / "stamp.json").write_text("{}")
    pd.DataFrame({"epoch": [1, 2], "val_total": [3.0, 2.0], "val_mse": [0.3, 0.2], "val_psi": np.nan}).to_csv(
        finished / "history.csv", index=False)
    (stopped / "step-000000003.json").write_text(json.dumps(
        {"rows": [{"epoch": 1, "val_loss": 9.0, "val_mse": 0.7, "val_psi": 0.6}]}))
    (stopped / "step-000000004.json").write_text("{")  # cut by a kill
    with FileLock(working / ".lock"):
        found = {each.experiment: each for each in trainings(folder)}
        assert {name: each.state for name, each in found.items()} == {"mse": FINISHED, "E1": BROKEN_OFF, "E2": AT_WORK}
        panel = Monitor(folder, study.profile, Labels.of(study), {"E1": 2})
        words = " ".join(said(panel.rows).split())
    assert "1 training of 3 finished" in words and "2 of 2 4 4.5 0.4 0.900 0.7" in words  # E1, in its second epoch
    assert words.index("E2, seed 5 at work") < words.index("mse, seed 5 finished") < words.index("E1, seed 5 broken off")
    assert found["mse"].steps["psi"].isna().all() and found["E1"].epochs["loss"].tolist() == [9.0]
    line, marks = panel.lines["E1, seed 5", "loss"]
    assert line.get_ydata() == pytest.approx([1.5, 2.5, 3.5, np.nan, 4.5], nan_ok=True)  # broken where an epoch begins
    assert marks.get_xydata().tolist() == [[3, 9]]
    with (working / "log.csv").open("a") as stream:
        stream.write(f",3,3,3\nE2,{SEED},9,3,7,7,0.5\n")
    panel.button.click()
    assert panel.lines["E2, seed 5", "loss"][0].get_ydata()[-1] == 7
    assert panel.canvas.figure.axes == list(panel.axes.values())
    assert [ago(seconds) for seconds in (5, 400, 9000, 400000)] == ["5 s ago", "7 min ago", "2 h ago", "5 days ago"]


# From a key to its picture: milliseconds of each move, in `answers`.
DRAWN = """picture => picture.width > 800 && new Set(new Uint32Array(
    picture.getContext("2d").getImageData(0, 0, picture.width, picture.height).data.buffer)).size > 50"""
WATCH = """picture => {
  const draw = CanvasRenderingContext2D.prototype.drawImage;
  let pressed = 0;
  window.answers = [];
  addEventListener("keydown", () => { pressed = performance.now(); }, true);
  CanvasRenderingContext2D.prototype.drawImage = function (...image) {
    draw.apply(this, image);
    if (pressed && this.canvas === picture) { window.answers.push(performance.now() - pressed); pressed = 0; }
  };
}"""


@contextmanager
def jupyterlab(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """JupyterLab on the notebooks in ``folder``/notebooks, with settings of its own there; it ends with the block, and its
    kernels with it. Yields the address of its page, with '{}' for the path of a notebook."""
    settings = folder / "settings" / "@jupyterlab"
    for name, content in (("apputils-extension/notification", {"fetchNews": "false", "checkForUpdates": False}),
                          ("notebook-extension/tracker", {"windowingMode": "none"})):
        path = settings / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    own = {name: str(folder / name.lower()) for name in (
        "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")}
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root",
               f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder / 'notebooks'}",
               "--ServerApp.port_retries=0",
               "--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate"]
    environment = {**os.environ, **own, "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "JUPYTER_PREFER_ENV_PATH": "1",
                   "PYTHONPATH": str(REPOSITORY), **environment}
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(300):
            try:
                urlopen(f"http://127.0.0.1:{port}/api", timeout=5).close()
                break
            except (URLError, OSError):
                assert process.poll() is None, (folder / "log.txt").read_text()
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/lab/tree/{{}}?token={token}"
    finally:
        process.send_signal(signal.SIGTERM)  # it ends its kernels, which have process groups of their own
        try:
            process.wait(20)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_in_jupyterlab(smoke, tmp_path, record_property):
    """Run all: three panels, no error; a key on a slider changes the picture. How fast is recorded (--junit-xml), not asked
    for."""
    (tmp_path / "notebooks").mkdir()
    shutil.copy(REPOSITORY / "notebooks" / "explore.ipynb", tmp_path / "notebooks")
    with chromium() as opened, jupyterlab(tmp_path, {"PROFILE": "smoke", "OUTPUT": str(smoke)}) as address:
        page, elsewhere, wrong = opened.new_page(viewport={"width": 1400, "height": 1000}), [], []
        page.on("request", lambda request: elsewhere.append(request.url) if not re.match(
            r"(http|ws)://127\.0\.0\.1:|data:|blob:", request.url) else None)
        page.on("console", lambda message: wrong.append(message.text) if "Error setting state" in message.text else None)
        page.set_default_timeout(60_000)
        page.goto(address.format("explore.ipynb"))
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        page.locator(".lm-MenuBar-item", has_text="Run").click()
        page.get_by_text("Run All Cells", exact=True).click()
        page.wait_for_function("document.querySelectorAll('.jupyter-matplotlib').length == 3")
        page.get_by_text("each image beside the NDCT").wait_for()
        for name, key in (("λ", "ArrowRight"), ("Slice", "ArrowLeft")):
            cell = page.locator(".jp-CodeCell", has=page.locator(f".widget-slider .widget-label:text-is('{name}')"))
            picture = cell.locator(".jupyter-matplotlib canvas").first
            page.wait_for_function(DRAWN, arg=picture.element_handle())  # the canvas is there before its picture
            before = picture.evaluate("picture => picture.toDataURL()")
            picture.evaluate(WATCH)
            cell.locator(".noUi-handle").first.focus()
            for move in range(1, 4):
                page.keyboard.press(key)
                page.wait_for_function(f"window.answers.length == {move}")
            assert picture.evaluate("picture => picture.toDataURL()") != before
            record_property(f"milliseconds of a move, {name}", page.evaluate("window.answers"))
        for kind in ("error", "stderr"):
            assert page.locator(f"[data-mime-type='application/vnd.jupyter.{kind}']").all_inner_texts() == []
        assert elsewhere == [] and wrong == []
