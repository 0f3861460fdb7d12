"""The rules of the house: environments agree, notebooks are thin and clean, data flows one way."""

import ast
import re
import statistics

import nbformat
import pytest
import yaml

from lib import REPOSITORY
from lib.artifacts.code import imports
from lib.study.paths import NOTEBOOKS
from tests.environment_yml import environment_yml, pins

BOOKS = sorted(NOTEBOOKS.glob("*.ipynb"))
MODULES = sorted((REPOSITORY / "lib").rglob("*.py"))
FLOW = ["errors", "paths", "patients", "paper", "choices", "study", "files", "provenance", "cohort", "volumes", "split",
        "store", "preprocess", "slices", "features", "patches", "compute", "checkpoints", "watch", "networks", "targets",
        "influence", "training", "calibration", "evaluation", "statistics", "report", "check", "process",
        "bench", "pipeline", "__main__"]


def test_environment_yml_has_the_pins_of_requirements():
    assert (REPOSITORY / "environment.yml").read_text(encoding="utf-8") == environment_yml()
    listed = yaml.safe_load(environment_yml())["dependencies"][-1]["pip"]
    assert [line.replace("'", '"') for line in listed] == [pin.replace("'", '"') for pin in pins()] and len(pins()) > 50


def test_requirements_are_pinned_hashed_and_name_no_host():
    text = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8")
    assert text.count("--hash=sha256:") >= len(pins()) and "://" not in text
    names = {re.split(r"[=; ]", pin)[0] for pin in pins()}
    for line in (REPOSITORY / "requirements.in").read_text(encoding="utf-8").splitlines():
        if wanted := line.split("#")[0].strip():
            assert wanted in names, f"run make lock: {wanted} is not in requirements.txt"


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_notebooks_are_thin_and_committed_without_outputs(path):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    assert book.metadata.kernelspec.language == "python" and book.metadata.kernelspec.name == "python3"
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    lengths = [len(cell.source.splitlines()) for cell in code]
    assert len(code) <= 15 and statistics.median(lengths) < 10 and max(lengths) <= 20
    assert [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert not [node for cell in code for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.FunctionDef)]
    checked = [cell for cell in code if cell.source.startswith("# NBVAL_CHECK_OUTPUT")]
    assert len(checked) == 1 and checked[0].outputs
    assert not [cell for cell in code if cell not in checked and (cell.outputs or cell.execution_count)]


def test_the_notebooks_are_the_papers_five():
    assert [path.stem for path in BOOKS] == ["01_preprocess", "02_calibrate_psi", "03_train_Ek", "04_evaluate", "05_stats"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_data_flows_one_way(path):
    """A module imports only from its own idea or from those above it in FLOW."""
    place = path.relative_to(REPOSITORY / "lib").parts[0].removesuffix(".py")
    if place == "__init__":
        return
    used = {name.split(".")[1] for name in imports(path.read_text(encoding="utf-8")) if "." in name}
    assert {name for name in used if FLOW.index(name) > FLOW.index(place)} == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_public_names_are_documented(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    public = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)
              and not node.name.startswith("_")]
    assert (ast.get_docstring(tree) or not tree.body) and not [node.name for node in public if not ast.get_docstring(node)]
