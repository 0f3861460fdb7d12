"""S6: the table of image quality, and what one reads of it."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd

from lib.metrics import noise_power, observer
from lib.metrics.task_transfer import frequency_at, nyquist
from lib.report.labels import Labels
from lib.report.tables import save_table
from lib.report.words import number
from lib.stages.evaluate import LDCT
from lib.stages.image_quality import LESION_HU, NDCT, SEED, Lesions, Measured
from lib.stages.scenes import LESION_MM, SERIES

Found = Mapping[tuple[str, int | None], Measured]
SERIES_KEYS: Final = ["patient", "kernel", "thickness_mm", "scan"]
LEAST_CONTRAST: Final = 0.1  # share of a lesion's that is left, from which it has an edge
SCORES: Final = ("ssim", "psnr", "nrmse", "bias_", "noise_", "ndct_noise_")
SHOWN: Final = {
    "Noise SD (HU)": "ensemble_sd_hu", "Peak (1/mm)": "ensemble_peak_per_mm", "Mean (1/mm)": "ensemble_mean_per_mm",
    "Residual SD (HU)": "residual_sd_hu", "Residual bias (HU)": "residual_bias_hu",
    "Residual mean (1/mm)": "residual_mean_per_mm",
    "f50 lesion (1/mm)": "lesion_f50_per_mm", "f50 surface (1/mm)": "edge_f50_per_mm", "Contrast left": "lesion_contrast",
    "Texture left": "texture", "Texture, Gaussian": "texture_gaussian", "VIF": "vif", "VIF, noise-free": "vif_free",
    "SSIM [−160, 240] HU": "ssim_window", "SSIM [25, 175] HU": "ssim_liver_window",
    "Liver bias (HU)": "bias_liver_hu", "Soft-tissue bias (HU)": "bias_soft_tissue_hu"}


def image_quality_table(found: Found, scores: pd.DataFrame, pixel_mm: Mapping[str, float]) -> pd.DataFrame:
    """``image_quality.csv``: a row per experiment ('ndct' and 'ldct' among them), seed, patient, kernel and slice thickness.

    Parameters
    ----------
    found : mapping, of :func:`lib.stages.image_quality.measured`
    scores : DataFrame, of :func:`lib.stages.evaluate.evaluate_all`: ssim ..., psnr ..., nrmse ..., bias_<region>_hu,
        noise_<region>_hu and ndct_noise_<region>_hu are its means over the slices of the series
    pixel_mm : mapping, by patient

    Returns
    -------
    DataFrame
        The columns of :func:`lib.stages.image_quality.measure_slice`, of the middle slice. In the rows of the scenes' series
        also: ensemble_sd_hu, ensemble_peak_per_mm, ensemble_mean_per_mm, of noise alone, by its realisations;
        lesion_f50_per_mm (NaN beyond what pixels show, and where less than a tenth of the contrast is left),
        lesion_contrast (share that is left); texture (of the organ, share that is left); noise_left
        (share of LDCT's SD); texture_gaussian (share of the texture that is left by a Gaussian filter
        which leaves as much noise); texture_over_gaussian (texture less that); auc (of the observer, pairs of this patient);
        off_mean_per_mm (distance of ensemble_mean_per_mm from the NDCT's); f50_gap_per_mm (edge_f50_per_mm less
        lesion_f50_per_mm). They are NaN in the rows of other series, and not
        there where the scans are not simulated.
    """
    columns = [name for name in scores if name.startswith(SCORES)]
    means = scores.groupby(["experiment", "seed", *SERIES_KEYS], dropna=False)[columns].mean().reset_index()
    parts = []
    for (experiment, seed), one in found.items():
        rows = one.slices.assign(experiment=experiment, seed=pd.array([seed] * len(one.slices), "Int64"))
        own = means[(means["experiment"] == (LDCT if experiment == NDCT else experiment))
                    & (means["seed"].isna() if seed is None else means["seed"] == seed)]
        own = own[[*SERIES_KEYS, *columns]]
        if experiment == NDCT:
            own = _of_target(own)
        rows = rows.merge(own, on=SERIES_KEYS, how="left")
        if one.lesions:
            rows = rows.merge(_of_lesions(one.lesions, pixel_mm), on=["patient", "kernel", "thickness_mm"], how="left")
        parts.append(rows)
    table = pd.concat(parts, ignore_index=True).drop(columns=["index"])
    table = table[["experiment", "seed", *(name for name in table if name not in ("experiment", "seed"))]]
    return _relative(table) if "ensemble_sd_hu" in table else table


def _of_target(scores: pd.DataFrame) -> pd.DataFrame:
    """The NDCT's own noise, and no bias, from the row of any experiment."""
    found = scores[SERIES_KEYS].copy()
    for name in (name for name in scores if name.startswith("ndct_noise_")):
        region = name.removeprefix("ndct_noise_")
        found[name] = found[f"noise_{region}"] = scores[name]
        found[f"bias_{region}"] = scores[name] * 0.0
    return found


