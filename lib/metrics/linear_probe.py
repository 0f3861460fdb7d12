"""What features tell a linear classifier (Alain & Bengio 2017) about patients that it never saw; the unit is the patient."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lib.metrics.patients import LEAST_PATIENTS, of_independent

START, TUNED = "ImageNet", "Medical"  # the encoder that fine-tuning began with, and its result
Labelled = tuple[np.ndarray, np.ndarray]  # features (samples, channels) and their classes (samples,)


def accuracies(train: Labelled, held_out: Mapping[str, Labelled]) -> list[dict]:
    """Of a ridge classifier on standardised features, by patient: patient, accuracy, chance (of always saying the class that
    is most frequent in ``train``)."""
    probe = make_pipeline(StandardScaler(), RidgeClassifier(alpha=100.0)).fit(*train)
    names, counts = np.unique(train[1], return_counts=True)
    return [
        {
            "patient": patient,
            "accuracy": float(probe.score(features, classes)),
            "chance": float(np.mean(classes == names[counts.argmax()])),
        }
        for patient, (features, classes) in held_out.items()
    ]


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over patients with its 95 % t interval, and the paired difference to the encoder that fine-tuning began with.

    Parameters
    ----------
    table : a row per encoder, phi and patient, with the columns of :func:`accuracies`

    Returns
    -------
    DataFrame : a row per phi and encoder: phi, encoder, patients, chance, accuracy, low, high, difference, difference_low,
        difference_high; the bounds are NaN for fewer than three patients, the difference for the beginning itself
    """
    rows = []
    for phi, part in table.groupby("phi", sort=False):
        by_encoder = part.pivot(index="patient", columns="encoder", values="accuracy")
        for encoder in part["encoder"].unique():
            values, difference = by_encoder[encoder], by_encoder[encoder] - by_encoder[START]
            accuracy, low, high = _interval(values)
            gain = (np.nan,) * 3 if encoder == START else _interval(difference)
            rows.append(
                {
                    "phi": phi,
                    "encoder": encoder,
                    "patients": len(values),
                    "chance": part["chance"].mean(),
                    "accuracy": accuracy,
                    "low": low,
                    "high": high,
                    **dict(zip(("difference", "difference_low", "difference_high"), gain, strict=True)),
                }
            )
    return pd.DataFrame(rows)


def learnt(table: pd.DataFrame) -> dict[str, bool]:
    """By phi, whether the tuned encoder tells measurably more than the one it began with: the interval of the paired
    difference lies above zero. Two patients never suffice. ``table`` as for :func:`summary`."""
    tuned = summary(table).set_index("encoder").loc[[TUNED]]
    return dict(zip(tuned["phi"], tuned["difference_low"] > 0, strict=True))


def judged(table: pd.DataFrame) -> pd.DataFrame:
    """``table`` with a column ``medical_learnt``: what :func:`learnt` says of the phi, for those who only read it."""
    return table.assign(medical_learnt=table["phi"].map(learnt(table)))


def _interval(values: pd.Series) -> tuple[float, float, float]:
    mean = of_independent(values.to_numpy())
    low, high = mean.interval() if len(values) >= LEAST_PATIENTS else (np.nan, np.nan)
    return mean.estimate, low, high
