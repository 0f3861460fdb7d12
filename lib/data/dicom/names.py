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
# A second sign of TCIA's collection, beside a patient's code: the root of its UIDs, or its name among the folders
TCIA_UID_ROOT = "1.2.840.113713.4.100.1.2."
TCIA_FOLDER = "ldct-and-projection-data"
# What anonymisers write in place of a patient: no one's name, so equal ones are not one patient
ANONYMOUS = {
    "", "0", "anon", "anonymised", "anonymized", "anonymous", "anonymous^anonymous", "anonymous patient", "deidentified",
    "de-identified", "hidden", "masked", "n/a", "na", "name", "no name", "noname", "none", "not specified", "null",
    "patient", "patient^anonymous", "redacted", "removed", "test", "unknown", "x", "xxx", "xxxx",
}
