"""A stage that is a notebook: it runs in a kernel of its own through papermill, which keeps it as it ran.

The kernel ends by itself within a second once its worker is gone (ipykernel looks for its parent), so that nothing trains on
unseen.
"""

import logging
from pathlib import Path

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError

import lib.errors
from lib.artifacts.files import write_text
from lib.errors import PaperError, StageError
from lib.workflow.lines import KILLED, Lines, ProcessError
from lib.workflow.stages import Stage

log = logging.getLogger(__name__)


def execute(stage: Stage) -> None:
    """Run the notebook of a stage. Raises StageError for what a user must mend, else ProcessError."""
    stage.executed.parent.mkdir(parents=True, exist_ok=True)
    stream = Lines(stage.name)
    try:
        papermill.execute_notebook(
            stage.notebook, stage.executed, stage.parameters, kernel_name="python3", progress_bar=False,
            stdout_file=stream, stderr_file=stream, cwd=stage.notebook.parent)
    except papermill.PapermillExecutionError as error:
        line = " ".join(f"{error.ename}: {error.evalue}".split())
        if issubclass(getattr(lib.errors, error.ename, Exception), PaperError):
            raise StageError(line, where=stage.name) from None
        log.debug("%s: %s", stage.name, error)
        raise ProcessError(line) from None
    except DeadKernelError:
        raise ProcessError(KILLED) from None
    finally:
        stream.close()
        if stage.executed.is_file():
            tidy(stage.executed)


def tidy(executed: Path) -> None:
    """Leave the last state of each progress bar in a notebook, as a terminal shows it."""
    book = nbformat.read(executed, as_version=4)
    for cell in book.cells:
        for each in cell.get("outputs", []):
            if each.output_type == "stream":
                each.text = "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in each.text.split("\n"))
    write_text(executed, nbformat.writes(book))
