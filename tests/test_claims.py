"""Verdicts and sentences from made-up numbers: what is clear is decided, what is not stays open, no sentence is false."""

import re

import numpy as np
import pandas as pd
import pytest

from lib.metrics.patients import over_patients_and_seeds
from lib.paper import published
from lib.report import claims, sentences
from lib.report.labels import Labels
from lib.report.psi_claims import psi_claims
from lib.report.verdicts import COLUMNS, LEVEL, compared, level_of, verdict, weakest
from lib.study.sections import Statistics

MARGIN = Statistics().margin
PAPER = {name: row.ssim_mean for name, row in published.TABLE_3.items()} | {"ldct": 0.85, "mse": 0.93}
VERDICTS = {"stands", "falls", "undecided"}


def scores(means=PAPER, patients=8, seeds=(5, 6, 7), of_patients=0.002, of_seeds=0.0007, draw=0) -> pd.DataFrame:
    """Two slices per patient, experiment and seed; each experiment is off its mean by patient and by seed."""
    generator, rows = np.random.default_rng(draw), []
    level = generator.normal(0, 0.02, patients)
    for name, mean in means.items():
        of_patient = generator.normal(0, of_patients, patients)
        for seed in [pd.NA] if name == "ldct" else seeds:
            of_seed = 0 if name == "ldct" else generator.normal(0, of_seeds)
            for patient in range(patients):
                for index in (0, 1):
                    ssim = mean + level[patient] + of_patient[patient] + of_seed + generator.normal(0, 0.0002)
                    rows.append({"experiment": name, "seed": seed, "patient": f"P{patient}", "kernel": "B30",
                                 "thickness_mm": 1.0, "scan": 1, "index": index, "ssim": ssim, "psnr": 60 * ssim,
                                 "nrmse": 1 - ssim})
    return pd.DataFrame(rows).astype({"seed": "Int64"})


def calibration(seeds=(5, 6, 7), scatter=0.01, **changes: tuple[float, float]) -> pd.DataFrame:
    """The paper's own losses of epoch 10, a little different for each seed; ``changes`` are of mse and pl by experiment."""
    generator, rows = np.random.default_rng(1), []
    losses = {name: tuple(published.PUBLISHED_LOSSES[name][10]) for name in published.CALIBRATED} | changes
    for name, (mse, pl) in ({"baseline": losses["E2"]} | losses).items():
        for state in ("untrained", "pilot", "own"):
            for seed in seeds if state == "own" else seeds[:1]:
                noisy, used = pl * np.exp(generator.normal(0, scatter)), published.LAMBDAS[name]
                psi = used * noisy / (mse + used * noisy)
                rows.append({"experiment": name, "seed": seed, "state": state, "mse": mse, "pl": noisy, "psi_alg2": psi,
                             "psi_eq5": np.nan if state == "own" else psi - 0.01, "lambda_exact": 19 * mse / noisy,
                             "lambda_used": used})
    return pd.DataFrame(rows)


def found(metrics=None, calibrated=None) -> pd.DataFrame:
    """The claims by their text."""
    return claims.collect(scores() if metrics is None else metrics, calibration() if calibrated is None else calibrated,
                          MARGIN).set_index("claim")


def of(table: pd.DataFrame, start: str) -> pd.Series:
    """The only claim that starts so."""
    rows = table[table.index.str.startswith(start)]
    assert len(rows) == 1, rows.index.tolist()
    return rows.iloc[0]


def swapped(**means: float) -> pd.DataFrame:
    return scores(PAPER | means)


# The rule


@pytest.mark.parametrize(("low", "high", "expected"), [
    (0.001, 0.02, "stands"), (-0.02, -0.001, "falls"), (-0.001, 0.001, "falls"), (-0.02, 0.001, "falls"),
    (0.0005, 0.001, "undecided"), (-0.001, 0.02, "undecided"), (0.0, 0.02, "undecided"), (np.nan, np.nan, "undecided")])
def test_verdicts(low, high, expected):
    assert verdict(low, high, 0.002) == expected


def test_undecided_lies_between_stands_and_falls():
    """Moving either end of an interval a little never turns one into the other."""
    grid = np.linspace(-0.005, 0.005, 41)  # steps of 0.00025
    table = {(i, j): verdict(low, high, 0.002) for i, low in enumerate(grid) for j, high in enumerate(grid) if low <= high}
    assert set(table.values()) == VERDICTS
    for (i, j), here in table.items():
        near = {here, *(table.get(place) for place in ((i + 1, j), (i, j + 1)))}
        assert not near >= {"stands", "falls"}


