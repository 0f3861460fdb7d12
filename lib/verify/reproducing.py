"""The text of REPRODUCING.md, out of the references: what to type, how long it took on what, which numbers to expect."""

import math
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from lib.report.words import counted, listed
from lib.study.config import profiles
from lib.verify.reference import REFERENCES, VERDICTS, Reference, known, load
from lib.verify.tolerances import RISK

SHOWN: Final = {  # a table of numbers: its first title; then by title the quantity of an experiment
    "Experiment": {
        "SSIM": "table3/{}/ssim_mean", "PSNR (dB)": "table3/{}/psnr_mean", "NRMSE": "table3/{}/nrmse_mean",
        "Ψ own": "table3/{}/psi_own", "liver bias (HU)": "regions/{}/bias_liver_hu"},
    "E1 against": {"SSIM of E1 minus it": "table4/{}/difference", "Cohen's d": "table4/{}/cohens_d",
                   "log10 of Wilcoxon's p": "table4/{}/log10_p"},
    "Network of": {"Ψ by its own losses": "self_consistency/own/{}/psi",
                   "log10 of its λ\\*": "self_consistency/own/{}/log10_lambda_star"},
}
MINUTE, NOTHING = 60, "–"
TEXT: Final = """# Reproducing it

*Written by `make readme` from [`lib/verify/references`](lib/verify/references): the full tables, a row per number.*

## What to type

{commands}

`make verify` compares each number of the finished run with the reference, under a tolerance that was measured from repeated
runs, and each claim with its verdict there. It ends with status 0 if nothing differs, 1 if something does. All of it is in
`artifacts/<profile>/verify.csv`; `codecheck.yml` and, in `figures/<profile>`, `ro-crate-metadata.json` and `claims.json` are
records of it.

{profiles}

## What the tolerances are

Runs were repeated with the same seeds and other arithmetic (a processor's instructions, cores, libraries' ways to add up),
and with other seeds. A tolerance is half a Student prediction interval for one more run around their mean, from variances
that are moderated over numbers of one kind (Smyth 2004), at a risk that is divided by how many numbers there are: a run that
does reproduce is called different with a probability of at most {risk:g}. The formulas, what they assume and what they do
not cover stand in [`tolerances.py`](lib/verify/tolerances.py).

## What was not run

{not_run}
"""


def reproducing(folder: Path = REFERENCES) -> str:
    """REPRODUCING.md for the profiles that have a reference in ``folder``."""
    references = [load(profile, folder) for profile in profiles() if profile in known(folder)]
    without = [profile for profile in profiles() if profile not in known(folder)]
    return TEXT.format(commands=_commands(references), risk=RISK, not_run=_not_run(references, without),
                       profiles="\n\n".join(part for reference in references for part in _profile(reference)))


def _commands(references: Iterable[Reference]) -> str:
    rows = [{"Profile": each.profile, "What it is": _what(each.configuration), "Time, all stages": _times(each),
             "Commands": f"`make paper PROFILE={each.profile}`, then `make verify PROFILE={each.profile}`"}
            for each in references]
    return _markdown(rows)


def _what(configuration: Mapping[str, Any]) -> str:
    """'SIMULATED cohort of 4 patients, 6 experiments from 1 seed, 2 epochs'."""
    simulated, training = configuration["cohort"]["simulation"], configuration["training"]
    cohort = f"SIMULATED cohort of {counted(simulated['patients'], 'patient')}" if simulated else "scans of DATA"
    return (f"{cohort}, {counted(len(configuration['experiments']), 'experiment')} from "
            f"{counted(configuration['number of seeds'], 'seed')}, {counted(training['epochs'], 'epoch')}")


def _times(reference: Reference) -> str:
    """'2 minutes' or '110 to 140 minutes' of all stages one after the other."""
    seconds = [run["seconds"] for run in reference.runs]
    low, high = (max(1, round(each / MINUTE)) for each in (min(seconds), max(seconds)))
    return counted(high, "minute") if low == high else f"{low} to {counted(high, 'minute')}"


