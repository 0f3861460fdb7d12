"""The text of REPRODUCING.md, out of the references: what to type, how long it took on what, which numbers to expect."""

import json
import math
import shlex
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from lib.artifacts.provenance import ARITHMETIC
from lib.report.words import counted, listed, tallied
from lib.study.config import profiles
from lib.verify.quantities import SOURCES
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
MINUTE, NOTHING, WIDTH = 60, "–", 125
ROUNDS: Final = 1e-12  # share of a number by which it only seems to vary
TEXT: Final = """# Reproducing it

*Written by `make readme` from [`lib/verify/references`](lib/verify/references): the full tables, a row per number.*

## What to type

{commands}

`make verify` compares each number of the finished run with the reference, under a tolerance that was measured from repeated
runs, and each claim with its verdict there. It ends with status 0 if nothing differs, 1 if something does. All of it is in
`artifacts/<profile>/verify.csv`; `codecheck.yml` and, in `figures/<profile>`, `ro-crate-metadata.json` and `claims.json` are
records of it.

{compared}

{profiles}

## What the tolerances are

Runs were repeated with the same seeds and other arithmetic (a processor's instructions, cores, libraries' ways to add up),
and with other seeds. A tolerance is half a Student prediction interval for one more run around their mean, from variances
that are moderated over numbers of one kind (Smyth 2004), at a risk of {risk:g} that is divided by how many numbers there
are.

How often a run that does reproduce is called different was simulated (`python -m benchmarks.false_alarms`), with as many
numbers in as many families as smoke has, by how many runs a reference is of and how deviations of its numbers go together:

<!-- false_alarms -->
<!-- end -->

A tolerance that is tens of thousands of standard deviations says next to nothing, and with heavy tails a few numbers differ,
by little. So look at how many numbers differ, of what, and how many times as far as allowed; `make verify` says so.

The formulas, what they assume and what they do not cover stand in [`tolerances.py`](lib/verify/tolerances.py).

## What was not run

{not_run}
"""


