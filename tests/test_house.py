"""The rules of the house: environments agree, notebooks are thin and clean, rooms know only what they should."""

import ast
import re
import statistics
import sys
from collections import Counter
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lib import REPOSITORY
from lib.networks.carried import CARRIED
from lib.study.paths import NOTEBOOKS
from tests.environment_yml import environment_yml, pins

BOOKS = sorted(each for each in NOTEBOOKS.rglob("*.ipynb") if ".ipynb_checkpoints" not in each.parts)
MODULES = sorted((REPOSITORY / "lib").rglob("*.py"))
ALL = [*MODULES, *sorted((REPOSITORY / "benchmarks").rglob("*.py"))]

# Who may import whom: a room imports only from those before it. CONTRIBUTING.md has the picture.
FLOW = ["private", "errors", "log", "artifacts", "paper", "perceptual", "data", "networks", "metrics", "simulation",
        "denoiser", "study", "stages", "report", "check", "workflow", "verify", "deploy", "site", "explore", "arguments",
        "commands", "benchmarks", "__main__"]
KNOW_THE_STUDY = {"study", "stages", "report", "check", "workflow", "verify", "deploy", "site", "explore", "commands",
                  "benchmarks", "__main__"}
TAKE_A_STUDY = 35, 3, 20  # functions, at most: for the paper and grids, for each notebook of the supplement, for its readers
LINES = 250  # of a module, at most
HEART_MAY_USE = {"numpy", "keras", *sys.stdlib_module_names}
BACKENDS = {"tensorflow", "torch", "jax"}  # Keras's: one module of the heart knows them
WITHOUT_KERAS = ("psi", "configuration", "presets", "exchange_rate")
NAMES_THAT_SAY_LITTLE = {"quick", "alone", "lively", "told", "tell"}


def name_of(path: Path) -> str:
    """'lib.data.hu'; a package has the name of its folder."""
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


NAMES = {name_of(path): path for path in ALL}


def room_of(name: str) -> str:
    """The folder below lib, or the module there; 'lib' for lib itself."""
    parts = name.split(".")
    return parts[1] if parts[0] == "lib" and len(parts) > 1 else parts[0]


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imported(path: Path) -> frozenset[str]:
    """What a module imports anywhere in it, in functions and for type checkers, too: full names of modules."""
    package = name_of(path).split(".") if path.stem == "__init__" else name_of(path).split(".")[:-1]
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {full if (full := f"{module}.{alias.name}") in NAMES else module for alias in node.names}
    return frozenset(found)


def identified(paths: list[Path]):
    return pytest.mark.parametrize("path", paths, ids=lambda path: str(path.relative_to(REPOSITORY)))


def test_environment_yml_has_the_pins_of_requirements():
    assert (REPOSITORY / "environment.yml").read_text(encoding="utf-8") == environment_yml()
    listed = yaml.safe_load(environment_yml())["dependencies"][-1]["pip"]
    assert [line.replace("'", '"') for line in listed] == [pin.replace("'", '"') for pin in pins()] and len(pins()) > 50


def test_requirements_are_pinned_hashed_and_name_no_host():
    text = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8")
    assert text.count("--hash=sha256:") >= len(pins()) and "://" not in text
    names = {re.split(r"[=; ]", pin)[0] for pin in pins()}
    for line in (REPOSITORY / "requirements.in").read_text(encoding="utf-8").splitlines():
        if wanted := re.sub(r"\[.*\]", "", line.split("#")[0]).strip():
            assert wanted in names, f"run make lock: {wanted} is not in requirements.txt"


def test_wheels_of_data_are_pinned_hashed_and_not_installed():
    text = (REPOSITORY / "requirements-wheels.txt").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w-]+)==([\w.]+) \\\n +--hash=sha256:[0-9a-f]{64}$", text, re.MULTILINE))
    assert pinned == {each.name: each.version for each in CARRIED.values()}
    assert len(pinned) == text.count("==") and "://" not in text
    assert not [name for name in pinned if find_spec(name.replace("-", "_"))]


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


def test_the_notebooks_are_the_papers_five_real_anatomy_the_explorer_and_the_supplement():
    assert [path.stem for path in BOOKS] == [
        "01_preprocess", "02_calibrate_psi", "03_train_Ek", "04_evaluate", "05_stats", "06_real_anatomy", "explore",
        "S1_exchange", "S2_rules", "S3_presets", "S4_atlas", "S5_passport", "S6_image_quality", "S7_target",
        "S8_other_images"]


@identified(ALL)
def test_imports_go_down(path):
    """A module imports only from its own room or from those before it in FLOW."""
    room = room_of(name_of(path))
    if room == "lib":
        assert not {name for name in imported(path) if name.split(".")[0] == "lib"}
        return
    used = {room_of(name) for name in imported(path) if name.split(".")[0] in ("lib", "benchmarks")} - {"lib"}
    lazily = {"benchmarks"} if room == "commands" else set()  # `python -m lib bench`
    assert {each for each in used - lazily if FLOW.index(each) > FLOW.index(room)} == set()


