"""S3: Table 1 as losses, what stands in for what; table, figure and claims on made-up numbers and the smoke study."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lib.networks import any_network
from lib.paper import published
from lib.perceptual import LossConfiguration, encoders, presets
from lib.perceptual.literature import presets as literature
from lib.perceptual.ranges import known_range
from lib.perceptual.rules import EpochRatio
from lib.report.labels import Labels
from lib.report.preset_claims import _pays, preset_claims
from lib.report.presets import answers, figure_presets, presets_shown, start_word
from lib.report.sentences import sentence
from lib.report.verdicts import frame
from lib.stages.autoencoder import autoencoder, equal_parts
from lib.stages.presets import END, START, SUMS, Trained, log_odds_by_patient, preset_table
from lib.study import load_study
from lib.study.grid import Arm, Grid
from lib.study.preset_grid import PresetGrid, Row, corresponding, here, preset_grid, without_adversarial
from lib.study.runs import Run
from lib.study.sections import Encoder

PACKAGE, KERAS = Encoder(architecture="vgg16", weights="package"), Encoder(architecture="vgg19", weights="keras")
PATIENTS = ("A", "B", "C", "D")


def test_every_row_of_table_1_is_a_preset():
    """With its encoder, its lambda, its context and, where it says so, its layers; Mahmoud's has two variants."""
    every = literature()
    for row in published.TABLE_1:
        mine = [each for each in every.values() if each.reference.startswith(row.reference)]
        assert len(mine) == (2 if row.reference == "Mahmoud et al. [8]" else 1), row.reference
        for preset in mine:
            rule = preset.loss.lambda_
            assert isinstance(rule.moves, EpochRatio) if row.lambda_ == "Adaptive" else rule.value == float(row.lambda_)
            if row.phi.startswith("block"):
                assert ", ".join(preset.loss.layer_names) == row.phi
            tuned = {"ImageNet": "ImageNet", "Medical": "SACNN", "ImageNet + Medical": "Medical"}[row.context]
            assert preset.loss.weights == tuned
            named = {"VGG-19": "vgg19", "VGG-16": "vgg16", "VGG": "vgg19", "Autoencoder": "sacnn",
                     "ResNet-50": "torchvision_resnet50"}  # fmt: skip
            assert preset.loss.encoder == named[row.encoder]
            assert not (row.phi == "NS" and preset.confidence in ("high", "medium"))
    others = [each.reference for each in every.values() if "[" not in each.reference]
    assert others == ["ldct-benchmark's WGAN-VGG", "LPIPS-like distance"]
    assert all(each.citation and (each.assumed or each.confidence == "high") for each in every.values())
    assert every["Huang-2021"].confidence == "very low"


def test_vqgans_l1_is_of_images_from_minus_1_to_1():
    assert literature()["LPIPS-like"].loss.pixel_part.terms == (("l1", 2.0),)


def test_a_preset_is_plain_data():
    for preset in literature().values():
        assert LossConfiguration.from_dict(preset.loss.as_dict()) == preset.loss


@pytest.mark.parametrize(("layer", "of", "on", "expected"), [
    ("block5_conv4", "vgg19", "vgg16", "block5_conv3"), ("block5_conv4:before", "vgg19", "vgg16", "block5_conv3:before"),
    ("block3_conv3", "vgg16", "vgg19", "block3_conv4"), ("block3_conv2", "vgg19", "vgg16", "block3_conv2"),
    ("block4_conv3", "vgg19", "vgg16", "block4_conv3"), ("layer1", "torchvision_resnet50", "vgg19", "block3_conv4"),
    ("layer3", "torchvision_resnet50", "vgg16", "block5_conv3"), ("layer4", "torchvision_resnet50", "vgg16", "block5_pool"),
])  # fmt: skip
def test_the_corresponding_layer(layer, of, on, expected):
    assert corresponding(layer, of, on) == expected


