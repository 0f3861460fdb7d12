"""Evidence in words: every sentence is made from numbers, and says what is undecided and what could not be measured."""

from typing import Final

from lib.deploy.estimates import Estimate
from lib.deploy.evidence import Evidence
from lib.deploy.homogeneous import Tissue
from lib.deploy.inserted import Left
from lib.deploy.lesions import CONTRASTS_HU, DIAMETERS_MM, Lesion, against_noise, guard_mm
from lib.report.words import counted, listed

SHOWN_HU: Final = -20.0  # contrast of the lesion in sentences; all are in the table
DOSES: Final = {0.5: "half", 0.25: "a quarter of"}
MOST_BIAS_HU: Final = 7.0  # of water, in the phantom of the ACR's CT accreditation
LEAST_RECOVERY: Final = 0.5
FINE: Final = 0.02  # width of an interval of a share, from which tenths of a percent say nothing
MINUS: Final = "\N{MINUS SIGN}"


def percent(estimate: Estimate) -> str:
    """'31 % [28, 34]'."""
    if not estimate.known:
        return shown(estimate)
    return shown(estimate.scaled(100), 0 if estimate.high - estimate.low >= FINE else 1, " %")


def shown(estimate: Estimate, digits: int = 1, unit: str = " HU", sign: bool = False) -> str:
    """'3.8 HU [3.6, 4.1]', or 'not measurable'."""
    if not estimate.known:
        return "not measurable"
    value, low, high = (_number(each, digits, sign) for each in estimate[:3])
    return f"{value}{unit} [{low}, {high}]"


def _number(value: float, digits: int, sign: bool = False) -> str:
    return f"{value:{'+' if sign else ''}z.{digits}f}".replace("-", MINUS)


def hu(value: float) -> str:
    """'−20 HU'."""
    return f"{_number(value, 0)} HU"


def sentences(evidence: Evidence) -> dict[str, list[str]]:
    """What was found, by what it is about."""
    guard = guard_mm(evidence.spacing_mm[1])
    of_lesions = [lesions([each for each in evidence.lesions if each.diameter_mm == diameter], evidence.noise_left, guard)
                  for diameter in DIAMETERS_MM]
    found = {"Trained range": [within(evidence)],
             "Noise": [*noise(evidence.tissues["soft tissue"]), *texture(evidence)],
             "CT numbers": bias(evidence.tissues),
             "Inserted noise": list(dict.fromkeys(each for left in evidence.noise_left for each in inserted(left))),
             "Inserted lesions": [each for some in of_lesions for each in some]}
    for name, reason in evidence.not_measured.items():
        found[name].append(f"Not measurable: {reason}.")
    return found


def cautions(evidence: Evidence) -> list[str]:
    """What speaks against using the images, where the whole interval does: CT numbers of soft tissue that move by more than
    water may be off in a quality test, and lesions of which less than half of the contrast came back; before them an input
    that is itself derived."""
    bias, found = evidence.tissues["soft tissue"].bias, []
    if "DERIVED" in evidence.image_type.split("/"):
        found.append(f"the input is no acquisition, its ImageType is {evidence.image_type}: noise, dose and CT numbers "
                     "below are those of a series that was computed before")
    if bias.known and min(abs(bias.low), abs(bias.high)) > MOST_BIAS_HU and bias.low * bias.high > 0:
        found.append(f"the mean of soft tissue moves by {shown(bias, sign=True)}, and quality tests allow water "
                     f"±{MOST_BIAS_HU:.0f} HU")
    for diameter in DIAMETERS_MM:
        lost = [each.contrast_hu for each in evidence.lesions
                if each.diameter_mm == diameter and each.recovery.known and each.recovery.high < LEAST_RECOVERY]
        if lost:
            found.append(f"less than half of the contrast came back of discs of {diameter:g} mm with "
                         f"{listed([_number(each, 0, True) for each in lost])} HU")
    return found


def within(evidence: Evidence) -> str:
    """What lies outside the range that the network was trained on."""
    reasons = "; ".join(evidence.reasons)
    begin = f"Outside what the network was trained on, or not stated: {reasons}." if reasons else (
        "Nothing was found in this series that lies outside what the network was trained on.")
    share = 100 * evidence.share_outside
    return f"{begin} {'None' if share == 0 else f'{share:.2g} %'} of its voxels are outside the trained HU range."


