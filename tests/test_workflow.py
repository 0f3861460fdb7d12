"""Which stages run: nothing when nothing changed, only what depends on a change; and what a notebook leaves."""

import ctypes
import importlib
import inspect
import json
import logging
import os
import pickle
import pkgutil
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest

from lib import REPOSITORY
from lib.artifacts import code
from lib.artifacts.cache import digest
from lib.artifacts.files import single_writer
from lib.errors import OutputError, StageError
from lib.log import LINES
from lib.study.config import load_study
from lib.study.runs import Run
from lib.workflow import imported
from lib.workflow.lines import Lines, ProcessError
from lib.workflow.make import due, make
from lib.workflow.notebook import tidy
from lib.workflow.stages import Stage, notebook_source, stages
from lib.workflow.supplement import supplement
from lib.workflow.tasks import perform


def by_name(study) -> dict[str, Stage]:
    return {stage.name: stage for wave in supplement(study) for stage in wave}


def out_of_date(study) -> set[str]:
    return {stage.name for stage in due(supplement(study))}


def test_after_a_run_everything_is_current(smoke_study):
    assert out_of_date(smoke_study) == set() and make(smoke_study, supplement(smoke_study)) == []


def test_with_nothing_to_do_nothing_heavy_is_imported(smoke):
    script = ("import sys; from lib.__main__ import main; status = main(['paper']); "
              "print(status, sorted({'tensorflow', 'keras', 'distributed', 'papermill', 'nbformat'} & set(sys.modules)))")
    ended = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, text=True, capture_output=True,
                           env={**os.environ, "PROFILE": "smoke", "OUTPUT": str(smoke)})
    assert "smoke: 0 stages ran" in ended.stdout and ended.stdout.splitlines()[-1] == "0 []", ended.stdout + ended.stderr


def test_a_missing_figure_reruns_its_stage_only(smoke_study):
    figure = smoke_study.paths.figures / "fig3.png"
    kept = figure.read_bytes()
    figure.unlink()
    try:
        assert out_of_date(smoke_study) == {"04_evaluate"}
    finally:
        figure.write_bytes(kept)
    assert out_of_date(smoke_study) == set()


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"\x00\xff"])
def test_stages_whose_stamps_are_damaged_are_out_of_date(content, study):
    for stage in by_name(study).values():
        stage.stamp.parent.mkdir(parents=True, exist_ok=True)
        stage.stamp.write_bytes(content)
    assert out_of_date(study) == set(by_name(study))


@pytest.fixture
def meaning(monkeypatch):
    """Pretend that one module's code was edited."""
    real = code._meaning

    def edit(name: str) -> None:
        monkeypatch.setattr(code, "_meaning", lambda each: (
            real(each)[0] + (" edited" if each == name else ""), real(each)[1]))

    return edit


def test_editing_the_loss_retrains_and_editing_a_figure_does_not(smoke_study, meaning):
    from lib.stages.calibrate import lambda_used
    from lib.stages.train import training_step

    runs = smoke_study.runs()
    used = {run: lambda_used(smoke_study, run.experiment) for run in runs}

    def retrains() -> list[bool]:
        return [not training_step(smoke_study, run, used[run]).is_current() for run in runs]

    meaning("lib.report.style")
    assert not any(retrains())
    every = [stage for wave in supplement(smoke_study) for stage in wave]
    beyond = {stage.name for stage in every if stage.name.startswith("S") and stage.notebook}
    assert len(beyond) == 8
    assert out_of_date(smoke_study) == {"01_preprocess", "02_calibrate_psi", "04_evaluate", "05_stats"} | beyond
    for name in ("lib.stages.statistics", "lib.metrics.significance"):
        meaning(name)
        assert not any(retrains()) and out_of_date(smoke_study) == {"04_evaluate", "05_stats", "S7_target"}
    meaning("lib.perceptual.losses")
    assert all(retrains())
    assert not {"00_simulate", "01_preprocess"} & out_of_date(smoke_study)
    meaning("lib.simulation.scanner")
    assert "00_simulate" in out_of_date(smoke_study) and not any(retrains()), "a new cohort shows in its contents"


