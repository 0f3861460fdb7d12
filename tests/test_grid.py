"""Grids of configurations: every combination once, as data, and what is wrong with one in a line."""

import re

import pandas as pd
import pytest

from lib import REPOSITORY
from lib.errors import StudyError
from lib.perceptual.rules import Fixed, Held
from lib.stages import sweep
from lib.stages.sweep import sweep_table
from lib.study.grid import Arm, Grid, grid_of, losses_key, read_grid
from lib.study.runs import Run
from lib.workflow.stages import StagesOf, stages
from lib.workflow.supplement import trainings
from lib.workflow.sweep import stages_of

TEXT = """
losses: [E1, mse]
arms:
  held: {lambda: {moves: {rule: held, share: gamma, target: 0.5}}}
  sums: {reduction: sum, lambda: 1.0e-3}
vary: {lambda.psi: [0.1, 0.9], distance: [mse, l1]}
seeds: [7]
"""


@pytest.fixture
def grid(tmp_path) -> Grid:
    (tmp_path / "grid.yaml").write_text(TEXT.replace(", mse]", "]"), encoding="utf-8")
    return read_grid(tmp_path / "grid.yaml")


def test_a_grid_never_trains_in_the_place_of_an_experiment(study, tmp_path):
    """One without arms is the experiment itself, as another training: its files have the grid's name."""
    (tmp_path / "grid.yaml").write_text("losses: [E1]\ntraining: {epochs: 1}", encoding="utf-8")
    ((_, run),) = read_grid(tmp_path / "grid.yaml").runs(study)
    assert run == Run("sweep-E1", 5) and run not in study.runs()


def test_every_combination_is_an_arm_once(grid):
    names = [arm.name for arm in grid.all_arms()]
    assert names == [f"sweep-E1-{change}" for change in (
        "held", "sums", "psi=0.1-distance=mse", "psi=0.1-distance=l1", "psi=0.9-distance=mse", "psi=0.9-distance=l1")]
    assert [arm.name for arm in Grid(losses=("E1", "E2"), arms={"a": {}}).all_arms()] == ["E1-a", "E2-a"]
    assert [arm.name for arm in Grid(losses=("E1",)).all_arms()] == ["E1"]


def test_an_arm_is_its_loss_with_the_change(study, grid):
    swept = grid.of(study)
    assert swept.experiments == tuple(arm.name for arm in grid.all_arms()) and swept.seeds == (7,)
    own, base = swept.configurations, study.configurations["E1"]
    assert own["sweep-E1-held"].lambda_.moves == Held("gamma", 0.5) and own["sweep-E1-held"].encoding == base.encoding
    assert own["sweep-E1-sums"].reduction == "sum" and own["sweep-E1-sums"].lambda_.value == 1e-3
    varied = own["sweep-E1-psi=0.9-distance=l1"]
    assert (varied.lambda_.psi, varied.distance, varied.layers) == (0.9, "l1", base.layers)
    assert [run for _, run in grid.runs(study)] == swept.runs()
    assert swept.paths.artifacts == study.paths.artifacts and swept.training == study.training


