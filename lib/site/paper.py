"""The report as one PDF: Markdown through pandoc into typst, tables and figures in typst itself."""

import json
import math
import re
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pypandoc
import typst

from lib.errors import StageError
from lib.site.abstract import PAPER, abstract
from lib.site.blocks import Block, Chapter, Picture, Prose, Table, plain
from lib.site.build import STATIC
from lib.site.gathered import Gathered, commit_date
from lib.site.reproduction import citation
from lib.site.tables import VERDICTS

ACROSS: Final = 140  # characters of the smallest text that fit between the margins
LONGEST: Final = 60  # rows: a longer table is on the site alone
LEAST, MOST, SPACE = 6, 26, 3  # characters of a column, and beside it
WRAPPED: Final = 20  # of one whose cells are longer than that, at least
COLOURS: Final = {"stands": "#0b5394", "falls": "#a33c00", "undecided": "#5b6067"}
READER: Final = "markdown-smart-citations"


def write_paper(run: Gathered, chapters: Sequence[Chapter], folder: Path, out: Path) -> None:
    """Write the PDF of the printed chapters to ``out``; ``folder`` is for what typst reads.

    The same run gives the same bytes: its date is that of the run's commit.

    Raises
    ------
    StageError
        typst refuses a document.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(STATIC / "paper.typ", folder / "style.typ")
    text = "\n\n".join([_front(run), *(_section(chapter, folder) for chapter in chapters if chapter.printed)])
    body = pypandoc.convert_text(text, "typst", format=READER, extra_args=["--wrap=preserve"])
    source = folder / "paper.typ"
    source.write_text(f"{_head(run)}\n{body}\n", encoding="utf-8")
    date = commit_date(run.commit)
    stamp = int(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()) if date else 0
    try:
        typst.compile(source, output=out, root=folder, ignore_system_fonts=True, timestamp=stamp)
    except typst.TypstError as error:
        raise StageError(f"typst: {' '.join(str(error).split())}", where=out.name) from None


def _head(run: Gathered) -> str:
    known, date = citation(), commit_date(run.commit)
    values = {"title": known["title"], "of": PAPER,
              "by": ", ".join(each["family-names"] for each in known["preferred-citation"]["authors"]),
              "authors": [each["name"] for each in known["authors"]],
              "commit": run.commit, "provenance": run.provenance,
              "label": " · ".join(run.words[:2])}
    given = ", ".join(f"{name}: {_literal(value)}" for name, value in values.items())
    day = f"datetime(year: {date[:4]}, month: {int(date[5:7])}, day: {int(date[8:])})" if date else "none"
    return f'#import "style.typ": report, data, shown\n#show: report.with({given}, date: {day})'


def _literal(value: object) -> str:
    """A string or a list of strings as typst writes them."""
    if isinstance(value, list):
        return "(" + "".join(f"{_literal(each)}, " for each in value) + ")"
    return json.dumps(str(value), ensure_ascii=False)


def _front(run: Gathered) -> str:
    return "# Abstract\n\n" + "\n\n".join(abstract(run))


def _section(chapter: Chapter, folder: Path) -> str:
    """The figures of the chapter before it do not float into it."""
    blocks = "\n\n".join(_block(block, folder) for block in chapter.blocks)
    return f"```{{=typst}}\n#place.flush()\n```\n\n# {plain(chapter.title)}\n\n{blocks}"


def _block(block: Block, folder: Path) -> str:
    if isinstance(block, Prose):
        return block.text
    if isinstance(block, Table) and len(block.rows) > LONGEST:
        return f"**{block.label}.** {plain(block.title)}: {len(block.rows)} rows, on the site alone."
    code = typst_table(block) if isinstance(block, Table) else _picture(block, folder)
    return f"```{{=typst}}\n{code}\n```"


def _picture(block: Picture, folder: Path) -> str:
    """Its PDF where there is one: lines stay sharp."""
    print_form = block.path.with_suffix(".pdf")
    source = print_form if print_form.is_file() else block.path
    name = block.name.replace("/", "_") + source.suffix
    shutil.copyfile(source, folder / name)
    return f"#shown({_literal(name)}, {_literal(block.label)}, {_literal(block.title)}, alt: {_literal(block.alt)})"


def typst_table(table: Table) -> str:
    """A table that fits the page: one of many columns becomes several below each other, each with the columns by which its
    rows are known."""
    parts = split_columns(table)
    code = []
    for number, places in enumerate(parts):
        title = table.title if not number else "(continued: further columns)"
        columns = ", ".join(_column(table, place) for place in places)
        head = ", ".join(_literal(_breakable(table.columns[place])) for place in places)
        rows = ",\n".join(", ".join(_cell(row[place]) for place in places) for row in table.rows)
        below = table.provenance if number == len(parts) - 1 else ""
        texts = ", ".join(map(_literal, (table.label, title, below)))
        code.append(f"#data(({columns},), ({head},), {texts},\n{rows})")
    return "\n".join(code)


def split_columns(table: Table) -> list[list[int]]:
    """Places of the columns of each part: in as few parts as fit, of about equal width. The first ones, by which rows are
    known, are in every part."""
    fewest = len(_parts(table, ACROSS))
    return next(parts for across in range(LEAST, ACROSS + 1) if len(parts := _parts(table, across)) == fewest)


def _parts(table: Table, across: int) -> list[list[int]]:
    """Filled one after the other, up to so many characters; a column that is wider stands in a part of its own."""
    known = list(range(_known_by(table)))
    begin = sum(_width(table, place) for place in known)
    parts, used = [[*known]], begin
    for place in range(len(known), len(table.columns)):
        width = _width(table, place)
        if used + width > across and len(parts[-1]) > len(known):
            parts.append([*known])
            used = begin
        parts[-1].append(place)
        used += width
    return parts


def _known_by(table: Table) -> int:
    """How many of the first columns tell every row from every other: three at most, one if they do not."""
    return next((count for count in (1, 2, 3) if len({row[:count] for row in table.rows}) == len(table.rows)), 1)


def _width(table: Table, place: int) -> int:
    """Characters of a column, with the space beside it."""
    longest = _longest(table, place)
    return (longest if longest <= MOST else WRAPPED) + SPACE


def _longest(table: Table, place: int) -> int:
    """Characters of a column's longest cell, or of its heading's longest word, which is bold."""
    words = (math.ceil(1.2 * len(word)) for word in table.columns[place].split())
    return max(LEAST, *(len(row[place]) for row in table.rows), *words, 0)


def _column(table: Table, place: int) -> str:
    """A column's width as typst takes it: as wide as its cells, or a share of what is left, the more the longer they are."""
    longest = _longest(table, place)
    return "auto" if longest <= MOST else f"{min(longest, 3 * MOST)}fr"


def _breakable(text: str) -> str:
    """With places at which a long name may break."""
    return re.sub(r"(?<=[\w])([_/])(?=\w)", "\\1\u200b", text)


def _cell(text: str) -> str:
    if text in VERDICTS:
        return f'text(fill: rgb("{COLOURS[text]}"), weight: "bold", {_literal(text)})'
    return _literal(_breakable(text))