def test_a_change_of_lambda_leaves_the_cohort_alone(smoke_study):
    changed = smoke_study.model_copy(update={
        "calibration": smoke_study.calibration.model_copy(update={"state": "pilot"})})
    assert "02_calibrate_psi" in out_of_date(changed)
    assert not {"00_simulate", "01_preprocess"} & out_of_date(changed)


def test_a_run_is_a_stage_and_so_is_its_evaluation(study):
    own = {"own": {"layers": {"block2_conv2": 1.0}, "weights": "ImageNet"}}
    wanted = study.model_validate(study.model_dump() | {"experiments": ("own", "E3"), "seeds": (5, 6), "losses": own})
    found = by_name(wanted)
    assert [name for name in found if name.startswith("03")] == [
        f"03_train_{name}_seed-{seed}" for name in ("pilot", "own", "E3") for seed in (5, 6)]
    stage = found["03_train_own_seed-6"]
    assert stage.parameters == {"profile": "smoke", "experiment": "own", "seed": 6}
    assert stage.config["loss"]["layers"] == {"block2_conv2": 1.0}
    assert wanted.paths.weights(Run("pilot", 6)) in stage.inputs.values(), "the seed's own"
    assert wanted.paths.weights(Run("pilot", 5)) not in stage.inputs.values()
    assert wanted.paths.medical_weights not in stage.inputs.values()
    assert wanted.paths.medical_weights in found["03_train_E3_seed-5"].inputs.values()
    assert found["04_evaluate_own_seed-6"].outputs == [wanted.paths.evaluation / "own_seed-6.csv"]
    assert set(found["04_evaluate_own_seed-6"].outputs) < set(found["04_evaluate"].inputs.values())


