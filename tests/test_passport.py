"""S5: prices with known answers, the noise-free image, rank correlations, and what becomes a claim."""

import keras
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib.data.organ_masks import OrganMasks
from lib.data.store.reading import open_volume
from lib.errors import CohortError
from lib.metrics import degradations
from lib.metrics.patients import of_independent
from lib.metrics.rank_correlation import rank_correlation
from lib.metrics.regions import inner
from lib.perceptual import presets
from lib.report import passport as report
from lib.report.labels import Labels
from lib.report.passport_claims import passport_claims
from lib.simulation.anatomy import LABEL
from lib.simulation.truth import noise_free
from lib.stages import inputs, passport
from lib.study.grid import LAYER, layers_grid
from lib.workflow.supplement import supplement

PRICES = {"shift": 0.01, "white noise": 0.5, "checkerboard": 2.0}
LAYERS = ["block1_conv1", "block2_conv1", "block3_conv1", "block4_conv1", "block5_conv1", "block5_conv2",
          "block5_conv3", "block5_conv4"]


def made_up(patients: int = 4, layers: list[str] = LAYERS, spread: float = 0.0) -> pd.DataFrame:
    """Terms whose prices are `PRICES` times the layer's place at MSEs that differ, with noise over patients."""
    rng, rows = np.random.default_rng(7), []
    for patient in range(patients):
        for place, layer in enumerate(layers, 1):
            for name, price in {passport.REFERENCE: 1.0 / place, **PRICES}.items():
                rows.append({"patient": f"SIM{patient}", "context": "ImageNet", "layer": layer, "degradation": name,
                             "amplitude": 3.0, "unit": "HU", "mse": 1e-4, "reference": passport.REFERENCE,
                             "term": 0.7 * place * price * np.exp(spread * rng.standard_normal())})
    return pd.DataFrame(rows)


def test_a_price_is_per_mse_and_that_of_the_noise_is_one():
    table = passport.prices(made_up(), 0.9).set_index(["layer", "degradation"])
    for place, layer in enumerate(LAYERS, 1):
        assert table.loc[(layer, passport.REFERENCE), "price"] == 1
        for name, price in PRICES.items():
            assert table.loc[(layer, name), "price"] == pytest.approx(price * place)
            assert table.loc[(layer, name), "price_total"] == pytest.approx(0.1 + 0.9 * price * place)


def test_the_interval_is_over_patients_and_of_the_logarithm():
    terms = made_up(spread=0.3)
    one = passport.prices(terms, 0.95).set_index(["layer", "degradation"]).loc[("block1_conv1", "white noise")]
    some = terms[terms["layer"] == "block1_conv1"].pivot(index="patient", columns="degradation", values="term")
    logs = np.log(some["white noise"] / some[passport.REFERENCE]).to_numpy()
    mean = of_independent(logs)
    assert (one["price"], one["low"], one["high"]) == pytest.approx(tuple(np.exp((mean.estimate, *mean.interval()))))
    few = passport.prices(made_up(2, spread=0.3), 0.95)
    assert few["low"].isna().all() and few["price"].notna().all()


def test_pixel_losses_are_known_answers():
    """Of the MSE every price is 1 at any size; of L1, that of a shift is the noise's root mean square by its mean."""
    rng = np.random.default_rng(3)
    image, organ = 100 * rng.standard_normal((48, 50)).cumsum(axis=0), np.zeros((48, 50), bool)
    organ[4:40, 6:40] = True
    noise = rng.standard_normal(image.shape)
    found = degradations.battery(image, noise, organ, 0.7, 1677.7216, rng)
    table = passport.prices(pd.DataFrame(passport._rows("SIM1", passport.PIXEL, found, passport._pixel_terms(found))), 0.95)
    mse, l1 = (table[table["layer"] == name].set_index("degradation") for name in ("MSE", "L1"))
    np.testing.assert_allclose(mse["price"], 1, rtol=1e-12)
    expected = np.sqrt(np.mean(noise**2)) / np.abs(noise).mean()
    for name in ("shift", "shift, 10 HU", "checkerboard"):
        assert l1.loc[name, "price"] == pytest.approx(expected), name
    assert l1.loc["CT noise, as it is", "price"] == pytest.approx(1)
    assert mse.loc["shift, 40 HU", "term"] == pytest.approx((40 / 4096) ** 2)


