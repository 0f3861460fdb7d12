"""The whole study: two runs of smoke are identical, and the paper profile runs on a tree in Mayo's form."""

import json

import keras
import numpy as np
import pandas as pd
from PIL import Image

from lib.data.store import reading
from lib.paper import published
from lib.perceptual import encoders
from lib.report.labels import Labels
from lib.stages import calibrate, evaluate, inputs, train
from lib.stages.preprocess import prepare
from lib.study import load_study
from lib.study.paths import Paths
from lib.study.runs import Run
from lib.workflow.stages import stages
from tests import trees
from tests.conftest import SECOND

TABLES = ("table1", "table2", "table3", "table4", "calibration", "self_consistency", "training", "encoder_comparison",
          "probe", "regions")
FIGURES = {"fig1": 300, "fig_psi": 300, "fig2": 300, "fig3": 180, "fig_training": 300, "fig_ssim": 300}  # dots per inch


def test_two_runs_give_identical_weights_and_tables(smoke, second):
    first, second = Paths(smoke, "smoke"), Paths(second, "smoke")
    for run in (Run(SECOND, 5), Run("pilot", 5)):
        one, other = (json.loads((paths.training(run) / "stamp.json").read_text()) for paths in (first, second))
        assert one["key"] == other["key"] and one["outputs"]["unet.weights.h5"][2] == other["outputs"]["unet.weights.h5"][2]
    assert first.manifest.read_bytes() == second.manifest.read_bytes()
    for name in ("metrics", "influence"):
        one, other = (pd.read_csv(getattr(paths, name)) for paths in (first, second))
        one = one[one["experiment"].isin(set(other["experiment"]))].reset_index(drop=True)
        assert SECOND in set(other["experiment"])
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_every_file_that_others_rely_on_is_there(smoke):
    made = Paths(smoke, "smoke")
    for name in TABLES:
        for ending in ("csv", "md", "tex"):
            assert (made.figures / f"{name}.{ending}").stat().st_size > 200
        provenance = pd.read_csv(made.figures / f"{name}.csv")["provenance"].unique()
        assert len(provenance) == 1 and "smoke profile" in provenance[0] and "SIMULATED" in provenance[0]
    assert all(f"**RQ{number}**" in (made.figures / "claims.md").read_text(encoding="utf-8") for number in (1, 2, 3))
    assert pd.read_csv(made.figures / "claims.csv").columns[:7].tolist() == [
        "claim", "question", "estimate", "low", "high", "paper", "verdict"]
    for name, dpi in FIGURES.items():
        with Image.open(made.figures / f"{name}.png") as image:
            assert [round(value) for value in image.info["dpi"]] == [dpi, dpi] and np.asarray(image).std() > 10
        assert (made.figures / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    table = pd.read_csv(made.figures / "table3.csv")
    assert table["experiment"].tolist() == ["ldct", "mse", "baseline", "E1", "E2", "E3", "E4"]
    scores = ["ssim_mean", "ssim_sd", "psnr_mean", "psnr_sd", "nrmse_mean", "nrmse_sd", "rank"]
    assert table.columns[1:8].tolist() == scores and {f"paper_{name}" for name in scores} <= set(table.columns)
    assert table[["ssim_body", "bias_liver_hu"]].notna().all(axis=None) and table["psi_own"].notna().sum() == 6
    assert {"seeds", "ssim_seed_sd", "psnr_seed_sd", "nrmse_seed_sd"} <= set(table.columns)
    states = pd.read_csv(made.figures / "calibration.csv")
    assert {"mse", "pl", "psi_eq5", "psi_alg2", "lambda_exact", "lambda_decade", "lambda_used"} <= set(states.columns)
    assert set(states["state"]) == {"untrained", "pilot", "own"}
    metrics = pd.read_csv(made.metrics)
    assert metrics.groupby("experiment").size().nunique() == 1 and set(metrics["patient"]) == {"SIM04"}


def test_the_paper_profile_on_a_tree_in_mayo_form(tmp_path, monkeypatch):
    """Real code, small input: ten patients in Mayo's layout, 32 channels, 96 x 96, batch 16, a random VGG-19 file."""
    data = tmp_path / "mayo"
    for number, patient in enumerate(sorted(patient for part in published.SPLIT.values() for patient in part)):
        for dose, folder in {"full": "full_3mm", "quarter": "quarter_3mm"}.items():
            trees.mayo(data, f"3mm B30/{folder}/{patient}/{folder}", patient=patient, dose=dose, thickness_mm=3.0,
                       z=(0.0, 2.0, 4.0), hu=trees.image(number, 97, 110))
    for name, seed in {"VGG19_WEIGHTS": 1, "MEDICAL_WEIGHTS": 2}.items():
        keras.utils.set_random_seed(seed)
        path = tmp_path / f"{name}.weights.h5"
        encoders.network("vgg19").save_weights(path)
        monkeypatch.setenv(name, str(path))
    monkeypatch.setenv("DATA", str(data))
    study = load_study("paper")
    study = study.model_copy(update={"training": study.training.model_copy(update={"epochs": 1})})
    manifest = prepare(study)
    assert len(manifest) == 60 and set(manifest["collection"]) == {"mayo2016"}
    train.train(study, study.pilot_run, 0.0)
    table = calibrate.calibrate(study).set_index(["experiment", "state"])
    used = {name: table["lambda_used"][name, "pilot"] for name in published.LAMBDAS}
    assert used == published.LAMBDAS, "the published four, and the literature's"
    assert table["phi"]["E4", "pilot"] == "block5_conv4" and table["context"]["E4", "pilot"] == "Medical"
    run = Run("E4", 5)
    history = train.train(study, run, calibrate.lambda_used(study, "E4"))
    assert len(history) == 1 and np.isfinite(history.to_numpy()).all()
    assert train.load_unet(study.unet, study.paths.weights(run)).count_params() == published.UNET_PARAMETERS
    scores = evaluate.evaluate(study, run)
    assert set(scores["patient"]) == {"L096", "L506"} and len(scores) == 6 and scores["ssim"].between(-1, 1).all()


def test_normal_dose_scans_of_unknown_patients_become_a_paired_cohort(tmp_path, monkeypatch):
    """DATA and INSERT: noise, pairs, a division with a stated seed, honest labels, and no identity anywhere."""
    rows, columns = np.mgrid[:40, :36] - 18.0
    body = np.where(np.hypot(rows, columns) < 14, 40.0, -1000.0)
    for number in range(3):
        noise = np.random.default_rng(number).normal(0, 12, body.shape)
        name = f"Zyxwell{number}"  # no file's checksum or time can hold it by chance
        trees.foreign(tmp_path / "scans", name, patient_id=name, PatientName=name, name="Zyxwell{i}.dcm", hu=body + noise)
    monkeypatch.setenv("DATA", str(tmp_path / "scans"))
    monkeypatch.setenv("INSERT", "0.1")
    study = load_study("smoke")
    manifest = prepare(study, jobs=1)
    assert set(manifest["collection"]) == {"inserted"} and manifest["paired"].all() and len(manifest) == 12
    assert manifest.groupby("dose")["dose_fraction"].unique().map(list).to_dict() == {"full": [1.0], "quarter": [0.1]}
    parts = inputs.subsets(study)
    assert [part["patient"].nunique() for part in parts.values()] == [1, 1, 1]
    row = parts["test"].iloc[0]
    low, full = (reading.open_volume(study.paths.volumes, row[dose]).slice(row["index"]).astype(float)
                 for dose in ("ldct", "ndct"))
    inside = np.hypot(rows, columns) < 11
    assert (low - full)[inside].std() > 2 * full[inside].std(), "nine tenths of the photons are gone"
    line = Labels.of(study).provenance
    assert "low dose INSERTED by simulation, patients divided at random, seed 5" in line
    assert stages(study)[0][0].name == "00_insert"
    text = "".join(path.read_text(encoding="utf-8", errors="replace") + str(path.relative_to(study.paths.root))
                   for path in study.paths.artifacts.rglob("*") if path.is_file())
    assert "zyxwell" not in text.lower()
