"""Whether a run reproduced: its numbers, tolerances out of repeated runs, the comparison, references and records."""

import dataclasses
import errno
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from rocrate.rocrate import ROCrate
from scipy import stats
from scipy.special import polygamma

from benchmarks import false_alarms
from lib.artifacts.files import TEMPORARY, file_sha256
from lib.errors import OutputError, StageError, StudyError
from lib.site.verified import verified
from lib.study.config import load_study
from lib.study.paths import Paths
from lib.verify import comparison, records, reference, runs, tolerances, whole
from lib.verify.descriptions import described, result_files
from lib.verify.quantities import floors, quantities, scales
from lib.verify.reproducing import reproducing
from lib.workflow.stages import REAL_ANATOMY, stages
from tests.finished_runs import PROVENANCE, made_up, write


@pytest.fixture(scope="session")
def four_runs(tmp_path_factory) -> Path:
    """Folder of four runs that differ by their arithmetic, run-0 to run-3, and of their reference. Read only."""
    folder = tmp_path_factory.mktemp("four")
    reference.build("smoke", [made_up(folder / f"run-{number}", noise=number) for number in range(4)], folder / "references")
    return folder


@pytest.fixture
def folders(four_runs, tmp_path) -> list[Path]:
    """A copy of the four runs."""
    return [shutil.copytree(four_runs / f"run-{number}", tmp_path / f"run-{number}") for number in range(4)]


@pytest.fixture
def known(four_runs, tmp_path) -> reference.Reference:
    """The reference of the four runs, of a copy below 'references'."""
    return reference.load("smoke", shutil.copytree(four_runs / "references", tmp_path / "references"))


# --- numbers

def test_quantities_are_results_by_name(tmp_path):
    root = made_up(tmp_path / "run", seeds=(5, 9))
    found = {each.name: each for each in quantities(root / "figures" / "smoke", [5, 9])}
    assert found["table3/E1/ssim_mean"].value == 0.94
    assert found["calibration/E2/seed_2_of_2/pilot/log10_pl"].value == pytest.approx(2)
    assert found["self_consistency/own/E1/log10_lambda_star"].value == pytest.approx(np.log10(2e-5))
    assert found["claims/E1 is better than E2 by SSIM/low"].family == "claims/SSIM/low"
    assert found["table3/ldct/ssim_sd"].family == "table3/without a network/ssim_sd"  # spreads otherwise than a network's
    assert [*found] == sorted(found) and np.isfinite([each.value for each in found.values()]).all()
    for given in ("paper", "authors", "lambda_used", "/high"):  # the paper's numbers, what is given, an empty cell
        assert not [name for name in found if given in name and not name.endswith("log10_lambda_used")], given


def test_a_zero_has_no_logarithm_and_a_row_no_twin(tmp_path):
    write(tmp_path / "training.csv", [{"experiment": "mse", "seed": 5, "pl": 0.0, "mse": 0.1}])
    assert [each.name for each in quantities(tmp_path, [5])] == ["training/mse/log10_mse"]
    write(tmp_path / "regions.csv", [{"experiment": "E1", "grid_2": 1.0}] * 2)
    with pytest.raises(StageError, match="regions/E1/grid_2 is there twice"):
        quantities(tmp_path, [5])


def test_scales_and_floors_have_their_reasons():
    families = ["table3/psi_own", "table3/ssim_sd", "table3/ssim_mean", "claims/least Ψ/estimate", "table3/psi_own"]
    np.testing.assert_allclose(scales(families, np.array([0.9, 0.05, 0.94, 0.75, 1.0])), [0.09, 0.05, 1, 0.1875, 1e-12])
    families = ["table3/psnr_mean", "table3/ssim_mean", "calibration/own/log10_pl", "table4/log10_p", "probe/edge/accuracy"]
    np.testing.assert_allclose(floors(families, np.array([40.0, 0.9, 4.0, -3.0, 0.5])),
                               [4e-4, 1e-5, 1e-5 / np.log(10), np.log10(2), 0.01])


# --- tolerances

def test_the_prior_of_variances_is_found_again():
    """Variances of a scaled inverse chi-square prior, as Smyth's model has them: his estimates are near the truth and near
    those of maximum likelihood (s^2 / s0^2 has an F distribution), and the posterior is his formula."""
    random, degrees, prior, common = np.random.default_rng(3), 4, 6.0, 2.5
    variances = common * prior / random.chisquare(prior, 3000)
    values = np.sqrt(variances) * random.standard_normal((degrees + 1, 3000))
    found = tolerances.spread(values, ["a family"] * 3000, np.ones(3000))
    sampled = values.var(axis=0, ddof=1)
    likely = stats.f.fit(sampled, fdfn=degrees, floc=0)  # the degrees of freedom, then location and scale
    assert found.prior == pytest.approx(prior, rel=0.2) and found.prior == pytest.approx(likely[1], rel=0.15)
    posterior = (likely[1] * likely[3] + degrees * sampled) / (likely[1] + degrees)
    above = posterior > 1.2 * sampled.mean()  # the others are raised to the family's mean
    assert above.sum() > 300 and (found.sd**2 >= sampled.mean() * (1 - 1e-9)).all()
    np.testing.assert_allclose(found.sd[above] ** 2, posterior[above], rtol=0.06)
    np.testing.assert_allclose(found.df, found.prior + degrees)


