"""What a check found: lines to read, warnings, and errors that would stop the run."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from lib.errors import PaperError

log = logging.getLogger(__name__)


class Report:
    """Collects warnings (what the run would go on with) and errors (what would stop it), and says them as they are found."""

    def __init__(self):
        self.errors: list[object] = []
        self.warnings: list[object] = []

    def title(self, text: str) -> None:
        """Begin a section."""
        log.info("\n%s\n%s", text, "-" * len(text))

    def line(self, text: object, *values: object) -> None:
        """Something to know; ``values`` for the %s in it."""
        log.info(text if values else "%s", *(values or (text,)))

    def warn(self, what: object) -> None:
        """Something that the run would go on with: text, or what becomes text as the terminal or a file may have it."""
        self.warnings.append(what)
        log.warning("%s", what)

    def fail(self, what: object) -> None:
        """Something that would stop the run; as :meth:`warn`."""
        self.errors.append(what)
        log.error("%s", what)

    @contextmanager
    def failing(self) -> Iterator[None]:
        """An error that a user can mend becomes one of the report's."""
        try:
            yield
        except PaperError as error:
            if str(error) not in map(str, self.errors):  # of two places that need the same thing
                self.fail(error)

    def conclude(self) -> bool:
        """Say the sum; whether the run could start."""
        self.title("Result")
        warnings, errors = (f"{len(each)} {name}{'s' * (len(each) != 1)}"
                            for each, name in ((self.warnings, "warning"), (self.errors, "error")))
        self.line(f"the run cannot start: {errors}, {warnings}" if self.errors else f"the run can start, {warnings}")
        for number, what in enumerate(self.errors, start=1):
            self.line("  %s. %s", number, what)
        return not self.errors
