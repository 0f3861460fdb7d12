"""README and docs/ say what is so: links lead somewhere, commands exist, numbers come from files. What machines read of the
project agrees (CITATION.cff, codemeta.json, the changelog), and the recipes that cannot be run here name what is there."""

import argparse
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from lib import REPOSITORY
from lib.arguments import parser
from lib.perceptual import __version__
from lib.study.config import load_study
from lib.study.paths import Paths
from tests import readme_tables
from tests.environment_yml import pins

PAGES = [*readme_tables.PAGES, readme_tables.REPRODUCING, REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "CHANGELOG.md"]
FENCE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
MAKE = re.compile(r"(?<![\w-])make((?: +[a-z][a-z-]*(?![\w/.]))+)")
UNITS = "seconds|minutes|hours|s|ms|h|GB|MB|MiB|GiB|dB|slices|claims|patches"
MEASURES = re.compile(rf"(?<![\w.\[/-])\d(?:[\d,.]*\d)?(?:\s?%| (?:{UNITS})\b)|(?<!\w)0?\.\d{{3,}}")
MEANT = {  # what is given, not found: a target, doses, divisions and tolerances, sizes of files
    "95 %", "25 %", "10 %", "20 %", "5 %", "17.5 GB", "0.53 MB", "0.5 MB", "34 MB", "54 MB", "0.005", "2 slices"}


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """What somebody wrote by hand: no generated text, no fences."""
    return FENCE.sub("", readme_tables.PLACE.sub("", text_of(page)))


def code(page: Path) -> str:
    """What stands in fences and between backticks."""
    text = text_of(page)
    return "\n".join([*(match[0] for match in FENCE.finditer(text)), *re.findall(r"`([^`\n]+)`", FENCE.sub("", text))])


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def named(pages: list[Path]):
    return pytest.mark.parametrize("page", pages, ids=lambda page: str(page.relative_to(REPOSITORY)))


def test_the_readme_is_short():
    assert len(text_of(REPOSITORY / "README.md").splitlines()) < 200


def test_the_readme_leads_to_every_page():
    linked = set(LINK.findall(text_of(REPOSITORY / "README.md")))
    assert {f"docs/{page.name}" for page in (REPOSITORY / "docs").glob("*.md")} <= linked