def test_equal_variances_are_pooled():
    values = np.random.default_rng(0).standard_normal((4, 500))
    found = tolerances.spread(values, ["one"] * 500, np.full(500, 3.0))
    assert found.prior > 20
    np.testing.assert_allclose(found.sd, 1, rtol=0.2)


def test_scatter_beyond_sampling_by_hand():
    """Three quantities of two families; trigamma(d0 / 2) is the mean square within families without what sampling adds."""
    families, degrees = [np.array([0.0, 4.0]), np.array([1.0])], 3
    left = 8.0 - (1 - 0.25) * float(np.pi**2 / 2 - 4)  # of the first; trigamma(3 / 2) = pi^2 / 2 - 4
    prior = tolerances.prior_degrees(families, [0.25, 0.0], degrees)
    assert float(polygamma(1, prior / 2)) == pytest.approx(left)
    assert tolerances.prior_degrees([np.array([2.0])], [0.0], degrees) == 0
    assert tolerances.prior_degrees([np.array([2.0, 2.0])], [0.0], degrees) == tolerances.LARGEST_PRIOR


def test_what_moves_together_counts_once():
    random = np.random.default_rng(1)
    one, noise = random.standard_normal((6, 1)), random.standard_normal((6, 400))
    same = one @ random.uniform(1, 2, (1, 30))
    assert tolerances.mean_squared_correlation(same) == pytest.approx(1)
    assert tolerances.mean_squared_correlation(noise) < 0.01
    assert tolerances.mean_squared_correlation(noise[:2]) == 1 and tolerances.mean_squared_correlation(noise[:, :1]) == 0
    assert tolerances.spread(same, ["one"] * 30, np.ones(30)).df == pytest.approx(5)
    assert tolerances.spread(noise, ["one"] * 400, np.ones(400)).df.min() > 50


def test_one_quantity_has_an_exact_prediction_interval():
    random, runs_, tries = np.random.default_rng(2), 4, 4000
    values = random.normal(7, 2, (tries, runs_ + 1, 1))
    allowed = [tolerances.tolerances(each[:-1], ["one"], np.ones(1), np.zeros(1), 0.1)[0] for each in values]
    outside = np.abs(values[:, -1, 0] - values[:, :-1, 0].mean(axis=1)) > allowed
    assert np.mean(outside) == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / tries))


@pytest.mark.parametrize("shared", [0.0, 0.9])  # the part of the variance that all quantities of a run share
def test_a_run_that_reproduces_is_seldom_called_different(shared):
    """Many quantities with variances of their own: a further run leaves any tolerance with at most the risk, and one that is
    off by forty SDs does not stay unseen."""
    random, tries, count, risk = np.random.default_rng(4), 400, 24, 0.1
    families, called, seen = ["one"] * 16 + ["other"] * 8, 0, 0
    for _ in range(tries):
        scale = np.sqrt(8 / random.chisquare(8, count)) * np.repeat([1, 100], [16, 8])
        values = scale * (np.sqrt(shared) * random.standard_normal((6, 1))
                          + np.sqrt(1 - shared) * random.standard_normal((6, count)))
        allowed = tolerances.tolerances(values[:5], families, np.ones(count), np.zeros(count), risk)
        off = np.abs(values[5] - values[:5].mean(axis=0))
        called += (off > allowed).any()
        seen += ((off + 40 * scale) > allowed).any()
    assert called / tries < risk + 3 * np.sqrt(risk * (1 - risk) / tries) and seen / tries > 0.95


@pytest.mark.parametrize("deviation", false_alarms.DEVIATIONS)
def test_runs_are_drawn_with_the_spread_and_the_correlation_that_are_said(deviation):
    family, runs = np.repeat(np.arange(3), 5), 40_000
    for shared in false_alarms.SHARED.values():
        values, sd = false_alarms.drawn(np.random.default_rng(4), deviation, shared, family, runs)
        assert values.shape == (runs, 15)
        np.testing.assert_allclose(values.std(axis=0), sd, rtol=0.1)
        pairs = np.corrcoef(values, rowvar=False)[np.triu_indices(15, 1)]
        assert np.isclose(pairs, shared / 2, atol=0.05).sum() > 60 and pairs.max() < shared + 0.05  # by experiment: all


