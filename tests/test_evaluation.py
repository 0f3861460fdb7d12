"""Metrics against scikit-image and the paper's footnotes; the cached evaluation on a small store of volumes."""

import json

import numpy as np
import pandas as pd
import pytest
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio, structural_similarity

from lib.data import split
from lib.data.hu import denormalise, normalise
from lib.data.slices import example_row
from lib.denoiser.inference import denoise
from lib.errors import CohortError, StageError, StudyError, TrainingError
from lib.metrics.image_quality import Scores, authors_metrics, window_metrics
from lib.networks.unet import unet
from lib.simulation.anatomy import LABEL
from lib.simulation.contents import SIMULATED_CONTENTS
from lib.stages.evaluate import ORGANS, evaluate, load_examples
from lib.study import load_study
from lib.study.runs import Run

REGIONS = ("soft_tissue", *ORGANS)


@pytest.fixture
def images():
    """Two images of odd shape, (37, 53), HU, some of it outside [-1024, 3072]."""
    generator = np.random.default_rng(0)
    ndct = generator.uniform(-1200, 3300, (37, 53)).astype(np.float32)
    return ndct + generator.normal(0, 60, ndct.shape).astype(np.float32), ndct


def test_authors_metrics_equal_scikit_image_on_three_channels(images):
    image, ndct = (normalise(each) for each in images)
    as_authors = [np.repeat((np.clip(each, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=-1)
                  for each in (image, ndct)]
    scores = authors_metrics(image, ndct)
    assert scores.ssim == structural_similarity(as_authors[1], as_authors[0], data_range=255, channel_axis=-1)
    psnr = peak_signal_noise_ratio(as_authors[1], as_authors[0], data_range=255)
    assert scores.psnr == pytest.approx(psnr, rel=1e-12)
    assert scores.nrmse == pytest.approx(normalized_root_mse(as_authors[1], as_authors[0]), rel=1e-12)


def test_window_metrics_equal_scikit_image(images):
    scaled = [(np.clip(each.astype(float), -160, 240) + 160) / 400 for each in images]
    scores = window_metrics(*images)
    assert scores.ssim == structural_similarity(scaled[1], scaled[0], data_range=1.0)
    assert scores.psnr == pytest.approx(peak_signal_noise_ratio(scaled[1], scaled[0], data_range=1.0), rel=1e-12)
    assert scores.nrmse == pytest.approx(normalized_root_mse(scaled[1], scaled[0]), rel=1e-12)


def test_footnotes_3_and_4(images):
    y_hat, y = ((np.clip(each.astype(float), -160, 240) + 160) / 400 for each in images)
    scores = window_metrics(*images)
    assert scores.nrmse == pytest.approx(np.linalg.norm(y_hat - y) / np.linalg.norm(y))
    assert scores.psnr == pytest.approx(20 * np.log10(1 / np.sqrt(np.mean((y_hat - y) ** 2))))


def test_quantisation_truncates():
    """15 HU are lost in uint8 (16 HU a level), 17 are not."""
    ndct = np.full((8, 8), 1 / 255 + 1e-6)
    assert authors_metrics(ndct + 0.9 / 255, ndct) == Scores(1.0, np.inf, 0.0)
    assert authors_metrics(ndct + 1.1 / 255, ndct).nrmse == pytest.approx(1.0)


def test_identical_images_have_infinite_psnr(images):
    assert authors_metrics(normalise(images[1]), normalise(images[1])) == Scores(1.0, np.inf, 0.0)
    assert window_metrics(images[1], images[1]) == Scores(1.0, np.inf, 0.0)


def test_black_reference_has_infinite_nrmse():
    assert authors_metrics(np.ones((9, 7)), np.zeros((9, 7))).nrmse == np.inf


class Fake:
    """A 'U-Net' that brightens by 41 HU and records the shapes that it saw."""

    def __init__(self, answer=0.01):
        self.answer, self.shapes = answer, []

    def __call__(self, batch, training):
        assert not training
        self.shapes.append(batch.shape)
        return batch + np.float32(self.answer)


@pytest.mark.parametrize("shape", [(37, 53), (3, 37, 53), (2, 32, 48), (1, 5, 200)])
def test_denoise_keeps_shape_and_place(shape):
    unet, ldct = Fake(), np.random.default_rng(1).uniform(-1000, 1000, shape)
    output = denoise(unet, ldct)
    assert output.shape == shape and output.dtype == np.float32
    np.testing.assert_allclose(output, ldct + 40.96, atol=1e-2)
    _, rows, columns, channels = unet.shapes[0]
    assert rows % 16 == columns % 16 == 0 and channels == 1 and rows - shape[-2] < 16


def test_one_network_denoises_slices_of_several_sizes():
    """As a graph for each: Keras's bilinear layers cannot be part of one for all."""
    network, generator = unet(2, seed=1, upsampling="bilinear"), np.random.default_rng(1)
    for shape in ((16, 16), (20, 36), (32, 17)):
        ldct = generator.uniform(-1000, 1000, shape)
        expected = denormalise(np.asarray(network(np.pad(normalise(ldct), [(0, -side % 16) for side in shape],
                                                         mode="reflect")[None, ..., None]))[0, : shape[0], : shape[1], 0])
        np.testing.assert_allclose(denoise(network, ldct), expected, atol=1e-2)


def test_denoise_refuses_nan():
    with pytest.raises(TrainingError, match="train it again"):
        denoise(Fake(np.nan), np.zeros((16, 16)))


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A smoke study whose test patient SIM04 has two series of 3 slices, 20 x 24 pixels: liver but for its edge."""
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    study = load_study("smoke")
    generator, rows = np.random.default_rng(2), []
    study.paths.volumes.mkdir(parents=True)
    for patient in ("SIM01", "SIM04"):
        for kernel in ("B30", "D45"):
            for name in ("ldct", "ndct"):
                volume = generator.integers(-500, 500, (3, 20, 24)).astype(np.int16)
                np.save(study.paths.volumes / f"{patient}_{kernel}_{name}.npy", volume)
            rows += [{"patient": patient, "kernel": kernel, "thickness_mm": 1.0, "scan": 1, "index": index,
                      "z_mm": index * 0.8, "pixel_mm": 0.7, "ldct": f"{patient}_{kernel}_ldct.npy",
                      "ndct": f"{patient}_{kernel}_ndct.npy"}
                     for index in range(3)]
    table = pd.DataFrame(rows)
    table.to_csv(study.paths.manifest, index=False)
    (study.data / "masks").mkdir(parents=True)
    labels = np.pad(np.full((3, 14, 18), LABEL["liver"], np.uint8), ((0, 0), (3, 3), (3, 3)), mode="edge")
    np.savez(study.data / "masks" / "SIM04.npz", labels=labels, z_mm=np.arange(3) * 0.8)
    (study.data / SIMULATED_CONTENTS).write_text("file,sha256\n")
    monkeypatch.setattr(split, "subsets", lambda store, chosen, seed: {
        name: table[table["patient"].isin(part)] for name, part in chosen.items()})
    return study


def test_evaluate_gives_a_row_a_slice_and_the_example(study):
    table = evaluate(study, None)
    assert list(table.columns) == [
        "experiment", "seed", "patient", "kernel", "thickness_mm", "scan", "index", "z_mm", "pixel_mm", "ssim", "psnr",
        "nrmse", "ssim_window", "psnr_window", "nrmse_window", "ssim_body",
        *(f"{what}_{region}_hu" for what in ("bias", "noise", "ndct_noise") for region in REGIONS),
        "grid_2", "grid_4", "grid_8", "grid_16"]
    assert table["patient"].unique().tolist() == ["SIM04"] and len(table) == 6
    low, full = (np.load(study.paths.volumes / f"SIM04_D45_{name}.npy")[2] for name in ("ldct", "ndct"))
    assert table.iloc[5]["ssim"] == pytest.approx(authors_metrics(normalise(low), normalise(full)).ssim)
    assert table.iloc[5]["bias_liver_hu"] == pytest.approx((low.astype(float) - full).mean())
    examples = load_examples(study.paths.examples, study.experiments, 5)
    assert set(examples) == {"ldct", "ndct"} and examples["ndct"].dtype == np.float32
    np.testing.assert_array_equal(examples["ldct"], np.load(study.paths.volumes / "SIM04_B30_ldct.npy")[1])


def test_fewer_slices_of_each_series_are_evaluated(study, monkeypatch):
    monkeypatch.setenv("SET", "evaluation.slices_per_series=1")
    assert evaluate(study, None)["index"].tolist() == [0, 1, 2, 0, 1, 2]
    assert evaluate(load_study("smoke"), None)["index"].tolist() == [1, 1]
    monkeypatch.setenv("SET", "evaluation.slices_per_series=0")
    with pytest.raises(StudyError, match="evaluation.slices_per_series: .*greater than 0"):
        load_study("smoke")


def test_lost_masks_are_one_clear_line(study):
    (study.data / "masks" / "SIM04.npz").unlink()
    with pytest.raises(CohortError, match=r"SIM04.npz.*simulate the cohort again"):
        evaluate(study, None)


def test_evaluation_is_cached_and_follows_its_inputs(study):
    evaluate(study, None)
    stamp = study.paths.evaluation / "ldct.json"
    first = stamp.stat().st_mtime_ns
    evaluate(study, None)
    assert stamp.stat().st_mtime_ns == first
    study.paths.manifest.write_text(study.paths.manifest.read_text() + "\n")
    evaluate(study, None)
    assert stamp.stat().st_mtime_ns != first and "manifest" in json.loads(stamp.read_text())["inputs"]


def test_network_without_weights_is_one_clear_line(study):
    with pytest.raises(StageError, match="E1, seed 5 has no weights; train it first"):
        evaluate(study, Run("E1", 5))


def test_example_is_the_middle_slice_of_the_first_series():
    found = pd.DataFrame({"patient": list("aaaaabb"), "kernel": ["B30"] * 5 + ["B30"] * 2,
                           "thickness_mm": [1.0, 1.0, 1.0, 3.0, 3.0, 1.0, 1.0], "scan": 1})
    assert example_row(found) == 1


def test_denormalise_inverts():
    assert denormalise(normalise(np.array([-1024, 40, 3071]))).tolist() == [-1024, 40, 3071]


@pytest.mark.filterwarnings("default")  # TensorFlow's own, on its import
def test_a_trained_network_is_evaluated(study):
    from lib.networks.unet import unet

    weights = study.paths.weights(Run("E1", 5))
    weights.parent.mkdir(parents=True)
    unet(**study.unet.architecture, seed=1).save_weights(weights)
    table = evaluate(study, Run("E1", 5))
    assert len(table) == 6 and set(table["seed"]) == {5}
    assert table["ssim"].between(-1, 1).all() and table["psnr"].notna().all()
    assert load_examples(study.paths.examples, study.experiments, 5)["E1"].shape == (20, 24)
