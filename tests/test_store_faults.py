"""01 under faults: killed at random moments, a full disk, a read-only folder, two runs at once. All as a user runs it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from benchmarks.cohort import write_cohort
from lib import REPOSITORY
from lib.artifacts.files import TEMPORARY, single_writer
from lib.data.store.parts import intact, records
from lib.data.store.reading import load_manifest
from lib.data.workers import POOL_FROM
from lib.errors import VolumeError
from tests.test_volumes import contents

SIZE = 32


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    """A DICOM tree that takes several processes and a few seconds, and `whole`: the store of an undisturbed run."""
    folder = tmp_path_factory.mktemp("cohort")
    assert write_cohort(folder / "data", 3, 70, 30, SIZE) >= POOL_FROM
    assert run(folder / "data", folder / "whole").returncode == 0
    return folder


def command(data: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "lib", "preprocess", str(data), str(out), "--jobs", "2"]


def run(data: Path, out: Path) -> subprocess.CompletedProcess:
    return subprocess.run(command(data, out), cwd=REPOSITORY, capture_output=True, text=True, check=False)


def start(data: Path, out: Path) -> subprocess.Popen:
    return subprocess.Popen(command(data, out), cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def temporary(out: Path) -> list[str]:
    return [path.name for path in out.rglob(f"{TEMPORARY}*")]


def family(process: subprocess.Popen) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def test_killed_at_random_moments_it_ends_as_if_undisturbed(cohort, tmp_path, request):
    kills = 20 if request.config.getoption("--faults") == "full" else 2
    rng, out = np.random.default_rng(20), tmp_path / "out"
    begin = time.monotonic()
    run(cohort / "data", tmp_path / "timed")
    undisturbed = time.monotonic() - begin
    finished: dict[str, int] = {}
    for _ in range(kills):
        process = start(cohort / "data", out)
        time.sleep(rng.uniform(0.3, 1.0) * undisturbed)
        workers = family(process)
        process.send_signal(signal.SIGKILL)
        orphans = psutil.wait_procs(workers, timeout=120)[1]
        for orphan in orphans:
            orphan.kill()
        process.communicate()
        assert not orphans, "workers end with their parent"
        if (out / "manifest.csv").exists():
            assert len(load_manifest(out)) == 1200
        elif out.exists():
            with pytest.raises(VolumeError, match="no manifest"):
                load_manifest(out)
            assert intact(out)
        vouched = {path.name for path in records(out)}
        assert finished.keys() <= vouched, "what was finished stays"
        finished |= {name: (out / "parts" / name).stat().st_ino for name in vouched}
    assert run(cohort / "data", out).returncode == 0
    assert contents(out) == contents(cohort / "whole") and not temporary(out)
    assert {name: (out / "parts" / name).stat().st_ino for name in finished} == finished, "and is not made again"


def test_stopped_it_cleans_up(cohort, tmp_path):
    process = start(cohort / "data", tmp_path / "out")
    while not list((tmp_path / "out" / "parts").glob("*.json")) and process.poll() is None:
        time.sleep(0.02)
    workers = family(process)
    process.terminate()
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 130 and "the same command goes on from here" in error and "Traceback" not in error
    assert not psutil.wait_procs(workers, timeout=120)[1] and not temporary(tmp_path / "out")
    assert run(cohort / "data", tmp_path / "out").returncode == 0
    assert contents(tmp_path / "out") == contents(cohort / "whole")


def mounted(script: str, **values) -> list[str]:
    """Run a shell script that may mount file systems of its own; its output, divided at the lines '== '."""
    unshare = ["unshare", "-rm", "sh", "-ec"]
    if subprocess.run([*unshare, "mount -t tmpfs tmpfs /mnt"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets no user mount a file system of his own (unshare -rm)")
    environment = {**os.environ, **{name: str(value) for name, value in values.items()}}
    ended = subprocess.run([*unshare, script], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.split("== \n")[1:]


@pytest.mark.parametrize(("share", "message"), [(0.5, "GB are free"), (1.0, "the disk is full")])
def test_a_full_disk_is_one_line_and_freeing_space_goes_on(cohort, tmp_path, share, message):
    """Half the space is told at once; all but what the records take, only when it is gone."""
    (tmp_path / "out").mkdir()
    needed = 2 * SIZE**2 * 1200
    first, files, second = mounted(
        """
        mount -t tmpfs -o size=$SPACE tmpfs "$OUT"
        echo "== "; $RUN 2>&1 || echo "status $?"
        echo "== "; find "$OUT" -type f
        mount -o remount,size=64m "$OUT"
        echo "== "; $RUN 2>&1
        mkdir "$COPY"; cp -r "$OUT/." "$COPY"
        """,
        SPACE=int(share * needed), OUT=tmp_path / "out", COPY=tmp_path / "copy",
        RUN=" ".join(command(cohort / "data", tmp_path / "out")),
    )  # fmt: skip
    *_, error, status = first.strip().splitlines()
    assert status == "status 1" and error.startswith("error: ") and message in error and "free" in error
    assert "Traceback" not in first and "manifest.csv" not in files and TEMPORARY not in files
    assert (".npy" in files) == (share == 1.0)
    assert ("were there already" in second) == (share == 1.0)
    assert contents(tmp_path / "copy") == contents(cohort / "whole")


def test_a_read_only_folder_is_one_line_and_stays(cohort, tmp_path):
    (tmp_path / "out").mkdir()
    first, files = mounted(
        """
        mount -t tmpfs tmpfs "$OUT"
        cp -r "$WHOLE/." "$OUT"
        mount -o remount,ro "$OUT"
        echo "== "; $RUN 2>&1 || echo "status $?"
        echo "== "; diff -r "$WHOLE" "$OUT" && echo same
        """,
        OUT=tmp_path / "out", WHOLE=cohort / "whole", RUN=" ".join(command(cohort / "data", tmp_path / "out")),
    )  # fmt: skip
    error, status = first.strip().splitlines()
    assert status == "status 1" and files.strip() == "same"
    assert error == (f"error: {tmp_path / 'out'}: cannot be written (Read-only file system); make it writable, or write to "
                     "another folder (OUTPUT=folder)")


@pytest.mark.parametrize(("command", "says"), [
    ("paper", "/artifacts/smoke/paper.log: cannot be written (Read-only file system)"),
    ("paper --unchecked", "/artifacts/smoke/paper.log: cannot be written (Read-only file system)"),
    ("simulate", "/artifacts/smoke/cohort: cannot be written (Read-only file system)"),
    ("check --no-burst", ": is no folder that can be written"),
])
def test_a_read_only_output_is_one_line_of_every_command(command, says, tmp_path):
    (said,) = mounted(
        """
        mount -t tmpfs -o ro tmpfs "$OUTPUT"
        echo "== "; $RUN 2>&1 >/dev/null || echo "status $?"
        """,
        OUTPUT=tmp_path, PROFILE="smoke", RUN=f"{sys.executable} -m lib {command}",
    )  # fmt: skip
    error, status = said.splitlines()
    assert status == "status 1" and error.startswith(f"error: {tmp_path}{says}") and "OUTPUT=" in error


@pytest.mark.parametrize("size", ["4k", "64k"])
def test_a_full_output_is_one_line_of_the_whole_run(tmp_path, size):
    """It is full from the beginning, or the first stage's results fill it up."""
    said, files = mounted(
        """
        mount -t tmpfs -o size=$SIZE tmpfs "$OUTPUT"
        mkdir -p "$OUTPUT/artifacts/smoke"
        [ $SIZE != 4k ] || head -c 4096 /dev/zero > "$OUTPUT/artifacts/smoke/paper.log"
        echo "== "; $RUN 2>&1 >/dev/null || echo "status $?"
        echo "== "; find "$OUTPUT" -type f
        """,
        OUTPUT=tmp_path, PROFILE="smoke", SIZE=size, RUN=f"{sys.executable} -m lib paper --unchecked",
    )  # fmt: skip
    *_, error, status = said.splitlines()
    assert status == "status 1" and error.startswith("error: ") and "Traceback" not in said
    assert "cannot be written (the disk is full); free some space" in error
    assert TEMPORARY not in files and "00_simulate.json" not in files


def test_two_runs_at_once(cohort, tmp_path):
    first = start(cohort / "data", tmp_path / "out")
    while not (tmp_path / "out" / ".lock").exists():
        time.sleep(0.02)
    first.send_signal(signal.SIGSTOP)  # it must not end before the other looks, however slowly that starts
    second = run(cohort / "data", tmp_path / "out")
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 1 and f"another run is at work in {tmp_path / 'out'}" in second.stderr
    assert second.stderr.count("\n") == 1
    assert first.wait() == 0 and contents(tmp_path / "out") == contents(cohort / "whole")
    first.communicate()
    with single_writer(tmp_path / "out"):
        assert run(cohort / "data", tmp_path / "out").returncode == 1
    assert len(load_manifest(tmp_path / "out")) == 1200