def test_what_never_varied_has_its_familys_spread_or_the_floor():
    values = np.array([[1.0, 5, 7], [1, 5, 7], [1, 5, 7], [1, 6, 7]])
    found = tolerances.tolerances(values, ["one", "one", "other"], np.ones(3), np.full(3, 1e-6))
    spread = values.var(axis=0, ddof=1)
    expected = stats.t.isf(0.01 / 6, 3) * np.sqrt(spread[:2].mean() * (1 + 1 / 4))
    assert found[0] == pytest.approx(expected) and found[1] > found[0] and found[2] == 1e-6


# --- a reference

def test_a_reference_can_be_extended(folders, known, tmp_path):
    """Two runs, then two more without the first two: the same files as of all at once."""
    grown = tmp_path / "grown"
    reference.build("smoke", folders[:2], grown)
    shutil.rmtree(folders[0])
    reference.build("smoke", folders[2:], grown)
    for ending in ("csv", "json"):
        assert (grown / f"smoke.{ending}").read_bytes() == (tmp_path / "references" / f"smoke.{ending}").read_bytes()
    assert reference.build("smoke", folders[1:3], grown, anew=True).arithmetic == ["run-1", "run-2"]


def test_a_reference_is_the_mean_of_its_runs(folders, known, tmp_path):
    table = pd.read_csv(tmp_path / "references" / "smoke.csv", index_col="quantity")
    values = [pd.read_csv(each / "figures" / "smoke" / "table3.csv").set_index("experiment")["ssim_mean"]["E1"]
              for each in folders]
    row = table.loc["table3/E1/ssim_mean"]
    assert float(row["reference"]) == pytest.approx(np.mean(values)) and np.isnan(row["tolerance_seeds"])
    assert 2 * np.std(values) < row["tolerance"] < 100 * 1e-4
    assert table.loc["claim: E1 is better than E2 by SSIM", "reference"] == "stands"


def test_other_seeds_have_a_tolerance_of_their_own(folders, tmp_path):
    others = [made_up(tmp_path / f"seed-{seed}", seeds=(seed,), noise=seed, size=0.01) for seed in (6, 7, 8)]
    table = reference.build("smoke", [*folders, *others], tmp_path / "references").table().set_index("quantity")
    numbers = table[table["family"] != reference.VERDICTS]
    assert (numbers["tolerance_seeds"] >= numbers["tolerance"]).all()
    assert (numbers["tolerance_seeds"] > 5 * numbers["tolerance"]).mean() > 0.5
    known = reference.load("smoke", tmp_path / "references")
    assert known.seeds == [5] and [*known.by_seeds] == ["[5]", "[6]", "[7]", "[8]"]
    run = runs.read_run(made_up(tmp_path / "new", seeds=(9,), noise=99, size=0.01), "smoke")
    assert comparison.kind_of(run, known) == "seeds" and comparison.reproduced(comparison.compare(run, known))


@pytest.mark.parametrize(("changes", "message"), [
    ({"epochs": 3}, "another configuration than the reference's runs: training.epochs is 3, there 2"),
    ({"commit": "0123456789+changes"}, "code that is in no commit"),
    ({"code": False, "commit": "fedcba9876"}, "of other code than the reference's runs: simulation, volumes"),
    ({"noise": 0}, "says nothing that run-0 does not"),
])
def test_a_reference_refuses_what_is_no_repetition(known, tmp_path, changes, message):
    root = made_up(tmp_path / "new", **({"noise": 9} | changes))
    before = (tmp_path / "references" / "smoke.csv").read_bytes()
    with pytest.raises(StageError, match=message):
        reference.build("smoke", [root], tmp_path / "references")
    assert (tmp_path / "references" / "smoke.csv").read_bytes() == before


def test_a_run_is_in_a_reference_once(known, folders, tmp_path):
    with pytest.raises(StageError, match="run-1: is in the reference already"):
        reference.build("smoke", [folders[1]], tmp_path / "references")


def test_other_code_that_gives_every_number_again_continues_a_reference(known, tmp_path):
    """After such a run, others by the new code are taken; before it, none."""
    new = {"code": False, "commit": "fedcba9876"}
    another = made_up(tmp_path / "another", noise=9, **new)
    with pytest.raises(StageError, match="first add one that was made as one of them"):
        reference.build("smoke", [another], tmp_path / "references")
    again = reference.build("smoke", [made_up(tmp_path / "again", noise=0, **new)], tmp_path / "references")
    assert len(again.runs) == len(known.runs) and again.runs[0]["again_at"] == ["fedcba9876"]
    assert again.values.equals(known.values) and again.code != known.code
    assert len(reference.build("smoke", [another], tmp_path / "references").runs) == len(known.runs) + 1


