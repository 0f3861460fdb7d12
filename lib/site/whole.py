"""``make report``: a site that opens from disk and a PDF, out of a finished run."""

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lib.artifacts.files import cannot_write, check_ours, single_writer
from lib.errors import StageError
from lib.report.words import counted
from lib.site import api, build, chapters, notebooks, pages, paper, reproduction
from lib.site.blocks import numbered, plain
from lib.site.gathered import Gathered, gather
from lib.site.verified import verified
from lib.study.again import make_paper
from lib.study.config import Study
from lib.workflow.stages import REAL_ANATOMY, Stage, stages
from lib.workflow.supplement import supplement

log = logging.getLogger(__name__)

SITE: Final = "site"
WORK: Final = ".report"  # beside it, while it is made
MARK: Final = "_static/site.css"  # by which a site is known as ours
TITLE: Final = "Perceptual Influence, rerun"


def report(study: Study, rooms: Sequence[str] = tuple(api.ROOMS)) -> Path:
    """Write ``site/index.html`` and ``site/paper.pdf`` below the study's root; returns the first. ``rooms`` of lib have
    pages of their interface.

    Raises
    ------
    StageError
        The run is not finished, or a page cannot be made; a site that was there stays as it was.
    OutputError
        ``site`` holds files of somebody else, or cannot be written.
    """
    root = study.paths.root
    check_ours(root / SITE, MARK, "make report")
    papers, further = ([stage for wave in waves for stage in wave] for waves in (stages(study), supplement(study)))
    run = finished(study.profile, study.simulated, study.paths.figures, papers, further)
    with _workshop(root) as work:
        make(run, work, rooms)
        swap(work / SITE, root / SITE)
    return root / SITE / "index.html"


def finished(profile: str, simulated: bool, figures: Path, papers: Sequence[Stage], further: Sequence[Stage]) -> Gathered:
    """A run, as far as it is shown.

    Parameters
    ----------
    profile, simulated, figures : as for :func:`lib.site.gathered.gather`
    papers, further : sequences of Stage
        Those of the paper, and all, with the analyses beyond it. Of the latter, and of real anatomy, what ran is shown:
        files that were there before, as in a clone, are another run's.

    Raises
    ------
    StageError
        The paper's stages did not all run. What is out of date is shown, with a warning here and on the pages.
    """
    if lacking := [stage.name for stage in papers if stage.name != REAL_ANATOMY and not _made(stage)]:
        more = f" and {counted(len(lacking) - 1, 'more stage')}" if len(lacking) > 1 else ""
        raise StageError(f"the {profile} run is not finished: {lacking[0]}{more} did not run or lost results",
                         remedy=make_paper(profile, figures.parents[1]))
    shown = list({stage.name: stage for stage in (*papers, *further) if _made(stage)}.values())
    stale = [stage.name for stage in shown if not stage.is_current()]
    if stale:
        log.warning("%s out of date (%s): the report shows them as they are, and says so", counted(len(stale), "stage"),
                    ", ".join(stale[:5]) + ", ..." * (len(stale) > 5))
    executed = [stage.executed for stage in shown if stage.executed and stage.executed.is_file()]
    results = [path for stage in shown for path in stage.outputs]
    return gather(profile, simulated, figures, results, executed, [stage.stamp for stage in shown], stale)


def _made(stage: Stage) -> bool:
    return stage.read() is not None and all(path.is_file() for path in stage.outputs)


def make(run: Gathered, work: Path, rooms: Sequence[str]) -> None:
    """Write the site of a run to ``work/site``, pages of the interface for the ``rooms`` of lib."""
    source, out = work / "source", work / SITE
    source.mkdir(parents=True)
    beside = verified(run.figures.parents[1], run.profile)
    made = numbered([*chapters.chapters(run), reproduction.reproduction(run, beside), reproduction.cite(run)])
    titles = notebooks.copy_notebooks(run.notebooks, notebooks.known_pictures(run.figures), source / notebooks.PAGES)
    further = []
    if titles:
        further.append(("The executed notebooks", f"{notebooks.PAGES}/index"))
        pages.contents("The executed notebooks", "As they ran, with all that they showed. Progress bars are left out.",
                       {name: f"[{plain(title)}]({name}.ipynb)" for name, title in titles.items()},
                       source / notebooks.PAGES / "index.md")
    if rooms:
        further.append(("The interface", f"{api.PAGES}/index"))
        pages.contents("The interface", "From the docstrings of `lib`, room by room.", {
            name: f"[lib.{room}]({name}.rst): {plain(api.ROOMS[room])}"
            for room, name in zip(rooms, api.write_pages(source / api.PAGES, rooms), strict=True)},
            source / api.PAGES / "index.md")
    front = chapters.front(run, [*((each.title, each.name) for each in made), *further])
    for chapter in (front, *made):
        pages.write_chapter(chapter, source, run.provenance)
    pages.append_tree(source / "index.md", _parts([each.name for each in made], [name for _, name in further]))
    build.write_configuration(source, build.configuration(TITLE, " · ".join(label(run)), run.commit))
    build.run_sphinx(source, out)
    paper.write_paper(run, made, work / "print", out / "paper.pdf")


def _parts(names: Sequence[str], further: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The navigation: its parts with their pages."""
    last = ["reproduction", "cite"]
    beyond = [name for name in names if name.startswith("supplement/")]
    return [("The paper", [name for name in names if name not in {*beyond, *last, "claims"}]), ("Verdicts", ["claims"]),
            ("Beyond the paper", beyond), ("How it was made", ["reproduction", *further, "cite"])]


def label(run: Gathered) -> list[str]:
    """What a run is, in few words, for the top of every page."""
    marked = [part.split(" = ")[0] + " stands in for the paper's encoder" for part in run.words if "* = " in part]
    first = ["simulated scans" if run.simulated else "", *marked, f"commit {run.commit}",
             "OUT OF DATE" if run.stale else ""]
    return [f"{run.profile} profile", *filter(None, first)]


@contextmanager
def _workshop(root: Path) -> Iterator[Path]:
    """A folder beside the site for what is being made; one that a killed report left is emptied first."""
    work = root / WORK
    with single_writer(work):
        _empty(work)
        try:
            yield work
        except OSError as error:
            raise cannot_write(root / SITE, error) from error
        finally:
            _empty(work)
    if work.is_dir() and not any(work.iterdir()):
        work.rmdir()


def _empty(work: Path) -> None:
    for each in work.iterdir():
        if each.is_dir():
            shutil.rmtree(each)


def swap(new: Path, site: Path) -> None:
    """Put a whole new folder in the place of an old one, which goes only when the new one is there."""
    old = new.with_name("old")
    if site.exists():
        os.replace(site, old)
    try:
        os.replace(new, site)
    except OSError:
        if old.exists():
            os.replace(old, site)
        raise
    shutil.rmtree(old, ignore_errors=True)
