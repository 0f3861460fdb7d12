"""The evidence sheet: one page that needs nothing else, and the same numbers as JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lib.artifacts.files import write_json, write_text
from lib.deploy import pictures
from lib.deploy.evidence import NOT_STATED, Evidence
from lib.deploy.homogeneous import SQUARE_MM
from lib.deploy.lesions import CONTRASTS_HU, DIAMETERS_MM
from lib.deploy.sentences import DOSES, MINUS, SHOWN_HU, cautions, hu, percent, sentences, shown
from lib.report.words import counted

HTML, JSON = "evidence.html", "evidence.json"  # names that others rely on
USE: Final = "RESEARCH USE ONLY"
FORMAT: Final = 1  # of the JSON file
ABOUT: Final = {"model": "Network", "sha256": "SHA-256 of its weights", "trained_on": "Trained on", "software": "Software"}
"""What a page must say of the network, and how it is headed."""

SIMULATED: Final = "SIMULATED"  # in the words of lib.report.labels


def write(folder: Path, evidences: Sequence[Evidence], about: Mapping[str, str]) -> list[Path]:
    """Write ``evidence.html`` and ``evidence.json`` of all series into a folder, whole or not at all; returns their paths.

    Parameters
    ----------
    evidences : of one series each, in the order of the page
    about : text by name: 'model' ('E1, seed 5, demo profile'), 'sha256', 'trained_on' (the line of provenance), 'software'
        (name and version or commit); others are shown under their own names

    Raises
    ------
    ValueError : something of ``about`` is missing, or there is no series
    OutputError : the folder cannot be written
    """
    if lacking := [name for name in ABOUT if not about.get(name)]:
        raise ValueError(f"about: expected {', '.join(lacking)}")
    if not evidences:
        raise ValueError("no series to write a sheet of")
    write_json(folder / JSON, {
        "format": FORMAT, "use": USE, "about": dict(about),
        "intervals": "95 %, jackknife over places of the scan",
        "series": [each.as_dict() | {"cautions": cautions(each), "sentences": sentences(each)} for each in evidences]})
    write_text(folder / HTML, page(evidences, about))
    return [folder / HTML, folder / JSON]


def page(evidences: Sequence[Evidence], about: Mapping[str, str]) -> str:
    """The page as text."""
    here = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
                       trim_blocks=True, lstrip_blocks=True)
    return here.get_template("evidence.html.jinja").render(
        use=USE, about={ABOUT.get(name, name): text for name, text in about.items()}, json=JSON,
        simulated=SIMULATED in about["trained_on"], series=[_series(each) for each in evidences])


def _series(evidence: Evidence) -> dict[str, Any]:
    count, rows, columns = evidence.shape
    step, down, across = evidence.spacing_mm
    parts = [f"{counted(count, 'slice')} of {rows} × {columns} pixels measured",
             f"{down:.3g} × {across:.3g} mm" if np.isfinite(down) else NOT_STATED,
             f"{step:.3g} mm between slices" * bool(np.isfinite(step)), evidence.image_type]
    what = "; ".join(filter(None, parts))
    return {"label": evidence.label, "what": what, "tiles": _tiles(evidence), "sentences": sentences(evidence),
            "slices": pictures.slices(evidence), "spectrum": pictures.spectrum(evidence),
            "recovery": pictures.recovery(evidence), "outside": list(evidence.reasons), "cautions": cautions(evidence),
            "tables": [_tissues(evidence), *([_noise(evidence)] if evidence.noise_left else []),
                       *([_lesions(evidence)] if evidence.lesions else [])]}


def _tiles(evidence: Evidence) -> list[tuple[str, ...]]:
    """Head, number, its interval, and what it is, of what a reader looks for first."""
    soft = evidence.tissues["soft tissue"]
    found = [("Noise left", soft.sd_share, percent(soft.sd_share), "of its SD, soft tissue"),
             ("Bias", soft.bias, shown(soft.bias, sign=True), "of the mean, soft tissue")]
    if evidence.noise_left:
        first = evidence.noise_left[0]
        share = first.body.share
        found.append(("Inserted noise left", share, percent(share), f"{DOSES[first.dose]} the dose, in the body"))
    found += [("Inserted lesion back", each.recovery, percent(each.recovery), f"{each.diameter_mm:g} mm, {hu(SHOWN_HU)}")
              for each in evidence.lesions if (each.diameter_mm, each.contrast_hu) == (max(DIAMETERS_MM), SHOWN_HU)]
    return [(name, *text.partition(" [")[::2], what if estimate.known else f"{what}: {estimate.reason}")
            for name, estimate, text, what in found]


def _tissues(evidence: Evidence) -> dict[str, Any]:
    head = ["Tissue (HU)", "Noise before", "Noise after", "SD left", "Bias"]
    rows = []
    for name, each in evidence.tissues.items():
        limits = (f"below {each.high_hu:.0f}" if name == "air" else f"above {each.low_hu:.0f}" if name == "bone" else
                  f"{each.low_hu:.0f} to {each.high_hu:.0f}").replace("-", MINUS)
        rows.append([f"{name} ({limits})", *[_cell(one) for one in (each.sd_before, each.sd_after)],
                     percent(each.sd_share) if each.sd_share.known else "–",
                     shown(each.bias, sign=True) if each.bias.known else "–"])
    soft = evidence.tissues["soft tissue"]
    if soft.sd_before_adjacent.known:
        rows.append(["soft tissue, by differences of adjacent slices", _cell(soft.sd_before_adjacent),
                     _cell(soft.sd_after_adjacent), "–", "–"])
    if evidence.spectrum.mean_before.known:
        rows.append(["soft tissue, mean frequency", shown(evidence.spectrum.mean_before, 3, " /mm"),
                     shown(evidence.spectrum.mean_after, 3, " /mm"), "–", "–"])
    note = (f"Noise: SD in homogeneous squares of {SQUARE_MM:g} mm less their quadratic surface, so texture of the tissue "
            "counts; differences of adjacent slices are too low where slices overlap. Bias: mean of denoised less input, "
            "without edges. ")
    missing = [f"{name} noise: {each.sd_share.reason}; " * (not each.sd_share.known)
               + f"{name} bias: {each.bias.reason}; " * (not each.bias.known) for name, each in evidence.tissues.items()]
    return {"caption": "Noise and CT numbers before and after, [95 % interval over places]", "head": head, "rows": rows,
            "note": note + (f"– not measurable ({''.join(missing).rstrip('; ')})." if any(missing) else "")}


def _cell(estimate: Any) -> str:
    return shown(estimate) if estimate.known else "–"


def _noise(evidence: Evidence) -> dict[str, Any]:
    head = ["", *[f"{DOSES[each.dose]} the dose" for each in evidence.noise_left]]

    def row(name: str, of: Any) -> list[str]:
        return [name, *[of(each) for each in evidence.noise_left]]

    def both(name: str, of: Any) -> list[list[str]]:
        return [row(f"{name}, {where}", lambda left, part=part: of(getattr(left, part)))
                for where, part in (("body", "body"), ("soft tissue", "soft_tissue"))]

    def under(diameter: float) -> list[str]:
        return row(f"SD left of its mean over {diameter:g} mm", lambda left: percent(left.under_disc[diameter]))

    rows = [*both("inserted, SD", lambda part: f"{part.sd_hu:.1f} HU" if part.sd_hu == part.sd_hu else "–"),
            *both("comes out as it went in", lambda part: percent(part.share)),
            *both("SD left in any form", lambda part: percent(part.rms_share)), *map(under, DIAMETERS_MM),
            *both("RMSE before", lambda part: _cell(part.rmse_before)),
            *both("RMSE after", lambda part: _cell(part.rmse_after)),
            *both("RMSE without inserted noise", lambda part: _cell(part.rmse_clean))]
    source = evidence.noise_source
    note = (f"Inserted into {counted(evidence.noise_slices, 'slice')} by thinning the photons of their line integrals. "
            f"How many photons that takes: {source['photons_source']}. How the noise falls off with frequency: "
            f"{source['roll_off_source']}. RMSE: from the scan as it was, "
            "whose own noise denoising removes, too.")
    return {"caption": "Noise of a known dose, inserted and denoised", "head": head, "rows": rows, "note": note}


def _lesions(evidence: Evidence) -> dict[str, Any]:
    by_key = {(each.diameter_mm, each.contrast_hu): each for each in evidence.lesions}
    head = ["Contrast", *[f"{each:g} mm" for each in DIAMETERS_MM], *[f"{each:g} mm, outside" for each in DIAMETERS_MM]]
    rows = [[f"{contrast:+.0f} HU".replace("-", MINUS),
             *[percent(by_key[diameter, contrast].recovery) for diameter in DIAMETERS_MM],
             *[shown(by_key[diameter, contrast].outside_rms_hu, 2) for diameter in DIAMETERS_MM]]
            for contrast in CONTRASTS_HU]
    numbers = [f"{diameter:g} mm: {counted(by_key[diameter, CONTRASTS_HU[0]].recovery.places, 'place')}"
               for diameter in DIAMETERS_MM]
    return {"caption": "Discs inserted in homogeneous soft tissue: contrast that came back, and change beyond (RMS)",
            "head": head, "rows": rows, "note": f"{'; '.join(numbers)}. The disc has the blur of the scan's own noise."}


