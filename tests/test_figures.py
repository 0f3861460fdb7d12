"""Figures: readable at the width of a page, small, the same twice, and showing the numbers that they are given."""

import re

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Text
from PIL import Image

from lib import REPOSITORY
from lib.paper import published
from lib.perceptual import presets
from lib.report import captions, curves, exchange, figures, image_quality, image_quality_figures, psi_picture, quality, style
from lib.report.labels import Labels
from lib.report.words import slice_name
from lib.stages.exchange import exchange_table
from lib.study.config import load_study
from lib.workflow.supplement import supplement
from tests.test_image_quality import PIXEL, measured
from tests.test_supplement import made_up

DEEP = {"E2", "E4", "baseline"}


@pytest.fixture
def labels(study) -> Labels:
    return Labels.of(study)


@pytest.fixture
def drawn(monkeypatch) -> list:
    """The figures that are saved from now on."""
    found, save = [], style.save_figure
    for module in (figures, curves, exchange, image_quality_figures, psi_picture, quality):
        monkeypatch.setattr(module, "save_figure", lambda labels, figure, *rest, **options: found.append(figure)
                            or save(labels, figure, *rest, **options))
    return found


def slices(size=(61, 83)) -> dict[str, np.ndarray]:
    """A body of noisy soft tissue in air, a little brighter in each image."""
    generator, place = np.random.default_rng(0), np.indices(size)
    inside = sum(((each - side / 2) / (0.45 * side)) ** 2 for each, side in zip(place, size, strict=True)) < 1
    return {name: np.where(inside, 50 + 5 * number + generator.normal(0, 60, size), -1000).astype(np.float32)
            for number, name in enumerate(("ndct", "ldct", *presets.paper()))}


def three_states() -> pd.DataFrame:
    """Losses at which a deep layer's Psi is .95 at 1e-2, a shallow one's at 1e-6; two seeds of the own state."""
    rows = []
    for name in (*published.CALIBRATED, "baseline", "ImageNet middle"):
        pl = 19e-4 / {True: 1e-2, False: 1e-6}[name in DEEP]
        phi = "block5_conv3" if name in DEEP else "block4_conv3" if name == "ImageNet middle" else "block3_conv2"
        for state, seeds in (("untrained", (5,)), ("pilot", (5,)), ("own", (5, 6) if name in presets.paper() else ())):
            rows += [{"experiment": name, "seed": seed, "state": state, "phi": phi, "mse": 1e-4, "pl": pl,
                      "target_psi": 0.95,
                      "context": "Medical" if name in ("E3", "E4") else "ImageNet",
                      "lambda_used": published.LAMBDAS.get(name, np.nan)} for seed in seeds]
    return pd.DataFrame(rows)


def pair_losses() -> dict[str, pd.DataFrame]:
    """Two pairs; the perceptual loss is all in one, the MSE in both."""
    pairs = pd.DataFrame({"mse": [1e-4, 1e-4], "E1": [0.0, 200.0]})
    return {"untrained": pairs, "pilot": pairs}


def histories(seeds=(5, 6, 7)) -> dict[tuple[str, int], pd.DataFrame]:
    found = {(name, seed): pd.DataFrame({"epoch": [1, 2], "total": [0.8, 0.4], "mse": [0.2, 0.2], "pl": 7.0,
                                         "psi": [0.75, 0.5], "gamma": [0.9, 0.8]})
             for name in presets.paper() for seed in seeds}
    for (name, _), history in found.items():
        if name == "mse":
            history[["pl", "psi", "gamma"]] = np.nan
        for column in ("total", "mse", "psi"):
            history[f"val_{column}"] = history[column]
    return found