def test_what_stands_in_says_so():
    every = literature()
    loss, said = here(every["Yang-2018"], PACKAGE, True, {})
    assert (loss.encoder, loss.layer_names, loss.reduction) == ("vgg16", ("block5_conv3",), "sum")
    assert said == ("vgg16 (the packaged trunk) at block5_conv3 for vgg19 at block5_conv4, whose weights cannot be had "
                    "offline")
    loss, said = here(every["Saidulu-2025"], KERAS, True, {})
    assert loss.weights == "Medical" and said.startswith("vgg19 (the Medical encoder of this study) for vgg19")
    loss, said = here(every["Saidulu-2025"], KERAS, False, {})
    assert loss.weights == "ImageNet" and "for vgg19, whose weights are not public" in said
    loss, said = here(every["CT-Mamba"], KERAS, True, {})  # Keras's ResNet-50 is another network
    assert loss.encoder == "vgg19" and "layer1, layer2, layer3, layer4, of which no file was brought" in said


def test_keras_and_files_that_a_user_brings_have_the_networks_themselves():
    for name in ("Yang-2018", "Marcos-2025", "Huang-2021"):
        assert here(literature()[name], KERAS, True, {}) == (literature()[name].loss, "")
    files = {"torchvision_resnet50": Path("r.npz"), "torchvision_vgg16": Path("w.npz"),
             "torchvision_vgg19": Path("v.safetensors")}
    for name, file in (("CT-Mamba", "r.npz"), ("LPIPS-like", "w.npz"), ("ldct-benchmark", "v.safetensors")):
        preset = literature()[name]
        for encoder in (KERAS, PACKAGE):
            assert here(preset, encoder, True, files) == (replace(preset.loss, weights=file), "")
    assert set(files) == {f"torchvision_{each.loss.encoder.removeprefix('torchvision_')}"
                          for each in literature().values() if each.of_torch}


@pytest.mark.parametrize("encoder", [KERAS, PACKAGE])
def test_keras_weights_see_what_they_were_trained_on_in_torchvisions_place(encoder):
    """Standardised numbers times 255 x 0.226 are grey levels less ImageNet's mean; LPIPS's own mean and SD are caffe's."""
    every, sd = literature(), 255 * 0.226
    loss, said = here(every["LPIPS-like"], encoder, True, {})
    assert (loss.input_range, loss.preprocessing) == ((0, 255), "caffe") and "shown [0, 255] less means" in said
    loss, said = here(every["CT-Mamba"], encoder, True, {})
    assert loss.input_range == pytest.approx((0, sd)) and loss.preprocessing == "none" and "57.6 times" in said
    loss, said = here(every["ldct-benchmark"], encoder, True, {})
    assert (loss.preprocessing.mean, loss.preprocessing.sd) == pytest.approx((481.454, 502.185 / sd))
    assert "of which no file was brought" in said if encoder is KERAS else "cannot be had offline" in said
    assert known_range("loss", here(every["LPIPS-like"], KERAS, True, {})[0], np.linspace(0, 1, 99)) == ([], [])
    state = encoder.model_copy(update={"weights": Path("w.npz")})  # of torchvision already
    assert here(every["LPIPS-like"], state, True, {})[0].preprocessing == "torch"


def test_the_grid_trains_equal_losses_once():
    demo = preset_grid(load_study("demo"))
    arms = {name: row.arm.name for name, row in demo.rows.items()}
    assert arms["Zhang-2024"] == "Li-2020-equal" and arms["Trung-2019"] == arms["baseline"] == "baseline-equal"
    assert len(set(arms.values())) == len(demo.grid.all_arms()) == 18 and list(demo.rows)[:2] == ["Yang-2018", "Li-2020"]
    swept = demo.grid.of(load_study("demo"))
    assert swept.experiments == tuple(arm.name for arm in demo.grid.all_arms())  # none is the study's own training
    assert swept.configurations["CT-Mamba-equal"].pixel_part.terms == (("l1", 100.0),)