def test_a_claim_of_several_stands_if_all_do_and_falls_if_one_does():
    clear, tie, worse, open_ = (0.02, 0.01, 0.03), (0.0, -0.001, 0.001), (-0.02, -0.03, -0.01), (0.01, -0.01, 0.03)
    found = {name: weakest(dict(zip("abc", parts, strict=False)), margin=0.002) for name, parts in {
        "all": [clear, clear], "tie": [clear, tie], "worse": [clear, open_, worse], "open": [clear, open_]}.items()}
    combined = {name: (each.name, verdict(*each.above[1:], 0.002)) for name, each in found.items()}
    assert combined == {"all": ("a", "stands"), "tie": ("b", "falls"), "worse": ("c", "falls"), "open": ("b", "undecided")}


def test_one_of_several_makes_a_claim_fall_by_a_wider_interval_and_three_seeds():
    clear, worse, wide = (0.02, 0.01, 0.03), (-0.02, -0.03, -0.01), (-0.02, -0.05, 0.01)
    parts = {"a": clear, "b": worse}
    assert weakest(parts, {"a": clear, "b": wide}).above == (-0.02, -0.03, 0.01)  # undecided: one of two, by chance
    assert weakest(parts, seeds=3).above == (-0.02, -0.03, -0.01)
    assert np.isnan(weakest(parts, seeds=2).above[2]) and verdict(*weakest(parts, seeds=2).above[1:]) == "undecided"
    assert weakest({"b": worse}, seeds=2).above == worse and level_of(1) == 0.95 and level_of(5) == pytest.approx(0.99)
    assert verdict(*weakest({"a": clear, "b": (0.0, np.nan, np.nan)}, seeds=3).above[1:]) == "undecided"


def test_equal_targets_fall_by_chance_no_more_often_than_they_may():
    """Nine equal arms of 8 patients and 3 seeds: that no other does better falls in few of many studies."""
    random, fallen = np.random.default_rng(7), 0
    for _ in range(150):
        arms = random.normal(0, 0.3, (9, 8, 3)) + random.normal(0, 0.4, (9, 1, 3)) + random.normal(0, 1, (1, 8, 1))
        means = [over_patients_and_seeds(arms[0] - other) for other in arms[1:]]
        parts, wide = ({place: (mean.estimate, *mean.interval(level)) for place, mean in enumerate(means)}
                       for level in (LEVEL, level_of(8)))
        fallen += verdict(*weakest(parts, wide, seeds=3).above[1:]) == "falls"
    assert fallen <= 22  # 8 % at most: more of 150 in 1 of 1,000; by intervals of 95 % it were 30


# What is clear is decided


def test_the_papers_own_numbers_stand():
    table = found()
    assert set(table["verdict"]) <= VERDICTS and [table.index.name, *table.columns] == COLUMNS
    clear = table[table["question"].isin(("RQ2", "RQ3")) & ~table.index.str.contains("order|E2 over the baseline")]
    assert len(clear) == 9 and (clear["verdict"] == "stands").all(), clear["verdict"]
    ssim = clear[clear["unit"] == "SSIM"]
    np.testing.assert_allclose(ssim["paper"], ssim["estimate"], atol=0.003)  # patients are 0.002 off, of eight
    own = table[table.index.str.contains("own")]
    assert len(own) == 7 and (own["verdict"] == "stands").all() and own["paper"].notna().all()


def test_the_opposite_falls():
    table = found(swapped(E1=0.90, E2=0.96, E3=0.95, E4=0.91, baseline=0.97, mse=0.99, ldct=0.80),
                  calibration(E1=(1e-4, 1e-3), E3=(1e-4, 1e-3)))
    for start in ("E1 is the best", "E1 is better than", "The order", "With ImageNet", "With Medical", "Calibrating"):
        rows = table[table.index.str.startswith(start)]
        rows = rows[~rows.index.str.contains("LDCT")]
        assert len(rows) and (rows["verdict"] == "falls").all(), rows["verdict"]
    assert (table[table.index.str.contains("better than the LDCT")]["verdict"] == "stands").all()
    own = table[table.index.str.contains("own")]
    assert (own[own.index.str.contains("shallow|100 %|^E1|^E3")]["verdict"] == "falls").all()


