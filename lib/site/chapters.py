"""The chapters of the report: the questions of the paper, what it does not show, every claim, the supplement."""

import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

import pandas as pd

from lib.report.claims import QUESTIONS, SIMULATED_NOTE
from lib.report.verdicts import LEVEL
from lib.report.words import counted, tallied
from lib.site.abstract import SECTIONS, abstract
from lib.site.blocks import Block, Chapter, Picture, Prose, Table, bullets, plain
from lib.site.gathered import Gathered
from lib.site.methods import methods
from lib.site.tables import claims_table
from lib.study.paths import NOTEBOOKS

ASKED: Final[Mapping[str, str]] = {
    "RQ1": "To what extent does the perceptual influence vary as a function of the selected feature representation level, "
           "across different pre-training contexts?",
    "RQ2": "Which feature representation level yields the best enhancement results for different pre-training contexts?",
    "RQ3": "Can objective guidelines be established for selecting appropriate configuration values to maximize the metrics?",
    "reader": "Does any of the networks do better than no denoising at all, and does a perceptual term do better than none "
              "(λ = 0)? The paper does not ask; its tables have no such rows.",
}
TITLES: Final = {"RQ1": "RQ1: how Ψ varies", "RQ2": "RQ2: what denoises best", "RQ3": "RQ3: guidelines",
                 "reader": "What the paper does not show"}
SHOWN: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "RQ1": (("fig2",), ("calibration", "self_consistency", "encoder_comparison")),
    "RQ2": (("fig3", "fig_ssim"), ("table3", "table4")),
    "RQ3": ((), ()),
    "reader": ((), ("regions",)),
}
"""Figures and tables of each question."""
SAID: Final = {
    "methods": "losses, perceptual influence, calibration, cohort, scores, all settings beside the paper's",
    "claims": "all of them in tables, one after the other, with the rule for a verdict",
    "reproduction": "commits, versions, hardware, times, seeds; what is simulated",
    "notebooks/index": "every cell with what it showed", "api/index": "modules, from their docstrings",
}
"""What stands behind the links of the first page."""
SUPPLEMENT: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "S1": (("exchange",), ("exchange",)), "S2": (("rules",), ("rules",)), "S3": (("presets",), ("presets",)),
    "S4": (("psi_atlas", "conventions"), ("psi_atlas", "conventions")),
    "S5": (("passport", "passport_errors"), ("passport", "passport_errors")),
    "S6": (("image_quality", "image_quality_transfer"), ("image_quality",)),
    "S7": (("psi_target_sweep", "claims"), ("psi_target_sweep", "target_tests", "power")),
    "S8": (("other_images",), ("other_images",)),
}
"""Figures and tables of each analysis beyond the paper."""
RULE: Final = ("A claim says that something is above zero: a difference in the direction of better, or a distance to a "
               f"bound. It **stands** if its whole interval ({100 * LEVEL:g}\u00a0%, over patients and seeds) is above "
               "zero, it **falls** if the whole interval is below the margin under which two experiments count as equal, "
               "and it is **undecided** in between, and wherever there are too few patients or seeds for an interval. The "
               "margin is a setting for SSIM, and half the smallest step in the paper's Table 3 for PSNR and NRMSE. A claim "
               "of several comparisons is as its weakest; it falls only by an interval that is wider, for so many "
               "comparisons (Bonferroni), so that it may be undecided where one of them falls by itself. Claims on Ψ rest "
               "on seeds and not on patients; their λ\\* are geometric means over seeds, those of tables arithmetic ones. "
               "ImageNet and Medical are this run's encoders, those with an asterisk elsewhere. Each interval covers by "
               "itself: counts of verdicts are no test; and a sign-flip test over n patients gives no less than 2 / 2ⁿ.")


def chapters(run: Gathered) -> list[Chapter]:
    """All chapters that are made from tables and figures, in their order."""
    return [methods(run), *(question(run, name) for name in ASKED if name in set(run.claims["question"])),
            *real_anatomy(run), every_claim(run), *supplement(run)]


def front(run: Gathered, rest: Sequence[tuple[str, str]]) -> Chapter:
    """The first page: the abstract, the verdicts in numbers, and where to go on: ``rest`` are titles and names of pages."""
    rows = [(f"{TITLES.get(name, name)}", *(str(int((part["verdict"] == verdict).sum()))
                                            for verdict in ("stands", "undecided", "falls")))
            for name, part in run.claims.groupby("question", sort=False)]
    rows += [(f"{name}, beyond the paper", *(str(int((claims["verdict"] == verdict).sum()))
                                             for verdict in ("stands", "undecided", "falls")))
             for name in SECTIONS if (claims := run.supplement_claims(name)) is not None]
    glance = Table("glance", "Claims by question", ("Question", "stand", "undecided", "fall"), tuple(rows))
    links = [f"[{plain(title)}]({name}.md)" + (f": {SAID[name]}" if name in SAID else "") for title, name in rest]
    lead: list[Picture] = run.picture("fig_psi") or run.picture("fig2")
    paragraphs = [Prose(each) for each in abstract(run)]
    return Chapter("index", "Perceptual Influence: a paper that reruns itself", (
        Prose("The paper of Viana, Alves Pereira, Ren, Cavalcanti and Sijbers, run again from DICOM files to the last "
              'p-value. As one document: <a href="paper.pdf">paper.pdf</a>.'),
        *labelled(run), Prose("## Abstract"), *paragraphs[:2], *lead, *paragraphs[2:],
        Prose("## At a glance"), glance, Prose("## Where to go on"), bullets(links)), printed=False)