def test_no_circles():
    """No module imports itself by way of others, wherever the imports stand."""
    number = {name: index for index, name in enumerate(NAMES)}
    edges = [(number[name], number[other]) for name, path in NAMES.items() for other in imported(path)
             if other in NAMES and other != name]
    rows, columns = np.array(edges).T
    _, labels = connected_components(coo_array((np.ones(len(edges)), (rows, columns)), shape=(len(NAMES),) * 2),
                                     connection="strong")
    circles = [[name for name, label in zip(NAMES, labels, strict=True) if label == circle]
               for circle, size in Counter(labels.tolist()).items() if size > 1]
    assert len(edges) > 100 and circles == []


def studies(path: Path) -> list[str]:
    """Functions that take a Study: by annotation, or a parameter of that name; a class with such a field is one."""
    def takes(each: ast.arg | ast.AnnAssign) -> bool:
        name = each.arg if isinstance(each, ast.arg) else ast.unparse(each.target)
        return name == "study" or bool(each.annotation and re.search(r"\bStudy\b", ast.unparse(each.annotation)))

    found = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = node.args
            parts = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        else:
            parts = [part for part in getattr(node, "body", []) if isinstance(part, ast.AnnAssign)] if isinstance(
                node, ast.ClassDef) else []
        if any(map(takes, parts)):
            found.append(f"{name_of(path)}.{node.name}")
    return found


@identified([path for path in MODULES if room_of(name_of(path)) not in KNOW_THE_STUDY])
def test_below_the_stages_nobody_knows_the_study(path):
    named = {node.id for node in ast.walk(tree_of(path)) if isinstance(node, ast.Name)} | {
        alias.name for node in ast.walk(tree_of(path)) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert "Study" not in named and studies(path) == []


def test_few_functions_take_a_study():
    found = [name for path in MODULES for name in studies(path)]
    most, each, readers = TAKE_A_STUDY
    most += readers + each * sum(path.parent.name == "supplement" for path in BOOKS)
    assert 0 < len(found) <= most, f"{len(found)} functions:\n" + "\n".join(found)


@identified(ALL)
def test_modules_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES


def test_the_heart_stands_by_itself():
    """It imports its own modules relatively, and NumPy and Keras; the numbers and the configuration need no Keras."""
    heart = {name: path for name, path in NAMES.items() if room_of(name) == "perceptual"}
    for path in heart.values():
        absolute = {name.split(".")[0] for node in ast.walk(tree_of(path)) for name in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import) else
            [node.module] if isinstance(node, ast.ImportFrom) and not node.level else [])}
        assert absolute <= HEART_MAY_USE | (BACKENDS if path.stem == "gradients" else set()), path
        assert {name for name in imported(path) if name.split(".")[0] == "lib"} <= set(heart), path
    for light in WITHOUT_KERAS:
        seen, new = set(), {f"lib.perceptual.{light}"}
        while new:
            seen |= new
            new = {other for name in new if name in heart for other in imported(heart[name])} - seen
        assert {name.split(".")[0] for name in seen} & {"keras", "tensorflow"} == set(), light


def test_relative_imports_are_the_hearts_alone():
    relative = {room_of(name) for name, path in NAMES.items() for node in ast.walk(tree_of(path))
                if isinstance(node, ast.ImportFrom) and node.level}
    assert relative == {"perceptual"}


def test_contributing_shows_the_house_in_one_picture():
    """In at most 30 lines, with every room and every stage."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    picture = re.search(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[1]
    assert len(picture.splitlines()) <= 30
    words = set(re.findall(r"\w+", picture))
    assert {room_of(name) for name in NAMES} - {"lib", "__main__"} <= words
    assert {name.rpartition(".")[2] for name in NAMES if name.startswith("lib.stages.")} <= words
    assert {name.rpartition(".")[2] for name in NAMES if name.startswith("lib.perceptual.")} <= words


@identified(ALL)
def test_names_say_what_they_mean(path):
    named = {getattr(node, kind) for node in ast.walk(tree_of(path)) for kind in ("id", "arg", "name", "attr")
             if isinstance(getattr(node, kind, None), str) and not isinstance(getattr(node, "ctx", None), ast.Load)}
    assert named & NAMES_THAT_SAY_LITTLE == set()


@identified(MODULES)
def test_public_names_are_documented(path):
    tree = tree_of(path)
    public = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)
              and not node.name.startswith("_")]
    assert (ast.get_docstring(tree) or not tree.body) and not [node.name for node in public if not ast.get_docstring(node)]
