"""Cache keys, atomic writes, stamps."""

import errno
import json
import os
import signal
import subprocess
import sys

import pytest

from lib import REPOSITORY
from lib.artifacts import code, files
from lib.artifacts.cache import Step, digest
from lib.artifacts.code import code_hash, imports
from lib.artifacts.files import atomic, single_writer
from lib.errors import OutputError, StageError


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A throwaway ``lib`` with three modules: figures -> losses -> shared."""
    folder = tmp_path / "repository" / "lib"
    folder.mkdir(parents=True)
    files = {
        "shared": "VALUE = 1\n",
        "losses": '"""Losses."""\nfrom lib import shared\n\n\ndef mse():\n    """Mean."""\n    return shared.VALUE\n',
        "figures": "from lib.losses import mse\n",
    }
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(code, "REPOSITORY", folder.parent)
    code._meaning.cache_clear()
    yield folder
    code._meaning.cache_clear()


def edited(folder, name, old, new) -> str:
    path = folder / f"{name}.py"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    code._meaning.cache_clear()


def test_code_hash_follows_imports_and_ignores_comments_and_docstrings(package):
    losses, figures = code_hash({"lib.losses"}), code_hash({"lib.figures"})
    edited(package, "figures", "from lib", "# a comment\nfrom lib")
    edited(package, "losses", "Mean.", "The mean.")
    assert (code_hash({"lib.losses"}), code_hash({"lib.figures"})) == (losses, figures)
    edited(package, "figures", "import mse", "import mse\n\nCOLOUR = 'red'")
    assert code_hash({"lib.losses"}) == losses and code_hash({"lib.figures"}) != figures
    edited(package, "shared", "VALUE = 1", "VALUE = 2")
    assert code_hash({"lib.losses"}) != losses


def test_imports_finds_every_form(package):
    source = "import lib.shared\nfrom lib import losses\ndef f():\n    from lib.figures import mse\nimport numpy\n"
    assert imports(source) == {"lib.shared", "lib.losses", "lib.figures"}


def test_relative_imports_are_followed(package):
    (package / "heart").mkdir()
    (package / "heart" / "__init__.py").write_text("from .losses import mse\n", encoding="utf-8")
    (package / "heart" / "losses.py").write_text("from . import terms\nfrom ..shared import VALUE\n", encoding="utf-8")
    (package / "heart" / "terms.py").write_text("TERM = 1\n", encoding="utf-8")
    assert imports("from .losses import mse\n", "lib.heart") == {"lib.heart.losses"}
    assert imports("from . import losses\nfrom .. import shared\n", "lib.heart") == {
        "lib.heart", "lib.heart.losses", "lib.shared"}
    before = code_hash({"lib.heart"})
    edited(package / "heart", "terms", "1", "2")
    after = code_hash({"lib.heart"})
    edited(package, "shared", "VALUE = 1", "VALUE = 2")
    assert len({before, after, code_hash({"lib.heart"})}) == 3


def test_what_only_configures_or_speaks_is_in_no_key():
    source = "from lib import log\nfrom lib.study.config import Study\nfrom lib.artifacts import files\n"
    assert code_hash(imports(source)) == code_hash(set())
    assert code_hash({"lib.perceptual.presets"}) != code_hash(set())
    assert (REPOSITORY / "lib" / "artifacts" / "code.py").is_file()


def test_digest_knows_no_order_of_keys():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1}) != digest({"a": 1, "b": [2, 1]})


def test_atomic_leaves_nothing_half_written(tmp_path):
    path = tmp_path / "deep" / "table.csv"
    with atomic(path) as temporary:
        temporary.write_text("old", encoding="utf-8")
    with pytest.raises(FileNotFoundError), atomic(path) as temporary:
        temporary.write_text((tmp_path / "absent").read_text(encoding="utf-8"), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "old"
    assert [file.name for file in path.parent.iterdir()] == ["table.csv"]


def test_a_full_disk_is_one_clear_line(tmp_path):
    wanted = pytest.raises(OutputError, match="table.csv: cannot be written .*free some space")
    with wanted as caught, atomic(tmp_path / "table.csv"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("durable", [True, False])
def test_atomic_waits_for_the_disk_unless_told_not_to(tmp_path, monkeypatch, durable):
    synced = []
    monkeypatch.setattr(files, "sync", lambda path: synced.append(path.exists() and path.is_dir()))
    with atomic(tmp_path / "table.csv", durable=durable) as temporary:
        temporary.write_text("new", encoding="utf-8")
    assert synced == ([False, True] if durable else []), "the file before the rename, the folder after it"
    assert (tmp_path / "table.csv").read_text(encoding="utf-8") == "new"


def test_a_folder_is_held_by_one_run(tmp_path):
    folder = tmp_path / "store"
    with single_writer(folder):
        with pytest.raises(OutputError, match="another run is at work in .*store; wait for it"), single_writer(folder):
            pass
        assert folder.is_dir()
    assert not folder.exists(), "made for the run and not used"
    folder.mkdir()
    (folder / ".lock").write_text("of a killed run", encoding="utf-8")
    with single_writer(folder):
        (folder / "result").write_text("kept", encoding="utf-8")
    assert [path.name for path in folder.iterdir()] == ["result"]


def test_the_lock_of_a_killed_process_is_free_and_its_file_goes(tmp_path):
    code = (f"from pathlib import Path; from lib.artifacts.files import single_writer; import time\n"
            f"with single_writer(Path({str(tmp_path)!r})): print('held', flush=True); time.sleep(60)")
    process = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(OutputError, match="another run is at work"), single_writer(tmp_path):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (tmp_path / ".lock").exists(), "nobody was left to remove it"
    with single_writer(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("refusal", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_held_all_the_same(tmp_path, monkeypatch, refusal):
    def refuse(*arguments):
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr("fcntl.flock", refuse)
    with single_writer(tmp_path), pytest.raises(OutputError, match="another run is at work"), single_writer(tmp_path):
        pass
    with single_writer(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    folder = tmp_path / "file" / "out"
    with pytest.raises(OutputError, match="cannot be written .* to another folder"), single_writer(folder):
        pass


def test_step_is_current_until_something_changes(tmp_path):
    output = tmp_path / "result.txt"

    def step(**changes):
        settings = {"config": {"a": 1}, "inputs": {"x": "1"}} | changes
        return Step("work", tmp_path / "stamp.json", {"lib.paper.published"}, **settings)

    assert not step().is_current()
    with step().making(seed=5) as outputs:
        output.write_text("42", encoding="utf-8")
        outputs.append(output)
    assert step().is_current()
    stamp = json.loads((tmp_path / "stamp.json").read_text(encoding="utf-8"))
    assert stamp["seed"] == 5 and stamp["versions"]["tensorflow"] and stamp["config"] == {"a": 1}
    assert not step(config={"a": 2}).is_current() and not step(inputs={"x": "2"}).is_current()
    os.utime(output, (0, 0))
    assert step().is_current(), "another time, the same contents"
    output.write_text("43", encoding="utf-8")
    assert not step().is_current()
    output.unlink()
    assert not step().is_current()


def test_declared_outputs_are_promises(tmp_path):
    def step(*names):
        outputs = [tmp_path / name for name in names]
        return Step("work", tmp_path / "stamp.json", {"lib.paper.published"}, {}, outputs=outputs)

    with pytest.raises(StageError, match="work: ended without writing b.txt"), step("a.txt", "b.txt").making():
        (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    assert not step("a.txt").is_current()
    with step("a.txt").making(size=lambda: (tmp_path / "a.txt").stat().st_size) as further:
        (tmp_path / "a.txt").write_text("aa", encoding="utf-8")
        (tmp_path / "c.txt").write_text("only the work knew of it", encoding="utf-8")
        further.append(tmp_path / "c.txt")
    assert step("a.txt").read()["size"] == 2 and set(step().read()["outputs"]) == {"a.txt", "c.txt"}
    assert step("a.txt").is_current() and not step("a.txt", "b.txt").is_current(), "a new promise is not kept yet"
    (tmp_path / "c.txt").unlink()
    assert not step("a.txt").is_current()


def test_an_input_that_is_a_file_stands_for_its_contents(tmp_path):
    def step():
        return Step("work", tmp_path / "stamp.json", {"lib.paper.published"}, {}, {"data": tmp_path / "data"})

    keys = {step().key}
    (tmp_path / "data").write_text("1", encoding="utf-8")
    keys.add(step().key)
    os.utime(tmp_path / "data", (0, 0))
    keys.add(step().key)
    with step().making():
        (tmp_path / "data").write_text("2", encoding="utf-8")
    assert len(keys) == 2 and not step().is_current(), "it changed while the work was done with what was there before"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", "\x00\xff"])
def test_a_damaged_stamp_is_none(tmp_path, text):
    (tmp_path / "stamp.json").write_bytes(text.encode("latin-1"))
    step = Step("work", tmp_path / "stamp.json", {"lib.paper.published"}, {})
    assert step.read() is None and not step.is_current()


def test_a_step_that_fails_leaves_no_stamp(tmp_path):
    step = Step("work", tmp_path / "stamp.json", {"lib.paper.published"}, {})
    with pytest.raises(ZeroDivisionError), step.making():
        raise ZeroDivisionError
    assert step.read() is None and not step.is_current()
