"""The command line and the Makefile, as a user types them."""

import json
import logging
import os
import pty
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time

import pandas as pd
import psutil
import pytest

import lib.log
from lib import REPOSITORY
from lib.__main__ import COMMANDS, main
from lib.arguments import parser
from lib.artifacts.files import single_writer
from lib.commands.options import print_json
from lib.workflow import make as workflow
from tests import trees


def make(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["make", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_simulate_then_preprocess(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PROFILE", "smoke")
    scans, store = tmp_path / "scans", tmp_path / "store"
    assert main(["simulate", str(scans), "--patients", "1", "--slices", "5", "--size", "48", "--seed", "2"]) == 0
    assert main(["preprocess", str(scans), str(store)]) == 0
    assert "1 simulated patients" in capsys.readouterr().out
    manifest = pd.read_csv(store / "manifest.csv")
    assert manifest["patient"].unique().tolist() == ["SIM01"] and manifest["paired"].all()
    assert set(zip(manifest["kernel"], manifest["thickness_mm"], strict=True)) == {
        ("B30", 1.0), ("D45", 1.0), ("B30", 3.0), ("D45", 3.0)}
    before = {path: path.stat().st_mtime_ns for path in scans.rglob("*.IMA")}
    assert main(["simulate", str(scans), "--patients", "2", "--slices", "5", "--size", "48", "--seed", "2"]) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before, "a patient that is there is kept"
    assert len(list(scans.rglob("*.IMA"))) == 2 * len(before)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example_that_it_takes(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0 and f"python -m lib {command}" in text
    examples = re.findall(r"^  (?:\w+=\S+ )*(?:python -m lib|make) (.+)$", text.partition("\nexamples:\n")[2], re.MULTILINE)
    assert examples and [parser().parse_args(shlex.split(each)).command for each in examples] == [command] * len(examples)


def test_help_lists_commands_and_statuses(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(re.search(rf"^ +{command}( |$)", text, re.MULTILINE) for command in COMMANDS)
    assert re.findall(r"^  (\d+) ", text.partition("exit status:")[2], re.MULTILINE) == ["0", "1", "2", "130"]
    assert max(map(len, text.splitlines())) <= 120


def test_json_is_all_that_is_printed(tmp_path, capsys):
    assert main(["simulate", str(tmp_path / "scans"), "--patients", "1", "--slices", "5", "--size", "48"]) == 0
    (tmp_path / "scans" / "broken.IMA").write_bytes(b"not a DICOM")
    capsys.readouterr()
    assert main(["preprocess", str(tmp_path / "scans"), str(tmp_path / "store"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    manifest = pd.read_csv(printed["manifest"])
    assert printed["slices"] == len(manifest) and len(printed["problems"]) == 1 and "broken.IMA" in printed["problems"][0]
    assert main(["paper", "--list", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["profile"] == "smoke" and set(printed["stages"].values()) == {"out of date"}
    assert main(["paper", "--json"]) == 1 and "--json is for --list" in capsys.readouterr().err


def test_json_has_no_numbers_that_are_none(capsys):
    print_json({"a": [float("nan"), 1.5], "b": float("inf")})
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.5], "b": None}


def test_progress_bars_are_for_terminals():
    """Off a terminal tqdm is switched off, in the processes of stages, too; on one it is not."""
    code = ("import atexit, runpy, sys; sys.argv = ['lib', 'paper', '--list']; "
            "atexit.register(lambda: print('off' if sys.modules['tqdm'].tqdm([]).disable else 'on')); "
            "runpy.run_module('lib', run_name='__main__', alter_sys=True)")
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.endswith("off\n")
    ours, theirs = pty.openpty()
    ended = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=theirs, text=True, check=True)
    os.close(theirs)
    os.close(ours)
    assert ended.stdout.endswith("on\n")


@pytest.fixture(autouse=True)
def smoke_profile(monkeypatch):
    monkeypatch.setenv("PROFILE", "smoke")


@pytest.fixture(autouse=True)
def silence():
    """No handler of one test's command line is left to the next."""
    yield
    for name in (lib.log.ROOT, lib.log.LINES):
        logging.getLogger(name).handlers.clear()


@pytest.mark.parametrize(("arguments", "message"), [
    (["preprocess", "/no/such", "OUT"], "/no/such: does not exist; expected a folder of DICOM slices"),
    (["preprocess", "~nouser", "OUT"], "~nouser: does not exist; expected a folder of DICOM slices"),
    (["preprocess", "/" + "long" * 100, "OUT"], "long: does not exist; expected a folder of DICOM slices"),
    (["simulate", "/tmp/" + "long" * 100], "long: cannot be written (File name too long); make it writable, or write to"),
    (["insert", ".", "OUT", "--i0", "inf"], "--i0 inf: expected photons per detector bin up to 1e+09"),
    (["preprocess", ".", "OUT", "--jobs", "\u00b2"], "JOBS=\u00b2 is not a number"),
    (["paper", "--jobs", "two"], "JOBS=two is not a number"),
    (["simulate", "OUT", "--slices", "1"], "--slices 1 is too small"),
    (["train", "E9"], "E9 is not an experiment; choose one of mse, baseline, E1"),
    (["train", "E1", "--seed", "-1"], "--seed -1 is too small"),
    (["insert"], "nothing to insert into; pass DATA and OUT"),
    (["insert", "/tmp"], "no folder to write to; pass OUT after DATA"),
    (["insert", "/no/such", "OUT"], "/no/such does not exist; pass a folder"),
])
def test_mistakes_are_one_line_and_status_1(arguments, message, tmp_path, capsys):
    assert main([str(tmp_path / "out") if each == "OUT" else each for each in arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_preprocess_prints_what_it_left_out(tmp_path, capsys):
    trees.simulated(tmp_path / "data", z=(0.0, 0.8))
    (tmp_path / "data" / "broken.IMA").write_bytes(b"not a DICOM")
    assert main(["preprocess", str(tmp_path / "data"), str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert "4 slices, 2 pairs, 1 problems" in captured.out and "broken.IMA" in captured.err


@pytest.mark.parametrize(("argument", "message"), [
    ("PROFILE=dmeo", "PROFILE=dmeo is not a profile: choose one of"),
    ("PROFLE=demo", "there is no variable PROFLE: choose from"),
    ("DATA=/no/such", "DATA=/no/such does not exist: pass a folder with DICOM files"),
    ("VGG19_WEIGHTS=/no/such.h5", "VGG19_WEIGHTS=/no/such.h5 does not exist: pass a file"),
    ("EXPERIMENTS=/no/such.yaml", "EXPERIMENTS=/no/such.yaml does not exist: pass a file"),
    ("SCHEDULER=host:8786", "SCHEDULER=host:8786 is no address: pass tcp://host:8786"),
])
def test_make_tells_mistakes_before_anything_else(argument, message):
    ended = make("paper", argument)
    assert ended.returncode != 0 and message in ended.stderr


def test_make_help_names_every_target_and_variable():
    text = make("help").stdout
    for word in ("make paper", "make test", "make lab", "make clean", "PROFILE=", "DATA=", "VGG19_WEIGHTS=", "JOBS=",
                 "LAMBDA=", "ENCODER=", "EXPERIMENTS=", "SCHEDULER=", "OUTPUT="):
        assert word in text


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_killed_it_ends_its_stages(tmp_path, how):
    """`kill` and Ctrl-C on the command must not leave a notebook training on; nor must kill -9."""
    environment = {**os.environ, "PROFILE": "smoke", "OUTPUT": str(tmp_path)}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    process = subprocess.Popen([sys.executable, "-m", "lib", "paper", "--unchecked"], cwd=REPOSITORY, env=environment,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    assert "00_simulate" in process.stdout.readline()
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(how)
    _, error = process.communicate(timeout=120)
    deadline = time.monotonic() + 120
    if how != signal.SIGKILL:
        assert process.returncode == 130 and error == "stopped; the same command goes on from here\n"
        assert not list((tmp_path / "artifacts" / "smoke").glob(".lock"))
    while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(("arguments", "jobs"), [([], 2), (["--jobs", "3"], 3)])
def test_stages_at_once_are_the_profiles_or_as_asked(arguments, jobs, tmp_path, monkeypatch):
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    monkeypatch.setenv("SET", "jobs=2")
    monkeypatch.setenv("PROFILE", "smoke")
    monkeypatch.setattr(workflow, "due", lambda waves: [])
    asked = []
    monkeypatch.setattr(workflow, "make", lambda study, waves, jobs, scheduler: asked.append(jobs) or [])
    assert main(["paper", "--unchecked", *arguments]) == 0 and asked == [jobs]


@pytest.mark.parametrize("command", [["paper"], ["paper", "--unchecked"], ["simulate"], ["check", "--no-burst"]])
def test_an_output_that_is_a_file_is_one_line(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OUTPUT", f"{tmp_path}/{'long' * 100}")
    assert main(command) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path}/long") and "OUTPUT=" in error and error.count("\n") == 1
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    monkeypatch.setenv("OUTPUT", str(tmp_path / "file"))
    assert main(command) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'file'}") and "OUTPUT=" in error and error.count("\n") == 1
    assert (tmp_path / "file").read_text(encoding="utf-8") == "no folder"


def test_paper_checks_first_and_starts_nothing_that_cannot_end(tmp_path):
    weights = tmp_path / "vgg19.weights.h5"
    weights.write_bytes(b"no weights")
    environment = {**os.environ, "PROFILE": "smoke", "OUTPUT": str(tmp_path), "VGG19_WEIGHTS": str(weights)}
    ended = subprocess.run([sys.executable, "-m", "lib", "paper"], cwd=REPOSITORY, env=environment, text=True,
                           capture_output=True, check=False)
    assert ended.returncode == 1 and "the run cannot start: 1 error" in ended.stdout
    assert ended.stderr.startswith("error: nothing was started; mend what the check says")
    assert not (tmp_path / "artifacts" / "smoke" / "cohort").exists()


@pytest.mark.parametrize("address", ["host:8786", "8786"])
def test_a_scheduler_without_an_address_is_one_line(address, monkeypatch, capsys):
    monkeypatch.setenv("SCHEDULER", address)
    assert main(["paper"]) == 1
    assert capsys.readouterr().err == f"error: SCHEDULER={address} is no address; for example SCHEDULER=tcp://host:8786\n"


def test_quiet_and_verbose(monkeypatch, tmp_path, capsys):
    trees.simulated(tmp_path / "data", z=(0.0, 0.8))
    (tmp_path / "data" / "broken.IMA").write_bytes(b"not a DICOM")
    for options, chatter in {(): False, ("-q",): False, ("-v",): True}.items():
        assert main(["preprocess", *options, str(tmp_path / "data"), str(tmp_path / "out")]) == 0
        logging.getLogger("lib.tests").debug("chatter")
        captured = capsys.readouterr()
        assert "warning: " in captured.err and ("chatter" in captured.out) is chatter
    logging.getLogger("lib.tests").info("to be seen")
    assert main(["simulate", "-q", "OUT", "--slices", "1"]) == 1
    logging.getLogger("lib.tests").info("not to be seen")
    captured = capsys.readouterr()
    assert "to be seen" in captured.out and "not to be seen" not in captured.out


def test_python_of_a_wrong_version_is_named(tmp_path):
    """The Makefile's own check, in a Python that says it is 3.8."""
    fake = tmp_path / "python"
    pretend = "import sys; sys.version_info = (3, 8, 0); exec(sys.argv[1])"
    fake.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{pretend}" "$2"\n', encoding="utf-8")
    fake.chmod(0o755)
    ended = make("paper", f"PYTHON={fake}", f"VENV={tmp_path / 'venv'}")
    assert ended.returncode != 0 and "is Python 3.8: this project needs 3.11" in ended.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("value", ["$(shell touch {})", "$$(touch {})", "`touch {}`", '"; touch {}; "', "~nouser"])
def test_make_takes_values_as_data(value, tmp_path, monkeypatch):
    """From the command line or the environment: nothing runs, and what is not there stops everything."""
    value = value.format(tmp_path / "pwned")
    dry = make("-n", "paper", f"JOBS={value}")
    assert '--jobs "$JOBS"' in dry.stdout
    ended = [make("given", f"DATA={value}")]
    monkeypatch.setenv("DATA", value)
    ended.append(make("given"))
    for each in ended:
        assert each.returncode == 2 and "does not exist: pass a folder" in each.stderr, each.stderr
    assert not (tmp_path / "pwned").exists()


@pytest.fixture
def environment_of_fakes(tmp_path):
    """A VENV= that is up to date, whose Python notes how it was started, and then is the real one unless FAKE says no."""
    folder = tmp_path / "venv"
    (folder / "bin").mkdir(parents=True)
    noting = f"{sys.executable} -c 'import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))' \"$@\""
    (folder / "bin" / "python").write_text(f'#!/bin/sh\n[ -z "$REAL" ] || exec {sys.executable} "$@"\n{noting}\n',
                                           encoding="utf-8")
    (folder / "bin" / "python").chmod(0o755)
    (folder / ".installed").touch()
    return folder


FREE = ("INSERT", "ENCODER", "LAMBDA", "SEEDS", "SET", "JOBS", "OUTPUT")  # variables that name nothing which must be there


@pytest.mark.parametrize("where", ["command line", "environment"])
@pytest.mark.parametrize("form", ["$(shell touch {})", "$$(touch {})", "$(touch {})", "`touch {}`", '"; touch {}; "',
                                  "'; touch {}; '", "a b  c", "$HOME ~ * \\ # %"])  # fmt: skip
def test_values_reach_the_program_as_they_were_typed(form, where, environment_of_fakes, tmp_path, monkeypatch):
    value = form.format(tmp_path / "pwned")
    for name in FREE if where == "environment" else ():
        monkeypatch.setenv(name, value)
    ended = make("paper", f"VENV={environment_of_fakes}", "PROFILE=smoke",
                 *(f"{name}={value}" for name in FREE if where == "command line"))
    assert ended.returncode == 0, ended.stderr
    arguments, seen = json.loads(ended.stdout)
    assert arguments[arguments.index("--jobs") + 1] == value
    assert {name: seen[name] for name in FREE} == dict.fromkeys(FREE, value)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", ["DATA", "SPLIT", "VGG19_WEIGHTS", "MEDICAL_WEIGHTS", "EXPERIMENTS"])
@pytest.mark.parametrize("where", ["command line", "environment"])
def test_make_starts_nothing_with_a_file_that_is_not_there(name, where, environment_of_fakes, monkeypatch):
    if where == "environment":
        monkeypatch.setenv(name, "/no/such")
    ended = make("paper", f"VENV={environment_of_fakes}", *([f"{name}=/no/such"] if where == "command line" else []))
    assert ended.returncode == 2 and f"error: {name}=/no/such does not exist" in ended.stderr and not ended.stdout


@pytest.mark.parametrize("target", ["lab", "explore"])
def test_jupyterlab_gets_whole_paths(target, environment_of_fakes):
    """Its kernels work in notebooks/, where 'results' is another folder."""
    shutil.copy(environment_of_fakes / "bin" / "python", environment_of_fakes / "bin" / "jupyter")
    ended = make(target, f"VENV={environment_of_fakes}", "OUTPUT=a $b; c", "DATA=/", "SPLIT=CITATION.cff")
    assert ended.returncode == 0, ended.stderr
    arguments, seen = json.loads(ended.stdout)
    assert {name: seen[name] for name in ("OUTPUT", "DATA", "SPLIT", "GRID")} == {
        "OUTPUT": f"{REPOSITORY}/a $b; c", "DATA": "/", "SPLIT": f"{REPOSITORY}/CITATION.cff", "GRID": ""}
    assert arguments[0] == "lab" and ("notebooks/explore.ipynb" in arguments) == (target == "explore")


def test_kill_9_of_make_ends_the_run(environment_of_fakes, tmp_path):
    environment = {**os.environ, "REAL": "1", "PROFILE": "smoke", "OUTPUT": str(tmp_path)}
    with subprocess.Popen(["make", "paper", f"VENV={environment_of_fakes}", "UNCHECKED=1"], cwd=REPOSITORY, env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert "00_simulate" in process.stdout.readline()
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        left = psutil.wait_procs(children, timeout=120)[1]
        for child in left:
            child.kill()
    assert children and not left
    with single_writer(tmp_path / "artifacts" / "smoke"):
        pass


def test_make_takes_a_folder_with_a_space(tmp_path):
    (tmp_path / "my scans").mkdir()
    assert make("given", f"DATA={tmp_path / 'my scans'}").returncode == 0
    assert make("given", f"DATA={tmp_path / 'my'}").returncode == 2


def test_a_run_ends_with_the_make_that_started_it(tmp_path):
    """However make is killed: nothing trains on unseen, and the next run is not refused."""
    command = f'"{sys.executable}" -m lib paper --unchecked --end-with-parent $$ & wait'
    environment = {**os.environ, "PROFILE": "smoke", "OUTPUT": str(tmp_path)}
    with subprocess.Popen(["sh", "-c", command], cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True) as parent:
        assert "00_simulate" in parent.stdout.readline()
        children = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
        assert children and not psutil.wait_procs(children, timeout=120)[1]
    with single_writer(tmp_path / "artifacts" / "smoke"):
        pass


def test_it_ends_where_its_parent_was_gone_before_it_could_look(tmp_path):
    """As where make is killed while Python starts: the orphan's parent is not the one that it was given."""
    with subprocess.Popen(["true"]) as gone:
        pass
    ended = paper(tmp_path, "--end-with-parent", str(gone.pid))
    assert ended.returncode == 130 and ended.stderr == "stopped; the same command goes on from here\n"
    assert not (tmp_path / "artifacts" / "smoke" / "training").exists()


def paper(root, *options: str, **how) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "lib", "paper", "--unchecked", *options], cwd=REPOSITORY, text=True,
                          check=False, timeout=600, env={**os.environ, "PROFILE": "smoke", "OUTPUT": str(root)},
                          **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how)


def test_nobody_reading_what_the_stages_say_stops_them_in_one_line(tmp_path):
    """`paper | true`: it is another thread that hears of the stages."""
    reader, writer = os.pipe()
    os.close(reader)
    ended = paper(tmp_path, stdout=writer)
    os.close(writer)
    assert ended.returncode == 1 and ended.stderr == (
        "error: nobody reads the output any more, so the run was stopped; the same command goes on from here\n")
    assert not (tmp_path / "artifacts" / "smoke" / "training").exists()


def test_a_log_that_cannot_be_written_stops_the_stages_in_one_line(tmp_path):
    log = tmp_path / "artifacts" / "smoke" / "paper.log"
    log.parent.mkdir(parents=True)
    log.symlink_to("/dev/full")
    ended = paper(tmp_path)
    assert ended.returncode == 1 and ended.stderr == (
        f"error: {log}: cannot be written (the disk is full); free some space, or write to another folder (OUTPUT=folder)\n")
    assert not (tmp_path / "artifacts" / "smoke" / "training").exists()


def test_nobody_reading_the_output_is_one_line(tmp_path):
    trees.simulated(tmp_path / "scans")
    command = [sys.executable, "-m", "lib", "preprocess", str(tmp_path / "scans"), str(tmp_path / "store")]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        error = process.stderr.read()
    assert process.returncode == 1 and "Traceback" not in error and error.rstrip().endswith("goes on from here")


@pytest.mark.parametrize("name", ["manifest.csv", "summary.json", "problems.csv"])
def test_preprocess_refuses_a_folder_that_is_not_its_own(name, tmp_path, capsys):
    trees.simulated(tmp_path / "scans")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("mine", encoding="utf-8")
    assert main(["preprocess", str(tmp_path / "scans"), str(tmp_path / "mine")]) == 1
    assert "holds files that preprocess did not write" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [name]
    assert (tmp_path / "mine" / name).read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("mask", [0o077, 0o002])
def test_what_is_written_has_the_permissions_of_the_users_umask(mask, tmp_path):
    trees.simulated(tmp_path / "scans")
    out = tmp_path / "out"
    for command in (["simulate", out / "simulated", "--patients", "1", "--slices", "5", "--size", "48"],
                    ["preprocess", tmp_path / "scans", out / "store"]):
        ran = subprocess.run([sys.executable, "-m", "lib", *map(str, command)], cwd=REPOSITORY, capture_output=True,
                             umask=mask)
        assert ran.returncode == 0, ran.stderr
    written = [path for path in out.rglob("*") if not path.name.startswith(".")]
    assert {".IMA", ".npy", ".csv", ".json", ""} <= {path.suffix for path in written}
    wrong = {path: oct(mode) for path in written
             if (mode := stat.S_IMODE(path.stat().st_mode)) != (0o777 if path.is_dir() else 0o666) & ~mask}
    assert wrong == {}