def test_a_small_study_takes_few_and_critics_only_where_they_are_wanted(study):
    small = preset_grid(study)
    assert list(small.rows) == ["Yang-2018", "Li-2020", "mse", "baseline"]
    assert all(row.loss.adversarial is None for row in small.rows.values())
    wanted = study.model_copy(update={"supplement": study.supplement.model_copy(update={"adversarial": True})})
    rows = preset_grid(wanted).rows
    row = rows["Yang-2018"]
    assert row.loss.adversarial.penalty == 10 and row.preset.left_out == "" and "norms over rows" in row.preset.assumed
    assert rows["Li-2020"].loss.adversarial is None and rows["Li-2020"].preset.left_out.startswith("the adversarial term")


def test_what_the_sources_say_of_the_critic():
    """WGAN-GP only where they do; what a critic here does otherwise is assumed, with it and without."""
    every = literature()
    assert {name for name, each in every.items() if "WGAN-GP" in each.left_out} == {"Yang-2018", "ldct-benchmark"}
    assert {name for name, each in every.items() if each.adversarial} == {"Yang-2018", "ldct-benchmark"}
    assert "0.326" in every["ldct-benchmark"].assumed and without_adversarial(every["ldct-benchmark"].left_out) == ""
    kept = without_adversarial(every["Saidulu-2025"].left_out)
    assert kept == "their own VGG-19 tuned on CT" and without_adversarial(kept) == kept


def made_up(decades: dict[str, float], seeds=(5, 6), pixel="mse") -> tuple[PresetGrid, pd.DataFrame, Trained]:
    """Presets whose odds of Psi are 10^decades with every patient, of Gamma ten times that; the scores rise with them."""
    original = literature()["Trung-2019"]
    loss = replace(presets.paper()["baseline"], pixel=pixel)
    rows = {name: Row(original._replace(reference=name, loss=loss), loss, "", Arm(name, "equal")) for name in decades}
    control = presets.paper()["mse"]
    named = original._replace(reference="Viana et al., this paper: mse", loss=control)
    rows["mse"] = Row(named, control, "", Arm("mse", "equal"))
    grid = PresetGrid(Grid(losses=tuple(rows), arms={"equal": {}}, seeds=seeds), rows)
    random, pairs, histories, logs, scores = np.random.default_rng(1), [], {}, {}, {}
    for name, row in rows.items():
        for seed in seeds:
            run = Run(row.arm.name, seed)
            histories[run] = pd.DataFrame({"lambda": [0.1, 0.1], "seconds": [6.0, 4.0]})
            logs[run] = pd.DataFrame({"step": [10, 20]})
            value = 0.8 + 0.01 * decades.get(name, 0)
            scores[run] = pd.DataFrame({"experiment": run.experiment, "seed": seed, "patient": PATIENTS, "ssim": value,
                                        "psnr": 40 * value, "nrmse": 1 - value})
            for state, further in ((START, 0), (END, 1)):
                for patient in PATIENTS if name != "mse" else ():
                    size = random.uniform(1, 2)
                    odds = 10 ** (decades[name] + further)
                    pairs.append(dict(zip(SUMS, (size, 10 * odds * size, 1.0, 100 * odds), strict=True))
                                 | {"arm": row.arm.name, "state": state, "patient": patient, "seed": seed})
    return grid, pd.DataFrame(pairs), Trained(histories, logs, scores)


def test_the_table_has_what_algebra_says():
    grid, found, trained = made_up({"a": 1.0, "b": -2.0})
    table = preset_table(grid, found, trained).set_index("preset")
    assert {"evidence", "psi_start", "psi_end", "gamma_start", "gamma_end", "lambda_exact", "seconds_per_step", "ssim",
            "encoder_here"} <= set(table)  # fmt: skip
    assert table.loc["a", ["psi_start", "psi_end", "gamma_start"]].tolist() == pytest.approx([10 / 11, 100 / 101, 100 / 101])
    assert table.loc["b", "psi_start"] == pytest.approx(1 / 101)
    assert table.loc["a", "lambda_exact"] == pytest.approx(0.1 * 19 / 10) and table.loc["a", "lambda_used"] == 0.1
    assert table.loc["a", "seconds_per_step"] == pytest.approx(0.4) and table.loc["a", "seeds"] == 2
    assert table.loc["mse", ["psi_start", "gamma_end"]].tolist() == [0, 0] and pd.isna(table.loc["mse", "lambda_exact"])


