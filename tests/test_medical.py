"""The Medical encoder: what its samples hold, that every layer moves, its scale, and what its probe can tell."""

import shutil

import keras
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib.data.hu import denormalise, normalise
from lib.data.labelled_patches import TISSUES_HU, Samples
from lib.denoiser.checkpoints import Checkpoints
from lib.errors import WeightsError
from lib.metrics import linear_probe
from lib.networks import vgg
from lib.networks.scale import convolutions, matching_scales, scale_features
from lib.perceptual import encoders, presets
from lib.report import tables
from lib.report.labels import Labels
from lib.simulation.anatomy import ORGANS
from lib.stages import inputs, medical_encoder
from lib.study.config import load_study
from lib.study.paths import Paths


@pytest.fixture
def samples(smoke_study) -> Samples:
    return medical_encoder._samples(smoke_study, inputs.subsets(smoke_study)["train"], 12, 7)


@pytest.fixture
def unmade(smoke_study, tmp_path, monkeypatch):
    """The smoke study's scans below a folder of its own, nothing fine-tuned."""
    for name in ("volumes", "cohort/masks"):
        shutil.copytree(smoke_study.paths.artifacts / name, tmp_path / "artifacts" / "smoke" / name)
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    return load_study("smoke")


def test_samples_are_ndct_of_training_patients(samples, smoke_study):
    assert set(samples.pairs["patient"]) == set(smoke_study.cohort.split.train)
    pair, top, left = samples.rows[4]
    plane = np.load(smoke_study.paths.volumes / samples.pairs["ndct"][pair])[samples.pairs["index"][pair]]
    np.testing.assert_array_equal(samples.images(samples.rows[4:5])[0, ..., 0],
                                  normalise(plane[top : top + 32, left : left + 32]))


def test_organ_maps_fit_the_image(samples):
    """Bone of the mask is bright and fat is dark in the patch of the same row."""
    images = denormalise(samples.images(samples.rows)[..., 0])
    maps = np.stack([samples.label_map(row) for row in samples.rows])
    bone, fat = images[maps == ORGANS.index("bone")], images[maps == ORGANS.index("fat")]
    assert bone.size > 20 and fat.size > 20 and np.median(bone) > 150 and np.median(fat) < 0


def test_shares_count_the_pixels_of_a_cell(samples):
    rows, stride = samples.rows[:3], 8
    shares, organs = samples.shares(rows, stride), samples.label_map(rows[2])[8:16, 24:32]
    assert shares.shape == (3, 4, 4, samples.classes) and samples.kind == "organs"
    np.testing.assert_array_equal(shares[2, 1, 3], np.bincount(organs.ravel(), minlength=samples.classes) / 64)


def test_labels_know_no_kernel(samples):
    """The sharp and the soft image of a place have one label: what differs between them is noise."""
    pairs = samples.pairs
    soft = pairs.index[(pairs["kernel"] == "B30") & (pairs["thickness_mm"] == 1)][0]
    place = pairs.loc[soft, ["patient", "thickness_mm", "index"]]
    sharp = pairs.index[(pairs[place.index] == place).all(axis=1) & (pairs["kernel"] == "D45")][0]
    rows = np.array([[soft, 40, 50], [sharp, 40, 50]])
    images, shares = samples.images(rows), samples.shares(rows, 4)
    assert (images[0] != images[1]).any()
    np.testing.assert_array_equal(shares[0], shares[1])


def test_tissues_without_masks_are_those_of_the_image(smoke_study):
    pairs = inputs.subsets(smoke_study)["train"]
    samples = Samples(pairs, smoke_study.paths.volumes, None, size=32, count=12, seed=3)
    assert (samples.kind, samples.classes) == ("tissues", 8)
    hu = denormalise(samples.images(samples.rows)[..., 0])
    maps = np.stack([samples.label_map(row) for row in samples.rows])
    for tissue in (3, 5):  # fat, soft tissue: noise averages out over many pixels
        low, high = TISSUES_HU[tissue - 1 : tissue + 1]
        assert (maps == tissue).sum() > 100 and low < np.median(hu[maps == tissue]) < high


