"""Sphinx: from a folder of sources to a site that opens from disk and asks no host for anything."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from lib import REPOSITORY
from lib.errors import StageError

STATIC: Final = Path(__file__).resolve().parent / "static"
MATHJAX: Final = "tex-svg.js"  # draws letters as paths: no font to load
LIGHT: Final = {"verdict-stands": "#0b5394", "verdict-falls": "#a33c00", "verdict-undecided": "#5b6067",
                "verdict-ink": "#ffffff", "color-brand-primary": "#0b5394", "color-brand-content": "#0b5394",
                "color-announcement-background": "#3a3f47", "color-announcement-text": "#ffffff"}
DARK: Final = {"verdict-stands": "#8ecdf7", "verdict-falls": "#ffb27a", "verdict-undecided": "#c9ccd1",
               "verdict-ink": "#15191f", "color-brand-primary": "#8ecdf7", "color-brand-content": "#8ecdf7",
               "color-announcement-background": "#3a3f47", "color-announcement-text": "#ffffff"}
QUIET: Final = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "PYTHONDONTWRITEBYTECODE": "1"}
"""For the process that imports what the pages of the interface show: no GPU, no messages of TensorFlow's own."""


def configuration(title: str, label: str, release: str) -> dict[str, Any]:
    """Sphinx's configuration; ``label`` stands at the top of every page: what this run is, plain text."""
    return {
        "project": title, "author": "", "html_show_copyright": False, "release": release, "language": "en",
        "extensions": ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax", "lib.site.api"],
        "nb_execution_mode": "off", "nb_merge_streams": True, "nb_output_stderr": "remove",
        "myst_enable_extensions": ["dollarmath"], "myst_heading_anchors": 2, "myst_dmath_double_inline": True,
        "autodoc_inherit_docstrings": False, "autodoc_member_order": "bysource", "autodoc_typehints": "signature",
        "napoleon_google_docstring": False, "napoleon_use_param": False, "napoleon_use_rtype": False,
        "napoleon_use_ivar": True, "maximum_signature_line_length": 88,
        "mathjax_path": f"mathjax/{MATHJAX}",
        "mathjax4_config": {"options": {"enableMenu": False, "enableExplorer": False, "enableEnrichment": False,
                                        "enableComplexity": False, "enableAssistiveMml": True},
                            "output": {"displayOverflow": "scroll"}},
        "html_theme": "furo", "html_title": title, "html_static_path": ["_static"], "html_css_files": ["site.css"],
        "html_js_files": [("site.js", {"defer": "defer"})], "html_show_sphinx": False, "html_copy_source": False,
        "html_domain_indices": False,
        "html_show_sourcelink": False, "html_show_search_summary": False, "html_last_updated_fmt": None,
        "smartquotes": False, "exclude_patterns": [],
        "html_theme_options": {"announcement": label, "light_css_variables": LIGHT, "dark_css_variables": DARK,
                               "navigation_with_keys": False},
    }


def write_configuration(source: Path, settings: Mapping[str, Any]) -> None:
    """``conf.py`` and what it names: the style and the script of the pages."""
    (source / "conf.py").write_text("".join(f"{name} = {value!r}\n" for name, value in settings.items()), encoding="utf-8")
    (source / "docutils.conf").write_text("[html5 writer]\nimage_loading: lazy\n", encoding="utf-8")
    (source / "_static").mkdir(exist_ok=True)
    for name in ("site.css", "site.js"):
        shutil.copyfile(STATIC / name, source / "_static" / name)


def run_sphinx(source: Path, out: Path) -> None:
    """Build the site in a process of its own.

    Raises
    ------
    StageError
        Sphinx failed or warned: its first line.
    """
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-E", "-W", "--keep-going", "-d",
               str(source.parent / "doctrees"), str(source), str(out)]
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(command, cwd=source, env=os.environ | QUIET | {"PYTHONPATH": path}, capture_output=True, text=True,
                          check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "WARNING" in line or "ERROR" in line or "rror:" in line]
        line = (lines or done.stderr.splitlines() or ["no message"])[0].replace(str(source), "").lstrip("/")
        raise StageError(f"Sphinx: {line}", where="report")
    _add_mathjax(out)
    for name in (".buildinfo", "objects.inv"):
        (out / name).unlink(missing_ok=True)


def _add_mathjax(out: Path) -> None:
    """The one file of MathJax that the pages load, and the letters that it fetches when it meets them, out of the wheel."""
    spec = find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise StageError("the package sphinx-mathjax-offline is not installed", where="report",
                         remedy="install requirements.txt")
    package = Path(spec.origin).parent / "static" / "mathjax"
    target = out / "_static" / "mathjax"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(package / MATHJAX, target / MATHJAX)
    shutil.copytree(package / "output" / "svg", target / "output" / "svg", dirs_exist_ok=True)
