"""The Medical encoder: what its samples hold, that every layer moves, and that its probe can tell encoders apart."""

import numpy as np
import pandas as pd
import pytest

from lib.data.hu import normalise
from lib.data.labelled_patches import Samples
from lib.networks import vgg
from lib.simulation.anatomy import ORGANS
from lib.stages import medical_encoder


@pytest.fixture
def samples(smoke_study) -> Samples:
    return medical_encoder._samples(smoke_study, "train", 12, 7)


def test_samples_are_ndct_of_training_patients_turned(samples, smoke_study):
    assert set(samples.pairs["patient"]) == set(smoke_study.cohort.split.train)
    pair, top, left, turns = samples.rows[4]
    plane = np.load(smoke_study.paths.volumes / samples.pairs["ndct"][pair])[samples.pairs["index"][pair]]
    cut = np.rot90(plane[top : top + 32, left : left + 32], turns)
    np.testing.assert_array_equal(samples.images(samples.rows[4:5])[0, ..., 0], normalise(cut))


def test_labels_say_what_the_slice_is(samples):
    labels = samples.labels(samples.rows)
    pairs = samples.pairs.iloc[samples.rows[:, 0]]
    np.testing.assert_array_equal(labels["kernel"][:, 0], (pairs["kernel"] == "B30"))
    np.testing.assert_array_equal(labels["thickness"][:, 0], (pairs["thickness_mm"] == 3.0))
    np.testing.assert_array_equal(labels["rotation"], samples.rows[:, 3])
    assert "dose" not in labels and 0 <= labels["z"].min() and labels["z"].max() <= 1


def test_organ_maps_fit_the_image(samples):
    """Bone of the mask is bright and fat is dark in the patch of the same row, turned the same way."""
    images = samples.images(samples.rows)[..., 0] * 4096 - 1024
    maps = np.stack([samples.organ_map(row) for row in samples.rows])
    bone, fat = images[maps == ORGANS.index("bone")], images[maps == ORGANS.index("fat")]
    assert bone.size > 20 and fat.size > 20 and np.median(bone) > 150 and np.median(fat) < 0


def test_fine_tuning_moves_every_layer_and_is_kept(smoke_study, monkeypatch):
    before, after = (vgg.trunk("vgg16", smoke_study.weights(context)) for context in ("ImageNet", "Medical"))
    for old, new in zip(before.weights, after.weights, strict=True):
        assert (old.numpy() != new.numpy()).any(), new.path
    monkeypatch.setattr(medical_encoder, "Samples", None)  # fine-tuning would need it
    assert medical_encoder.fine_tune(smoke_study) == smoke_study.paths.medical_weights
    assert len(medical_encoder.linear_probe(smoke_study)) == 3 * 2 * 4


def test_a_users_weights_are_taken_as_they_are(smoke_study):
    own = smoke_study.paths.medical_weights
    brought = smoke_study.model_copy(update={"medical": smoke_study.medical.model_copy(update={"weights": own})})
    assert medical_encoder.fine_tune(brought) == own


def test_probe_finds_a_signal_and_no_signal():
    random = np.random.default_rng(0)
    labels, truth = random.integers(0, 3, 300), random.integers(0, 3, 200)
    signal, test = (np.eye(3)[each] + 0.05 * random.normal(size=(len(each), 3)) for each in (labels, truth))
    assert medical_encoder._probe(signal, labels, test, truth)["accuracy"] > 0.99
    noise = medical_encoder._probe(random.normal(size=(300, 3)), labels, random.normal(size=(200, 3)), truth)
    assert noise["accuracy"] < 0.5 and noise["chance"] == pytest.approx(np.bincount(truth).max() / 200)
    assert pd.isna(medical_encoder._probe(signal, np.zeros(300), test, truth)["accuracy"]), "one class cannot be learnt"