def test_without_a_pixel_term_psi_is_1_and_lambda_stands_beside_mse():
    grid, found, trained = made_up({"a": 1.0}, pixel=None)
    row = preset_table(grid, found, trained).iloc[0]
    assert row[["psi_start", "psi_end", "gamma_start", "gamma_end"]].tolist() == [1, 1, 1, 1]
    assert row["lambda_exact"] == pytest.approx(0.19) and row["pixel"] == "none"
    assert log_odds_by_patient(grid, found, trained.histories) == {}
    assert "no pixel term" in answers(preset_table(grid, found, trained), frame([]))[0]


@pytest.mark.parametrize(("decades", "comparable", "calibrated"), [
    ({"a": 1.3, "b": 1.0, "c": 1.2, "d": 1.25, "e": 1.1, "f": 1.05, "g": 1.15, "h": 1.22}, "stands", "stands"),
    ({"a": 3.0, "b": -2.0, "c": 0.0, "d": 1.0, "e": 2.0, "f": -1.0, "g": 0.5, "h": 1.5}, "falls", "falls"),
])  # fmt: skip
def test_claims_follow_the_spread(decades, comparable, calibrated):
    grid, found, trained = made_up(decades, seeds=(5, 6, 7))
    table = preset_table(grid, found, trained)
    logs = {share: log_odds_by_patient(grid, found, trained.histories, share) for share in ("psi", "gamma")}
    assert logs["psi"]["a"].shape == (4, 3) and logs["psi"]["a"] == pytest.approx(decades["a"])
    assert logs["gamma"]["b"] == pytest.approx(decades["b"] + 1)
    claims = preset_claims(table, logs, pd.concat(trained.scores.values()), 0.002)
    psi, gamma, exact, pays, *_ = claims.to_dict("records")
    assert psi["verdict"] == gamma["verdict"] == comparable and exact["verdict"] == calibrated
    assert psi["estimate"] == pytest.approx(max(decades.values()) - min(decades.values()))
    assert pays["estimate"] == pytest.approx(1) and pays["verdict"] == "stands"  # the scores rise with it
    assert "over 8 systems, as if none were alike; permuted p = 0.000" in pays["note"]  # 1 in 20,160 orders is as far
    few = {name: logs["gamma"][name] for name in list(decades)[:7]}  # under eight an interval would mean nothing
    rows = preset_claims(table, {**logs, "gamma": few}, pd.concat(trained.scores.values()), 0.002)
    assert not rows["claim"].str.startswith("Over the systems").any()
    assert answers(table, claims)[1] == ("After 20 steps each, of 8 trainings: better than MSE alone in SSIM stands for "
                                         f"{sum(each > 0.2 for each in decades.values())} and falls for "
                                         f"{sum(each <= 0 for each in decades.values())}, and is undecided for 0.")
    each = claims[claims["claim"].str.startswith("a: better than MSE alone in SSIM")].iloc[0]
    assert each["estimate"] == pytest.approx(0.01 * decades["a"]) and each["verdict"] == "stands"
    assert all(sentence(claim) for claim in claims.to_dict("records")) and len(claims) == 5 + 2 * 8


def test_whether_influence_pays_is_a_question_of_systems():
    """Scores that hang on the system and not on its influence, the same with all patients and seeds: decided as often as an
    interval of 95 % may be, not because there are many patients. Rows of one training count once."""
    random, decided = np.random.default_rng(3), []
    names = [f"s{number}" for number in range(10)]
    table = pd.DataFrame({"preset": [*names, "twin"], "trained_as": [*names, names[0]]})
    for _ in range(40):
        logs = {name: np.full((4, 2), random.normal()) for name in names}
        logs["twin"] = logs[names[0]]
        metrics = pd.DataFrame([{"experiment": name, "patient": patient, "seed": seed, "ssim": value}
                                for name in names for value in [random.normal()] for patient in PATIENTS for seed in (5, 6)])
        found = _pays(logs, table, metrics, "ssim", "SSIM")
        decided.append(found["verdict"] != "undecided")
        assert found["note"].startswith("over 10 systems")
    assert sum(decided) <= 6  # binomial: more than 6 of 40 at 5 % in 1 of 300


