"""A model that is handed on: the same answers as here, from Keras alone; the same bytes; a card that is right."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from lib import REPOSITORY
from lib.artifacts.files import file_sha256, write_csv
from lib.artifacts.provenance import commit
from lib.deploy import model as models
from lib.deploy.export import as_asset, export
from lib.errors import OutputError, StageError, TrainingError, WeightsError
from lib.report.labels import Labels
from lib.study.runs import Run

RUN = Run("E1", 5)


class Range(NamedTuple):
    kernels: tuple[str, ...] = ("B30", "D45")
    thickness_mm: tuple[float, float] = (1.0, 3.0)
    pixel_mm: tuple[float, float] = (2.734375, 2.734375)


@pytest.fixture
def trained(study):
    """The smoke study with the weights of one run, drawn at random and far from zero everywhere."""
    from lib.networks.unet import unet

    network, random = unet(**study.unet.architecture, seed=3), np.random.default_rng(8)
    network.set_weights([each + random.normal(0, 0.05, each.shape).astype(np.float32) for each in network.get_weights()])
    weights = study.paths.weights(RUN)
    weights.parent.mkdir(parents=True)
    network.save_weights(weights)
    return study, network


def export_to(folder, study, run=RUN, trained=None):
    return export(folder, run, study.paths, study.unet, Labels.of(study), trained)


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.full)])
def test_keras_alone_runs_the_snippet_of_the_card_and_answers_as_the_project_does(trained, tmp_path, backend):
    from lib.denoiser.inference import denoise

    study, network = trained
    folder = tmp_path / "out"
    export_to(folder, study)
    hu = np.random.default_rng(1).uniform(-1500, 3500, (2, 45, 70)).astype(np.float32)
    np.save(folder / "in.npy", hu)
    (snippet,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    code = (f"{snippet}\nimport sys\nnp.save('out.npy', denoise(np.load('in.npy')))\n"
            "assert not [name for name in sys.modules if name.split('.')[0] == 'lib']\n"
            "print(model.input_shape, model.output_shape, sorted({type(layer).__name__ for layer in model.layers}))\n")
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = subprocess.run([sys.executable, "-I", "-c", code], cwd=folder, capture_output=True, text=True,
                           env=plain | {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1"})
    assert found.returncode == 0, found.stderr
    assert found.stdout.split("\n")[0] == ("(None, None, None, 1) (None, None, None, 1) "
                                           "['Functional', 'InputLayer', 'Rescaling']")
    expected, answer = denoise(network, hu), np.load(folder / "out.npy")
    assert np.ptp(expected) > 20 and answer.shape == hu.shape
    assert np.abs(answer - expected).max() < 0.02  # float32 of 4096 HU, and sums in another order


def test_the_scale_is_exactly_the_projects(trained):
    """Bit by bit, by one way of computing."""
    from lib.data.hu import denormalise, normalise
    from lib.deploy.export import in_hu

    _, network = trained
    hu = np.random.default_rng(2).uniform(-3000, 5000, (3, 32, 48, 1)).astype(np.float32)
    assert np.array_equal(np.asarray(in_hu(network)(hu, training=False)),
                          denormalise(np.asarray(network(normalise(hu), training=False))))


def test_equal_weights_give_equal_bytes_and_checksums_that_hold(trained, tmp_path):
    study, _ = trained
    first = export_to(tmp_path / "one", study)
    again = export_to(tmp_path / "one", study)  # over its own
    other = export_to(tmp_path / "two", study)
    assert first == again and first.sha256 == other.sha256 == file_sha256(tmp_path / "two" / "model.keras")
    assert str(first).endswith(f"SHA-256 {first.sha256}; its card is README.md") and "0.3 MB" in str(first)
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["README.md", "SHA256SUMS", "model.keras"]
    for line in (tmp_path / "two" / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        checksum, name = re.fullmatch(r"([0-9a-f]{64})  ([\w.]+)", line).groups()
        assert hashlib.sha256((tmp_path / "two" / name).read_bytes()).hexdigest() == checksum
    with zipfile.ZipFile(tmp_path / "two" / "model.keras") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        config = archive.read("config.json").decode()
    assert "shared_object_id" not in config and "Lambda" not in config and "date_saved" not in config


def test_a_larger_model_than_a_release_asset_says_so():
    from lib.deploy.export import Exported

    assert "12.0 MB, more than the 10 MB of a release asset" in str(Exported(REPOSITORY, "ab", 12.0))


def test_what_was_not_trained_is_refused_and_nothing_is_written(trained, tmp_path):
    study, network = trained
    with pytest.raises(StageError, match=r"E2, seed 5 of the smoke profile has not been trained; run make paper PROFILE="):
        export_to(tmp_path / "out", study, Run("E2", 5))
    with pytest.raises(StageError, match=r"E1, seed 99 of the smoke profile has not been trained; choose --seed from 5$"):
        export_to(tmp_path / "out", study, Run("E1", 99))
    (study.paths.weights(RUN).parents[1] / "seed-5 (copy)").mkdir()
    (study.paths.weights(RUN).parents[1] / "seed-5 (copy)" / "unet.weights.h5").touch()
    with pytest.raises(StageError, match="E1, seed 5 of the smoke profile has not been trained; run make paper"):
        models.load(RUN, study.paths, study.unet, Labels.of(study))  # its weights are there, and no stamp says that it ended
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="holds files that the export did not write"):
        export_to(tmp_path / "mine", study)
    network.set_weights([each * np.float32("nan") for each in network.get_weights()])
    network.save_weights(study.paths.weights(RUN))
    with pytest.raises(TrainingError, match="NaN"):
        export_to(tmp_path / "out", study)
    study.paths.weights(RUN).write_bytes(b"no weights")
    with pytest.raises(WeightsError):
        export_to(tmp_path / "out", study)
    assert not (tmp_path / "out").exists() and (tmp_path / "mine" / "README.md").read_text(encoding="utf-8") == "mine"


def _left(study) -> dict:
    """What the stamp of a training knows of the weights that are there."""
    weights = study.paths.weights(RUN)
    return {weights.name: [weights.stat().st_size, 0, file_sha256(weights)]}


def test_weights_that_the_training_did_not_leave_are_not_handed_on_under_its_name(trained, tmp_path):
    study, network = trained
    (study.paths.training(RUN) / "stamp.json").write_text(json.dumps({"outputs": _left(study)}), encoding="utf-8")
    network.set_weights([each + 1 for each in network.get_weights()])
    network.save_weights(study.paths.weights(RUN))
    with pytest.raises(WeightsError, match="not the weights that its training left"):
        export_to(tmp_path / "out", study)
    assert not (tmp_path / "out").exists()


def test_checksums_of_others_make_no_folder_an_export(trained, tmp_path):
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "README.md").write_text("mine", encoding="utf-8")
    (tmp_path / "release" / "SHA256SUMS").write_text("00  README.md\n11  thesis.pdf\n", encoding="utf-8")
    with pytest.raises(OutputError, match="SHA256SUMS is not of an export"):
        export_to(tmp_path / "release", trained[0])
    assert (tmp_path / "release" / "README.md").read_text(encoding="utf-8") == "mine"


def test_a_card_without_measurements_says_so(trained, tmp_path):
    study, _ = trained
    export_to(tmp_path / "out", study)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    for part in ("Ψ has not been measured", "Γ, its share in the gradient, has not been measured", "has not been evaluated",
                 "Trained range: not known", "left no stamp", "Trained on a SIMULATED cohort", "RESEARCH USE ONLY"):
        assert part in card, part
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["license"] == "mit" and front["library_name"] == "keras" and "simulated-data" in front["tags"]
    card = card.replace("[None, ..., None]", "")  # of the snippet
    assert str(tmp_path) not in card and not re.search(r"\{\{|\{%|\bNone\b|\bnan\b", card)


def test_the_numbers_of_a_card_are_those_of_the_tables(trained, committed, tmp_path):
    study, _ = trained
    figures, committed = study.paths.figures, committed / "demo"
    (figures / "supplement").mkdir(parents=True)
    for name in ("calibration.csv", "claims.csv", "supplement/exchange.csv"):
        shutil.copy(committed / name, figures / name)
    random, rows = np.random.default_rng(9), []
    for experiment, seed in (("ldct", pd.NA), ("E1", 5), ("E1", 6), ("E2", 5)):
        rows += [{"experiment": experiment, "seed": seed, "patient": f"SIM0{patient}", **{
            name: random.uniform() for name in ("ssim", "ssim_body", "psnr", "nrmse", "ssim_window", "psnr_window",
                                                "bias_liver_hu", "noise_liver_hu", "ndct_noise_liver_hu")},
                  "bias_spleen_hu": np.nan} for patient in (1, 1, 2, 3, 4)]
    metrics = pd.DataFrame(rows)
    write_csv(study.paths.metrics, metrics)
    stamp = {"commit": "0123456789", "versions": {"keras": "3"}, "arithmetic": [{"processor": "X", "cores": 2}],
             "config": {"loss": {"encoder": "vgg16"}}, "outputs": _left(study), "key": ""}
    (study.paths.training(RUN) / "stamp.json").write_text(json.dumps(stamp), encoding="utf-8")
    evaluation = study.paths.evaluation / "E1_seed-5.json"
    evaluation.parent.mkdir(parents=True)
    for weights in ("of an earlier training", file_sha256(study.paths.weights(RUN))):
        evaluation.write_text(json.dumps({"inputs": {"weights": weights}}), encoding="utf-8")
        export_to(tmp_path / "out", study, trained=Range())
        card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
        assert ("It has not been evaluated" in card) == (weights == "of an earlier training")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    network = models.load(RUN, study.paths, study.unet, Labels.of(study))
    for made_from in (card.replace("\\|", "|"), network.provenance["made_from"]):  # trained there, handed on here
        assert "| commit 0123456789 | config" in made_from and f"| commit {commit()} | config" not in made_from

    means = metrics.groupby(["experiment", "seed", "patient"], dropna=False)[["ssim", "bias_liver_hu"]].mean().reset_index()
    ours = means[(means["experiment"] == "E1") & (means["seed"] == 5).fillna(False).astype(bool)]
    apart = ours["ssim"].to_numpy() - means.loc[means["experiment"] == "ldct", "ssim"].to_numpy()
    low, high = stats.t.interval(0.95, 3, apart.mean(), stats.sem(apart))
    assert f"{apart.mean():+z.3f} [{low:+z.3f}, {high:+z.3f}]" in card and f"| {ours['ssim'].mean():.3f} [" in card
    assert f"| {ours['bias_liver_hu'].mean():+z.1f} [" in card and "spleen" not in card and "4 test patients" in card
    psi = pd.read_csv(committed / "calibration.csv").query("experiment == 'E1' and seed == 5 and state == 'own'")
    assert f"| this network's own weights (last epoch) | 4.11e-7  | {psi['psi_alg2'].item():.3g} " in card
    gamma = pd.read_csv(committed / "supplement" / "exchange.csv").query(
        "configuration == 'E1' and seed == 5 and `at` == 'used' and state == 'untrained'")
    assert f"{gamma['gamma_output'].item():.3g}" in card and "has not been measured" not in card
    claims = re.findall(r"^\* (.*\*\*(?:stands|falls|undecided)\*\*.*)$", card, re.MULTILINE)
    assert len(claims) > 5 and all("E1" in each for each in claims)
    assert "kernels B30 and D45; slice thickness 1 to 3 mm; pixel spacing 2.73 mm; HU -1024 to 3072." in card
    assert "Trained by commit | 0123456789" in card and "processor X, cores 2" in card and not re.search(r"\bnan\b", card)


def test_an_asset_is_one_file_with_the_same_bytes(tmp_path):
    for name in ("README.md", "model.keras", "SHA256SUMS"):
        (tmp_path / "E1").mkdir(exist_ok=True)
        (tmp_path / "E1" / name).write_text(f"contents of {name}")
    first = as_asset(tmp_path / "E1", tmp_path).read_bytes()
    (tmp_path / "E1" / "model.keras").touch()
    assert as_asset(tmp_path / "E1", tmp_path).read_bytes() == first
    with zipfile.ZipFile(tmp_path / "E1.zip") as archive:
        assert archive.testzip() is None
        assert {each: archive.read(each).decode() for each in archive.namelist()} == {
            f"E1/{name}": f"contents of {name}" for name in ("README.md", "model.keras", "SHA256SUMS")}
