"""One exception class per kind of failure. An error is a value: what is wrong, where, and what to do about it.

``str`` makes one line of it, 'where: what; remedy'. The parts stay apart, so that nobody has to cut the line again.
A wrong argument of a function is a ValueError, as everywhere in Python.
"""

from pathlib import Path

from lib.private import label


class PaperError(Exception):
    """Base of every failure that a user can mend. The command line prints its line and exits with status 1.

    ``what`` is wrong, without the place; ``where``: the file, folder, field or option; ``remedy``: what the user can do;
    ``code``: a short name for programs, 'no-thickness', by default the class's. Errors ``of_scans`` name a
    file on a terminal only (:mod:`lib.private`).
    """

    code = "error"
    of_scans = False

    def __init_subclass__(cls, code: str | None = None, of_scans: bool = False):
        cls.code, cls.of_scans = code or cls.__name__.removesuffix("Error").lower(), of_scans or cls.of_scans

    def __init__(self, what: str, *, where: Path | str | None = None, remedy: str = "", code: str | None = None):
        super().__init__(what)
        self.what, self.where, self.remedy, self.code = what, where, remedy, code or type(self).code

    def __str__(self) -> str:
        where = label(self.where) if self.of_scans and isinstance(self.where, Path) else self.where
        text = self.what if where is None else f"{where}: {self.what}"
        return f"{text}; {self.remedy}" if self.remedy else text

    def __reduce__(self):
        return _restored, (type(self), self.what, self.where, self.remedy, self.code)


def _restored(kind: type[PaperError], what: str, where: Path | str | None, remedy: str, code: str) -> PaperError:
    """The error again, in another process."""
    error = kind.__new__(kind)
    PaperError.__init__(error, what, where=where, remedy=remedy, code=code)
    return error


class StudyError(PaperError):
    """A profile, an option or the combination of options is not valid."""


class DicomError(PaperError, code="unreadable", of_scans=True):
    """One file is not a readable CT image."""


class CohortError(PaperError, of_scans=True):
    """A folder of scans holds nothing usable, or lacks what the study needs."""


class VolumeError(PaperError):
    """The store of HU volumes is missing, damaged or does not match its manifest."""


class OutputError(PaperError):
    """A result cannot be written: disk full, read-only, no permission."""


class WeightsError(PaperError):
    """A weights file is missing, has another checksum, or does not fit its network."""


class WheelError(PaperError):
    """A wheel whose data are read is missing, damaged or another one."""


class TrainingError(PaperError):
    """Training cannot go on or has failed (collapsed network, NaN, unusable checkpoint)."""


class StageError(PaperError):
    """A stage of the pipeline failed, or was started before the one it needs."""
