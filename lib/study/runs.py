"""A run: one experiment trained from one seed."""

from typing import NamedTuple


class Run(NamedTuple):
    """One training. ``str`` is its name in messages and stamps; ``folder`` its place below ``training/``."""

    experiment: str
    seed: int

    def __str__(self) -> str:
        return f"{self.experiment}, seed {self.seed}"

    @property
    def folder(self) -> str:
        """'E1/seed-5'."""
        return f"{self.experiment}/seed-{self.seed}"

    @property
    def file(self) -> str:
        """'E1_seed-5', for files of several runs in one folder, and for stages."""
        return f"{self.experiment}_seed-{self.seed}"
