"""Cache keys, atomic writes, stamps."""

import errno
import json
import os

import pytest

from lib.artifacts import cache, files
from lib.artifacts.cache import Step, code_hash, digest, imports
from lib.artifacts.files import alone, atomic
from lib.errors import OutputError


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
    monkeypatch.setattr(cache, "REPOSITORY", folder.parent)
    cache._meaning.cache_clear()
    yield folder
    cache._meaning.cache_clear()


def edited(folder, name, old, new) -> str:
    path = folder / f"{name}.py"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    cache._meaning.cache_clear()


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


def test_digest_knows_no_order_of_keys():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1}) != digest({"a": 1, "b": [2, 1]})


def test_atomic_leaves_nothing_half_written(tmp_path):
    path = tmp_path / "deep" / "table.csv"
    with atomic(path) as temporary:
        temporary.write_text("old", encoding="utf-8")
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise RuntimeError
    assert path.read_text(encoding="utf-8") == "old"
    assert [file.name for file in path.parent.iterdir()] == ["table.csv"]


def test_a_full_disk_is_one_clear_line(tmp_path):
    with pytest.raises(OutputError, match="table.csv: cannot be written .*free some space") as caught:
        with atomic(tmp_path / "table.csv"):
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
    with alone(folder):
        with pytest.raises(OutputError, match="another run is at work in .*store: wait for it"), alone(folder):
            pass
        assert folder.is_dir()
    assert not folder.exists(), "made for the run and not used"
    folder.mkdir()
    (folder / ".lock").write_text("of a killed run", encoding="utf-8")
    with alone(folder):
        (folder / "result").write_text("kept", encoding="utf-8")
    assert [path.name for path in folder.iterdir()] == ["result"]


def test_the_lock_of_a_run_that_ended_in_between_does_not_count(tmp_path, monkeypatch):
    """Its holder removed the file after this run opened it: the next file is the one to hold."""
    lock, opened, open_ = tmp_path / ".lock", [], os.open

    def removed_once(path, *arguments):
        handle = open_(path, *arguments)
        if path == lock and not opened:
            lock.unlink()
        opened.append(path)
        return handle

    monkeypatch.setattr(files.os, "open", removed_once)
    with alone(tmp_path):
        assert lock.is_file()
        with pytest.raises(OutputError, match="another run"), alone(tmp_path):
            pass


def test_step_is_current_until_something_changes(tmp_path):
    output = tmp_path / "result.txt"

    def step(**changes):
        return Step("work", tmp_path / "stamp.json", {"lib.paper.published"}, **({"config": {"a": 1}, "inputs": {"x": "1"}} | changes))

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


def test_a_step_that_fails_leaves_no_stamp(tmp_path):
    step = Step("work", tmp_path / "stamp.json", {"lib.paper.published"}, {})
    with pytest.raises(ZeroDivisionError), step.making():
        1 / 0
    assert step.read() is None and not step.is_current()
