"""What networks make of real anatomy that they were not trained on: Table 3 by scan, and whether they beat their input."""

from dataclasses import replace
from typing import Final

import pandas as pd

from lib.data.public_scans import BODIES
from lib.report.labels import Labels
from lib.report.tables import mean_sd, save_table
from lib.report.verdicts import compared, verdict
from lib.report.words import listed
from lib.stages.statistics import LDCT

ASKED: Final = {"ssim": "SSIM", "psnr": "PSNR", "psnr_window": "PSNR in the window"}


def real(labels: Labels) -> Labels:
    """The labels, whose provenance names the scans of the test."""
    scans = "; ".join(f"{scan.code}: {scan.terms.split(';')[0]}" for scan in BODIES)
    return replace(labels, provenance=f"tested on REAL scans, quarter dose INSERTED by simulation: {scans} | trained: "
                   f"{labels.provenance}")


def holds(metrics: pd.DataFrame) -> str:
    """Whether what was learnt elsewhere holds here, in sentences: which networks beat the input in the mean over slices and
    seeds on every real scan, and the verdict by the rule of the claims."""
    patients = list(metrics["patient"].unique())
    names = [name for name in metrics["experiment"].unique() if name != LDCT]
    parts, verdicts = [], set()
    for metric, label in ASKED.items():
        means = metrics.groupby(["experiment", "patient"])[metric].mean().unstack("patient")
        count = (means.loc[names] > means.loc[LDCT]).sum(axis=1)
        some = [f"{name} ({number})" for name, number in count.items() if 0 < number < len(patients)]
        found = {f"on all {len(patients)} scans": count[count == len(patients)].index.tolist(), "on some": some,
                 "on none": count[count == 0].index.tolist()}
        parts.append(f"in {label} " + ", ".join(f"{where} {listed(who)}" for where, who in found.items() if who))
        verdicts |= {verdict(*compared(metrics, name, LDCT, metric).bounds[1:]) for name in names}
    return (f"Better than the input: {'; '.join(parts)}. By the rule of the claims, from {len(patients)} patients: "
            f"{listed(sorted(verdicts))}.")


def real_table(labels: Labels, frame: pd.DataFrame, found: str) -> pd.DataFrame:
    """Save :func:`lib.stages.real_anatomy.table3` as `table3_real` and return it for readers; ``found`` is of `holds`."""
    shown = frame[["patient", "experiment"]].set_axis(["Scan", "Experiment"], axis=1)
    for metric, label, digits in (("ssim", "SSIM", 3), ("psnr", "PSNR", 2), ("nrmse", "NRMSE", 3),
                                  ("ssim_window", "SSIM window", 3), ("psnr_window", "PSNR window", 2)):
        shown[label] = mean_sd(frame, metric, digits)
    shown["SSIM body"] = frame["ssim_body"].map("{:.3f}".format)
    for measure in ("bias", "noise"):
        shown[f"{measure.capitalize()} in soft tissue (HU)"] = frame[f"{measure}_soft_tissue_hu"].map("{:z.1f}".format)
    shown["Rank"] = frame["rank"]
    return save_table(labels, frame, "table3_real", "Table 3 on real anatomy: networks of this study on real scans with an "
                      f"INSERTED quarter dose, mean (SD) over slices and seeds. {found}", shown)