def _of_lesions(lesions: Lesions, pixel_mm: Mapping[str, float]) -> pd.DataFrame:
    rows = []
    absent, present = observer.ratings(lesions.absent, lesions.present)
    for place, patient in enumerate(lesions.patients.tolist()):
        noise = noise_power.summary(lesions.power[place], pixel_mm[patient])
        edge = frequency_at(0.5, lesions.transfer[place], highest=nyquist(pixel_mm[patient]))
        rows.append({
            "patient": patient, "kernel": SERIES[0], "thickness_mm": SERIES[1], "ensemble_sd_hu": noise.sd,
            "ensemble_peak_per_mm": noise.peak, "ensemble_mean_per_mm": noise.mean,
            "lesion_f50_per_mm": edge if abs(lesions.contrast[place]) >= LEAST_CONTRAST else np.nan,
            "lesion_contrast": lesions.contrast[place], "texture": lesions.texture[place],
            "texture_by_gaussian": lesions.gaussian[place], "auc": observer.auc(absent[place], present[place])})
    return pd.DataFrame(rows)


def _relative(table: pd.DataFrame) -> pd.DataFrame:
    """With the columns that compare a row with LDCT and NDCT of the same series."""
    of = {name: table[table["experiment"] == name].set_index(SERIES_KEYS) for name in (LDCT, NDCT)}
    place = pd.MultiIndex.from_frame(table[SERIES_KEYS])
    low, full = (of[name][column].reindex(place).to_numpy() for name, column in (
        (LDCT, "ensemble_sd_hu"), (NDCT, "ensemble_mean_per_mm")))
    left = table["ensemble_sd_hu"] / low
    gaussian = [np.interp(share, *curve[::-1].T) if np.isfinite(share) else np.nan
                for share, curve in zip(left, table.pop("texture_by_gaussian"), strict=True)]
    return table.assign(noise_left=left, texture_gaussian=gaussian, texture_over_gaussian=table["texture"] - gaussian,
                        off_mean_per_mm=(table["ensemble_mean_per_mm"] - full).abs(),
                        f50_gap_per_mm=table["edge_f50_per_mm"] - table["lesion_f50_per_mm"])


def detectability(found: Found) -> pd.DataFrame:
    """The observer's AUC of each experiment, mean over patients and seeds, with its bootstrap interval over pairs:
    experiment, auc, auc_low, auc_high, pairs (of each patient); empty where the scans are not simulated."""
    rows = []
    for experiment in dict.fromkeys(name for name, _ in found):
        lesions = [one.lesions for (name, _), one in found.items() if name == experiment and one.lesions]
        if lesions:
            absent, present = (np.stack(each) for each in zip(*(observer.ratings(each.absent, each.present)
                                                                for each in lesions), strict=True))
            detected = observer.detected(absent, present, np.random.default_rng(SEED))
            rows.append({"experiment": experiment, "auc": detected.auc, "auc_low": detected.low, "auc_high": detected.high,
                         "pairs": absent.shape[2]})
    return pd.DataFrame(rows, columns=["experiment", "auc", "auc_low", "auc_high", "pairs"])


def shown(labels: Labels, table: pd.DataFrame, detected: pd.DataFrame) -> pd.DataFrame:
    """Save ``image_quality.csv``, and return what one reads of it: a row per experiment, means over patients and seeds."""
    some, series = table, "all series"
    if "auc" in table:
        some, series = table[table["auc"].notna()], f"{SERIES[0]}, {SERIES[1]:g} mm"
    means = some.groupby("experiment", sort=False)[[name for name in SHOWN.values() if name in some]].mean()
    readable = pd.DataFrame({"Experiment": [name_of(labels, name) for name in means.index]})
    for title, column in SHOWN.items():
        if column in means and means[column].notna().any():
            readable[title] = means[column].map(number).to_list()
    found = detected.set_index("experiment")
    if len(found):
        readable["AUC [95 %]"] = [f"{row.auc:.3f} [{row.auc_low:.3f}, {row.auc_high:.3f}]"
                                  for row in found.loc[means.index].itertuples()]
    lesion = (f" A lesion is a disc of {LESION_MM:g} mm and {LESION_HU:g} HU; AUC of a channelised Hotelling observer from "
              f"{found['pairs'].iloc[0]} pairs of each patient, bootstrap over pairs" if len(found) else
              " No noise-free slices: no realisations of the noise, no lesions; the residual has the tissue's own texture")
    return save_table(labels, table, "image_quality", f"Noise, sharpness and detectability of the test slices ({series}), "
                      "means over patients and seeds; all series are in the CSV. f50 beyond Nyquist's frequency does not "
                      f"count, nor that of a lesion of whose contrast less than {LEAST_CONTRAST:.0%} is left.{lesion}",
                      readable)


def name_of(labels: Labels, experiment: str) -> str:
    """For readers: 'NDCT', 'LDCT', 'MSE', 'E1'."""
    return "NDCT" if experiment == NDCT else labels.experiments[experiment].short