def scores(seeds=(5, 6)) -> pd.DataFrame:
    """Two series of three patients: SSIM .8 + .01 patient + .001 seed, a tenth more after each network."""
    return pd.DataFrame([
        {"experiment": name, "seed": seed, "patient": f"SIM0{patient}", "kernel": kernel, "thickness_mm": 1.0, "scan": 1,
         "index": 3, "ssim": 0.8 + 0.01 * patient + (0 if name == "ldct" else 0.1 + 0.001 * (seed - 5)), "ssim_body": 0.7,
         "bias_liver_hu": -5.0 + patient, "bias_spleen_hu": np.nan, "noise_liver_hu": 12.0, "ndct_noise_liver_hu": 30.0,
         "grid_2": 1.0, "grid_16": 2.5}
        for name in ("ldct", "E1", "E2") for seed in ([pd.NA] if name == "ldct" else seeds)
        for patient in (1, 2, 3) for kernel in ("B30", "D45")]).astype({"seed": "Int64"})


def exchanged() -> pd.DataFrame:
    """The exchange rates of three losses."""
    return exchange_table(made_up({"E1": 4.0, "E2": 20.0, "E4": 12.0}, states=("untrained", "pilot", "own")), {})


def transfer(labels: Labels, simulated: bool = True):
    found, scored = measured(simulated=simulated)
    table = image_quality.image_quality_table(found, scored, dict.fromkeys(("SIM01", "SIM02", "SIM03"), PIXEL))
    return image_quality_figures.figure_transfer(labels, found, table, image_quality.detectability(found))


def residuals(labels: Labels, simulated: bool = True):
    found, _ = measured(simulated=simulated)
    images = slices()
    shown = {name: image - images["ndct"] + 30 for name, image in images.items() if simulated or name != "ndct"}
    return image_quality_figures.figure_noise(labels, found, shown, images["ndct"], "SIM04", PIXEL)


FIGURES = {
    "fig1": lambda labels: figures.figure1(labels, slices()["ldct"], slices()["ndct"], "SIM04", 0.7),
    "fig2": lambda labels: curves.figure2(labels, three_states(), pair_losses()),
    "fig3": lambda labels: figures.figure3(labels, slices(), "SIM04", 0.7),
    "fig_psi": lambda labels: psi_picture.figure_psi(labels, three_states()),
    "fig_training": lambda labels: curves.figure_training(labels, histories()),
    "fig_ssim": lambda labels: quality.figure_ssim(labels, scores()),
    "exchange": lambda labels: exchange.figure_exchange(labels, exchanged(), histories()),
    "image_quality": residuals,
    "image_quality_transfer": transfer,
}