def _profile(reference: Reference) -> list[str]:
    """The section of one profile, in parts."""
    table = reference.table()
    numbers = table[table["family"] != VERDICTS].set_index("quantity")
    path, seeds = f"lib/verify/references/{reference.profile}.csv", listed([str(seed) for seed in reference.seeds])
    others = len(reference.by_seeds) - 1
    other = f", in brackets that for one of other seeds (from {counted(others, 'run')} of such: the fewer, the wider)"
    parts = [f"## What to expect of {reference.profile}",
             f"The reference is the mean of {counted(len(reference.arithmetic), 'run')} from seed {seeds}; ± is the "
             f"tolerance for a run of the same seeds{other if others else ''}. All {len(numbers)} numbers: "
             f"[`{reference.profile}.csv`]({path})."]
    for first, columns in SHOWN.items():
        rows = [{first: name} | {title: _number(numbers, quantity.format(name)) for title, quantity in columns.items()}
                for name in ("ldct", *reference.configuration["experiments"])
                if any(quantity.format(name) in numbers.index for quantity in columns.values())]
        if rows:
            table = pd.DataFrame(rows)
            parts.append(_markdown(table.loc[:, (table != NOTHING).any()].to_dict("records")))
    return [*parts, _claims(reference), "The runs, and how each was made:", _runs(reference)]


def _claims(reference: Reference) -> str:
    claims = reference.claims()[reference.arithmetic]
    same = claims[claims.nunique(axis=1) == 1].iloc[:, 0].value_counts()
    parts = [f"{count} {verdict}" for verdict, count in same.items()]
    if changing := int((claims.nunique(axis=1) > 1).sum()):
        parts.append(f"{changing} not the same in every run")
    return f"Of its {counted(len(claims), 'claim')}, by these runs: {', '.join(parts)}."


def _number(numbers: pd.DataFrame, name: str) -> str:
    """'0.8841 ± 0.0003 [± 0.02]', with the digits that the tolerance leaves."""
    if name not in numbers.index:
        return NOTHING
    row = numbers.loc[name]
    value, tolerance, seeds = (float(row[each]) for each in ("reference", "tolerance", "tolerance_seeds"))
    if math.isnan(value):
        return NOTHING
    digits = 4 if math.isnan(tolerance) else min(6, max(0, 1 - math.floor(math.log10(tolerance))))
    parts = [f"{value:.{digits}f}", "" if math.isnan(tolerance) else f"± {_one_digit(tolerance)}",
             "" if math.isnan(seeds) else f"[± {_one_digit(seeds)}]"]
    return " ".join(filter(None, parts))


def _one_digit(value: float) -> str:
    """'0.0002', '1e-05', '2000'."""
    return f"{float(f'{value:.1g}'):.0f}" if value >= 1 else f"{value:.1g}"


def _runs(reference: Reference) -> str:
    rows = []
    for run in reference.runs:
        arithmetic = dict(run["arithmetic"])
        machine = f"{arithmetic.pop('processor')}, {arithmetic.pop('instructions')}"
        cores = arithmetic.pop("cores")
        variables = " ".join(f"{name}={shlex.quote(str(value))}" for name, value in arithmetic.items())
        seeds = "" if run["seeds"] == reference.seeds else f" SET=seeds={run['seeds']}".replace(", ", ",")
        one = "taskset -c 0" if cores == 1 else ""
        command = " ".join(filter(None, [variables, one, f"make paper PROFILE={reference.profile}{seeds}"]))
        rows.append({"Run": run["name"], "Processor": machine, "Cores": str(cores), "Command": f"`{command}`",
                     "Commit": ", ".join(run["commits"]), "Seconds": str(run["seconds"])})
    return _markdown(rows)


def _not_run(references: Iterable[Reference], without: list[str]) -> str:
    machines = sorted({run["arithmetic"]["processor"] for reference in references for run in reference.runs})
    lines = []
    if without:
        lines.append(f"Profiles without a reference: {listed(without)}. Nothing is known here of what they give elsewhere.")
    if machines:
        lines.append(f"Processors other than {listed(machines)}; GPUs, which add up in another order than all of these.")
    lines.append("Other versions of the packages than those in `requirements.txt`.")
    return "\n".join(f"- {line}" for line in lines)


def _markdown(rows: list[dict[str, str]]) -> str:
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)
