"""No name, identifier, date or UID of somebody's own scans gets into any output, wherever it stood."""

import re
import subprocess
import sys
import zlib
from pathlib import Path

from lib import REPOSITORY
from tests.conftest import PRINTED
from tests.named_scans import STRINGS


def contents(path: Path) -> bytes:
    """A file's bytes, and what is compressed in a PDF or a PNG, as it reads."""
    data = path.read_bytes()
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL) if path.suffix == ".pdf" else []
    streams += [chunk.partition(b"\0\0")[2] for chunk in re.findall(rb"zTXt(.*?)IDAT", data, re.DOTALL)]
    found = [data]
    for stream in streams:
        try:
            found.append(zlib.decompress(stream))
        except zlib.error:
            continue
    return b"\n".join(found)


def leaks(folder: Path) -> list[tuple[str, str]]:
    """File and string, for each that a file below the folder holds or is named by."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [(str(path.relative_to(folder)), text) for path in files for text in STRINGS
            if text.encode() in contents(path) or text in str(path.relative_to(folder))]  # fmt: skip


def test_a_whole_run_on_named_scans_leaks_no_name(named):
    """Insertion, check, notebooks, figures: the terminal names a file that is left out, the log its checksum."""
    outputs = [named / "artifacts", named / "figures"]
    kinds = {path.suffix for folder in outputs for path in folder.rglob("*")}
    assert {".IMA", ".csv", ".ipynb", ".log", ".png", ".pdf", ".json", ".npy", ".h5", ".md", ".tex"} <= kinds
    assert [leak for folder in outputs for leak in leaks(folder)] == []
    assert "Aufnahme_von_Umbrov^Januszka_kaputt.dcm" in (named / PRINTED).read_text(encoding="utf-8")
    assert "sha256:" in (named / "artifacts" / "smoke" / "paper.log").read_text(encoding="utf-8")


def test_a_store_of_named_scans_leaks_no_name(named, tmp_path):
    command = [sys.executable, "-m", "lib", "preprocess", str(named / "own"), str(tmp_path / "store")]
    ran = subprocess.run(command, cwd=REPOSITORY, text=True, capture_output=True, check=False)
    assert ran.returncode == 0 and "kaputt" in ran.stderr, ran.stderr
    assert leaks(tmp_path / "store") == []