def labelled(run: Gathered) -> list[Prose]:
    """What this run is, for the head of the first page: what is out of date, and, to be opened, profile, simulated scans,
    stand-ins in full."""
    stale = [Prose(f"**Out of date:** code, settings or inputs of {counted(len(run.stale), 'stage')} have changed since "
                   f"they ran ({plain(', '.join(run.stale))})")] if run.stale else []
    lines = "".join(f"<li>{html.escape(each)}</li>" for each in run.words)
    return [*stale, Prose(f'<details class="run"><summary>What this run is: profile, scans, encoders, settings</summary>'
                          f"<ul>{lines}</ul></details>")]


def question(run: Gathered, name: str) -> Chapter:
    """One question: as it is asked, its answer in numbers, its claims, figures and tables."""
    claims = run.claims[run.claims["question"] == name]
    figures, tables = SHOWN[name]
    further = run.answers[name].further if name in run.answers else ()
    blocks: list[Block] = [
        Prose(f"> {plain(ASKED[name])}"), Prose("## The answer of this run"),
        Prose(f"Of {len(claims)} claims {tallied(claims['verdict'])}." + f" {SIMULATED_NOTE}" * run.simulated),
        claims_table(claims, f"claims_{name}", f"Claims on {QUESTIONS[name]}")]
    blocks += [bullets(map(plain, further))] if further else []
    shown = [block for each in figures for block in run.picture(each)] + [
        block for each in tables for block in run.table(each)]
    blocks += [Prose("## Figures and tables"), *shown] if shown else []
    return Chapter(name.lower(), TITLES[name], tuple(blocks))


def every_claim(run: Gathered) -> Chapter:
    """The paper's claim, this run, the verdict: all of them on one page."""
    blocks: list[Block] = [Prose(RULE)]
    tables = {TITLES.get(name, name): part for name, part in run.claims.groupby("question", sort=False)}
    tables |= {f"{name}: {title}": claims for name, title, claims, _ in _analyses(run)}
    for title, claims in tables.items():
        blocks += [Prose(f"## {plain(title)}"), Prose(f"{tallied(claims['verdict'])}."),
                   claims_table(claims, "every", f"{title}: the claim, this run, the verdict")]
    return Chapter("claims", "The paper's claims, this run, the verdicts", tuple(blocks), printed=False)


def real_anatomy(run: Gathered) -> list[Chapter]:
    """The networks on scans of real people, where they were tested there."""
    shown = [*run.table("table3_real"), *run.picture("fig3_real")]
    text = ("Do networks that learnt from this run's scans work on other people? Anatomy and normal dose are those of "
            "public scans of real people; the low dose is inserted by simulation. One or two patients decide nothing.")
    return [Chapter("real", "On real anatomy", (Prose(text), *shown))] if shown else []


def supplement(run: Gathered) -> list[Chapter]:
    """A chapter for each analysis beyond the paper that was made."""
    found = []
    for section, title, claims, text in _analyses(run):
        figures, tables = ([f"supplement/{each}" for each in names] for names in SUPPLEMENT[section])
        shown = [block for each in figures for block in run.picture(each)] + [
            block for each in tables for block in run.table(each)]
        found.append(Chapter(f"supplement/{section}", f"{section}: {title}", (
            Prose(text), Prose("## What came out"), Prose(f"Of {len(claims)} claims {tallied(claims['verdict'])}."),
            claims_table(claims, f"claims_{section}", "Claims of this analysis"),
            *([Prose("## Figures and tables"), *shown] if shown else []))))
    return found


def _analyses(run: Gathered) -> list[tuple[str, str, pd.DataFrame, str]]:
    """Section, title, claims and first words of each analysis that was made."""
    found = []
    for section in SECTIONS:
        claims = run.supplement_claims(section)
        if claims is not None:
            title, text = introduction(section)
            found.append((section, title, claims, text))
    return found


def introduction(section: str) -> tuple[str, str]:
    """Title and first words of an analysis, out of its notebook: the one place where they are written."""
    path, = (NOTEBOOKS / "supplement").glob(f"{section}_*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = next("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    head, _, rest = text.partition("\n")
    return re.sub(rf"^#\s*{section}\s*", "", head).strip(), rest.strip()


