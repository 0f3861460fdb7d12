"""Writing the parts of a store with several processes: decode, write, wait for the disk, read back, rename, record. One
thread per part waits for the processes and for the disk; a few parts are under way, so that both are always busy."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tqdm import tqdm

from lib.artifacts.files import sync, write_json
from lib.data.store.parts import FOLDER, Part, Record
from lib.data.store.volume_file import FLOAT32, INT16, Target, Written, allocate, settle, write_slices
from lib.errors import DicomError

CHUNK = 16  # slices that a worker writes before it reports


def write(parts: list[Part], out: Path, executor: Executor, jobs: int, bar: tqdm) -> dict[str, Record]:
    """Write parts to the store `out`: their records by key. What was finished before an error stays, with its records.

    The `jobs` processes of `executor` decode and write (after an error it takes no more work); `bar` counts slices. Raises
    OSError where the store cannot be written, and VolumeError where the disk gives back other bytes than it was given.
    """
    with ThreadPoolExecutor(jobs + 2) as threads, ThreadPoolExecutor(jobs + 1) as readers:
        writer = _Writer(out, executor, readers, bar)
        waiting = {threads.submit(writer.write, part): part.key for part in parts}
        try:
            return {waiting[future]: future.result() for future in as_completed(waiting)}
        except BaseException:  # Ctrl-C, too: what waits does not begin, and what has begun ends after a chunk
            threads.shutdown(wait=False, cancel_futures=True)
            executor.shutdown(cancel_futures=True)
            raise


@dataclass
class _Writer:
    """What all parts share. `readers` read back: they wait for the disk and hash, so threads do."""

    out: Path
    executor: Executor
    readers: Executor
    bar: tqdm
    lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, part: Part) -> Record:
        """One part; begins again without slices that cannot be decoded, and wider if INT16 does not do."""
        places, left_out, dtypes = list(range(len(part.slices))), [], [INT16] * len(part.series)
        while places:
            with _allocated(part, self.out, len(places), dtypes) as targets:
                volumes = self._decoded(part, places, targets)
                if any(None in slices for slices in volumes):
                    dtypes = [FLOAT32 if None in slices else dtype for slices, dtype in zip(volumes, dtypes, strict=True)]
                elif bad := _undecodable(places, volumes):
                    left_out += bad.values()
                    places, dtypes = [place for place in places if place not in bad], [INT16] * len(part.series)
                else:
                    return self._finished(part, targets, volumes, left_out)
            with self.lock:
                self.bar.total += len(places) * len(part.series)
        return Record(left_out=left_out)

    def _decoded(self, part: Part, places: list[int], targets: list[Target]) -> list[list[Written | DicomError | None]]:
        """What `write_slices` says of each slice, by series; None among them where INT16 does not do."""
        chunks = []
        for column, target in enumerate(targets):
            for first in range(0, len(places), CHUNK):
                some = [part.slices[place][1 + column] for place in places[first : first + CHUNK]]
                chunks.append((column, len(some), self.executor.submit(write_slices, target, first, some)))
        volumes: list[list] = [[] for _ in targets]
        for column, count, chunk in chunks:
            volumes[column] += chunk.result() or [None]
            with self.lock:
                self.bar.update(count)
        return volumes

    def _finished(self, part: Part, targets: list[Target], volumes: list[list[Written]], left_out: list[list]) -> Record:
        """Read back, rename, record."""
        checksums = [[each.crc32 for each in slices] for slices in volumes]
        known = dict(zip(part.volumes, self.readers.map(settle, targets, checksums), strict=True))
        for target in targets:
            os.replace(target.temporary, target.path)
        sync(self.out)
        record = Record(known, [[each.source_sha256 for each in slices] for slices in volumes], left_out)
        write_json(self.out / FOLDER / f"{part.key}.json", asdict(record))  # from now on they are not made again
        return record


@contextmanager
def _allocated(part: Part, out: Path, slices: int, dtypes: list[str]) -> Iterator[list[Target]]:
    """Room for the volumes of a part; what is still under its temporary name at the end is removed."""
    targets: list[Target] = []
    try:
        for name, dtype in zip(part.volumes, dtypes, strict=True):
            targets.append(allocate(out / name, (slices, *part.matrix), dtype))
        yield targets
    finally:
        for target in targets:
            target.temporary.unlink(missing_ok=True)


def _undecodable(places: list[int], volumes: list[list[Written | DicomError]]) -> dict[int, list]:
    """As `Record.left_out`, by slice; of a slice that fails in both series the first is named."""
    bad: dict[int, list] = {}
    for column, slices in enumerate(volumes):
        for place, found in zip(places, slices, strict=True):
            if isinstance(found, DicomError):
                bad.setdefault(place, [column, place, found.what, found.remedy])
    return bad