@pytest.mark.parametrize(("text", "says"), [
    ("losses: [E9]\narms: {a: {}}", "losses: E9 is no loss of this study or grid, choose from .*E1"),
    ("losses: [E1]\narms: {a/b: {}}", "arms: a/b is no name for files"),
    ("losses: [E1]\narms: {a: {distance: l3}}", "losses.sweep-E1-a.distance: 'l3', choose one of mse, l1"),
    ("losses: [E1]\narms: {a: {lambda: {moves: {rule: held, target: 2}}}}", "losses.sweep-E1-a.lambda.moves.target: 2"),
    ("losses: [E1]\narms: {a: {lambda: {moves: {rule: hold}}}}", "rule: 'hold', choose one of fixed, held, ramp"),
    ("losses: [E1]\narms: {a: {}}\nseeds: [-1]", "seeds.0: .*greater than or equal to 0"),
    ("loss: [E1]", "losses: Field required"), ("[", "not YAML"),
])  # fmt: skip
def test_a_wrong_grid_is_one_line(study, tmp_path, text, says):
    (tmp_path / "grid.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(StudyError, match=says) as error:
        read_grid(tmp_path / "grid.yaml").of(study)
    assert "GRID" in str(error.value) and len(str(error.value).splitlines()) == 1


def test_a_grid_has_losses_and_a_training_of_its_own(study):
    new = {"encoder": "vgg16", "weights": "ImageNet", "layers": ["block4_conv1"], "lambda": 0.3}
    swept = Grid(losses=("new", "E1"), configurations={"new": new}, training={"epochs": 7}).of(study)
    assert swept.experiments == ("new", "E1") and swept.configurations["new"].lambda_.value == 0.3
    assert swept.training == study.training.model_copy(update={"epochs": 7}) and swept.pilot == study.pilot
    changed = Grid(losses=("new",), configurations={"new": new}, arms={"sums": {"reduction": "sum"}}).of(study)
    assert changed.experiments == ("new-sums",) and changed.configurations["new-sums"].layer_names == ("block4_conv1",)
    with pytest.raises(StudyError, match="training.epochs: .*greater than 0"):
        Grid(losses=("E1",), training={"epochs": 0}).of(study)


def test_the_table_is_complete_or_says_what_is_missing():
    history = pd.DataFrame({"lambda": [0.1, 0.2], "psi": [0.5, 0.6], "gamma": [0.7, 0.8], "moved": [0.0, 0.1],
                            "seconds": [2.0, 4.0]})
    one, two, three = (Arm("E1", name) for name in "abc")
    runs = [(arm, Run(arm.name, 5)) for arm in (one, two, three)]
    table = sweep_table(runs, {run: history for _, run in runs[:2]}, {runs[0][1]: pd.DataFrame({"ssim": [0.8, 0.9]})})
    assert table["missing"].tolist() == ["", "scores", "training, scores"] and table["change"].tolist() == ["a", "b", "c"]
    first = table.iloc[0]
    assert (first["lambda_first"], first["lambda_last"], first["gamma_end"]) == (0.1, 0.2, 0.8)
    assert first["ssim"] == pytest.approx(0.85) and first["seconds_per_epoch"] == 3
    assert table["ssim"].isna().tolist() == [False, True, True]



NEW = """
losses: [E1, own, E2]
configurations:
  own: {weights: ImageNet, layers: [block2_conv1], lambda: {psi: 0.9, state: pilot, rounding: exact}}
arms:
  a: {lambda: {psi: 0.5, state: pilot, rounding: exact}}
  b: {lambda: {psi: 0.75, state: pilot, rounding: exact}}
  fixed: {layers: [block1_conv1], lambda: 2.0}
  l1: {distance: l1, lambda: {psi: 0.5, state: untrained, rounding: exact}}
"""


@pytest.fixture
def new(tmp_path) -> Grid:
    (tmp_path / "new.yaml").write_text(NEW, encoding="utf-8")
    return read_grid(tmp_path / "new.yaml").model_copy(update={"name": ""})


def test_a_grid_calibrates_what_the_study_does_not_once(study, new):
    """Terms that 02 measures, and given numbers, are none of it; arms that differ in lambda are one."""
    measured = new.measured(study)
    assert list(measured) == ["E1-l1", "own-a", "own-l1", "E2-l1"]
    assert measured["own-a"].layer_names == ("block2_conv1",) and measured["E1-l1"].distance == "l1"
    assert losses_key(measured) == losses_key(new.model_copy(update={"seeds": (9,)}).measured(study))
    assert losses_key(measured) != losses_key(dict(list(measured.items())[:3]))
    published = new.model_copy(update={"arms": {"a": {"lambda": {"state": "published"}}}})
    assert published.measured(study) == {}


def test_an_arms_lambda_is_that_of_its_own_terms(study, new, monkeypatch):
    """Psi = p asks for mse / pl times p / (1 - p), of the very loss and state."""
    mse, state = [1.0, 3.0], {"untrained": 1.0, "pilot": 10.0}
    asked = []

    def pair_losses(study, seed=None, losses=None):
        asked.append(losses)
        own = {"E1": 1.0, "E2": 2.0, "baseline": 2.0}
        pl = own if losses is None else dict(zip(losses, (4.0, 5.0, 8.0, 16.0), strict=True))
        return {name: pd.DataFrame({"mse": mse} | {key: [value * factor] * 2 for key, value in pl.items()})
                for name, factor in state.items()}

    monkeypatch.setattr(sweep, "pair_losses", pair_losses)
    found = {arm.name: sweep.arm_lambda(study, new, arm) for arm in new.all_arms()}
    assert found["E1-a"] == pytest.approx(2 / 10) and found["E1-b"] == pytest.approx(3 * 2 / 10)
    assert found["own-a"] == pytest.approx(2 / 50) and found["own-b"] == pytest.approx(3 * 2 / 50)
    assert found["E1-l1"] == pytest.approx(2 / 4) and found["own-l1"] == pytest.approx(2 / 8)
    assert found["E2-a"] == pytest.approx(2 / 20) and {found[f"{name}-fixed"] for name in new.losses} == {2.0}
    assert asked.count(None) == 4  # E1 and E2 are the study's own


def test_a_published_lambda_is_that_of_the_papers_loss_only(study):
    published = {"lambda": {"state": "published", "rounding": "decade"}}
    grid = Grid(losses=("E1",), arms={"same": published, "l1": published | {"distance": "l1"}})
    same, changed = grid.all_arms()
    assert sweep.arm_lambda(study, grid, same) == 1e-5  # its Table 2
    with pytest.raises(StudyError, match="the paper has no lambda for E1-l1"):
        sweep.arm_lambda(study, grid, changed)


@pytest.mark.parametrize("own", [
    {"pixel": "huber", "huber_delta": 0.1},
    {"pixel": "huber", "pixel_more": {"charbonnier": 1}, "charbonnier_epsilon": 0.01},
    {"lambda": {"value": 0.1, "moves": {"rule": "held", "share": "gamma", "target": 0.5}}},
    {"lambda": {"moves": {"rule": "held", "share": "gamma", "target": 0.5}}}], ids=["huber", "two terms", "number", "moves"])
def test_the_packages_grids_fit_losses_of_ones_own(study, own):
    """Arms without the pixel term have none of its parameters; a fixed lambda is fixed, whatever the loss's own does."""
    losses = {"mine": {"layers": "block3_conv2", **own}}
    every = study.supplement.model_copy(update={"arms": None})
    study = type(study)(**study.model_dump() | {"losses": losses, "experiments": ["mse", "mine"], "supplement": every})
    arms = {name: grid_of(study, name).of(study).configurations for name in ("rules", "target")}
    assert arms["target"]["mine-1"].pixel_part.terms == () and arms["target"]["mine-1"].lambda_.value == 1
    assert arms["target"]["mine-0"].pixel_part == study.configurations["mine"].pixel_part
    fixed = [arms["rules"][f"mine-{name}"] for name in ("0.95", "untrained")] + [
        arms["target"][f"mine-{target}"] for target in ("0.1", "0.95", "0.99")]
    assert all(loss.lambda_.moves == Fixed() and loss.lambda_.value is None for loss in fixed)


@pytest.mark.parametrize(("given", "says"), [
    ({"losses": ("E3",)}, "GRID: E3: no experiment of the study uses the Medical encoder"),
    ({"losses": ("mine",), "configurations": {"mine": {"encoder": "sacnn", "weights": "SACNN", "layers": ["conv3"]}}},
     "GRID: mine: the autoencoder is trained for S3 only"),
    ({"losses": ("E1",), "arms": {"l1": {"distance": "l1", "lambda": {"state": "published"}}}},
     "GRID: E1, l1, lambda: the paper has no lambda for sweep-E1-l1"),
    ({"losses": ("mine",), "configurations": {"mine": {"encoder": "file", "weights": "net.keras", "layers": ["a"]}}},
     "GRID: losses.sweep-mine.weights: net.keras hangs on the folder"),
])
def test_a_sweep_is_refused_before_it_trains(study, given, says):
    study = type(study)(**study.model_dump() | {"experiments": ["mse", "E1"]})
    with pytest.raises(StudyError, match=re.escape(says)):
        stages_of(study, Grid(name="sweep", **given))


def test_what_is_wrong_with_the_packages_grids_names_the_setting(study):
    wrong = study.supplement.model_copy(update={"training": {"epochs": 0}})
    with pytest.raises(StudyError, match=r"^supplement: training.epochs: .* greater than 0"):
        grid_of(study.model_copy(update={"supplement": wrong}), "rules").of(study)


def test_files_that_a_study_names_are_asked_for_first(study, tmp_path):
    def with_loss(**fields):
        losses = {"mine": {"layers": "block3_conv2", **fields}}
        return type(study)(**study.model_dump() | {"losses": losses, "experiments": ["mse", "mine"]})

    for fields, says in (({"weights": str(tmp_path / "no.h5")}, "losses.mine.weights: .*no.h5 does not exist"),
                         ({"weights": "no.h5"}, "losses.mine.weights: no.h5 hangs on the folder"),
                         ({"pixel": None}, "losses.mine.pixel: an experiment is calibrated beside its pixel term")):
        with pytest.raises(StudyError, match=says):
            stages(with_loss(**fields))
    (tmp_path / "own.h5").touch()
    (calibration,) = (stage for wave in stages(with_loss(weights=str(tmp_path / "own.h5"))) for stage in wave
                      if stage.name == "02_calibrate_psi")
    assert tmp_path / "own.h5" in calibration.inputs.values(), "changed in place, it is measured again"


def test_two_files_of_one_name_are_two_inputs(study, tmp_path):
    files = [tmp_path / name / "model.h5" for name in ("vgg", "medical")]
    stage = StagesOf(study).function("a", "lib.stages.sweep:train_arm", [], [*files, files[0]], [])
    assert sorted(stage.inputs.values()) == sorted(files)


def test_new_losses_are_calibrated_before_they_are_trained(study, new):
    """A wave before the trainings, of which every arm depends; without new losses there is none."""
    of = StagesOf(study)
    (calibration,), arms = trainings(of, new, "X1")
    files = set(calibration.outputs)
    assert calibration.name == "X1_calibrate" and len(arms) == len(new.runs(study)) and len(files) == 2
    assert all(files <= set(stage.inputs.values()) for stage in arms)
    assert [len(wave) for wave in trainings(of, Grid(losses=("E1",), arms={"a": {}}), "X1")] == [len(study.seeds)]


def test_the_grid_of_the_docs_is_one(study, tmp_path):
    text = (REPOSITORY / "docs" / "running.md").read_text(encoding="utf-8")
    (tmp_path / "grid.yaml").write_text(re.search(r"^## Sweeps\n.*?^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[1],
                                        encoding="utf-8")
    grid = read_grid(tmp_path / "grid.yaml")
    assert grid.name == "distances" and len(grid.runs(study)) == 20
    assert list(grid.measured(study)) == [f"distances-{name}" for name in (
        "E1-distance=l1-psi=0.5", "mine-held", "mine-distance=l1-psi=0.5")]