def test_prices_at_another_size_hold_where_features_saturate():
    """Of features whose squared distance is MSE / (MSE + a few HU squared), noise of any size is as dear as a shift of its
    MSE, though it is nowhere near proportional to it."""
    rng = np.random.default_rng(3)
    image, organ = 100 * rng.standard_normal((48, 50)).cumsum(axis=0), np.ones((48, 50), bool)
    found = degradations.battery(image, rng.standard_normal(image.shape), organ, 0.7, 1677.7216, rng)
    squares = np.array([degradations.mean_square(each.difference) for each in found])
    table = passport.prices(pd.DataFrame(passport._rows("SIM1", "ImageNet", found, {"deep": squares / (squares + 9)})), 0.95)
    np.testing.assert_allclose(table["price"], 1, rtol=1e-9)
    assert len(table) == 10 + 7 and {"CT noise, as it is", "lesion lost, 20 HU"} <= set(table["degradation"])


def test_the_price_in_the_total_loss_is_of_one_lambda():
    """Where the term of noise is the square root of its MSE, and that of a shift nothing, a shift as large as in practice
    costs m / (m + 19 sqrt(m m0)) of what noise of its MSE m costs, not 0.05: Psi is 0.95 at m0 only."""
    rng = np.random.default_rng(3)
    image, organ = 100 * rng.standard_normal((48, 50)).cumsum(axis=0), np.ones((48, 50), bool)
    found = degradations.battery(image, rng.standard_normal(image.shape), organ, 0.7, 1677.7216, rng)
    squares = np.array([degradations.mean_square(each.difference) for each in found]) / 4096**2
    noise = np.array([each.name == each.reference or each.name == degradations.CT_NOISE for each in found])
    terms = np.where(noise, np.sqrt(squares), 1e-12)
    table = passport.prices(pd.DataFrame(passport._rows("SIM1", "ImageNet", found, {"deep": terms})), 0.95)
    table = table.set_index("degradation")
    assert table.loc["shift", "price_total"] == pytest.approx(0.05, rel=1e-6)
    for name in ("shift, 10 HU", "lesion lost, 20 HU"):
        m = table.loc[name, "mse"]
        assert m < 5e-5 and table.loc[name, "price_total"] == pytest.approx(m / (m + 19 * np.sqrt(m * 1e-4)), rel=1e-5), name


def test_a_term_is_the_mean_squared_distance_of_features():
    """Of an encoder whose features are the image, and three times it, the MSE, and nine times that."""
    image = keras.Input((None, None, 1))
    once, thrice = (keras.layers.Rescaling(factor)(image) for factor in (1.0, 3.0))
    network, rng = keras.Model(image, [once, thrice]), np.random.default_rng(3)
    truth = 100 * rng.standard_normal((21, 34)).cumsum(axis=1)
    found = degradations.battery(truth, rng.standard_normal(truth.shape), None, 0.7, 1677.7216, rng)
    terms = passport._terms(network, ["a", "b"], truth, found)
    mse = np.array([degradations.mean_square(each.difference) for each in found]) / 4096**2
    assert len(found) > passport.BATCH
    np.testing.assert_allclose(terms["a"], mse, rtol=1e-4)
    np.testing.assert_allclose(terms["b"], 9 * mse, rtol=1e-4)


@pytest.mark.parametrize(("mask", "corner"), [
    ((31, 41), (7, 12)), (np.s_[0:3, 38:41], (0, 24)), (np.s_[13:19, 20:26], (7, 14))])
def test_a_window_lies_around_the_organ_within_the_image(mask, corner):
    where = mask
    if not isinstance(mask[0], int):
        where = np.zeros((31, 41), bool)
        where[mask] = True
    rows, columns = passport._around(where, 17)
    assert (rows.start, columns.start) == corner and rows.stop - rows.start == columns.stop - columns.start == 17


