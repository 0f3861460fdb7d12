"""Tables as a run wrote them, read back from Markdown, and as HTML that scrolls in its own box."""

import html
import re
from pathlib import Path
from typing import Final

import pandas as pd

from lib.report.sentences import FORMATS, SUFFIXES
from lib.report.verdicts import COLUMNS
from lib.report.words import counted, listed, number
from lib.site.blocks import Table

VERDICTS: Final = ("stands", "falls", "undecided")
_CELLS, _ESCAPED = re.compile(r"(?<!\\)\|"), re.compile(r"\\([|*_<])")
NONE: Final = "–"
CLAIMS: Final = ["Claim", "Verdict", "This run [95 %]", "Paper", "Unit", "Rests on", "Note"]
LONG: Final = 28  # characters: a column with longer cells wraps


def read_table(path: Path) -> Table:
    """A table of :func:`lib.report.tables.save_table`: ``path`` is its Markdown file; the name is the file's stem.

    Raises ValueError if it is no such table.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    inside = [line for line in lines if line.startswith("|")]
    if len(inside) < 2 or not lines[0].startswith("**"):
        raise ValueError(f"{path.name}: expected a title in bold and a table of Markdown")
    columns, _, *rows = ([_text(cell) for cell in _CELLS.split(line)[1:-1]] for line in inside)
    last = lines[-1] if lines[-1].startswith("*") else ""
    return Table(path.stem, _text(lines[0].strip("*")), tuple(columns), tuple(map(tuple, rows)), _text(last[1:-1]))


def _text(cell: str) -> str:
    return _ESCAPED.sub(r"\1", cell.strip())


def claims_table(claims: pd.DataFrame, name: str, title: str) -> Table:
    """Rows of ``claims.csv`` (:data:`lib.report.verdicts.COLUMNS`): what the paper says, what this run says, the verdict."""
    missing = set(COLUMNS) - set(claims)
    if missing:
        raise ValueError(f"claims: no column {listed(sorted(missing))}")
    shown = pd.DataFrame([
        {"Claim": str(each["claim"]), "Verdict": str(each["verdict"]), "This run [95 %]": _estimate(each),
         "Paper": _value(each, "paper"), "Unit": _unit(each["unit"]), "Rests on": _rests_on(each), "Note": _note(each)}
        for each in claims.to_dict("records")], columns=CLAIMS)
    if len(shown) > 1 and shown["Rests on"].nunique() == 1 and shown["Rests on"].iloc[0] != NONE:
        title += f"; each rests on {shown['Rests on'].iloc[0]}"
        shown = shown.drop(columns="Rests on")
    bare = [column for column in ("Paper", "Rests on", "Note") if column in shown and set(shown[column]) <= {NONE}]
    shown = shown.drop(columns=bare)
    return Table(name, title, tuple(shown.columns), tuple(shown.itertuples(index=False, name=None)))


def _value(claim: dict, field: str) -> str:
    value = claim[field]
    if pd.isna(value):
        return NONE
    shown = FORMATS[claim["unit"]].format(value) if claim["unit"] in FORMATS else number(value)
    return shown.replace("-", "−") if shown.startswith("-") else shown


def _estimate(claim: dict) -> str:
    interval = f" [{_value(claim, 'low')}, {_value(claim, 'high')}]" if not pd.isna(claim["low"]) else ""
    return _value(claim, "estimate") + interval


def _unit(unit: object) -> str:
    return NONE if pd.isna(unit) else f"{unit}, dB" if SUFFIXES.get(str(unit), "").strip() == "dB" else str(unit)


def _rests_on(claim: dict) -> str:
    known = [counted(int(claim[f"{name}s"]), name) for name in ("patient", "seed") if not pd.isna(claim[f"{name}s"])]
    return listed(known) or NONE


def _note(claim: dict) -> str:
    parts = [f"the estimate by itself: {claim['leaning']}"] * (
        claim["verdict"] == "undecided" and not pd.isna(claim["estimate"]) and claim["leaning"] != "undecided")
    parts += [f"sign-flip p {number(claim['p_patients'])}"] * (not pd.isna(claim["p_patients"]))
    parts += [str(claim["note"])] * (not pd.isna(claim["note"]) and claim["note"] != "")
    return "; ".join(parts) or NONE


def chip(verdict: str) -> str:
    """A verdict in colour and in words, HTML; other text as it is."""
    if verdict not in VERDICTS:
        return html.escape(verdict)
    return f'<span class="verdict {verdict}">{verdict}</span>'


def as_html(table: Table) -> str:
    """A table in a box that scrolls by itself, can be focused and has a name; verdicts in colour. No empty line inside:
    Markdown ends its HTML there."""
    name = html.escape(" ".join(filter(None, (table.label, table.title))), quote=True)
    label = f"<strong>{html.escape(table.label)}.</strong> " if table.label else ""
    wraps = [max((len(row[place]) for row in table.rows), default=0) > LONG for place in range(len(table.columns))]
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in table.columns)
    body = "\n".join("<tr>" + "".join(
        (f'<th scope="row"{_class(wide)}>{html.escape(cell)}</th>' if place == 0 else f"<td{_class(wide)}>{chip(cell)}</td>")
        for place, (cell, wide) in enumerate(zip(row, wraps, strict=True))) + "</tr>" for row in table.rows)
    below = f'\n<p class="provenance">{html.escape(table.provenance)}</p>' if table.provenance else ""
    return (f'<figure class="table">\n<figcaption>{label}{html.escape(table.title)}</figcaption>\n'
            f'<div class="wide" role="region" tabindex="0" aria-label="{name}">\n<table class="data">\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>{below}\n</figure>")


def _class(wide: bool) -> str:
    return ' class="long"' * wide
