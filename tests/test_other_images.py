"""S8: photographs, and a package that knows nothing of CT."""

import keras
import numpy as np
import pandas as pd
import pytest

from lib.report import other_images as report
from lib.report.labels import Labels
from lib.stages import other_images
from lib.stages.other_images import ARMS, BICUBIC, GAMMA, MSE, PSI, TEST, TRAIN


def test_the_wheel_carries_the_photographs_and_none_is_in_both_parts():
    found = other_images.photographs(TRAIN[:1] + TEST[:1])
    assert all(image.dtype == np.float32 and image.shape[-1] == 3 and 0 <= image.min() < image.max() <= 1
               for image in found.values())
    assert set(TRAIN).isdisjoint(TEST) and len(TEST) >= 3  # an interval needs three


def test_half_the_resolution_keeps_what_is_smooth_and_loses_the_finest_grid():
    rows, columns = np.mgrid[:12, :14]
    ramp = np.repeat((columns / 20.0)[None, ..., None], 3, axis=-1)
    np.testing.assert_allclose(other_images.halved(ramp)[:, :, 4:-4], ramp[:, :, 4:-4], atol=2e-3)
    grid = np.repeat(((rows + columns) % 2)[None, ..., None], 3, axis=-1).astype(float)
    np.testing.assert_allclose(other_images.halved(grid), 0.5, atol=1e-6)


def test_patches_are_parts_of_every_photograph_and_repeat():
    images = {"a": np.zeros((20, 30, 3), np.float32), "b": np.ones((17, 16, 3), np.float32)}
    found = other_images.patches(images, 5, 16, seed=3)
    assert found.shape == (5, 16, 16, 3) and found.mean((1, 2, 3)).tolist() == [0, 1, 0, 1, 0]
    large = {"a": np.random.default_rng(1).random((64, 64, 3))}
    one, same, other = (other_images.patches(large, 3, 8, seed) for seed in (1, 1, 2))
    assert (one == same).all() and not (one == other).all()
    np.testing.assert_array_equal(other_images.middle(large["a"], 8), large["a"][28:36, 28:36])


def test_the_network_starts_as_what_it_is_given_and_the_encoder_sees_keras_preprocessing():
    image = np.random.default_rng(2).random((2, 8, 10, 3)).astype(np.float32)
    np.testing.assert_array_equal(other_images.network()(image), image)
    trunk = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(4, 1, name="one")])
    shown = keras.applications.vgg16.preprocess_input(255 * image)  # NumPy, in place of tensors
    found = other_images.colour_encoder(trunk, "one")(image)
    np.testing.assert_allclose(found, trunk(shown), rtol=1e-3, atol=1e-3)


def test_scores_of_a_shift_by_hand():
    targets = np.random.default_rng(3).uniform(0.2, 0.8, (len(TEST), 16, 16, 3)).astype(np.float32)
    rows = other_images.scorer(targets, lambda images: 10 * images)(targets + 0.1, {"experiment": "x"})
    assert [row["patient"] for row in rows] == list(TEST)
    for row in rows:
        assert row["psnr"] == pytest.approx(20, abs=1e-3) and row["shift"] == pytest.approx(25.5, rel=1e-4)
        assert row["pl"] == pytest.approx(1, rel=1e-4) and row["detail"] == pytest.approx(1, rel=1e-4)


def made_up(gains: dict[str, float], seeds=(5, 6)) -> pd.DataFrame:
    random = np.random.default_rng(4)
    return pd.DataFrame([{"experiment": arm, "seed": seed, "patient": name,
                          **{metric: 30 + gain + 0.01 * random.normal() for metric in ("psnr", "ssim", "pl_db")}}
                         for arm, gain in gains.items() for seed in seeds for name in TEST])  # fmt: skip


def test_claims_are_over_photographs_and_seeds():
    claims = report.other_images_claims(made_up({MSE: 0.0, GAMMA: 1.0, PSI: -1.0}), 0.002).set_index("claim")
    found = claims["verdict"].groupby(claims.index.str.split(":").str[0]).unique()
    assert {name.split(", ", 1)[1]: list(each) for name, each in found.items()} == {
        "Γ = 0.5 against MSE, λ = 0": ["stands"], "Ψ = 0.95 against MSE, λ = 0": ["falls"],
        "Γ = 0.5 against Ψ = 0.95": ["stands"]}  # fmt: skip
    assert (claims["patients"] == len(TEST)).all() and (claims["seeds"] == 2).all()
    few = report.other_images_claims(made_up({MSE: 0.0, GAMMA: 1.0, PSI: -1.0}, seeds=(5,)), 0.002)
    assert set(few["verdict"]) == {"undecided"} and "no interval from 1 seed" in few["note"][0]


def test_photographs_are_not_labelled_as_scans(study):
    labels = Labels.of(study)
    text = report.of_photographs(labels).provenance
    assert "photographs of scikit-image" in text and "cohort" not in text and "U-Net" not in text
    assert text.split(" | ")[0] == labels.provenance.split(" | ")[0] and "ImageNet*" in text and "config " in text


def test_the_smoke_study_has_the_photographs(smoke_study):
    table = pd.read_csv(smoke_study.paths.supplement / "other_images.csv")
    assert set(table["arm"]) == {BICUBIC, *ARMS} and len(table) == len(TEST) * (1 + len(ARMS))
    at = table.groupby("arm")[["psi_alg2", "gamma_output"]].mean()
    assert at.loc[PSI, "psi_alg2"] == pytest.approx(0.95) and at.loc[GAMMA, "gamma_output"] == pytest.approx(0.5)
    found = other_images.measured(smoke_study)
    codes = {name: {each.split(":")[0].split()[1] for each in findings} for name, findings in found.reports.items()}
    assert codes["as it should be"] == set() and codes["λ = 1"] == {"lambda"} and "range" in codes["images shown in [0, 1]"]
    assert "reduction" in codes["MSE summed"] and "gradient" in codes["grey levels rounded"]
    courses = found.courses.set_index("experiment")
    assert (courses.loc[PSI, "gamma"] > courses.loc[GAMMA, "gamma"].max()).all() and (courses.loc[MSE, "psi"] == 0).all()