def test_a_function_gets_the_parameters_that_it_takes(study, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA", str(tmp_path))
    monkeypatch.setenv("INSERT", "0.25")
    found = by_name(study) | by_name(load_study("smoke"))
    functions = [stage for stage in found.values() if stage.function]
    assert {stage.name for stage in functions} >= {"00_simulate", "00_insert", "04_evaluate_E1_seed-5"}
    for stage in functions:
        inspect.signature(pkgutil.resolve_name(stage.function)).bind(**stage.parameters)
        assert pickle.loads(pickle.dumps(stage)) == stage, "it travels to a worker"


def test_every_stage_declares_what_it_writes_once(study):
    outputs = [path for stage in by_name(study).values() for path in stage.outputs]
    assert len(outputs) == len(set(outputs)) and all(stage.outputs for stage in by_name(study).values())


def test_a_second_run_on_the_same_results_says_so(study):
    with single_writer(study.paths.artifacts), pytest.raises(OutputError, match="another run is at work in .*smoke"):
        make(study, stages(study))
    with single_writer(study.paths.artifacts):
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
    tidy(path)
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    assert book.cells[0].outputs[0].text == "before\n100%|####| 2/2\nafter"


@pytest.fixture
def notebook(tmp_path):
    """A stage that is a notebook with this code and writes nothing but what it says."""
    def written(source: str, *outputs: str) -> Stage:
        book = nbformat.v4.new_notebook(cells=[
            nbformat.v4.new_code_cell("word = 'none'", metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell(source),
        ], metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})
        nbformat.write(book, tmp_path / "book.ipynb")
        return Stage("09_book", tmp_path / "09_book.json", {"lib.paper.published"}, {},
                     outputs=[tmp_path / name for name in outputs], notebook=tmp_path / "book.ipynb",
                     executed=tmp_path / "executed" / "09_book.ipynb", parameters={"word": "given"})

    return written


def test_a_notebook_runs_with_its_parameters_and_stays_as_it_ran(notebook, caplog, tmp_path):
    caplog.set_level(logging.DEBUG, logger="lib")
    stage = notebook("import sys, time; open('out.txt', 'w').write(word); print('to the log', file=sys.stderr); "
                     "time.sleep(1.5)", "out.txt")
    assert perform(stage, "1/1", {}) is None and stage.is_current()
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == "given"
    assert "09_book  to the log" in caplog.messages
    assert stage.read()["peak_memory_mib"] > 1 and stage.read()["step"] == "09_book"
    executed = nbformat.read(stage.executed, as_version=4)
    assert executed.cells[-1].outputs[0].text == "to the log\n"


def test_a_failing_notebook_gives_its_own_line_and_no_stamp(notebook, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    stage = notebook("from lib.errors import WeightsError\nraise WeightsError('absent', where='x.h5', remedy='pass it')")
    error = perform(stage, "1/1", {})
    assert isinstance(error, StageError) and str(error) == "09_book: WeightsError: x.h5: absent; pass it"
    assert not stage.stamp.exists()
    outputs = [output for cell in nbformat.read(stage.executed, as_version=4).cells for output in cell.get("outputs", [])]
    assert [output.ename for output in outputs if output.output_type == "error"] == ["WeightsError"]


@pytest.mark.parametrize(("source", "message"), [
    ("1 / 0", "^ZeroDivisionError: division by zero$"),
    ("raise ValueError('two\\nlines')", "^ValueError: two lines$"),
    ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "^its process was killed from outside"),
])
def test_what_nobody_foresaw_is_raised_in_one_line(notebook, source, message):
    stage = notebook(source)
    with pytest.raises(ProcessError, match=message) as caught:
        perform(stage, "1/1", {})
    assert "\n" not in str(caught.value) and not stage.stamp.exists()


@pytest.fixture(params=["1", *(["other"] if sys.platform == "linux" else [])])  # no other system has such parents
def new_parent(request):
    """Whom an orphan gets as its parent: process 1, or another, which may be pytest's own."""
    if request.param == "1":
        yield
    else:
        libc, subreaper = ctypes.CDLL(None), 36
        assert libc.prctl(subreaper, 1, 0, 0, 0) == 0
        yield
        libc.prctl(subreaper, 0, 0, 0, 0)


def test_the_kernel_of_a_killed_worker_ends(notebook, tmp_path, new_parent):
    """It must not hold on to what the next attempt needs."""
    stage = notebook("import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(300)")
    script = (f"import pickle; from lib.workflow.tasks import perform; "
              f"perform(pickle.load(open({str(tmp_path / 'stage')!r}, 'rb')), '1/1', {{}})")
    (tmp_path / "stage").write_bytes(pickle.dumps(stage))
    worker = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY, stderr=subprocess.DEVNULL,
                              env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    while not (pid := tmp_path / "pid").is_file() or not pid.read_text(encoding="utf-8"):
        assert worker.poll() is None
        time.sleep(0.1)
    kernel = psutil.Process(int(pid.read_text(encoding="utf-8")))
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    deadline = time.monotonic() + 120
    while kernel.is_running() and kernel.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_copied_process_says_of_its_results_what_code_it_has(monkeypatch):
    """Files that are edited after the import are not those that a copy runs."""
    importlib.reload(imported)
    before = code.code_hash({"lib.workflow.stages"})
    monkeypatch.setattr(code, "_file", lambda name: pytest.fail(f"{name} is read again"))
    assert code.code_hash({"lib.workflow.stages"}) == before


def test_what_a_stage_prints_becomes_lines_of_the_log(caplog):
    caplog.set_level(logging.DEBUG, logger=LINES)
    with Lines("09_book") as stream:
        stream.write("one\ntw")
        stream.write("o\r\n\r 50%|##  |")
        stream.write("\r100%|####|")
    assert caplog.messages == ["09_book  one", "09_book  two", "09_book   50%|##  |", "09_book  100%|####|"]


def test_every_stamp_says_what_made_it(smoke_study):
    stamps = sorted(smoke_study.paths.artifacts.glob("training/*/*/stamp.json"))
    arms = {path for wave in supplement(smoke_study) for stage in wave if stage.apart for path in stage.outputs
            if path.name == "unet.weights.h5"}
    assert len(stamps) == 7 + len(arms) > 12  # six experiments, the pilot, and those of grids
    for path in stamps:
        stamp = json.loads(path.read_text(encoding="utf-8"))
        assert stamp["seed"] == 5 and stamp["devices"] and stamp["commit"] and len(stamp["config_hash"]) == 12
        assert digest(stamp["config"])[:12] == stamp["config_hash"] and stamp["inputs"]["manifest"]