@pytest.mark.parametrize("changes", [
    {"noise": 0, "extra": {"OMP_NUM_THREADS": "1"}},  # the same numbers of another arithmetic
    {"noise": 9, "commit": "fedcba9876"},  # another commit that left this code as it is
    {"noise": 9, "code": False},  # the same commit, seen from a checkout where the code has changed since
])
def test_a_reference_takes_what_is_a_repetition(known, tmp_path, changes):
    extended = reference.build("smoke", [made_up(tmp_path / "new", **changes)], tmp_path / "references")
    assert len(extended.runs) == 5 and extended.code == known.code


def _without(root: Path, name: str) -> None:
    (root / "artifacts" / "smoke" / "stages" / name).unlink()


@pytest.mark.parametrize(("damage", "message"), [
    (lambda root: _without(root, "05_stats.json"), "is not finished: no stage 05_stats"),
    (lambda root: _without(root, "03_train_E2_seed-5.json"), "is not finished: no stage 03_train_E2_seed-5"),
    (lambda root: (root / "figures/smoke/table3.csv").write_text("x"), "table3.csv is not what the stage 04_evaluate wrote"),
    (lambda root: (root / "artifacts/smoke/volumes/stamp.json").write_text('{"key": '), "stamp.json: does not say"),
    (lambda root: (root / "artifacts/smoke/volumes/stamp.json").write_text("[]"), "stamp.json: does not say what made it"),
    (lambda root: (root / "figures/smoke/fig1.png").unlink(), "fig1.png is not what the stage 01_preprocess wrote"),
])
def test_an_unfinished_run_is_refused(tmp_path, damage, message):
    root = made_up(tmp_path / "run")
    damage(root)
    with pytest.raises(StageError, match=message):
        runs.read_run(root, "smoke")


def test_a_stage_that_was_made_from_something_else_is_out_of_date(tmp_path):
    root = made_up(tmp_path / "run")
    metrics, stamp = (root / "artifacts" / "smoke" / name for name in ("metrics.csv", "stages/04_evaluate.json"))
    metrics.write_text("a\n2\n")
    text = json.loads(stamp.read_text())
    text["outputs"]["../metrics.csv"] = [0, 0, file_sha256(metrics)]
    stamp.write_text(json.dumps(text))
    with pytest.raises(StageError, match="the stage 05_stats is out of date: metrics.csv has changed since"):
        runs.read_run(root, "smoke")


def test_a_configuration_has_no_paths():
    stamp = {"inputs": {"mine.h5": "ab" * 32}, "config": {
        "cohort": {"data": "/home/somebody/Jane Doe", "simulation": None}, "seeds": [1, 2], "pilot": {},
        "losses": {"a": {"weights": "/x/mine.h5"}}, "training": {"patience": 3, "epochs": 1}}}
    found = runs.configuration(stamp)
    assert found["losses"] == {"a": {"weights": "sha256:" + "ab" * 8}} and found["training"] == {"epochs": 1}
    assert found["number of seeds"] == 2 and "Doe" not in json.dumps(found)


# --- the comparison

def _changed(root: Path, run_from: Path, value: float) -> runs.FinishedRun:
    """A copy of a run with another SSIM of E1."""
    shutil.copytree(run_from, root)
    run = runs.read_run(root, "smoke")
    moved = [each._replace(value=value) if each.name == "table3/E1/ssim_mean" else each for each in run.quantities]
    return dataclasses.replace(run, quantities=moved)


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize(("part", "verdict"), [
    (0, "reproduced"), (1 - 1e-6, "reproduced"), (1 + 1e-6, "differs"), (50, "differs")])
def test_both_sides_of_a_tolerance(known, folders, tmp_path, side, part, verdict):
    row = known.table().set_index("quantity").loc["table3/E1/ssim_mean"]
    run = _changed(tmp_path / "new", folders[0], row["reference"] + side * part * row["tolerance"])
    table = comparison.compare(run, known)
    assert [*table.columns] == ["quantity", "reference", "here", "tolerance", "verdict"]
    found = table.set_index("quantity")["verdict"]
    assert found["table3/E1/ssim_mean"] == verdict and (found.drop("table3/E1/ssim_mean") == "reproduced").all()
    assert comparison.reproduced(table) == (verdict == "reproduced")


def test_a_number_may_be_missing_or_new(known, folders, tmp_path):
    run = runs.read_run(folders[0], "smoke")
    lost = [each for each in run.quantities if each.name != "table3/E2/psi_own"]
    run = dataclasses.replace(run, quantities=[*lost, lost[0]._replace(name="table3/mine/ssim_mean")])
    table = comparison.compare(run, known).set_index("quantity")
    assert table.loc["table3/E2/psi_own", "verdict"] == "missing" and np.isnan(table.loc["table3/E2/psi_own", "here"])
    assert table.loc["table3/mine/ssim_mean", "verdict"] == "not in the reference"
    assert not comparison.reproduced(table.reset_index())
    assert comparison.reproduced(table.drop("table3/E2/psi_own").reset_index())


