"""What a check found: lines to read, warnings, and errors that would stop the run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lib.errors import PaperError


class Report:
    """Collects warnings and errors, and prints what is found as it is found.

    Attributes:
        errors: what would stop the run. warnings: what it would go on with.
    """

    def __init__(self, tell: Callable[[str], None] = print):
        self.tell = tell
        self.errors: list[str] = []
        self.warnings: list[str] = []

    def title(self, text: str) -> None:
        """Begin a section."""
        self.tell(f"\n{text}\n{'-' * len(text)}")

    def line(self, text: str) -> None:
        """Something to know."""
        self.tell(text)

    def warn(self, text: str) -> None:
        """Something that the run would go on with."""
        self.warnings.append(text)
        self.tell(f"warning: {text}")

    def fail(self, text: str) -> None:
        """Something that would stop the run."""
        self.errors.append(text)
        self.tell(f"error: {text}")

    @contextmanager
    def failing(self) -> Iterator[None]:
        """An error that a user can mend becomes one of the report's."""
        try:
            yield
        except PaperError as error:
            self.fail(str(error))

    def conclude(self) -> bool:
        """Print the sum; whether the run could start."""
        self.title("Result")
        count = len(self.warnings)
        told = f"{count} warning{'s' * (count != 1)}"
        if self.errors:
            self.tell(f"the run cannot start: {len(self.errors)} error{'s' * (len(self.errors) != 1)}, {told}")
            for number, text in enumerate(self.errors, start=1):
                self.tell(f"  {number}. {text}")
        else:
            self.tell(f"the run can start, {told}")
        return not self.errors
