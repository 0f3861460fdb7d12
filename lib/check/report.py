"""What a check found: lines to read, warnings, and errors that would stop the run."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from lib.errors import PaperError

log = logging.getLogger(__name__)


class Report:
    """Collects warnings (what the run would go on with) and errors (what would stop it), and says them as they are found."""

    def __init__(self):
        self.errors, self.warnings = [], []

    def title(self, text: str) -> None:
        """Begin a section."""
        log.info("\n%s\n%s", text, "-" * len(text))

    def line(self, text: str) -> None:
        """Something to know."""
        log.info("%s", text)

    def warn(self, text: str) -> None:
        """Something that the run would go on with."""
        self.warnings.append(text)
        log.warning("%s", text)

    def fail(self, text: str) -> None:
        """Something that would stop the run."""
        self.errors.append(text)
        log.error("%s", text)

    @contextmanager
    def failing(self) -> Iterator[None]:
        """An error that a user can mend becomes one of the report's."""
        try:
            yield
        except PaperError as error:
            if str(error) not in self.errors:  # of two places that need the same thing
                self.fail(str(error))

    def conclude(self) -> bool:
        """Say the sum; whether the run could start."""
        self.title("Result")
        warnings, errors = (f"{len(each)} {name}{'s' * (len(each) != 1)}"
                            for each, name in ((self.warnings, "warning"), (self.errors, "error")))
        self.line(f"the run cannot start: {errors}, {warnings}" if self.errors else f"the run can start, {warnings}")
        for number, text in enumerate(self.errors, start=1):
            self.line(f"  {number}. {text}")
        return not self.errors