def test_the_noise_free_image_is_the_scans_without_its_noise(smoke_study):
    """Same anatomy; what NDCT and LDCT add to it has no mean, and less in the NDCT."""
    row = inputs.subsets(smoke_study)["test"].query("kernel == 'B30' and thickness_mm == 1").iloc[2]
    truth, labels = noise_free(smoke_study.data, row["patient"], row["z_mm"], row["kernel"])
    masks = OrganMasks(smoke_study.data / "masks", [row["patient"]])
    np.testing.assert_array_equal(labels, masks.at(row["patient"], row["z_mm"]))
    inside = inner(labels) & (labels == LABEL["muscle"])
    ndct, ldct = (open_volume(smoke_study.paths.volumes, row[dose]).slice(row["index"]) - truth for dose in ("ndct", "ldct"))
    assert np.std(ldct[inside]) > 1.5 * np.std(ndct[inside]) > 0
    assert abs(np.mean(ndct[inside])) < 0.3 * np.std(ndct[inside])
    sharp, _ = noise_free(smoke_study.data, row["patient"], row["z_mm"], "D45")
    assert np.abs(np.diff(sharp)).mean() > np.abs(np.diff(truth)).mean()


def test_a_patient_of_unknown_making_is_a_line(tmp_path):
    with pytest.raises(CohortError, match="SIM01.json: the stamp .* cannot be read; simulate the cohort again"):
        noise_free(tmp_path, "SIM01", -60.0, "B30")


@pytest.mark.parametrize("count", [8, 13])
def test_rank_correlations_are_scipys(count):
    rng = np.random.default_rng(count)
    first, second = rng.standard_normal((2, count))
    found = rank_correlation(first, np.round(second))
    assert found.estimate == pytest.approx(stats.spearmanr(first, np.round(second)).statistic)
    assert -1 <= found.low <= found.estimate <= found.high <= 1 and 0 < found.p <= 1 and found.pairs == count


def test_a_rank_correlation_of_a_perfect_order():
    """Of the 40320 orders of eight two are as extreme, of 9999 of them hardly one; an infinite error is no pair."""
    found = rank_correlation(np.array([1, 2, 3, 4, 5, 6, 7, 8, 9.0]), np.array([9, 8, 7, 5, 1, 0, -3, -4, np.inf]))
    assert (found.estimate, found.pairs) == (pytest.approx(-1), 8) and found.p < 1e-3
    assert (found.low, found.high) == (pytest.approx(-1), pytest.approx(-1))


@pytest.mark.parametrize(("first", "estimate"), [([1, 2, 3, 4, 5, 6, 7], 1), ([1, 1, 1, 1], np.nan), ([1], np.nan)])
def test_few_or_equal_values_have_no_interval(first, estimate):
    found = rank_correlation(np.array(first), np.arange(len(first)))
    assert found.estimate == pytest.approx(estimate, nan_ok=True) and np.isnan([found.low, found.high, found.p]).all()


def scores(bias: float, grid: float) -> pd.DataFrame:
    names = [f"grid_{period}" for period in (4, 8, 16)]
    return pd.DataFrame({"bias_soft_tissue_hu": [bias, -bias], "bias_liver_hu": [bias, np.nan], "grid_2": [grid] * 2,
                         "noise_soft_tissue_hu": [10.0, 30.0], "ndct_noise_soft_tissue_hu": [20.0, 20.0]}
                        | {name: [1.0, 1.0] for name in names})  # fmt: skip


