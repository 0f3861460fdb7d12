"""Perceptual Influence: a reproduction that runs from DICOM files to the last p-value.

Data flows one way: cohort -> volumes -> patches -> training -> evaluation -> statistics -> report.
The heart of the paper (Eq. 2-5 and Algorithm 2) is :mod:`lib.perceptual`.
"""

import atexit
import gc
import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its start-up chatter hides what matters; failures still raise

# TensorFlow's import makes, and its graphs are, a great many objects that live until the end: to look through them for
# garbage every 700 objects, and once more at the end, takes a third of the time of a short process
gc.set_threshold(10_000)
atexit.register(gc.freeze)