@pytest.mark.parametrize(("theirs", "here", "off", "verdict"), [
    (["stands"] * 3, "stands", 0, "reproduced"),
    (["stands"] * 3, "stands", 1, "reproduced"),
    (["stands"] * 3, "falls", 0, "differs"),
    (["stands"] * 3, "undecided", 0, "undecided"),  # at a bound, by less than the tolerance
    (["stands"] * 3, "undecided", 1, "differs"),
    (["stands", "undecided", "stands"], "falls", 1, "undecided"),  # it changed by itself
    ([None] * 3, "falls", 0, "not in the reference"),
    (["falls"] * 3, None, 0, "missing"),
    (["stands"] * 3, "undecided", None, "differs"),  # no number of it says that it is near
])
def test_claims(tmp_path, theirs, here, off, verdict):
    claim = "E1 is better than E2 by SSIM"
    roots = [made_up(tmp_path / f"run-{number}", noise=number, claims={claim: each} if each else {})
             for number, each in enumerate(theirs)]
    known = reference.build("smoke", roots, tmp_path / "references")
    run = runs.read_run(made_up(tmp_path / "new", noise=7), "smoke")
    moved = [each._replace(value=each.value + (off or 0) * (each.name == f"claims/{claim}/low")) for each in run.quantities
             if off is not None or not each.name.startswith(f"claims/{claim}/")]
    verdicts = {name: value for name, value in (run.claims | {claim: here}).items() if value}
    if theirs[0] is None:
        kept = known.values.index != f"claim: {claim}"
        known = dataclasses.replace(known, values=known.values[kept], families=known.families[kept])
    table = comparison.compare(dataclasses.replace(run, quantities=moved, claims=verdicts), known)
    assert table.set_index("quantity").loc[f"claim: {claim}", "verdict"] == verdict


def test_what_cannot_be_compared_is_refused_with_the_reason(known, tmp_path):
    other = runs.read_run(made_up(tmp_path / "other", epochs=3), "smoke")
    with pytest.raises(StageError, match="not comparable with the reference of smoke: training.epochs is 3, there 2; "):
        comparison.compare(other, known)
    seeds = runs.read_run(made_up(tmp_path / "seeds", seeds=(6,)), "smoke")
    with pytest.raises(StageError, match="no run that was repeated with other seeds"):
        comparison.compare(seeds, known)
    with pytest.raises(StudyError, match="profile demo has no reference to compare with; choose PROFILE from smoke"):
        reference.load("demo", tmp_path / "references")


# --- the whole, and its records

def _verify(root: Path, references: Path) -> whole.Verified:
    """`make verify` of a made-up run, all of whose stages count as up to date."""
    return whole.verify(Paths(root, "smoke"), [], references)


def test_verify_writes_the_table_and_says_what_differs(known, folders, tmp_path):
    found = _verify(folders[0], tmp_path / "references")
    assert found.reproduced and found.as_dict()["reproduced"] and "smoke: reproduced" in found.lines()[-5]
    table = pd.read_csv(folders[0] / "artifacts" / "smoke" / "verify.csv")
    assert [*table.columns] == ["quantity", "reference", "here", "tolerance", "verdict"]
    exact = {each.name: each.value for each in runs.read_run(folders[0], "smoke").quantities}
    numbers = table[~table["quantity"].str.startswith("claim: ")]
    assert numbers.set_index("quantity")["here"].astype(float).to_dict() == exact  # in full precision
    assert table.iloc[-1][["quantity", "reference", "here", "verdict"]].tolist() == [
        "claim: E1 is better than mse by SSIM", "undecided", "undecided", "reproduced"]
    assert not list(folders[0].rglob(f"{TEMPORARY}*"))
    other = _verify(made_up(tmp_path / "off", noise=3, size=0.5), tmp_path / "references")
    text = "\n".join(other.lines())
    assert not other.reproduced and "NOT reproduced" in text and text.index("differs") < text.index("NOT reproduced")
    assert json.loads(json.dumps(other.as_dict()))["failing"][0]["verdict"] == "differs"


@pytest.mark.parametrize(("size", "said"), [(1e-4, "no number shows it"), (0.5, "that may be why")])
def test_code_that_has_changed_since_is_said(folders, tmp_path, size, said):
    reference.build("smoke", [made_up(tmp_path / f"old-{number}", noise=number, code=False) for number in range(4)],
                    tmp_path / "references")
    lines = _verify(made_up(tmp_path / "new", noise=9, size=size), tmp_path / "references").lines()
    assert [line for line in lines if line.startswith("The code that makes simulation, ") and line.endswith(f"{said}.")]