def test_nrmse_is_better_when_lower():
    row = of(found(), "E1 is the best of E1, E2, E3, E4, baseline by NRMSE")
    assert row["estimate"] > 0 and row["paper"] == pytest.approx(0.003) and row["verdict"] == "stands"


@pytest.mark.parametrize("draw", range(5))
def test_a_repeated_run_gives_no_contrary_verdict(draw):
    """The same means with other patients, seeds and rounding: what stands never falls."""
    first, second = found(), found(scores(draw=draw + 1))
    assert all(set(pair) != {"stands", "falls"} for pair in zip(first["verdict"], second["verdict"], strict=True))
    assert (first["verdict"] != "undecided").sum() > 30


# What is not stays open


@pytest.mark.parametrize(("changes", "note"), [({"patients": 1}, "no interval from 1 patient"), ({"seeds": (5,)}, "1 seed"),
                                               ({"patients": 2}, "2 patients"),
                                               ({"patients": 1, "seeds": (5,)}, "1 patient and 1 seed")])
def test_one_patient_or_one_seed_decides_nothing(changes, note):
    """... however clear the numbers are; what the estimate alone would say stands beside."""
    table = found(scores(**changes), calibration(seeds=(5,)))
    assert set(table["verdict"]) == {"undecided"} and table[["low", "high"]].isna().all(axis=None)
    row = of(table, "E1 is better than E3")
    assert row["leaning"] == "stands" and note in row["note"]
    assert " > " not in sentences.order(scores(**changes))


def test_lambdas_of_one_seed_decide_nothing():
    table = found(calibrated=calibration(seeds=(5,)))
    rows = table[table["question"] == "RQ1"]
    assert set(rows["verdict"]) == {"undecided"} and (rows["note"] == "measured with one seed").all()
    assert set(rows["leaning"]) == {"stands"}


def test_a_claim_without_its_experiments_is_undecided():
    metrics = scores({name: mean for name, mean in PAPER.items() if name not in ("E4", "mse")})
    table = found(metrics)
    for start in ("E1 is better than E4", "With Medical", "The order", "E1 is better than the control λ = 0 by SSIM"):
        row = of(table, start)
        assert row["verdict"] == "undecided" and np.isnan(row["estimate"]) and "not among the experiments" in row["note"]


# Sentences that were false once


def sentence(table: pd.DataFrame, start: str) -> str:
    row = of(table, start)
    return sentences.sentence(row.to_dict() | {"claim": row.name})


def test_the_sign_of_a_difference_is_that_of_its_own_test():
    """Seven patients for E1 and one far against: ranks and mean disagree, so neither 'above' nor 'below' is said."""
    metrics = scores(PAPER | {"E2": PAPER["E1"] - 0.004}, of_patients=0.0005)
    metrics.loc[(metrics["experiment"] == "E1") & (metrics["patient"] == "P0"), "ssim"] -= 0.06
    row = of(found(metrics), "E1 is better than E2")
    assert row["estimate"] < 0 and row["verdict"] == "undecided" and row["p_patients"] > 0.05


def test_a_swap_by_a_hair_contradicts_nothing():
    """E4 and E2 as near as 1e-5: the order is open, not wrong, as long as the runs differ by more than that."""
    assert of(found(swapped(E2=PAPER["E4"] + 1e-5)), "The order")["verdict"] == "undecided"


def test_a_tie_is_a_tie_in_every_rule():
    """E1 and E4 equal to within the margin, almost without scatter: no claim of a difference stands, each says why."""
    metrics = scores(PAPER | {"E4": PAPER["E1"], "E2": PAPER["E1"], "E3": PAPER["E1"]}, of_patients=1e-4, of_seeds=1e-4)
    table = found(metrics)
    starts = ("E1 is the best of E1, E2, E3, E4, baseline by SSIM", "E1 is better than E4", "With ImageNet", "With Medical")
    assert {of(table, start)["verdict"] for start in starts} == {"falls"}
    assert all("equal to within 0.002" in sentence(table, start) for start in starts)


def test_ties_of_more_than_two_stay_together():
    same = PAPER | {"E1": 0.95, "E2": 0.95, "E3": 0.95, "E4": 0.95, "baseline": 0.90, "mse": 0.97, "ldct": 0.80}
    order = sentences.order(scores(same))
    groups = order.rstrip(".").split(": ")[1].split(" > ")
    assert [set(group.strip("{}").split(", ")) for group in groups] == [
        {"mse"}, {"E1", "E2", "E3", "E4"}, {"baseline"}, {"ldct"}]