def noise(tissue: Tissue) -> list[str]:
    """Noise before and after."""
    if not tissue.sd_share.known:
        return [f"Noise in {tissue.name} is not measurable: {tissue.sd_share.reason}."]
    return [f"In homogeneous {tissue.name} the noise (SD) goes from {shown(tissue.sd_before)} to {shown(tissue.sd_after)}: "
            f"{percent(tissue.sd_share)} of it is left{_from_one(tissue.sd_share)}."]


def _from_one(share: Estimate) -> str:
    if share.low < 1 < share.high:
        return " (undecided: the interval holds 100 %)"
    return ""


def texture(evidence: Evidence) -> list[str]:
    """Whether the noise is coarser."""
    before, after = evidence.spectrum.mean_before, evidence.spectrum.mean_after
    if not (before.known and after.known):
        return [f"The texture of the noise is not measurable: {before.reason or after.reason}."]
    kind = ("what is left is coarser" if after.high < before.low else "what is left is finer" if after.low > before.high
            else "undecided whether its texture has changed")
    return [f"The mean frequency of the noise goes from {shown(before, 3, ' /mm')} to {shown(after, 3, ' /mm')}: {kind}."]


def bias(tissues: dict[str, Tissue]) -> list[str]:
    """How CT numbers move, by tissue."""
    known = {name: each.bias for name, each in tissues.items() if each.bias.known}
    found = []
    if known:
        parts = [f"{name} {shown(each, sign=True)}{_from_zero(each)}" for name, each in known.items()]
        found.append(f"Mean CT numbers move by: {'; '.join(parts)}.")
    missing = [f"{name} ({each.bias.reason})" for name, each in tissues.items() if not each.bias.known]
    return found + ([f"Not measurable is the bias in {listed(missing)}."] if missing else [])


def _from_zero(estimate: Estimate) -> str:
    return " (undecided: the interval holds 0)" if estimate.low < 0 < estimate.high else ""


def inserted(left: Left) -> list[str]:
    """What is left of the inserted noise of one dose."""
    dose, region = DOSES[left.dose], left.body
    if not region.share.known:
        return [f"What is left of inserted noise is not measurable: {region.share.reason}."]
    found = [f"Noise of {dose} the scan's dose was inserted ({region.sd_hu:.1f} HU in the body): {percent(region.share)} of "
             f"the inserted noise comes out as it went in, and {percent(region.rms_share)} of its SD is left in any form."]
    for where, part in (("homogeneous soft tissue", left.soft_tissue), ("the whole body, edges and all,", region)):
        if part.rmse_after.known:
            before, after = part.rmse_before, part.rmse_after
            nearer = "nearer" if after.high < before.low else "farther away" if after.low > before.high else "undecided"
            found.append(f"In {where} the RMSE from the scan as it was goes from {shown(before)} with that noise to "
                         f"{shown(after)} after denoising ({nearer}); without it denoising changes the scan by "
                         f"{shown(part.rmse_clean)}.")
    return found


def lesions(of_diameter: list[Lesion], noise_left: tuple[Left, ...], guard: float) -> list[str]:
    """What came back of discs of one diameter; ``guard``: mm from a disc's edge, where outside begins."""
    if not of_diameter:
        return []
    one = next(each for each in of_diameter if each.contrast_hu == SHOWN_HU)
    name = f"{one.diameter_mm:g} mm"
    if not one.recovery.known:
        return [f"Recovery of a lesion of {name} is not measurable: {one.recovery.reason}."]
    ends = [_number(100 * of(each.recovery.value for each in of_diameter), 0) for of in (min, max)]
    range_ = " to ".join(dict.fromkeys(ends)) + " %"
    found = [f"Of a disc of {name} with {hu(SHOWN_HU)}, inserted at {counted(one.recovery.places, 'place')} in soft tissue, "
             f"{percent(one.recovery)} of the contrast came back; over contrasts of {hu(min(CONTRASTS_HU))} to "
             f"{hu(max(CONTRASTS_HU))} it is {range_}. Farther than {guard:.0f} mm from its edge it changed the "
             f"image by {shown(one.outside_rms_hu, 2)} (RMS), at most by {one.outside_largest_hu:.1f} HU."]
    for left in noise_left:
        under = left.under_disc[one.diameter_mm]
        against = against_noise(one.recovery, under)
        if against.known:
            verdict = ("easier to tell from noise than before" if against.low > 1 else
                       "harder to tell from noise than before" if against.high < 1 else
                       "undecided whether it is easier to tell from noise")
            found.append(f"Of inserted noise ({DOSES[left.dose]} the dose) of the disc's own size {percent(under)} is "
                         f"left: the ratio of its contrast to that noise is {shown(against, 2, ' times')} the one before, "
                         f"{verdict}.")
    return found