def test_predictions_pair_a_price_with_its_error_and_claims_judge_them(study, tmp_path):
    """The bias falls as the price of a shift rises, the grid rises with that of a checkerboard, and noise is all one."""
    labels = Labels.of(study).beside(tmp_path)
    table = passport.prices(made_up(spread=1e-3), 0.95)
    predicted = passport.predictions(table, {layer: scores(10 - place, place) for place, layer in enumerate(LAYERS)})
    assert set(predicted["degradation"]) == set(PRICES)
    shift = predicted[predicted["degradation"] == "shift"]
    assert shift["error"].tolist() == [10, 9, 8, 7, 6, 5, 4, 3] and shift["price"].is_monotonic_increasing
    assert (predicted.loc[predicted["degradation"] == "white noise", "error"] == 1).all()
    claims = passport_claims(labels, table, predicted).set_index("claim")
    verdicts = {words: claims.filter(like=words, axis=0)["verdict"].tolist() for words in (
        "a shift of HU costs less", "a checkerboard of period 2 costs less", "price (shift)", "price (checkerboard)",
        "price (white noise)")}
    assert list(verdicts.values()) == [["stands"], ["falls"], ["undecided"], ["undecided"], ["undecided"]]
    shift = claims.filter(like="price (shift)", axis=0).iloc[0]
    assert shift["estimate"] == pytest.approx(-1) and shift["low"] >= -1 and shift["leaning"] == "stands"
    assert "one seed; permutation p" in shift["note"] and "Holm over 2" in shift["note"]
    assert "neighbouring layers are alike, so that the interval is too narrow and p too small" in shift["note"]


def test_one_draw_of_random_weights_decides_nothing(study, tmp_path):
    table = passport.prices(made_up(spread=1e-3).assign(context=passport.RANDOM), 0.95)
    predicted = pd.DataFrame(columns=["degradation", "measured", "layer", "price", "error"])
    labels = report.labelled(Labels.of(study).beside(tmp_path), table)
    claims = passport_claims(labels, table, predicted)
    assert set(claims["verdict"]) == {"undecided"} and claims["note"].str.contains("one draw of weights").all()
    assert set(claims["leaning"]) == {"stands", "falls"} and "random = Glorot" in labels.provenance


def test_the_layer_whose_interval_reaches_highest_decides(study, tmp_path):
    """A dearer layer with a narrow interval stands below 1; one that is cheaper on average may cost more than the noise."""
    terms = made_up()
    wide = (terms["layer"] == LAYERS[0]) & (terms["degradation"] == "shift")
    terms.loc[wide, "term"] *= np.array([0.02, 0.2, 5.0, 50.0])
    claims = passport_claims(Labels.of(study).beside(tmp_path), passport.prices(terms, 0.95), pd.DataFrame(
        columns=["degradation", "measured", "layer", "price", "error"])).set_index("claim")
    shift = claims.filter(like="a shift of HU", axis=0).iloc[0]
    assert shift["verdict"] == "undecided" and LAYERS[0] in shift["note"] and shift["high"] > 1 > shift["estimate"]


def test_the_figures_show_every_number(study, tmp_path, monkeypatch):
    labels, drawn = Labels.of(study).beside(tmp_path), {}
    monkeypatch.setattr(report, "save_figure", lambda labels, figure, name, **rest: drawn.update({name: figure}))
    table = passport.prices(made_up(), 0.95)
    report.figure_passport(labels, table)
    shown = [text.get_text() for panel in drawn["passport"].axes for text in panel.texts]
    assert {"0.010", "0.060", "0.50", "3.00", "12"} <= set(shown) and len(shown) == 2 + 3 * len(LAYERS)
    every = {layer: scores(1, place) for place, layer in enumerate(LAYERS)}
    report.figure_errors(labels, passport.predictions(table, every))
    panels = [panel for panel in drawn["passport_errors"].axes if panel.axison]
    assert "neighbouring layers are alike" in drawn["passport_errors"].get_suptitle()
    assert len(panels) == 3 and all(sum(len(line.get_xdata()) for line in panel.lines) == len(LAYERS) for panel in panels)


