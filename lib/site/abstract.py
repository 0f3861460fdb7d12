"""The abstract, with the numbers of this run: every sentence is made from tables and claims."""

from collections.abc import Iterable

import pandas as pd

from lib.paper import published
from lib.perceptual.psi import TARGET_PSI
from lib.report.claims import QUESTIONS, SIMULATED_NOTE
from lib.report.verdicts import LEVEL
from lib.report.words import counted, listed, number, tallied
from lib.site.blocks import plain
from lib.site.gathered import Gathered

PAPER = "Perceptual Influence: Improving the Perceptual Loss Design for Low-Dose CT Enhancement"
SECTIONS = tuple(f"S{number}" for number in range(1, 9))
OF_THE_PAPER = ("RQ1", "RQ2", "RQ3")


def abstract(run: Gathered) -> list[str]:
    """Paragraphs of Markdown: what was done, what became of the paper's claims, the best experiment, what it rests on."""
    found = [_done(run), _claims(run), " ".join(filter(None, (_best(run.scores), *_further(run)))), _supplement(run)]
    found.append(SIMULATED_NOTE if run.simulated else "")
    return [each for each in found if each]


def _done(run: Gathered) -> str:
    trained = run.scores[run.scores["experiment"] != "ldct"]
    seeds, slices = int(trained["seeds"].max()), int(run.scores["slices"].max())
    patients = run.claims["patients"].max()
    tested = f"{counted(slices, 'slice')}" + (f" of {counted(int(patients), 'patient')}" if not pd.isna(patients) else "")
    scans = "simulated scans" if run.simulated else "scans"
    return (f"This is a run of a reproduction of *{PAPER}*, profile **{plain(run.profile)}**, on {scans}. The paper's idea "
            "is perceptual influence Ψ, the share of the perceptual term in the loss that a network is trained with: λ, the "
            f"weight of that term, is to be chosen so that Ψ is the same, about {TARGET_PSI:g}, for every encoder and "
            f"layer, which makes comparisons fair. Here a U-Net was trained with {counted(len(trained), 'loss function')} "
            f"({listed([plain(name) for name in trained['experiment']])}), from "
            f"{counted(seeds, 'seed')} each, and tested on {tested}.")


def _claims(run: Gathered) -> str:
    papers = run.claims[run.claims["question"].isin(OF_THE_PAPER)]
    parts = [f"{question} ({plain(QUESTIONS[question])}): {tallied(papers.loc[papers['question'] == question, 'verdict'])}"
             for question in OF_THE_PAPER if (papers["question"] == question).any()]
    return (f"**Of {len(papers)} tests of the paper's claims {tallied(papers['verdict'])}.** {'; '.join(parts)}. A claim on "
            "Ψ is tested in each state of the network that was measured. A claim stands or falls by an "
            f"interval of {100 * LEVEL:g}\u00a0% over patients and seeds, and is undecided without one. Of "
            f"{int((run.claims['question'] == 'reader').sum())} things that a reader asks beside that, "
            f"{tallied(run.claims.loc[run.claims['question'] == 'reader', 'verdict'])}.")


def _best(scores: pd.DataFrame) -> str:
    """The paper's best experiment here and there."""
    best = scores[scores["paper_rank"] == 1]
    if best.empty:
        return ""
    row = best.iloc[0]
    rank = f" and ranks {row['rank']:.0f} of the paper's {int(scores['rank'].notna().sum())}" if row["rank"] == row[
        "rank"] else ""
    of = published.TABLE_3[str(row["experiment"])]
    return (f"{plain(row['experiment'])}, the paper's best, reaches SSIM {row['ssim_mean']:.3f} (SD "
            f"{row['ssim_sd']:.3f}) and PSNR {row['psnr_mean']:.2f} dB here{rank}, beside {of.ssim_mean:.3f} "
            f"({of.ssim_sd:.3f}) and {of.psnr_mean:.2f} dB in the paper, on other scans.{_input(scores)}")


def _input(scores: pd.DataFrame) -> str:
    """What no denoising at all has."""
    ldct = scores[scores["experiment"] == "ldct"]
    return "" if ldct.empty else (f" The LDCT input itself has SSIM {ldct.iloc[0]['ssim_mean']:.3f} and PSNR "
                                  f"{ldct.iloc[0]['psnr_mean']:.2f} dB.")


def _further(run: Gathered) -> Iterable[str]:
    """The order of all experiments, and how far λ* moves with the state of the network."""
    for question, begins in (("RQ2", "Order of all"), ("RQ1", "The exact λ*")):
        answer = run.answers.get(question)
        yield from (plain(line) for line in (answer.further if answer else ()) if line.startswith(begins))


def _supplement(run: Gathered) -> str:
    made = {name: table for name in SECTIONS if (table := run.supplement_claims(name)) is not None}
    if not made:
        return ""
    return (f"Analyses beyond the paper ({listed(list(made))}) add {sum(map(len, made.values()))} claims of their own: "
            f"{tallied(pd.concat([each['verdict'] for each in made.values()]))}.")


def lambdas(table: pd.DataFrame) -> list[str]:
    """A line of plain text for each experiment of ``table3.csv``: its λ here and in the paper."""
    rows = table.dropna(subset="lambda_used")
    return [f"{row['experiment']}: λ = {number(row['lambda_used'])}" + (
        f" (the paper {number(paper)})" if (paper := published.LAMBDAS.get(row["experiment"])) is not None else "")
        for _, row in rows.iterrows()]