def check_colour_bars(figure) -> None:
    """Each map of numbers has a colour bar; CT numbers and their differences are in HU, these white at 0."""
    maps = [image for axes in figure.findobj(Axes) for image in axes.images]
    known = {(image.cmap.name, image.get_clim()): image.colorbar.ax for image in maps if image.colorbar}
    assert {(image.cmap.name, image.get_clim()) for image in maps} == set(known)
    for (name, (low, high)), bar in known.items():
        if name.startswith(style.MAPS["power"]):
            continue
        assert "(HU)" in bar.get_xlabel() + bar.get_ylabel()
        if name.startswith(style.MAPS["difference"]):
            assert low == -high and min(mpl.colormaps["RdBu_r"].resampled(style.LEVELS)(0.5)[:3]) > 0.96


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_readable_and_carry_their_provenance(labels, drawn, name):
    png = FIGURES[name](labels)
    assert png == labels.figures / f"{name}.png"
    dpi = style.SLICES_DPI if name in ("fig3", "image_quality") else style.DPI
    with Image.open(png) as image:
        assert image.info["dpi"] == pytest.approx((dpi, dpi), abs=0.1) and image.width == int(180 / 25.4 * dpi)
        assert image.info["Description"] == labels.provenance and np.asarray(image.convert("L")).std() > 5
    pdf = png.with_suffix(".pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and b"CreationDate" not in pdf
    assert sorted(path.name for path in png.parent.iterdir()) == [f"{name}.pdf", f"{name}.png"]
    whole = drawn[0].get_figure(root=True)
    check_colour_bars(whole)
    texts = [each for each in whole.findobj(Text) if each.get_text() and each.get_visible()]
    assert len(texts) > 8 and min(each.get_size() for each in texts) >= 7
    assert whole.get_size_inches()[0] == pytest.approx(180 / 25.4) and whole.get_size_inches()[1] <= 247 / 25.4


@pytest.mark.parametrize("figure", [residuals, transfer])
def test_without_a_truth_there_are_no_spectra_and_no_lesions(labels, drawn, figure):
    for simulated in (True, False):
        figure(labels, simulated)
    with_truth, without = (each.get_figure(root=True).get_size_inches()[1] for each in drawn)
    assert without < with_truth


def test_figures_are_the_same_twice_and_leave_pyplot_as_it_is(labels):
    from matplotlib import pyplot

    files = [labels.figures / f"fig_ssim.{ending}" for ending in ("png", "pdf")]
    first = [FIGURES["fig_ssim"](labels), *(path.read_bytes() for path in files)]
    assert first == [FIGURES["fig_ssim"](labels), *(path.read_bytes() for path in files)]
    assert not pyplot.get_fignums()


def test_figure1_has_a_box_as_large_as_a_training_patch_and_a_bar_of_known_length(labels, drawn):
    FIGURES["fig1"](labels)
    whole, _, zoom, _ = drawn[0].axes[:4]
    box, = whole.patches
    assert box.get_width() == box.get_height() == labels.settings["patch_size"] == 32
    assert zoom.images[0].get_array().shape == (32, 32)
    bar, = whole.lines
    assert np.ptp(bar.get_xdata()) == pytest.approx(10 / 0.7) and whole.texts[0].get_text() == "10 mm"


def test_pixels_of_unknown_size_have_no_bar(labels, drawn):
    figures.figure1(labels, slices()["ldct"], slices()["ndct"], "SIM04", np.nan)
    assert not [line for axes in drawn[0].axes[:4] for line in axes.lines]


def test_figure3_shows_images_their_window_and_errors_on_one_scale(labels, drawn):
    images = slices()
    FIGURES["fig3"](labels)
    pictures = [axes.images[0] for axes in drawn[0].axes if axes.images]
    grey = [each for each in pictures if each.get_clim() == (-160, 240)]
    errors = [each for each in pictures if each.get_clim() != (-160, 240)]
    assert len(grey) == 16 and len(errors) == 7 and len({each.get_clim() for each in errors}) == 1
    low, high = errors[0].get_clim()
    assert low == -high
    inside = images["ndct"] > -500
    difference = (images["E4"] - images["ndct"])[inside].astype(float)
    titles = [axes.get_title() for axes in drawn[0].axes if "E4" in axes.get_title()]
    assert titles == [f"{labels.experiments['E4'].label}\nRMSE {np.sqrt((difference**2).mean()):.1f}, "
                      f"bias {difference.mean():+.1f} HU"]


def test_figure3_of_whole_slices_stays_below_a_megabyte(labels):
    """At the noise of the LDCT in every one of eight images: more than networks leave."""
    assert figures.figure3(labels, slices((512, 512)), "SIM04", 0.7).stat().st_size < 1e6


def test_figure2_colour_is_the_context_and_line_style_the_depth(labels, drawn):
    FIGURES["fig2"](labels)
    panels = dict(zip(curves.STATES, drawn[0].axes, strict=True))
    for state, count in {"untrained": 6, "pilot": 6, "own": 5, "authors": 4}.items():
        lines = [line for line in panels[state].lines if len(line.get_xdata()) == len(curves.LAMBDAS)]
        assert len(lines) == count
        looks = [(line.get_color(), line.get_linestyle()) for line in lines[:4]]
        assert looks == [("#0072b2", "-"), ("#0072b2", "--"), ("#d55e00", "-"), ("#d55e00", "--")]
        markers = [line for line in panels[state].lines if line.get_marker() not in ("", "None", None)]
        assert len(markers) == {"authors": 4}.get(state, 5) and {each.get_markerfacecolor() for each in markers} == {"none"}
        assert len({(each.get_marker(), each.get_markersize()) for each in markers}) == len(markers)
    shallow = panels["own"].lines[1]
    assert np.interp(-6, np.log10(shallow.get_xdata()), shallow.get_ydata()) == pytest.approx(0.95, abs=1e-3)
    assert "VGG-19" in panels["authors"].get_title() and "block5_conv4" in panels["authors"].get_title()


def test_figure2_says_how_far_equation_5_is_off(labels, drawn):
    """Half of the pairs have no perceptual loss: Eq. 5 tends to 1/2 where Algorithm 2 tends to 1."""
    FIGURES["fig2"](labels)
    texts = [text.get_text() for text in drawn[0].axes[0].texts]
    assert texts == ["Eq. 5 differs\nby 0.500 at most"] and not drawn[0].axes[2].texts


def test_training_curves_have_every_seed_the_target_and_one_scale(labels, drawn):
    FIGURES["fig_training"](labels)
    for row in np.reshape(drawn[0].axes, (2, 4)):
        assert [len(panel.lines) for panel in row] == [18, 18, 18, 19]
        assert row[3].lines[-1].get_ydata() == [0.95, 0.95]
        assert row[0].get_ylim() == row[1].get_ylim() == row[2].get_ylim()
        weighted = row[2].lines[-1].get_ydata()
        assert weighted.tolist() == pytest.approx([0.6, 0.2])  # total - MSE


def test_ssim_has_a_line_per_patient_a_bar_and_a_whisker(labels, drawn):
    FIGURES["fig_ssim"](labels)
    panel = drawn[0].axes[0]
    lines = [line.get_ydata() for line in panel.lines if len(line.get_xdata()) == 3 and line.get_color() == "0.7"]
    np.testing.assert_allclose(lines, [0.01 * each + np.array([0.8, 0.9005, 0.9005]) for each in (1, 2, 3)])
    segments = [each.get_segments()[0] for each in panel.collections]
    bars = [each[0, 1] for each in segments if each[0, 1] == each[1, 1]]
    assert bars == pytest.approx([0.82, 0.9205, 0.9205])
    whiskers = [each[:, 1].tolist() for each in segments if each[0, 0] == each[1, 0]]
    assert whiskers == [pytest.approx([0.92, 0.921])] * 2
    assert panel.get_title() == "B30, 1 mm: 3 patients, 1 slice each"


def test_regions_are_means_and_the_noise_of_a_perfect_image(labels):
    shown = quality.regions_table(labels, scores())
    kept = pd.read_csv(labels.figures / "regions.csv").set_index("experiment")
    assert list(kept.columns) == ["ssim_body", "bias_liver_hu", "noise_liver_hu", "grid_2", "grid_16", "provenance"]
    assert kept.loc["E1", "bias_liver_hu"] == -3 and kept.loc["NDCT", "noise_liver_hu"] == 30
    assert shown.iloc[1].tolist() == ["E1", "0.700", "-3.0", "12.0", "1.0", "2.5"]
    assert shown.iloc[-1].tolist() == ["NDCT", "–", "–", "30.0", "–", "–"]


def test_a_slice_has_a_name():
    assert slice_name({"patient": "SIM09", "kernel": "B30", "thickness_mm": 1.0, "z_mm": -61.3}) == (
        "SIM09, B30, 1 mm, z = -61.3 mm")


def test_the_picture_of_psi_has_the_shares_of_the_losses(labels, drawn):
    """MSE 1e-4 and lambda* 1e-6 or 1e-2 at .95: with lambda 1 Psi is PL / (MSE + PL), 19e6 to 1 and 1900 to 1."""
    table = three_states()
    more = table[table["state"] == "pilot"].assign(seed=6, mse=3e-4)  # another seed: its MSE is three times as large
    found = psi_picture.shares(pd.concat([table, more], ignore_index=True))
    assert found.loc["E1", "lambda_star"] == pytest.approx(2e-6) and found.loc["E4", "lambda_star"] == pytest.approx(2e-2)
    assert found.loc["E1", "psi_one"] == pytest.approx(9.5e6 / (1 + 9.5e6), rel=1e-12)
    assert found.loc["E4", "psi_one"] == pytest.approx(950 / 951) and found["psi_star"].tolist() == pytest.approx([0.95] * 6)
    assert found["trained"].tolist() == [True] * 5 + [False] * (len(found) - 5)
    FIGURES["fig_psi"](labels)
    step, before, after, curve = drawn[0].findobj(Axes)
    assert "perceptual\nloss PL" in [text.get_text() for text in step.texts]
    for panel, shares in ((before, (19e6, 1900, 19e6, 1900)), (after, [19] * 4)):
        pixel, perceptual = (bars.patches for bars in panel.containers)
        assert [bar.get_width() for bar in perceptual] == pytest.approx([share / (1 + share) for share in shares])
        assert [bar.get_x() for bar in perceptual] == pytest.approx([bar.get_width() for bar in pixel])
    assert [tick.get_text() for tick in before.get_yticklabels()] == list(published.CALIBRATED)
    marks = [line for line in curve.lines if len(line.get_xdata()) == 1]
    assert [float(mark.get_xdata()[0]) for mark in marks] == pytest.approx([1e-6, 1e-2] * 2)
    assert {float(mark.get_ydata()[0]) for mark in marks} == {0.95}


def test_every_figure_of_every_stage_has_a_caption_and_no_caption_is_of_none():
    """Also of 06, which needs real scans."""
    study = load_study("demo")
    real = study.paths.real_data / "volumes" / "manifest.csv"
    real.parent.mkdir(parents=True)
    real.touch()
    promised = {path.relative_to(study.paths.figures) for wave in supplement(study) for stage in wave
                for path in stage.outputs if path.suffix == ".png"}
    assert {str(path.with_suffix("")) for path in promised} == set(captions.FIGURES) and len(promised) == 19
    for path in promised:
        title, alt = captions.caption_of(study.paths.figures / path)
        assert title.endswith(".") and title.count(". ") == 0 and len(alt) > 150 and alt.endswith(".")


def test_each_quantity_has_one_colour_map_and_nobody_else_chooses_one():
    assert len(set(style.MAPS.values())) == len(style.MAPS)
    for path in (REPOSITORY / "lib" / "report").glob("*.py"):
        assert path.name == "style.py" or not re.search(r"colormaps|cmap=[\"']", path.read_text(encoding="utf-8")), path


def test_small_text_is_refused(labels):
    figure = style.new_figure(labels, 1.0)
    figure.text(0.5, 0.5, "too small", size=6.9)
    with pytest.raises(ValueError, match="less than 7 points: too small"):
        style.save_figure(labels, figure, "small")
    assert not list(labels.figures.glob("small*"))


def test_ink_has_the_better_contrast_and_numbers_have_their_minus():
    assert [style.ink(colour) for colour in ("white", "#d55e00", "#56b4e9", "#00224e", "#000000")] == [
        "black", "black", "black", "white", "white"]
    assert style.minus("VGG-16, z = -61.3 mm, 4.1e-7, [-160, 240], LIDC-IDRI-0001") == (
        "VGG-16, z = −61.3 mm, 4.1e−7, [−160, 240], LIDC-IDRI-0001")


@pytest.mark.parametrize("words", [1, 40, 90])
def test_a_footer_has_lines_of_about_equal_length(words):
    lines = style.in_footer(" ".join(["provenance"] * words)).splitlines()
    assert len(lines[-1]) > 0.4 * max(map(len, lines)) and len(lines) == -(-words // 12)


def test_the_smoke_figures_fit_a_page_and_are_below_a_megabyte(smoke_study):
    files = list(smoke_study.paths.figures.rglob("*.png"))
    assert {captions.caption_of(path) for path in files} == set(captions.FIGURES.values()) - {captions.FIGURES["fig3_real"]}
    for path in files:
        with Image.open(path) as image:
            width, height = (25.4 * pixels / dpi for pixels, dpi in zip(image.size, image.info["dpi"], strict=True))
        assert width == pytest.approx(180, abs=0.2) and height < 247.5 and path.stat().st_size < 1e6, path