@named(PAGES)
def test_links_lead_somewhere(page):
    for link in LINK.findall(FENCE.sub("", text_of(page))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists() and target.is_relative_to(REPOSITORY), f"{link} is not there"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


@named([*readme_tables.PAGES, readme_tables.REPRODUCING])
def test_generated_text_is_current(page, committed, monkeypatch):
    """Of the figures that are committed, or of those that are there, if they are about to be."""
    with monkeypatch.context() as patched:
        patched.setattr(readme_tables, "FIGURES", committed)
        late = readme_tables.outdated()
    assert page not in late or page not in readme_tables.outdated(), "run make readme"


@named(readme_tables.PAGES)
def test_generated_text_can_be_shown(page):
    """A comment that begins a line makes HTML of all of it: in a sentence it stands within one."""
    assert not re.findall(r"^ {0,3}<!-- [^\n]*-->[^\n]+", FENCE.sub("", text_of(page)), re.MULTILINE)
    assert text_of(page).count("<!-- end -->") == len(readme_tables.PLACE.findall(text_of(page)))


def test_a_place_takes_what_makes_it_and_says_where_there_is_nothing(monkeypatch, tmp_path):
    monkeypatch.setitem(readme_tables.BLOCKS, "two.words", lambda: "a\nb\n")
    assert readme_tables.filled("x <!-- two.words -->old<!-- end --> y") == "x <!-- two.words -->a\nb<!-- end --> y"
    assert readme_tables.filled("<!-- two.words -->\n<!-- end -->") == "<!-- two.words -->\na\nb\n<!-- end -->"
    once = readme_tables.filled("<!-- docs/measured/bench.txt -->\nold\n<!-- end -->")
    assert "```\n" in once and readme_tables.filled(once) == once
    for name in ("no.such", "figures/demo/none.md", "figures/../README.md.md", "measured.nothing"):
        with pytest.raises((ValueError, KeyError), match=re.escape(name.removeprefix("measured."))):
            readme_tables.filled(f"<!-- {name} -->\n<!-- end -->")


def test_what_the_results_are_made_of_shows_in_them(committed, monkeypatch, tmp_path):
    """A number of Table 3 that is another one is another one in the README."""
    (tmp_path / "demo").mkdir()
    for name in ("table2", "table3"):
        text = (committed / "demo" / f"{name}.csv").read_text(encoding="utf-8")
        (tmp_path / "demo" / f"{name}.csv").write_text(text.replace("0.9476379", "0.1234567"), encoding="utf-8")
    monkeypatch.setattr(readme_tables, "FIGURES", committed)
    before = readme_tables.results()
    monkeypatch.setattr(readme_tables, "FIGURES", tmp_path)
    assert "0.948" in before and "0.123" in readme_tables.results() and "SIMULATED" in before


@named(readme_tables.PAGES)
def test_numbers_that_were_measured_come_from_files(page):
    found = MEASURES.findall("E1, 39 minutes for 1,920 patches, .948 at 25 %")
    assert found == ["39 minutes", "1,920 patches", ".948", "25 %"]
    assert set(MEASURES.findall(prose(page))) <= MEANT


def test_every_fact_is_used_and_says_where():
    used = {name.removeprefix("measured.") for page in readme_tables.PAGES
            for name, _ in readme_tables.PLACE.findall(text_of(page))}
    used |= set(re.findall(r"\bfact\[.(\w+).\]", text_of(Path(readme_tables.__file__))))
    facts = readme_tables.facts()
    assert set(facts) <= used and all(set(fact) == {"is", "where"} and all(fact.values()) for fact in facts.values())


@named(PAGES)
def test_commands_exist(page):
    """Targets of make, and commands of python -m lib with their options."""
    targets = set(re.findall(r"^([a-z-]+):(?:[^=]|$)", text_of(REPOSITORY / "Makefile"), re.MULTILINE))
    wanted = {word for match in MAKE.finditer(code(page)) for word in match[1].split()}
    assert wanted <= targets, f"make has no {', '.join(sorted(wanted - targets))}"
    commands = next(action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)).choices
    for line in re.findall(r"-m lib ([^\n`#|]*)", code(page)):
        words = line.split()
        names = {word for word in words[:1] if re.fullmatch(r"[a-z][a-z-]*", word)}
        assert names <= set(commands), f"python -m lib has no {words[0]}"
        for name in names:
            options = {option.split("=")[0] for option in words if option.startswith("--")}
            assert options <= set(commands[name]._option_string_actions), line


@named(PAGES)
def test_variables_exist(page):
    known = set(re.search(r"^VARIABLES := ((?:.*\\\n)*.*)$", text_of(REPOSITORY / "Makefile"), re.MULTILINE)[1].split())
    for line in re.findall(r"(?<![\w-])make [^\n`#]*", code(page)):
        given = {word.partition("=")[0] for word in shlex.split(line.rstrip(" .,")) if re.match(r"[A-Z_]+=", word)}
        assert given <= known, line


def test_the_losses_of_the_docs_are_a_study(tmp_path, monkeypatch):
    found = re.search(r"^## Experiments of your own\n.*?^```yaml\n(.*?)^```", text_of(REPOSITORY / "docs" / "running.md"),
                      re.MULTILINE | re.DOTALL)[1]
    (tmp_path / "own.yaml").write_text(found, encoding="utf-8")
    monkeypatch.setenv("EXPERIMENTS", str(tmp_path / "own.yaml"))
    study = load_study("smoke")
    assert study.seeds == (5, 6) and study.experiments == ("mse", "baseline", "E1", "several-layers", "fixed")


def test_every_figure_and_folder_has_its_line(committed):
    said = text_of(REPOSITORY / "docs" / "what_is_made.md")
    figures = {path.stem for path in (committed / "demo").rglob("*.png")}
    tables = {path.stem for path in (committed / "demo").rglob("*.md")}
    assert {name for name in figures - tables if not re.search(rf"`{name}`", said)} == set()
    paths = Paths(Path("root"), "demo")
    kept = {path.relative_to(paths.artifacts).parts[0] for path in vars(paths).values()
            if isinstance(path, Path) and path.is_relative_to(paths.artifacts) and path != paths.artifacts}
    assert {name for name in kept - {"features"} if name not in said} == set()


