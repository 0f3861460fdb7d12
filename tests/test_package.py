"""``pip install .``: the paper's heart as the package ``perceptual_influence``, by itself in an empty environment."""

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from lib import REPOSITORY

EXAMPLE = REPOSITORY / "docs" / "package.md"
LAMBDA = 4.502369668246446e-06  # 19 * 1e-4 / 422


def run(command: list, folder: Path) -> str:
    """What a command prints, started in a folder from which nothing can be imported, without PYTHONPATH."""
    ended = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False,
                           env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3"})
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-4000:]
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, so that nothing of an earlier build is in it and none is left in the repository."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    for name in ("lib", "benchmarks", "tests"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
         "--disable-pip-version-check", "--wheel-dir", out, source], source)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """Python of an environment that holds the wheel and sees the packages of ours, but nothing of the repository."""
    root = tmp_path_factory.mktemp("environment")
    venv.create(root, with_pip=False)
    found = root / "bin" / "python"
    run([sys.executable, "-m", "pip", "--python", found, "install", "--quiet", "--no-deps", "--no-index",
         "--disable-pip-version-check", wheel], root)
    site = next(root.glob("lib/python*/site-packages"))
    (site / "outer.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return found


def test_the_wheel_holds_the_heart_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = Parser().parsestr(archive.read(next(name for name in names if name.endswith("/METADATA"))).decode())
        info = next(name.split("/")[0] for name in names if name.endswith("/METADATA"))
    assert {name.split("/")[0] for name in names} == {"perceptual_influence", info}
    modules = {path.name for path in (REPOSITORY / "lib" / "perceptual").glob("*.py")}
    assert {name.split("/")[1] for name in names if not name.startswith(info)} == modules | {"py.typed"}
    assert metadata["Name"] == "perceptual-influence" and re.fullmatch(r"\d+\.\d+\.\d+", metadata["Version"])
    needed = metadata.get_all("Requires-Dist")
    assert [line for line in needed if "extra" not in line] == ["numpy"]
    assert [line.split(";")[1].strip() for line in needed if line.startswith("tensorflow")] == ['extra == "tensorflow"']


def test_numbers_need_no_tensorflow(python, tmp_path):
    code = """
import sys
import perceptual_influence as p
print(p.lambda_star([1e-4], [422.0], psi=0.95))
print(p.psi([1e-4], [422.0], 1e-5), p.psi_algorithm2([1e-4], [422.0], 1e-5), p.__version__)
print(sorted(p.presets.paper()), p.LossConfiguration(layers="block3_conv2").as_dict()["layers"])
assert not {"tensorflow", "keras", "lib"} & set(sys.modules), "imported"
"""
    lines = run([python, "-c", code], tmp_path).splitlines()
    assert float(lines[0]) == pytest.approx(LAMBDA, rel=1e-15)
    share = 1e-5 * 422 / (1e-4 + 1e-5 * 422)
    assert [float(value) for value in lines[1].split()[:2]] == pytest.approx([share, share])
    assert lines[2] == "['E1', 'E2', 'E3', 'E4', 'baseline', 'mse'] {'block3_conv2': 1.0}"


def test_lib_is_not_there(python, tmp_path):
    code = "from importlib.util import find_spec as f; print(f('lib'), f('benchmarks'), f('keras') is not None)"
    assert run([python, "-c", code], tmp_path).split() == ["None", "None", "True"]


def test_the_command_line_is_there(python, tmp_path):
    assert "--pairs" in run([python, "-m", "perceptual_influence", "lint", "--help"], tmp_path)


def test_the_example_of_the_docs_runs(python, tmp_path):
    text = EXAMPLE.read_text(encoding="utf-8")
    example = re.search(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[1]
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    printed = run([python, "example.py"], tmp_path)
    assert re.search(r"^lambda \d\.\d+e[+-]\d+, Psi 0\.9500, by Eq\. 5 0\.\d+$", printed, re.MULTILINE)
    assert "Epoch 2/2" in printed
