"""No name, identifier, date or UID of somebody's own scans gets into any output, wherever it stood."""

import base64
import re
import subprocess
import sys
import zlib
from pathlib import Path

import nbformat
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib import REPOSITORY
from tests import trees
from tests.conftest import PRINTED
from tests.named_scans import STRINGS


def contents(path: Path) -> bytes:
    """A file's bytes, and what is compressed in a PDF or a PNG, as it reads."""
    data = path.read_bytes()
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL) if path.suffix == ".pdf" else []
    found = [data]
    if path.suffix == ".ipynb":
        found += [base64.b64decode(image) for image in re.findall(rb'"image/png": "([^"]+?)(?:\\\\n)?"', data)]
    streams += [text.partition(b"\0\0")[2] for each in found for text in re.findall(rb"zTXt(.*?)IDAT", each, re.DOTALL)]
    for stream in streams:
        try:
            found.append(zlib.decompress(stream))
        except zlib.error:
            continue
    return b"\n".join(found)


def holds(data: bytes, text: str) -> bool:
    """Of a date no digit stands before: else one could be inside a file's time in nanoseconds by chance."""
    return re.search((rb"(?<!\d)" if text.isdigit() else b"") + re.escape(text.encode()), data) is not None


def leaks(folder: Path) -> list[tuple[str, str]]:
    """File and string, for each that a file below the folder holds or is named by."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    read = {str(path.relative_to(folder)): contents(path) for path in files}
    return [(name, text) for name, data in read.items() for text in STRINGS if holds(name.encode() + b"\n" + data, text)]


def test_a_name_is_found_wherever_it_hides(tmp_path):
    """Else the tests below could not fail: in a file's name, a header, text, metadata, and an image of a notebook."""
    hidden = {"Title": STRINGS[0]}
    figure = Figure(figsize=(1, 1))
    figure.savefig(tmp_path / "a.png", metadata=hidden)
    figure.savefig(tmp_path / "b.pdf", metadata=hidden)
    page = Figure(figsize=(1, 1))
    page.text(0, 0, STRINGS[0], fontsize=1)
    with rc_context({"pdf.use14corefonts": True}):
        page.savefig(tmp_path / "c.pdf")
    compressed = PngInfo()
    compressed.add_text("Title", STRINGS[0], zip=True)
    Image.new("L", (1, 1)).save(tmp_path / "d.png", pnginfo=compressed)
    for name, image in (("e", "a.png"), ("f", "d.png")):
        data = {"image/png": base64.b64encode((tmp_path / image).read_bytes()).decode()}
        cell = nbformat.v4.new_code_cell("x", outputs=[nbformat.v4.new_output("display_data", data)])
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / f"{name}.ipynb")
    trees.one(tmp_path / "g.dcm", PatientComments=STRINGS[0])
    (tmp_path / f"{STRINGS[0]}.csv").touch()
    assert {name for name, _ in leaks(tmp_path)} == {path.name for path in tmp_path.iterdir()}


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