def test_heads_learn_first_and_leave_the_trunk_as_it_is(smoke_study, samples):
    """The loss falls below that of always saying the mean shares, which is their entropy."""
    keras.utils.set_random_seed(0)
    network, start = (vgg.trunk("vgg16", smoke_study.weights("ImageNet")) for _ in range(2))
    learner = medical_encoder._learner(network, samples.classes, 1e-4, 1)
    medical_encoder._train_heads(learner, start, samples)
    for old, new in zip(start.weights, network.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    logits = learner.predict_on_batch(samples.images(samples.rows))
    for phi, found in logits.items():
        shares = samples.shares(samples.rows, medical_encoder._stride(phi))
        mean = shares.mean((0, 1, 2))
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)(shares, found)
        assert float(loss) < stats.entropy(mean), phi
    assert len(learner.trainable_variables) == 2 * len(convolutions(network)) + 2 * len(logits)


def test_fine_tuning_moves_every_layer_and_is_kept(smoke_study, monkeypatch):
    before, after = (vgg.trunk("vgg16", smoke_study.weights(context)) for context in ("ImageNet", "Medical"))
    for old, new in zip(before.weights, after.weights, strict=True):
        assert (old.numpy() != new.numpy()).any(), new.path
    monkeypatch.setattr(medical_encoder, "Samples", None)  # fine-tuning would need it
    assert medical_encoder.fine_tune(smoke_study) == smoke_study.paths.medical_weights
    probe = medical_encoder.linear_probe(smoke_study)
    assert probe.groupby("phi")["medical_learnt"].first().to_dict() == linear_probe.learnt(probe)
    assert len(probe) == 3 * 3 * 2 and set(probe["patient"]) == {"SIM03", "SIM04"}, "patients that it never saw"


def test_features_keep_the_scale_of_the_encoder_before(smoke_study):
    """On the patches that it was matched on; float32 sums of a thousand terms thirteen layers deep leave 1e-3."""
    settings = smoke_study.medical
    samples = medical_encoder._samples(smoke_study, inputs.subsets(smoke_study)["train"], settings.steps * settings.batch, 1)
    before, after = (medical_encoder._mean_squares(vgg.trunk("vgg16", smoke_study.weights(context)),
                                                   samples.images(samples.rows)) for context in ("ImageNet", "Medical"))
    np.testing.assert_allclose(after, before, rtol=1e-3)


def test_scaling_one_convolution_leaves_the_others_as_they_are():
    """relu(s x) = s relu(x): with powers of two not a bit changes but the scale."""
    keras.utils.set_random_seed(3)
    network = encoders.network("vgg16")
    for layer in convolutions(network):
        layer.bias.assign(keras.random.normal(layer.bias.shape, stddev=0.1))
    names = tuple(layer.name for layer in convolutions(network))
    images = np.random.default_rng(3).random((2, 18, 33, 1), np.float32)
    encoder = presets.paper("vgg16")["E1"]
    before = encoders.encoder(encoder, names, network).predict_on_batch(images)
    scales = 2.0 ** np.random.default_rng(4).integers(-6, 7, len(names))
    scale_features(network, scales)
    after = encoders.encoder(encoder, names, network).predict_on_batch(images)
    for name, old, new, scale in zip(names, before, after, scales, strict=True):
        assert old.any(), name
        np.testing.assert_array_equal(new, old * np.float32(scale), err_msg=name)


def test_matching_scales():
    np.testing.assert_array_equal(matching_scales(np.array([4.0, 1.0]), np.array([1.0, 9.0])), [0.5, 3.0])
    with pytest.raises(WeightsError, match="nothing but zeros; lower medical.lr"):
        matching_scales(np.array([4.0, 0.0]), np.array([1.0, 9.0]))