def test_a_layer_that_sees_nothing_has_a_price_of_zero(study, tmp_path, monkeypatch):
    """Its cell has the number, and the colour of the lowest price; log10 of 0 would be a warning."""
    labels, drawn = Labels.of(study).beside(tmp_path), {}
    monkeypatch.setattr(report, "save_figure", lambda labels, figure, name, **rest: drawn.update({name: figure}))
    table = passport.prices(made_up(), 0.95)
    table.loc[(table["layer"] == LAYERS[0]) & (table["degradation"] == "shift"), "price"] = 0.0
    report.figure_passport(labels, table)
    panel = drawn["passport"].axes[0]
    assert np.isfinite(panel.images[0].get_array()).all() and "0.000" in [text.get_text() for text in panel.texts]


def test_the_summary_is_of_contexts_with_an_encoder(study, tmp_path):
    """MSE and L1 are no layers of one encoder: every price of the MSE is 1."""
    pixel = made_up(layers=["MSE", "L1"]).assign(context=passport.PIXEL)
    table = passport.prices(pd.concat([made_up(), pixel]), 0.95)
    assert list(report.summary(Labels.of(study).beside(tmp_path), table)) == ["ImageNet"]


def test_a_grid_that_no_network_has_is_said_to_be_none(study, tmp_path):
    table, labels = passport.prices(made_up(), 0.95), Labels.of(study).beside(tmp_path)
    for largest, says in ((1.3, "no network has such a grid: peaks of 1.3 at most, a grid would be above 2"), (2.5, "")):
        every = {layer: scores(1, largest - place / 100) for place, layer in enumerate(LAYERS)}
        claims = passport_claims(labels, table, passport.predictions(table, every)).set_index("claim")
        note = claims.filter(like="price (checkerboard)", axis=0)["note"].iloc[0]
        assert (says in note) if says else "no network" not in note


@pytest.mark.parametrize(("low", "high"), [(0.0012, 0.1), (0.04, 0.3), (0.48, 0.9), (1.1, 2.4), (2.2, 2.7), (0.001, 900.0)])
def test_an_axis_of_prices_has_two_or_three_ticks(low, high):
    ticks = report._ticks(low, high)
    assert 2 <= len(ticks) <= 3 and low <= min(ticks) < max(ticks) <= high


def test_one_patient_and_two_layers_decide_nothing(study, tmp_path):
    table = passport.prices(made_up(1, LAYERS[:2]), 0.95)
    predicted = passport.predictions(table, {layer: scores(place, place) for place, layer in enumerate(LAYERS[:2])})
    claims = passport_claims(Labels.of(study).beside(tmp_path), table, predicted)
    assert set(claims["verdict"]) == {"undecided"} and claims["low"].isna().all()


def test_the_layers_of_the_grid_are_the_networks(study):
    """All of them, or some that are evenly spaced, the first and the last among them; each at the target Psi."""
    every = layers_grid(study.model_copy(update={"supplement": study.supplement.model_copy(update={"arms": None})}))
    assert [name.removeprefix(LAYER) for name in every.losses] == presets.convolutions("vgg16") and len(every.losses) == 13
    assert len(presets.convolutions("vgg19")) == 16 and presets.convolutions("vgg19")[-1] == "block5_conv4"
    two = layers_grid(study)
    assert list(two.losses) == [f"{LAYER}block1_conv1", f"{LAYER}block5_conv3"]
    losses = two.of(study).configurations
    assert all(losses[name].lambda_.psi == 0.95 and losses[name].lambda_.state == "pilot" for name in two.losses)
    names = [[stage.name for stage in wave] for wave in supplement(study)]
    assert ["S5_calibrate"] in [[name for name in wave if name.startswith("S5_calibrate")] for wave in names]


def test_the_smoke_study_has_a_passport(smoke_study):
    table = pd.read_csv(smoke_study.paths.supplement / "passport.csv")
    assert set(table["context"]) == {"pixel", "ImageNet", "Medical", "random"} and len(table["layer"].unique()) == 15
    noise = table[table["degradation"] == passport.REFERENCE]
    assert (noise["price"] == 1).all() and np.allclose(noise["mse"], 1e-4)
    assert np.allclose(table.loc[table["layer"] == "MSE", "price"], 1)
    assert not table.duplicated(["context", "layer", "degradation"]).any() and (table["term"] > 0).all()
