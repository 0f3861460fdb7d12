"""Which stages run: nothing when nothing changed, only what depends on a change, and a clear line when one fails."""

import json
import sys

import nbformat
import pytest
from lib.workflow.pipeline import Stage, notebook_source, stages
from lib.workflow.process import run

from lib.artifacts import cache
from lib.artifacts.cache import digest
from lib.artifacts.files import alone
from lib.errors import OutputError, StageError
from lib.workflow import pipeline


def by_name(study) -> dict[str, Stage]:
    return {stage.name: stage for wave in stages(study) for stage in wave}


def test_after_a_run_everything_is_current(smoke_study):
    assert all(stage.is_current() for stage in by_name(smoke_study).values())
    assert pipeline.make(smoke_study) == []


def out_of_date(study) -> set[str]:
    return {name for name, stage in by_name(study).items() if not stage.is_current()}


def test_a_missing_figure_reruns_its_stage_only(smoke_study):
    figure = smoke_study.paths.figures / "fig3.png"
    kept = figure.read_bytes()
    figure.unlink()
    try:
        assert out_of_date(smoke_study) == {"04_evaluate"}
    finally:
        figure.write_bytes(kept)
    assert out_of_date(smoke_study) == set()


@pytest.fixture
def meaning(monkeypatch):
    """Pretend that one module's code was edited."""
    real = cache._meaning

    def edit(name: str) -> None:
        monkeypatch.setattr(cache, "_meaning", lambda each: (
            real(each)[0] + (" edited" if each == name else ""), real(each)[1]))

    return edit


def test_editing_the_loss_retrains_and_editing_a_figure_does_not(smoke_study, meaning):
    from lib.stages.calibrate import lambda_used
    from lib.stages.train import training_step

    def retrains() -> list[bool]:
        return [not training_step(smoke_study, name, lambda_used(smoke_study, name)).is_current()
                for name in smoke_study.experiments]

    meaning("lib.report.figures")
    assert not any(retrains())
    assert out_of_date(smoke_study) == {"01_preprocess", "02_calibrate_psi", "04_evaluate", "05_stats"}
    meaning("lib.stages.statistics")
    assert not any(retrains()) and out_of_date(smoke_study) >= {"04_evaluate", "05_stats"}
    assert not {"00_simulate", "01_preprocess"} & out_of_date(smoke_study)
    meaning("lib.perceptual.influence")
    assert all(retrains())
    assert not {"00_simulate", "01_preprocess"} & out_of_date(smoke_study)
    meaning("lib.simulation.phantom")
    assert "00_simulate" in out_of_date(smoke_study) and not any(retrains()), "a new cohort tells by its contents"


def test_a_change_of_lambda_leaves_the_cohort_alone(smoke_study, monkeypatch):
    changed = smoke_study.model_copy(update={
        "calibration": smoke_study.calibration.model_copy(update={"state": "trained"})})
    assert {"02_calibrate_psi"} <= out_of_date(changed)
    assert not {"00_simulate", "01_preprocess"} & out_of_date(changed)


def test_a_second_run_on_the_same_results_says_so(study):
    with alone(study.paths.artifacts), pytest.raises(OutputError, match="another run is at work in .*smoke"):
        pipeline.make(study)
    with alone(study.paths.artifacts):
        pass


def test_notebook_source_has_code_only(tmp_path):
    cells = [nbformat.v4.new_markdown_cell("prose"), nbformat.v4.new_code_cell("%matplotlib inline\nx = 1"),
             nbformat.v4.new_code_cell("print(x)", outputs=[nbformat.v4.new_output("stream", text="1")])]
    path = tmp_path / "a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    assert notebook_source(path) == "x = 1\nprint(x)"


def test_progress_bars_leave_one_line_in_the_executed_notebook(tmp_path):
    bar = "\r 0%|    | 0/2\r 50%|##  | 1/2\r100%|####| 2/2\n"
    output = nbformat.v4.new_output("stream", name="stderr", text=f"before\n{bar}after")
    cell = nbformat.v4.new_code_cell("x", outputs=[output])
    path = tmp_path / "a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    pipeline.tidy(path)
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    assert book.cells[0].outputs[0].text == "before\n100%|####| 2/2\nafter"


def test_a_failing_notebook_gives_its_own_line_and_no_stamp(study, monkeypatch, tmp_path):
    monkeypatch.setattr(pipeline, "NOTEBOOKS", tmp_path)
    code = "from lib.errors import WeightsError\nraise WeightsError('x.h5 does not exist: pass it')"
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)], metadata={
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})
    nbformat.write(book, tmp_path / "bad.ipynb")
    stage = Stage(study, "09_bad", "bad.ipynb", (), [], [])
    with pytest.raises(StageError, match="09_bad: WeightsError: x.h5 does not exist: pass it .log: ") as caught:
        stage.run(lambda text: None)
    assert "\n" not in str(caught.value) and not stage.stamp.exists()


def test_a_stage_that_forgets_an_output_is_refused(study, tmp_path, monkeypatch):
    stage = Stage(study, "00_simulate", None, (), [], [tmp_path / "absent.csv"])
    monkeypatch.setattr(Stage, "command", lambda self: [sys.executable, "-c", "pass"])
    with pytest.raises(StageError, match="ended without writing absent.csv"):
        stage.run(lambda text: None)


def test_process_keeps_a_log_and_passes_progress_on(tmp_path):
    told, log = [], tmp_path / "deep" / "log"
    code = "import sys; sys.stderr.write('a bar:  50%|##  | 1/2 [00:01<00:01]\\ra bar: 100%|####| 2/2\\n'); sys.exit(3)"
    usage = run([sys.executable, "-c", code], log, "stage", told.append)
    assert usage.status == 3 and usage.peak_memory_mib > 1 and usage.last_line == "a bar: 100%|####| 2/2"
    assert told == ["stage  a bar:  50%|##  | 1/2 [00:01<00:01]"]
    assert log.read_text(encoding="utf-8").count("stage  a bar") == 2


def test_every_stamp_says_what_made_it(smoke_study):
    stamps = sorted(smoke_study.paths.artifacts.glob("training/*/stamp.json"))
    assert len(stamps) == 6
    for path in stamps:
        stamp = json.loads(path.read_text(encoding="utf-8"))
        assert stamp["seed"] == 5 and stamp["devices"] and stamp["commit"] and len(stamp["config_hash"]) == 12
        assert digest(stamp["config"])[:12] == stamp["config_hash"] and stamp["inputs"]["manifest"]
