"""What a chapter of the report is made of, before it becomes a page or part of the PDF.

A chapter is written once: prose in the Markdown that MyST (the site) and pandoc (the PDF) both read, pictures and tables as
values. Text that comes from a run goes through :func:`plain`.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]()<>#|~^$@&!])")
PAPERS: Final = re.compile(r"(fig|table)([1-4])")
"""Names of figures and tables that the paper numbers itself."""


@dataclass(frozen=True)
class Prose:
    """Markdown; headings inside a chapter begin at level 2."""

    text: str


@dataclass(frozen=True)
class Picture:
    """A figure."""

    name: str  # of its file, without ending: 'fig2', 'supplement/exchange'
    path: Path  # PNG; the PDF of the same name beside it, where there is one, is for print
    title: str  # its caption, plain text
    alt: str  # what is to be seen, for who does not see it
    label: str = ""  # 'Figure 2'


@dataclass(frozen=True)
class Table:
    """A table of strings, as one reads it."""

    name: str
    title: str  # plain text
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    provenance: str = ""  # what it was made from
    label: str = ""  # 'Table 3'


Block = Prose | Picture | Table


@dataclass(frozen=True)
class Chapter:
    """A page of the site, and a section of the PDF where it is ``printed``."""

    name: str  # of its file: 'rq1', 'supplement/S1'
    title: str
    blocks: tuple[Block, ...]
    printed: bool = True


def plain(text: object) -> str:
    r"""Text whose characters mean themselves in Markdown.

    >>> plain("λ* of block5_conv4")
    'λ\\* of block5\\_conv4'
    """
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def bullets(lines: Iterable[str]) -> Prose:
    """A list of Markdown lines."""
    return Prose("\n".join(f"- {line}" for line in lines))


def numbered(chapters: Sequence[Chapter]) -> list[Chapter]:
    """The chapters with labels on their pictures and tables: the paper's numbers for what the paper has, the following ones
    for the rest, and 'S1.1' in the supplement. Chapters that are not printed have none."""
    counters = {"Figure": 3, "Table": 4}  # the paper's last

    def labelled(chapter: Chapter) -> Iterator[Block]:
        section, own = chapter.name.rpartition("/")[2], {"Figure": 0, "Table": 0}
        for block in chapter.blocks:
            if isinstance(block, Prose) or not chapter.printed:
                yield block
                continue
            kind = "Figure" if isinstance(block, Picture) else "Table"
            if papers := PAPERS.fullmatch(block.name):
                number = papers[2]
            elif chapter.name.startswith("supplement/"):
                own[kind] += 1
                number = f"{section}.{own[kind]}"
            else:
                counters[kind] += 1
                number = str(counters[kind])
            title = re.sub(r"^(Figure|Table) \d+\. ", "", block.title)
            yield replace(block, label=f"{kind} {number}", title=title)

    return [replace(chapter, blocks=tuple(labelled(chapter))) for chapter in chapters]
