"""One exception class per kind of failure. Every message is one line: what is wrong, where, and what to do."""


class PaperError(Exception):
    """Base of every failure that a user can mend. The command line prints its message and exits with status 1."""


class StudyError(PaperError):
    """A profile, an option or the combination of options is not valid."""


class DicomError(PaperError):
    """One file is not a readable CT image."""


class CohortError(PaperError):
    """A folder of scans holds nothing usable, or lacks what the study needs."""


class VolumeError(PaperError):
    """The store of HU volumes is missing, damaged or does not match its manifest."""


class OutputError(PaperError):
    """A result cannot be written: disk full, read-only, no permission."""


class WeightsError(PaperError):
    """A weights file is missing, has another checksum, or does not fit its network."""


class TrainingError(PaperError):
    """Training cannot go on or has failed (collapsed network, NaN, unusable checkpoint)."""


class StageError(PaperError):
    """A stage of the pipeline failed, or was started before the one it needs."""