def test_groups_are_cut_only_where_every_pair_is_told_apart():
    """A chain: first and last differ, the one in between is now above, now below; all three are one group."""
    metrics = scores({"E1": 0.95, "E2": 0.948, "E3": 0.946}, of_patients=0.0, of_seeds=1e-4)
    metrics.loc[metrics["experiment"] == "E2", "ssim"] += metrics["patient"].isin(["P0", "P1", "P2", "P3"]) * 0.02 - 0.01
    apart = [compared(metrics, *pair, "ssim").bounds[1] > 0 for pair in (("E1", "E2"), ("E2", "E3"), ("E1", "E3"))]
    assert apart == [False, False, True] and "{E1, E2, E3}" in sentences.order(metrics)


def test_another_order_of_the_body_is_said(study):
    """A claim is of whole slices: where the body's SSIM orders experiments otherwise, a reader must know."""
    metrics, calibrated = scores({"E1": 0.95, "E2": 0.90}), calibration()
    metrics["ssim_body"] = 1 - metrics["ssim"]
    assert sentences.order(metrics, "ssim_body").endswith("apart: E2 > E1.")
    text = claims.save_claims(Labels.of(study), claims.collect(metrics, calibrated, MARGIN), metrics, calibrated)
    assert "Order of all by SSIM in the body" in text.partition("**reader**")[2] and "in the window" not in text


def test_every_experiment_has_its_own_sentence_against_the_input():
    """'Every experiment but E1, E2, E3, E4 and baseline' was the sentence for one of six."""
    table = found(swapped(ldct=0.96, mse=0.99))
    rows = table[table.index.str.contains("better than the LDCT input by SSIM")]
    assert rows["verdict"].tolist() == ["falls"] * 5 + ["stands"] and len(rows) == 6


def test_e2_is_not_compared_with_itself():
    table = found(calibrated=calibration().assign(lambda_used=0.1))
    row = of(table, "Calibrating")
    assert row["verdict"] == "undecided" and "one configuration" in row["note"] and np.isnan(row["estimate"])


# Text and table


def test_a_sentence_quotes_estimate_interval_and_verdict():
    table = found()
    row, text = of(table, "E1 is better than E2"), sentence(table, "E1 is better than E2")
    assert f"**stands**; {row['estimate']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}], the paper +0.0110" in text
    assert "sign-flip p 0.00781" in text
    assert sentence(table, "E1, each experiment's own").endswith("the paper 1e-5.")
    assert " dB, the paper +0.81" in sentence(table, "E1 is the best of E1, E2, E3, E4, baseline by PSNR")


def test_claims_are_written_as_table_and_as_sentences(study):
    labels, metrics, calibrated = Labels.of(study), scores(), calibration()
    table = claims.collect(metrics, calibrated, MARGIN)
    text = claims.save_claims(labels, table, metrics, calibrated)
    back = pd.read_csv(labels.figures / "claims.csv")
    assert back.columns[:7].tolist() == ["claim", "question", "estimate", "low", "high", "paper", "verdict"]
    assert back["estimate"].tolist() == table["estimate"].tolist() and (back["provenance"] == labels.provenance).all()
    assert set(back["question"]) == {"RQ1", "RQ2", "RQ3", "reader"}
    assert all(sentences.sentence(row) in text for row in table.to_dict("records"))
    written = (labels.figures / "claims.md").read_text(encoding="utf-8")
    assert text in written and labels.provenance in written and not re.search(r"\bnan\b", written)
    assert claims.rq1(labels, calibrated) in text and "clinical evidence" in text


def test_the_drift_of_lambda_is_that_of_the_states():
    calibrated = calibration(scatter=0.0)
    calibrated.loc[calibrated["state"] == "untrained", "lambda_exact"] *= 100
    text = "\n".join(sentences.calibrated(calibrated, 0.95))
    assert "is 100 to 100 times that with the pilot" in text and "100 to 100 times that with each experiment's own" in text
    assert "differ by at most 0.0100" in text


def test_psi_claims_of_nothing():
    assert psi_claims(calibration().iloc[:0]).empty and "no Ψ" in sentences.tally(psi_claims(calibration().iloc[:0]))