def test_verify_refuses_a_run_that_is_out_of_date_and_a_profile_without_reference(known, tmp_path, monkeypatch):
    monkeypatch.setenv("OUTPUT", str(tmp_path / "empty"))
    with pytest.raises(StageError, match=r"\d+ stages of smoke not there or out of date: 00_simulate and others; make p"):
        whole.verify((study := load_study("smoke")).paths, stages(study))
    with pytest.raises(StudyError, match="profile demo has no reference"):
        whole.verify(load_study("demo").paths, [], tmp_path / "references")
    monkeypatch.setenv("SET", "training.epochs=7")
    with pytest.raises(StageError, match=r"not comparable with the reference of smoke: training.epochs is 7, there 2;"):
        whole.verify((study := load_study("smoke")).paths, stages(study))  # and not: run it first
    assert not (tmp_path / "empty").exists()


def test_real_anatomy_that_did_not_run_keeps_no_run_from_being_compared(known, folders, tmp_path):
    """It is asked for as soon as the public scans are there, and nothing of it is compared."""
    late = SimpleNamespace(name=REAL_ANATOMY, is_current=lambda: False)
    assert whole.verify(Paths(folders[0], "smoke"), [[late]], tmp_path / "references").reproduced
    other = SimpleNamespace(name="05_further", is_current=lambda: False)
    with pytest.raises(StageError, match=r"1 stage of smoke not there or out of date: 05_further; make paper"):
        whole.verify(Paths(folders[0], "smoke"), [[late, other]], tmp_path / "references")


@pytest.mark.parametrize(("name", "damage"), [
    ("smoke.json", lambda text: text[:300]), ("smoke.json", lambda text: "{}"), ("smoke.json", lambda text: "[]"),
    ("smoke.csv", lambda text: text[:-40]), ("smoke.csv", lambda text: text[:text.index("claim: ")]),
    ("smoke.csv", lambda text: text.replace("0.9", "0.x")), ("smoke.csv", lambda text: None)])
def test_a_damaged_reference_is_said(known, tmp_path, name, damage):
    path = tmp_path / "references" / name
    text = damage(path.read_text(encoding="utf-8"))
    path.unlink() if text is None else path.write_text(text, encoding="utf-8")
    with pytest.raises(StageError, match=r"the reference of smoke cannot be read \(.*git checkout"):
        reference.load("smoke", tmp_path / "references")


def test_a_full_disk_leaves_the_record_that_was_there(known, folders, tmp_path, monkeypatch):
    _verify(folders[0], tmp_path / "references")
    table = folders[0] / "artifacts" / "smoke" / "verify.csv"
    before = table.read_bytes()

    def refused(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(OutputError, match="the disk is full"):
        _verify(folders[0], tmp_path / "references")
    assert table.read_bytes() == before and not list(folders[0].rglob(f"{TEMPORARY}*"))


def test_codecheck_lists_what_is_there_and_keeps_what_the_checker_wrote(known, folders, tmp_path):
    root = folders[0]
    _verify(root, tmp_path / "references")
    path = root / "codecheck.yml"
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"version", "paper", "manifest", "codechecker", "report", "summary", "check_time"} <= set(found)
    assert found["paper"]["title"].startswith("Perceptual Influence") and len(found["paper"]["authors"]) == 5
    assert all((root / each["file"]).is_file() and each["comment"] for each in found["manifest"])
    assert {"file": "figures/smoke/table3.csv", "comment": "Table 3. Image quality*, mean (SD)"} in found["manifest"]
    assert found["codechecker"] == [{"name": "", "ORCID": ""}] and "SIMULATED" in found["summary"]
    path.write_text(yaml.safe_dump(found | {"codechecker": [{"name": "A. Reader", "ORCID": "0000-0002-1825-0097"}],
                                             "source": "a copy of the release", "summary": "of an earlier run"}))
    _verify(root, tmp_path / "references")
    again = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert again["codechecker"][0]["name"] == "A. Reader" and again["source"] == "a copy of the release"
    assert again["summary"] == found["summary"]
    path.write_text("- a list\n")
    with pytest.raises(OutputError, match=r"codecheck.yml: is there, and is no codecheck.yml; move it away"):
        records.write_codecheck(root, root / "figures" / "smoke", runs.read_run(root, "smoke"), "")
    written = root / "artifacts" / "smoke" / "verify.csv"
    written.unlink()
    with pytest.raises(OutputError, match="is no codecheck.yml"):
        _verify(root, tmp_path / "references")
    assert not written.exists()


