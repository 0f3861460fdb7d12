"""Perceptual Influence: a reproduction that runs from DICOM files to the last p-value.

Data flows one way: cohort -> volumes -> patches -> training -> evaluation -> statistics -> report.
The heart of the paper (Eq. 2-5 and Algorithm 2) is :mod:`lib.perceptual`.
"""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its start-up chatter hides what matters; failures still raise
