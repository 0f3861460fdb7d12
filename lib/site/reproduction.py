"""The pages on how the run came about: versions, hardware, times, seeds, what is simulated; and how to cite."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lib import REPOSITORY
from lib.artifacts.provenance import worded
from lib.report.words import counted, listed
from lib.site.blocks import Block, Chapter, Prose, Table, bullets, plain
from lib.site.gathered import Gathered, commit_date

CITATION = REPOSITORY / "CITATION.cff"


def reproduction(run: Gathered, beside: Iterable[Block] = ()) -> Chapter:
    """Profile, commit, versions, arithmetic, times of each stage, what is simulated or stands in, how to do it again;
    ``beside``: what :func:`lib.site.verified.verified` says of it."""
    commits = sorted({str(stamp["commit"]) for stamp in run.stamps})
    dated = [f"`{each}`" + (f" of {date}" if (date := commit_date(each)) else "") for each in commits]
    blocks: list[Block] = [
        Prose("## What is simulated, and what stands in"),
        Prose(f"The line that stands at the foot of every page, and in every file of this run (profile "
              f"**{plain(run.profile)}**):"),
        bullets(map(plain, run.words))]
    if run.stale:
        blocks.append(Prose(f"**Out of date.** Code, settings or inputs have changed since these stages ran: "
                            f"{plain(listed(list(run.stale)))}. What they wrote is shown as it is."))
    blocks += [
        Prose("## Code"), Prose(f"The stages ran at commit {listed(dated)}." if dated else
                                f"Commit {plain(run.commit)}; the run left no stamps of its stages."),
        Prose("## Again"), Prose(f"```\nmake paper PROFILE={run.profile}\nmake verify report PROFILE={run.profile}\n```"),
        Prose("A second `make paper` does only what is out of date. Numbers depend on the processor and its number of "
              "cores; `make verify` says whether they lie where such runs lie."), *beside]
    if run.stamps:
        blocks += [_seeds(run.stamps), *_machine(run.stamps), _times(run.stamps)]
    return Chapter("reproduction", "Reproduction", tuple(blocks))


def _seeds(stamps: Iterable[Mapping[str, Any]]) -> Prose:
    seeds = sorted({seed for stamp in stamps for seed in stamp.get("config", {}).get("seeds", ())})
    return Prose(f"## Seeds\n\n{counted(len(seeds), 'seed')} of trainings: {listed([str(each) for each in seeds])}. The "
                 "first is also that of the calibration and of the Medical encoder; simulation and split have their own in "
                 "the profile.")


def _machine(stamps: Sequence[Mapping[str, Any]]) -> list[Block]:
    """What the results were computed with: more than one line where parts were made elsewhere."""
    arithmetic = list(dict.fromkeys(worded(each) for stamp in stamps for each in stamp["arithmetic"]))
    versions: dict[str, list[str]] = {}
    for stamp in stamps:
        for name, version in stamp["versions"].items():
            if version not in versions.setdefault(name, []):
                versions[name].append(version)
    rows = tuple((name, ", ".join(each)) for name, each in versions.items())
    return [Prose("## Hardware and versions"), bullets(map(plain, arithmetic)),
            Table("versions", "Versions of Python and the packages that results depend on", ("Package", "Version"), rows)]


def _times(stamps: Sequence[Mapping[str, Any]]) -> Table:
    rows = [(str(stamp["step"]), duration(stamp["seconds"]), f"{memory:,}" if (memory := stamp["peak_memory_mib"]) else "–")
            for stamp in stamps]
    rows.append(("all", duration(sum(stamp["seconds"] for stamp in stamps)), "–"))
    return Table("times", "Time and memory of each stage; several may have run at once, and what a stage found done before "
                 "is not in its time", ("Stage", "Time", "Peak memory (MiB)"), tuple(rows))


def duration(seconds: float) -> str:
    """'12.3 s', '4 min 05 s', '2 h 07 min'."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def citation(path: Path = CITATION) -> dict[str, Any]:
    """``CITATION.cff``."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def cite(run: Gathered) -> Chapter:
    """How to cite the paper and this reproduction, from CITATION.cff."""
    known = citation()
    paper = known["preferred-citation"]
    names = [f"{each['given-names']} {each['family-names']}" for each in paper["authors"]]
    bibtex = ["```bibtex", "@article{perceptual-influence,", f"  title  = {{{paper['title']}}},",
              f"  author = {{{' and '.join(names)}}}", "}", "", "@software{perceptual-influence-reproduction,",
              f"  title   = {{{known['title']}}},", f"  author  = {{{{{known['authors'][0]['name']}}}}},",
              f"  version = {{{known['version']}}},", f"  date    = {{{known['date-released']}}},",
              f"  note    = {{commit {run.commit}, profile {run.profile}}}", "}", "```"]
    return Chapter("cite", "How to cite", (
        Prose(plain(known["message"])), Prose(f"{plain(', '.join(names))}: *{plain(paper['title'])}*."),
        Prose("\n".join(bibtex))), printed=False)
