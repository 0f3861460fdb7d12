"""What made a result: steps, their keys and stamps.

A *step* is one piece of work with files of results (the volumes, one training, a whole notebook). Its key is a hash of
the code it can reach, of the configuration it reads and of its inputs' contents. A step whose stamp carries the current
key, and whose outputs are there and still what the stamp says, is not done again.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from lib.artifacts.code import code_hash
from lib.artifacts.files import file_sha256, fingerprint, folder_digest, unchanged, write_json
from lib.artifacts.provenance import arithmetic, commit, peak_memory_mib, versions, worded
from lib.errors import StageError

log = logging.getLogger(__name__)


def digest(value: Any) -> str:
    """SHA-256 of a JSON-like value (pydantic models and paths included), independent of the order of keys."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()


def plain(value: Any) -> Any:
    """The value as JSON holds it; pydantic models and paths included."""
    return json.loads(json.dumps(value, default=lambda item: item.model_dump(mode="json")
                                 if isinstance(item, BaseModel) else str(item)))


def contents(path: Path) -> str | None:
    """What a key knows of an input: a file's SHA-256, a folder's names, sizes and times; None where there is nothing."""
    if path.is_dir():
        return folder_digest(path)
    return file_sha256(path) if path.is_file() else None


@dataclass
class Step:
    """One piece of work whose results are kept.

    Parameters
    ----------
    name : str
        What it is, for messages.
    stamp : Path
        The JSON file that says what made the outputs.
    modules : collection of str
        The modules of ``lib`` that do the work.
    config : Any
        The part of the configuration that it reads.
    inputs : dict
        What it reads, by name: a value, or the path of a file or folder, which stands for its contents at that moment.
    outputs : collection of Path
        The files that it promises. Those that only the work itself can know are added while it is at it.

    ``arithmetic`` has what it is done with, in order; more than one for work that was resumed elsewhere.
    """

    name: str
    stamp: Path
    modules: Collection[str]
    config: Any
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: Collection[Path] = ()
    arithmetic: list[dict] = field(default_factory=lambda: [arithmetic()], init=False)

    @property
    def key(self) -> str:
        return digest(self.made_from())

    def made_from(self) -> dict[str, Any]:
        """What the outputs depend on, in words that a later run can compare: code, config and inputs."""
        inputs = {name: contents(value) if isinstance(value, Path) else value for name, value in self.inputs.items()}
        return {"code": code_hash(self.modules), "config": plain(self.config), "inputs": inputs}

    def read(self) -> dict | None:
        """The stamp, or None where there is none that can be read."""
        try:
            known = json.loads(self.stamp.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return known if isinstance(known, dict) and {"key", "outputs"} <= set(known) else None

    def is_current(self) -> bool:
        """Whether the outputs on disk are those of this code, configuration and inputs."""
        known = self.read()
        return (
            known is not None
            and {self._relative(path) for path in self.outputs} <= set(known["outputs"])
            and known["key"] == self.key
            and all(unchanged(self.stamp.parent / name, kept) for name, kept in known["outputs"].items())
        )

    @contextmanager
    def making(self, **notes: Any) -> Iterator[list[Path]]:
        """Do the work inside the block; the stamp is written at its end.

        Files beside the declared outputs are appended to the list. ``notes`` get into the stamp; one that is a function
        is called at the end.

        Raises
        ------
        StageError
            A file that was promised is not there.
        """
        self.stamp.unlink(missing_ok=True)
        made_from, begin = self.made_from(), time.monotonic()
        further: list[Path] = []
        yield further
        outputs = sorted({*self.outputs, *further})
        if missing := [path.name for path in outputs if not path.is_file()]:
            raise StageError(f"ended without writing {', '.join(missing)}", where=self.name)
        write_json(self.stamp, {
            "step": self.name, "key": digest(made_from), "config_hash": digest(self.config)[:12],
            "config": made_from["config"], "inputs": made_from["inputs"], "commit": commit(), "versions": versions(),
            "arithmetic": self.arithmetic, "seconds": round(time.monotonic() - begin, 2),
            "peak_memory_mib": round(peak_memory_mib()),
            **{name: note() if callable(note) else note for name, note in notes.items()},
            "outputs": {self._relative(path): fingerprint(path) for path in outputs},
        })

    def _relative(self, path: Path) -> str:
        return os.path.relpath(path, self.stamp.parent)


def warn_of_mixture(steps: Collection[Step], where: Path) -> None:
    """Log one warning if steps that are done, parts of one result, were done with different arithmetic."""
    made = sorted({worded(each) for step in steps if (known := step.read()) for each in known["arithmetic"]})
    if len(made) > 1:
        log.warning("%s: parts of it were made with different arithmetic, which may show in last digits: %s", where,
                    "; ".join(made))
