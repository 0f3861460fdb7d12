"""The README's results, from the tables of the committed run: no number there is typed. `python -m lib.report.readme`
writes them."""

from pathlib import Path
from typing import Final

import pandas as pd

from lib import REPOSITORY
from lib.artifacts.files import write_text
from lib.errors import StageError
from lib.report.words import number

START: Final = "<!-- results, written by `python -m lib.report.readme` -->\n"
END: Final = "<!-- end of the results -->\n"
SCORES: Final = {
    "ssim_mean": ("SSIM", 3), "paper_ssim_mean": ("the paper's", 3), "psnr_mean": ("PSNR", 2),
    "paper_psnr_mean": ("the paper's", 2), "psnr_window_mean": ("PSNR, window", 2), "ssim_body": ("SSIM, body", 3),
    "bias_liver_hu": ("bias in the liver, HU", 1), "psi_own": ("Ψ, own", 3), "ssim_seed_sd": ("SSIM, SD over seeds", 4),
}
"""Columns of ``table3.csv``: what they are called, and decimals."""


def results(figures: Path) -> str:
    """The results of a run in Markdown, from ``table3.csv`` and ``claims.csv`` of a folder of figures: the scores that the
    run has, then each claim with its verdict. Raises StageError where there is no run."""
    if not (figures / "table3.csv").is_file():
        raise StageError("there are no results", where=figures / "table3.csv", remedy="run make paper first")
    table = pd.read_csv(figures / "table3.csv").set_index("experiment")
    columns = {name: text for name, text in SCORES.items() if name in table}
    lines = [["", *(title for title, _ in columns.values())], ["---"] * (len(columns) + 1)]
    lines += [[name, *(f"{row[column]:.{digits}f}" if row[column] == row[column] else "–"
                       for column, (_, digits) in columns.items())] for name, row in table.iterrows()]
    blocks = [lines]
    if (figures / "claims.csv").is_file():
        claims = pd.read_csv(figures / "claims.csv")
        blocks.append([["claim", "verdict", "estimate [interval]", "the paper's"], ["---"] * 4, *(
            [row["claim"], row["verdict"], f"{number(row['estimate'])} [{number(row['low'])}, {number(row['high'])}]",
             number(row["paper"])] for _, row in claims.iterrows())])
    tables = ["\n".join(f"| {' | '.join(line)} |" for line in block) for block in blocks]
    provenance = table["provenance"].iloc[0].replace("*", r"\*")
    return "\n\n".join([*tables, f"*{provenance}*"]) + "\n"


def filled(text: str, figures: Path) -> str:
    """A README with the results between its two markers. Raises StageError where they are not there."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise StageError("the markers of the results are not there", where="README.md", remedy="restore them from git")
    return f"{before}{START}\n{results(figures)}\n{END}{after}"


if __name__ == "__main__":
    README = REPOSITORY / "README.md"
    write_text(README, filled(README.read_text(encoding="utf-8"), REPOSITORY / "figures" / "demo"))
