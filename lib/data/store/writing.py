"""Writing the parts of a store with several processes: decode, write, wait for the disk, read back, rename, record."""

import os
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from lib.artifacts.files import sync
from lib.data.store.parts import Part, Record
from lib.data.store.volume_file import FLOAT32, INT16, Target, Written, allocate, settle, write_slices

CHUNK = 16  # slices that a worker writes before it reports


def write(parts: Iterable[Part], out: Path, executor: Executor, jobs: int, bar: tqdm) -> dict[str, Record]:
    """Write parts, `executor` decoding with `jobs` processes while threads here read back; returns records by key.

    `bar` counts slices. Raises OSError or VolumeError; what was finished before then stays, with its records.
    """
    done: dict[str, Record] = {}
    works = (_Work(part, _writing(part, out, bar)) for part in parts)
    started: list[_Work] = []
    queue: deque[tuple[_Work, int, tuple]] = deque()
    running: dict[Future, tuple[_Work, int, int]] = {}
    with ThreadPoolExecutor(jobs + 1) as threads:  # reading back waits for the disk and hashes: no need of a process
        try:
            while True:
                while len(running) < 2 * jobs + 2:
                    if not queue and (work := next(works, None)):
                        started.append(work)
                        queue.extend(work.go_on(done))
                    if not queue:
                        break
                    work, place, (function, *arguments) = queue.popleft()
                    future = (threads if function is settle else executor).submit(function, *arguments)
                    running[future] = work, place, len(arguments[-1]) if function is write_slices else 0
                if not running:
                    return done
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    work, place, slices = running.pop(future)
                    work.results[place] = future.result()
                    bar.update(slices)
                    if _MISSING not in work.results:
                        queue.extendleft(reversed(work.go_on(done)))
        finally:
            for work in started:
                work.steps.close()


_MISSING = object()


@dataclass
class _Work:
    """A part on its way: `steps` yields lists of tasks and takes the lists of their results."""

    part: Part
    steps: Generator[list[tuple], list, Record]
    results: list | None = None

    def go_on(self, done: dict[str, Record]) -> list[tuple["_Work", int, tuple]]:
        try:
            tasks = self.steps.send(self.results)
        except StopIteration as end:
            done[self.part.key] = end.value
            return []
        self.results = [_MISSING] * len(tasks)
        return [(self, place, task) for place, task in enumerate(tasks)]


def _writing(part: Part, out: Path, bar: tqdm) -> Generator[list[tuple], list, Record]:
    """The steps of one part. They begin again without slices that cannot be decoded, and wider if INT16 does not do."""
    places, left_out, columns = list(range(len(part.slices))), [], range(len(part.series))
    dtypes = [INT16] * len(columns)
    while places:
        targets: list[Target] = []
        try:
            for name, dtype in zip(part.volumes, dtypes, strict=True):
                targets.append(allocate(out / name, (len(places), *part.matrix), dtype))
            chunks = [(column, first) for column in columns for first in range(0, len(places), CHUNK)]
            told = yield [
                (write_slices, targets[column], first,
                 [part.slices[place][1 + column] for place in places[first : first + CHUNK]])
                for column, first in chunks
            ]  # fmt: skip
            if None in told:
                for (column, _), slices in zip(chunks, told, strict=True):
                    dtypes[column] = FLOAT32 if slices is None else dtypes[column]
                bar.total += len(places) * len(columns)
                continue
            written = [[] for _ in columns]
            for (column, _), slices in zip(chunks, told, strict=True):
                written[column] += slices
            if bad := _undecodable(part, places, written):
                left_out += bad
                gone = {place for _, place, _, _ in bad}
                places = [place for place in places if place not in gone]
                dtypes = [INT16] * len(columns)
                bar.total += len(places) * len(columns)
                continue
            known = yield [
                (settle, target, [each.crc32 for each in slices]) for target, slices in zip(targets, written, strict=True)
            ]
            for target in targets:
                os.replace(target.temporary, target.path)
            sync(out)
            sources = [[each.source_sha256 for each in slices] for slices in written]
            record = Record(dict(zip(part.volumes, known, strict=True)), sources, left_out)
            record.write(part, out)
            return record
        finally:
            for target in targets:
                target.temporary.unlink(missing_ok=True)
    return Record(left_out=left_out)


def _undecodable(part: Part, places: list[int], written: list[list[Written | str]]) -> list[list]:
    """As `Record.left_out`; a slice that fails in both series is told of the first."""
    bad: dict[int, list] = {}
    for column, slices in enumerate(written):
        for place, told in zip(places, slices, strict=True):
            if isinstance(told, str) and place not in bad:
                what, _, remedy = told.removeprefix(f"{part.slices[place][1 + column]}: ").rpartition("; ")
                bad[place] = [column, place, what or remedy, remedy if what else "copy the file again"]
    return list(bad.values())