def _references_of(entity: dict) -> list[str]:
    values = [each for value in entity.values() for each in (value if isinstance(value, list) else [value])]
    return [each["@id"] for each in values if isinstance(each, dict)]


def test_the_crate_is_one(known, folders, tmp_path):
    """rocrate reads it; no reference leads nowhere; each file is there with its checksum; stages are joined."""
    figures = folders[0] / "figures" / "smoke"
    (figures / (others := "table3_real.csv")).write_text("a\n1\n")  # of another run, as a clone has it
    _verify(folders[0], tmp_path / "references")
    assert others not in (folders[0] / "codecheck.yml").read_text(encoding="utf-8")
    graph = json.loads((figures / records.CRATE).read_text(encoding="utf-8"))["@graph"]
    by_id = {each["@id"]: each for each in graph}
    assert len(by_id) == len(graph)
    assert {each for entity in graph for each in _references_of(entity) if not each.startswith("http")} <= set(by_id)
    assert by_id["./"]["conformsTo"] == {"@id": records.PROCESS} and by_id["./"]["description"] == PROVENANCE
    files = [each for each in graph if each["@type"] == "File"]
    assert {each["@id"] for each in files} == {path.name for path in figures.iterdir()} - {records.CRATE, others}
    assert all(each["sha256"] == file_sha256(figures / each["@id"]) and each["encodingFormat"] for each in files)
    assert by_id["table3.csv"]["name"] == "Table 3. Image quality*, mean (SD)"
    actions = [each for each in graph if each["@type"] == "CreateAction"]
    assert len(actions) == 12 and all(each["instrument"] == {"@id": "#software"} for each in actions)
    assert all({"startTime", "endTime"} <= set(each) and "cores 2" in each["description"] for each in actions)
    assert not any("environment" in each for each in actions)  # nothing was set: a processor is no variable
    made = by_id["#04_evaluate"]["result"]
    assert {"@id": "#metrics.csv"} in made and by_id["#05_stats"]["object"] == {"@id": "#metrics.csv"}
    assert {"@id": "table3.csv"} in made and "brought" not in json.dumps(graph)  # a user's file
    assert len(ROCrate(figures).get_entities()) == len(graph)


def test_a_crate_names_the_variables_that_were_set(tmp_path):
    root = made_up(tmp_path / "run", extra={"OMP_NUM_THREADS": "1"})
    path = records.write_crate(root / "figures" / "smoke", runs.read_run(root, "smoke"), PROVENANCE)
    graph = {each["@id"]: each for each in json.loads(path.read_text(encoding="utf-8"))["@graph"]}
    used = graph[graph["#05_stats"]["environment"]["@id"]]
    assert (used["@type"], used["name"], used["value"]) == ("PropertyValue", "OMP_NUM_THREADS", "1")
    assert graph["#05_stats"]["actionStatus"] == "http://schema.org/CompletedActionStatus"  # as the profile's shapes have it
    assert [name for name, each in graph.items() if each["@type"] == "PropertyValue"] == [used["@id"]]


def test_every_figure_of_a_run_has_words(committed):
    figures = committed / "demo"
    found = result_files(figures, (path.name for path in figures.iterdir()))
    assert len(found) > 40
    for path in found:
        assert described(path) != path.stem, path.name


def test_claims_are_json(known, folders, tmp_path):
    _verify(folders[0], tmp_path / "references")
    found = json.loads((folders[0] / "figures" / "smoke" / records.CLAIMS).read_text(encoding="utf-8"))
    first = found["claims"][0]
    assert found["provenance"] == PROVENANCE and len(found["claims"]) == 2 and first["high"] is None
    assert (first["verdict"], first["verdict_of_the_reference"], first["reproduced"]) == ("stands", "stands", "reproduced")


def test_the_report_holds_a_run_against_the_reference(known, folders, tmp_path):
    references = tmp_path / "references"
    prose, counts = verified(folders[0], "smoke", references)
    assert "the same seeds and other arithmetic: 4 runs, which is so few that they allow much." in prose.text
    assert counts.columns == ("Result", "reproduced") and ("verdicts of claims", "2") in counts.rows
    *_, differing = verified(made_up(tmp_path / "off", noise=3, size=0.5), "smoke", references)
    assert ("Quantity", "Verdict") == differing.columns[:2] and {row[1] for row in differing.rows} == {"differs"}
    for root, profile, said in ((tmp_path / "none", "smoke", "Not compared: is not finished"),
                                (folders[0], "demo", "no reference"),
                                (made_up(tmp_path / "longer", epochs=3), "smoke", "epochs is 3, there 2")):
        only, = verified(root, profile, references)
        assert said in only.text


# --- REPRODUCING.md, the committed references, a whole run