def test_a_killed_fine_tuning_ends_at_the_same_weights(unmade, smoke, monkeypatch):
    def killed(self, epoch, logs=None):
        saved(self, epoch, logs)
        raise KeyboardInterrupt

    saved, paths = Checkpoints.on_epoch_end, unmade.paths
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_epoch_end", killed)
        with pytest.raises(KeyboardInterrupt):
            medical_encoder.fine_tune(unmade)
    assert not paths.medical_weights.exists() and len(list(paths.medical.glob("step-*.json"))) == 1
    with monkeypatch.context() as patch:
        patch.setattr(medical_encoder, "_train_heads", None)  # they come from the checkpoint
        medical_encoder.fine_tune(unmade)
    undisturbed = Paths(smoke, "smoke")
    for one, other in zip(*(vgg.trunk("vgg16", each.medical_weights).get_weights() for each in (paths, undisturbed)),
                          strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_users_weights_are_taken_as_they_are(smoke_study):
    own = smoke_study.paths.medical_weights
    brought = smoke_study.model_copy(update={"medical": smoke_study.medical.model_copy(update={"weights": own})})
    assert medical_encoder.fine_tune(brought) == own


def test_probe_finds_a_signal_and_no_signal():
    random = np.random.default_rng(0)
    classes = {name: random.integers(0, 3, 300) for name in ("train", "a", "b")}
    signal = {name: (np.eye(3)[each] + 0.05 * random.normal(size=(300, 3)), each) for name, each in classes.items()}
    noise = {name: (random.normal(size=(300, 3)), each) for name, each in classes.items()}
    for features, (low, high) in ((signal, (0.99, 1.0)), (noise, (0.2, 0.5))):
        rows = linear_probe.accuracies(features["train"], {name: features[name] for name in ("a", "b")})
        assert [row["patient"] for row in rows] == ["a", "b"]
        frequent = np.bincount(classes["train"]).argmax()
        for row in rows:
            assert low <= row["accuracy"] <= high and row["chance"] == np.mean(classes[row["patient"]] == frequent)


def probe(gains: list[float], phi: str = "block3_conv2") -> pd.DataFrame:
    """As :func:`linear_probe` gives it: the Medical encoder gains so much in each patient."""
    start = 0.5 + 0.05 * np.arange(len(gains))
    return pd.DataFrame([{"encoder": encoder, "phi": phi, "patient": f"P{number}", "accuracy": value, "chance": 0.3}
                         for encoder, values in {"ImageNet": start, "Medical": start + gains, "random": start - 0.2}.items()
                         for number, value in enumerate(values)])


def test_gains_are_paired():
    gains = [0.03, 0.05, 0.04]
    found = linear_probe.summary(probe(gains)).set_index("encoder")
    expected = stats.ttest_1samp(gains, 0).confidence_interval()
    assert tuple(found.loc["Medical", ["difference_low", "difference_high"]]) == pytest.approx(tuple(expected))
    assert found.loc["Medical", "accuracy"] == pytest.approx(0.55 + np.mean(gains))
    half = 4.3027 * 0.05 / 3**0.5  # t of two degrees of freedom
    assert found.loc["ImageNet", ["accuracy", "low"]].tolist() == pytest.approx([0.55, 0.55 - half], abs=1e-5)
    assert np.isnan(found.loc["ImageNet", "difference"]) and found.loc["random", "difference"] == pytest.approx(-0.2)


@pytest.mark.parametrize(("gains", "learnt"), [
    ([0.03, 0.05, 0.04], True), ([0.2, -0.05, 0.03], False), ([-0.02, -0.05, -0.03], False), ([0.3, 0.3], False),
    ([0.3], False)])
def test_learnt_is_an_interval_above_zero(gains, learnt):
    assert linear_probe.learnt(probe(gains)) == {"block3_conv2": learnt}


def test_every_label_says_where_nothing_was_learnt(study):
    path = study.paths.probe
    path.parent.mkdir(parents=True)
    both = pd.concat([probe([0.01, -0.01, 0.0]), probe([0.03, 0.05, 0.04], "block5_conv3")])
    linear_probe.judged(both).to_csv(path, index=False)
    labels = Labels.of(study)
    assert labels.experiments["E3"].label == "E3: block3_conv2, Medical* (learnt nothing measurable)"
    assert labels.experiments["E4"].label == "E4: block5_conv3, Medical*"
    assert labels.experiments["E1"].context == "ImageNet*"
    shown = tables.probe_table(labels, both).set_index(["ϕ", "Encoder"])["Learnt"]
    assert shown["block3_conv2", "Medical*"] == "nothing measurable" and shown["block5_conv3", "Medical*"] == "yes"
    assert (study.paths.figures / "probe.md").is_file()
    brought = study.model_copy(update={"medical": study.medical.model_copy(update={"weights": path})})
    assert "nothing" not in Labels.of(brought).experiments["E3"].label
