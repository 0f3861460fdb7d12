"""What a check of a loss finds: one line each, with its number and its remedy."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Code = Literal["range", "reduction", "output", "gradient", "grey", "lambda", "cost"]
Severity = Literal["error", "warning", "note"]


class Finding(NamedTuple):
    """Something about a loss that its user should know."""

    code: Code
    severity: Severity  # error: it does not do what it is for; warning: hardly meant so; note: a convention to know of
    what: str  # one line, with the number
    number: float  # by which the check decided
    remedy: str

    def __str__(self) -> str:
        return f"{self.severity} {self.code}: {self.what}; {self.remedy}"


@dataclass(frozen=True)
class Report:
    """What :func:`~.linter.lint` found: an iterable of :class:`Finding`, true if there are any."""

    findings: list[Finding]
    measured: dict[str, float]  # what was measured on the way, by name
    unchecked: list[str] = field(default_factory=list)  # a line for each thing that could not be looked at

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def without(self, codes: "tuple[str, ...] | list[str]") -> "Report":
        """The same without findings of some codes."""
        return Report([each for each in self.findings if each.code not in codes], self.measured, self.unchecked)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as JSON holds it."""
        return {"findings": [each._asdict() for each in self], "measured": self.measured, "unchecked": self.unchecked}

    def __str__(self) -> str:
        lines = [str(each) for each in self] or ["nothing found"]
        lines += [f"not checked {line}" for line in self.unchecked]
        return "\n".join([*lines, "measured " + ", ".join(f"{name} {value:.4g}" for name, value in self.measured.items())])