def test_one_seed_decides_nothing():
    grid, found, trained = made_up({"a": 3.0, "b": -2.0}, seeds=(5,))
    table = preset_table(grid, found, trained)
    logs = {share: log_odds_by_patient(grid, found, trained.histories, share) for share in ("psi", "gamma")}
    claims = preset_claims(table, logs, pd.concat(trained.scores.values()), 0.002)
    assert "of 2 trainings: better than MSE alone in SSIM stands for 0 and falls for 0, and is undecided for 2" in answers(
        table, claims)[1]
    assert set(claims["verdict"]) == {"undecided"} and claims["note"].str.contains("no interval from 1 seed").all()


def test_figure_and_table_have_a_line_for_each(study, tmp_path):
    grid, found, trained = made_up({"a": 3.0, "b": -7.0, "c": 0.0})
    table = preset_table(grid, found, trained)
    labels = Labels.of(study).beside(tmp_path)
    table.loc[0, "encoder_here"] = "vgg16 for vgg19"
    assert figure_presets(labels, table, 0.002).is_file()
    scratch = replace(labels, settings={**labels.settings, "start": "scratch"})
    assert (start_word(labels), start_word(scratch)) == ("pilot", "MSE alone, trained")
    shown = presets_shown(labels, table)
    assert shown["System"].tolist() == ["a*", "b", "c", "Viana et al., this paper: mse"]
    assert shown["Ψ"][1] == "1e-7 to 1e-6"
    assert len(pd.read_csv(tmp_path / "presets.csv")) == 4
    assert "Ψ goes from 1e-7 (b) to 1 − 9.99e-4 (a): 10.0 decades of odds" in answers(table, frame([]))[0]


def test_an_autoencoder_has_the_size_of_its_image():
    encoder = encoders.network("sacnn")
    assert [layer.name for layer in encoder.layers][-1] == "block3_conv4" and encoder.output.shape[-1] == 256
    image = np.random.default_rng(2).uniform(0, 1, (2, 12, 20, 1)).astype(np.float32)
    assert autoencoder(encoder)(image).shape == image.shape
    assert [equal_parts(steps) for steps in (1, 2, 6, 7, 400)] == [1, 2, 3, 1, 5]  # no step is lost


def test_the_smoke_study_has_the_influence_that_s1_finds(smoke_study):
    """The paper's baseline with the pilot, of the same pairs; and an encoder that this study trained."""
    paths = smoke_study.paths
    table = pd.read_csv(paths.supplement / "presets.csv").set_index("preset")
    assert list(table.index) == ["Yang-2018", "Li-2020", "mse", "baseline"]
    assert table["provenance"].str.contains("SIMULATED").all()
    exchange = pd.read_csv(paths.supplement / "exchange.csv")
    (same,) = exchange.query("configuration == 'baseline' and state == 'pilot' and at == 'used'").to_dict("records")
    assert table.loc["baseline", "psi_start"] == pytest.approx(same["psi_alg2"], rel=1e-4)
    assert table.loc["baseline", "gamma_start"] == pytest.approx(same["gamma_output"], rel=1e-4)
    assert (table.loc["Yang-2018", ["psi_start", "psi_end"]] == 1).all() and table["ssim"].between(0, 1).all()
    assert any_network.network("sacnn", smoke_study.weights("SACNN"))
    history = pd.read_csv(paths.autoencoder / "history.csv")
    assert np.isfinite(history["rmse_hu"]).all() and (paths.supplement / "claims_S3.csv").is_file()
