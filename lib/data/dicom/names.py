"""The words that collections use for patients, doses and kernels."""

import re

from lib.data.doses import FULL, LOW

# Manufacturer of the slices that this package writes, by collection: real with an inserted low dose, or simulated
OWN_MANUFACTURERS = {"inserted": "NOISE INSERTION COHORT, RE-ENCODED", "simulated": "SIMULATED CT, NOT A PATIENT"}
# PatientName and the start of a file name: patient, dose, thickness in mm and, for the sharp kernel, SHARP
MAYO_NAME = re.compile(r"^(L\d{3}|SIM\d{2,}|P[0-9a-f]{8})_(FD|QD)_(\d+(?:\.\d+)?)(_SHARP)?(?=_|\.|\s|\^|$)", re.IGNORECASE)
TCIA_ID = re.compile(r"^[NCL]\d{3}$")
TCIA_DOSE = re.compile(r"\b(full|low) dose images?\b", re.IGNORECASE)
DOSE_OF_WORD = {"fd": FULL, "full": FULL, "qd": LOW, "quarter": LOW, "low": LOW}
ANONYMOUS = {"", "anonymous", "anonymized", "anonymised", "anon", "unknown", "none", "0"}