def test_reproducing_says_what_the_reference_does(known, tmp_path):
    text = reproducing(tmp_path / "references")
    row = known.table().set_index("quantity").loc["table3/E1/ssim_mean"]
    line = next(line for line in text.splitlines() if line.startswith("| E1 "))
    assert f"± {row['tolerance']:.1g}" in line and "PSNR" not in text
    assert float(line.split("|")[2].split()[0]) == pytest.approx(row["reference"], abs=1e-5)
    assert "`make paper PROFILE=smoke`" in text and "SIMULATED cohort of 4 patients" in text and "a processor" in text
    assert "Profiles without a reference: demo, paper and real" in text and str(tmp_path) not in text
    assert all(name in text for name in ("run-0", "run-3", "1 stands, 0 fall, 1 is undecided"))


def test_reproducing_says_how_each_run_was_made(folders, tmp_path):
    """What most have set is said once; a run without it, with more, of other seeds or on one core says so; no long lines."""
    blas, long = {"OPENBLAS_CORETYPE": "Haswell"}, " ".join(f"AVX512_{number}" for number in range(20))
    roots = [made_up(tmp_path / f"new-{number}", noise=10 + number, extra=blas) for number in range(6)]
    roots += [made_up(tmp_path / "plain", noise=20), made_up(tmp_path / "seed", seeds=(6,), noise=21, extra=blas),
              made_up(tmp_path / "other", noise=22, extra={"OPENBLAS_CORETYPE": "Nehalem", "cores": 1}),
              made_up(tmp_path / "long", noise=23, extra=blas | {"NPY_DISABLE_CPU_FEATURES": long})]
    reference.build("smoke", roots, tmp_path / "made")
    text = reproducing(tmp_path / "made")
    assert "with `OPENBLAS_CORETYPE=Haswell`, which" in text.replace("\n", " ")
    assert "* new-0, 2 cores, 1 minute: `make paper PROFILE=smoke`\n" in text
    for command in ("`env -u OPENBLAS_CORETYPE make paper PROFILE=smoke`", "`make paper PROFILE=smoke SET=seeds=[6]`",
                    "1 core, 1 minute: `OPENBLAS_CORETYPE=Nehalem taskset -c 0 make paper PROFILE=smoke`",
                    f"='{long}' make"):
        assert command in " ".join(text.split()), command
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 130
    assert "in standard deviations over seeds:" in text and "(from 2)" in text


def test_few_runs_are_called_few(folders, tmp_path):
    for count, said in ((2, "tens of thousands of standard deviations"), (3, "so few that they allow much")):
        reference.build("smoke", folders[:count], tmp_path / str(count))
        assert said in whole.verify(Paths(folders[0], "smoke"), [], tmp_path / str(count)).summary()


@pytest.mark.parametrize("profile", reference.known())
def test_a_committed_reference_is_what_its_values_give(profile, tmp_path):
    known = reference.load(profile)
    known.save(tmp_path)
    for name in (f"{profile}.csv", f"{profile}.json"):
        committed, made = ((folder / name).read_text(encoding="utf-8") for folder in (reference.REFERENCES, tmp_path))
        assert committed == made or name.endswith("csv")
        assert "/tmp" not in committed and "/home" not in committed
    committed, made = (pd.read_csv(folder / f"{profile}.csv", index_col="quantity")
                       for folder in (reference.REFERENCES, tmp_path))
    for column in ("tolerance", "tolerance_seeds"):
        np.testing.assert_allclose(committed[column], made[column], rtol=0.02)
    share = (committed["tolerance"].notna() | (committed["family"] == reference.VERDICTS)).mean()
    assert share > 0.95 or (len(known.arithmetic) < 2 and committed["tolerance"].isna().all())


def test_each_run_of_smoke_reproduces_by_the_others():
    known = reference.load("smoke")
    for run in known.runs:
        rest = [each for each in known.runs if each["name"] != run["name"]]
        names = [each["name"] for each in rest]
        others = dataclasses.replace(known, runs=rest, values=known.values[names])
        own = known.numbers()[run["name"]].dropna()
        alike = run["seeds"] == known.seeds
        table = others.table().set_index("quantity").loc[own.index, ["reference", "tolerance"] if alike else
                                                         ["reference_seeds", "tolerance_seeds"]].astype(float)
        assert ((own - table.iloc[:, 0]).abs() <= table.iloc[:, 1]).all(), run["name"]


def test_a_whole_run_verifies(smoke, tmp_path, monkeypatch):
    for part in ("artifacts", "figures"):
        shutil.copytree(smoke / part / "smoke", tmp_path / part / "smoke")
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    found = whole.verify((study := load_study("smoke")).paths, stages(study))
    assert found.reproduced and found.kind == "arithmetic", "\n".join(found.lines())
    assert found.counts()["reproduced"] > 400 and len(ROCrate(tmp_path / "figures" / "smoke").get_entities()) > 50