def reproducing(folder: Path = REFERENCES) -> str:
    """REPRODUCING.md for the profiles that have a reference in ``folder``."""
    references = [load(profile, folder) for profile in profiles() if profile in known(folder)]
    without = [profile for profile in profiles() if profile not in known(folder)]
    tables = listed([f"`{source.table}`" for source in SOURCES])
    compared = _filled(f"Compared are the results in {tables}; not the figures, the supplement's tables and `table3_real`.")
    return TEXT.format(commands=_commands(references), risk=RISK, compared=compared, not_run=_not_run(references, without),
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
    file, seeds = f"{reference.profile}.csv", listed([str(seed) for seed in reference.seeds])
    several = "s" * (len(reference.seeds) > 1)
    others = len(reference.by_seeds) - 1
    other = f", in brackets that for one of other seeds (from {counted(others, 'run')} of such: the fewer, the wider)"
    parts = [f"## What to expect of {reference.profile}", _filled(
        f"The reference is the mean of {counted(len(reference.arithmetic), 'run')} from seed{several} {seeds}; ± is the "
        f"tolerance for a run of the same seeds{other if others else ''}. All {len(numbers)} numbers: "
        f"[`{file}`](lib/verify/references/{file}).")]
    for first, columns in SHOWN.items():
        rows = [{first: name} | {title: _number(numbers, quantity.format(name)) for title, quantity in columns.items()}
                for name in ("ldct", *reference.configuration["experiments"])
                if any(quantity.format(name) in numbers.index for quantity in columns.values())]
        if rows:
            table = pd.DataFrame(rows)
            parts.append(_markdown(table.loc[:, (table != NOTHING).any()].to_dict("records")))
    return [*parts, *filter(None, (_claims(reference), _width(reference), *_runs(reference)))]


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _claims(reference: Reference) -> str:
    claims = reference.claims()[reference.arithmetic]
    parts = [tallied(claims[claims.nunique(axis=1) == 1].iloc[:, 0])]
    if changing := int((claims.nunique(axis=1) > 1).sum()):
        parts.append(f"{changing} {'is' if changing == 1 else 'are'} not the same in every run")
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


def _width(reference: Reference) -> str:
    """How wide the tolerances are beside the spread over seeds, else beside that of the runs: what a comparison can see."""
    runs, seeds, table = reference.numbers()[reference.arithmetic], reference.seed_means(), reference.table()
    beside, whose = (seeds, "over seeds") if seeds.shape[1] > 1 else (runs, "of these runs")
    sd = beside.std(axis=1)
    sd = sd[sd > ROUNDS * beside.abs().max(axis=1)]
    found = []
    for values, column, what in ((runs, "tolerance", "run with other arithmetic"),
                                 (seeds, "tolerance_seeds", "set of seeds")):
        if values.shape[1] > 1 and sd.size:
            times = table.set_index("quantity")[column].reindex(sd.index).astype(float) / sd
            found.append(f"{float(f'{times.median():.1g}'):g} for a further {what} (from {values.shape[1]})")
    return _filled(f"At the median a tolerance is, in standard deviations {whose}: {', '.join(found)}. A run that is off by "
                   "less is not seen.") if found else ""


def _runs(reference: Reference) -> Iterable[str]:
    """Each run's command, in the order in which they came; what is the same in most of them is said once."""
    usual = _usual([_variables(run) for run in reference.runs])
    where = Counter(f"{run['arithmetic']['processor']}, {run['arithmetic']['instructions']}, commit "
                    f"{', '.join(run['commits'])}" for run in reference.runs).most_common(1)[0][0]
    given = " ".join(f"{name}={shlex.quote(value)}" for name, value in usual.items())
    yield _filled(f"The runs, and how each was made: on {where} where nothing else is said"
                  + (f", and with `{given}`, which that machine's environment sets" if usual else "")
                  + ". Minutes are those of all stages together, on a machine that had other work, too.")
    yield "\n".join(_filled(f"* {run['name']}, {counted(run['arithmetic']['cores'], 'core')}, {_minutes(run)}"
                            f"{_elsewhere(run, where)}: `{_command(run, reference, usual)}`", "  ")
                    for run in reference.runs)


def _variables(run: Mapping[str, Any]) -> dict[str, str]:
    """What of its arithmetic was set."""
    return {name: str(run["arithmetic"][name]) for name in ARITHMETIC if name in run["arithmetic"]}


def _usual(variables: list[dict[str, str]]) -> dict[str, str]:
    """The variables that most runs have with the same value."""
    counts = Counter(pair for each in variables for pair in each.items())
    return {name: value for (name, value), count in counts.items() if count > max(1, len(variables) / 2)}


def _elsewhere(run: Mapping[str, Any], where: str) -> str:
    own = f"{run['arithmetic']['processor']}, {run['arithmetic']['instructions']}, commit {', '.join(run['commits'])}"
    return "" if own == where else f", {own}"


def _command(run: Mapping[str, Any], reference: Reference, usual: Mapping[str, str]) -> str:
    """'env -u A B=1 taskset -c 0 make paper PROFILE=smoke SET=seeds=[6]', without what is usual."""
    variables = _variables(run)
    taken = [f"-u {name}" for name in usual if name not in variables]
    given = [f"{name}={shlex.quote(value)}" for name, value in variables.items() if usual.get(name) != value]
    seeds = json.dumps(run["seeds"], separators=(",", ":"))
    return " ".join(filter(None, [
        "env" * bool(taken), *taken, *given, "taskset -c 0" * (run["arithmetic"]["cores"] == 1), "make paper",
        f"PROFILE={reference.profile}", f"SET=seeds={seeds}" * (run["seeds"] != reference.seeds)]))


def _minutes(run: Mapping[str, Any]) -> str:
    return counted(max(1, round(run["seconds"] / MINUTE)), "minute")


def _not_run(references: Iterable[Reference], without: list[str]) -> str:
    machines = sorted({run["arithmetic"]["processor"] for reference in references for run in reference.runs})
    lines = []
    if without:
        lines.append(f"Profiles without a reference: {listed(without)}. Nothing is known here of what they give elsewhere.")
    if machines:
        lines.append(f"Processors other than {listed(machines)}; GPUs, which add up in another order than all of these.")
    lines.append("Other versions of the packages than those in `requirements.txt`.")
    lines.append("Runs that ended with an error are in no reference: with some seeds (of those tried for smoke 7) a network "
                 "is dead from the start, and the run stops and says so.")
    return "\n".join(_filled(f"* {line}", "  ") for line in lines)


def _markdown(rows: list[dict[str, str]]) -> str:
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)