def test_what_machines_read_of_the_project_agrees():
    cited = yaml.safe_load(text_of(REPOSITORY / "CITATION.cff"))
    meta = json.loads(text_of(REPOSITORY / "codemeta.json"))
    project = tomllib.loads(text_of(REPOSITORY / "pyproject.toml"))["project"]
    assert cited["version"] == meta["version"] == __version__
    assert str(cited["date-released"]) == meta["dateModified"] and cited["title"] == meta["name"]
    assert meta["identifier"] == project["name"] and meta["license"].endswith(f"/{project['license']}")
    assert cited["license"] == project["license"] and meta["runtimePlatform"] == f"Python {project['requires-python']}"
    assert meta["@context"] == "https://w3id.org/codemeta/3.0" and meta["@type"] == "SoftwareSourceCode"
    assert [author["name"] for author in meta["author"]] == [author["name"] for author in cited["authors"]]
    paper, theirs = meta["referencePublication"], cited["preferred-citation"]
    names = [{"family-names": each["familyName"], "given-names": each["givenName"]} for each in paper["author"]]
    assert paper["name"] == theirs["title"] and names == theirs["authors"]
    for name in ("readme", "releaseNotes", "continuousIntegration", "softwareRequirements"):
        assert (REPOSITORY / meta[name]).is_file()


def test_the_changelog_ends_in_this_version():
    versions = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", text_of(REPOSITORY / "CHANGELOG.md"), re.MULTILINE)
    released = [(name, day) for name, day in versions if name != "Unreleased"]
    assert released[0] == (__version__, str(yaml.safe_load(text_of(REPOSITORY / "CITATION.cff"))["date-released"]))
    assert released == sorted(released, reverse=True) and all(day for _, day in released)


def test_the_lock_for_gpus_is_hashed_and_agrees_with_the_other():
    text = text_of(REPOSITORY / "requirements-gpu.txt")
    pin = re.compile(r"^([a-z0-9][\w.-]*)(?:\[[^\]]*\])?==(\S+)", re.MULTILINE)
    gpu = pin.findall(text)
    shared = set(pin.findall("\n".join(pins())))
    assert "://" not in text and text.count("--hash=sha256:") >= len(gpu)
    names = {name for name, _ in shared}
    assert not [each for each in gpu if each[0] in names and each not in shared]
    assert {name for name, _ in gpu} - names >= {"nvidia-cudnn-cu12", "nvidia-cublas-cu12"}


def test_the_public_workflow_runs_the_same_command():
    workflow = yaml.safe_load(text_of(REPOSITORY / ".github" / "workflows" / "test.yml"))
    job = workflow["jobs"]["test"]
    pythons = [f"3.{minor}" for minor in range(11, 14)]
    assert job["strategy"]["matrix"]["python"] == pythons and job["steps"][-1] == {"run": ".ci/run"}
    assert "exec make test" in text_of(REPOSITORY / ".ci" / "run")


@pytest.mark.parametrize("path", ["Dockerfile", ".dockerignore", "binder/postBuild", "binder/start",
                                  "binder/requirements.txt", ".github/workflows/test.yml"])
def test_recipes_name_what_is_there_and_no_host(path):
    text = text_of(REPOSITORY / path)
    assert "://" not in text and not re.search(r"\b[\w-]+\.(?:io|com|org|net)/", text)
    for name in re.findall(r"(?:-r |COPY --chown=\S+ )([\w./*-]+(?: [\w./*-]+)*)", text):
        for each in name.split()[:-1] or [name]:
            assert (REPOSITORY / each).exists() or list((REPOSITORY / path).parent.glob(each)), each


def test_the_image_is_not_roots_and_runs_the_paper():
    lines = text_of(REPOSITORY / "Dockerfile").splitlines()
    start = text_of(REPOSITORY / "Dockerfile").replace("\\\n", "")
    assert "FROM python:3.12-slim" in lines and lines.index("USER paper") < lines.index('CMD ["make", "paper"]')
    assert len([line for line in lines if line.startswith("USER")]) == 1 and 'ARG GPU=' in lines
    assert set(re.findall(r"make ([a-z]+)", start)) <= set(
        re.findall(r"^([a-z-]+):", text_of(REPOSITORY / "Makefile"), re.MULTILINE))


def test_the_issue_template_asks_for_check_profile_and_commit():
    form = yaml.safe_load(text_of(REPOSITORY / ".github" / "ISSUE_TEMPLATE" / "bug.yml"))
    asked = {field["id"]: field for field in form["body"] if "id" in field}
    assert {"what", "profile", "commit", "check"} <= set(asked)
    assert all(asked[name]["validations"]["required"] for name in ("profile", "commit", "check"))
    profiles = {path.stem for path in (REPOSITORY / "lib" / "study" / "profiles").glob("*.yaml")}
    assert set(asked["profile"]["attributes"]["options"]) == profiles | {"none"}
