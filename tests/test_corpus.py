"""Whole folders of unusual scans, and a zoo of files of all kinds, against a plain oracle: right, refused by its name, or
counted; no wrong voxel, no mixed series, no wrong pair, no leak.

`pytest tests/test_corpus.py --faults=full` tries a thousand folders, and the files of a wheel. A message names the number of
its folder: `tests.unusual_series.cohort(number, somewhere)` makes it again.
"""

import os
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom.data
import pytest

from lib import REPOSITORY
from lib.artifacts import wheels
from lib.artifacts.files import file_sha256
from lib.data.dicom.discovery import Discovery, discover
from lib.data.dicom.kinds import NotCtImageError
from lib.data.dicom.slice import read_header, read_hu
from lib.data.store.build import build_store
from lib.data.store.reading import open_volume
from lib.errors import CohortError, DicomError
from tests import oracle
from tests.unusual_series import Cohort, cohort

COHORTS = {"short": 24, "full": 1000}
ONCE = 8  # folders that one test looks at
STORED = {"paired", "single"}
LEFT_OUT = {"same z", "odd geometry", "copy", "no thickness", "odd header", "unreadable", "undecodable"}
ZOO = ("pydicom-data", "1.0.0", "data_store/data", "1f2bd8f93d8c1d777c4c18a71108907edde95e919ebe02419c055f31e19267c1")
REMEDY = "make faults fetches it"
FEWEST = 5  # files of a zoo that are right, that are of another modality, that are none at all


def test_the_wheel_of_the_zoo_is_pinned_hashed_and_names_no_host():
    text = (REPOSITORY / "requirements-faults.txt").read_text(encoding="utf-8")
    pinned = re.findall(r"^([\w-]+)==([\w.]+) \\\n +--hash=sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    assert pinned == [ZOO[:2]] and "://" not in text and text.count("==") == 1


def pytest_generate_tests(metafunc):
    full = metafunc.config.getoption("--faults")
    if "first" in metafunc.fixturenames:
        metafunc.parametrize("first", range(0, COHORTS[full], ONCE))
    if "zoo" in metafunc.fixturenames:
        metafunc.parametrize("zoo", ["pydicom", *(["wheel"] if full == "full" else [])])


def animals(zoo: str, folder: Path) -> list[Path]:
    """The files that pydicom's own tests read: those that are installed with it, or those of a wheel, out of it."""
    if zoo == "pydicom":
        root = Path(pydicom.data.__file__).parent
        return [path for name in ("test_files", "charset_files") for path in sorted((root / name).rglob("*"))
                if path.is_file()]  # fmt: skip
    folder.mkdir()
    for name, content in wheels.folder(*ZOO, REMEDY):
        (folder / name).write_bytes(content)
    return sorted(folder.iterdir())


def test_each_file_of_a_zoo_is_right_or_refused(tmp_path, zoo):
    """Every transfer syntax, character set, modality and damage that pydicom is tested with."""
    outcomes, wrong = Counter(), []
    for path in animals(zoo, tmp_path / "zoo"):
        verdict = oracle.judge(path)
        for read, reasons in ((read_header, verdict.header), (read_hu, verdict.image)):
            try:
                found, outcome = read(path), "right"
            except DicomError as error:
                found, outcome = None, error.code if isinstance(error, NotCtImageError) else oracle.ERROR
                line = f"{path}: {error.what}; {error.remedy}"
                wrong += [] if str(error) == line and line.isprintable() and error.remedy else [str(error)]
            outcomes[outcome] += 1
            if outcome not in (reasons or {"right"}) and not (found is None and oracle.UNREAD in reasons):
                wrong.append(f"{read.__name__} {path.name}: {outcome}, expected {reasons or 'right'}")
            elif isinstance(found, np.ndarray) and not np.array_equal(found.astype(np.float32), verdict.hu):
                wrong.append(f"{path.name}: HU")
    assert not wrong, "\n".join(wrong)
    assert len(outcomes) > 5 and min(outcomes["right"], outcomes["modality MR"], outcomes[oracle.ERROR]) >= FEWEST, outcomes


def test_the_folder_of_a_zoo_has_an_end(tmp_path, zoo):
    """Its slices are found, its other files counted."""
    files = animals(zoo, tmp_path / "zoo")
    right = {path for path in files if not oracle.judge(path).header}
    found = discover(Path(pydicom.data.__file__).parent if zoo == "pydicom" else tmp_path / "zoo")
    named = {problem.file for problem in found.problems if problem.kind in LEFT_OUT}
    assert found.headers.keys() <= right <= found.headers.keys() | named and found.headers


def test_a_folder_of_unusual_series_is_read_right(tmp_path, first):
    for seed in range(first, first + ONCE):
        made = cohort(seed, tmp_path / str(seed))
        try:
            check_cohort(made, tmp_path / str(seed) / "store")
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
        shutil.rmtree(tmp_path / str(seed))


def check_cohort(made: Cohort, out: Path) -> None:
    """All that must hold of one folder."""
    fates = oracle.fates(made.slices, made.collection != "other")
    check_oracle(made)
    try:
        found = discover(made.root)
    except CohortError:
        if any(fate & STORED for fate in fates.values()):
            raise
        return
    check_series(found, made)
    check_pairs(found, made)
    manifest = build_store(made.root, out)
    stored = check_voxels(manifest, made, out)
    check_accounts(found, made, fates, stored)
    check_leaks(made, out)


def check_oracle(made: Cohort) -> None:
    """Two that know nothing of each other agree: the maker of the files, and who reads them plainly."""
    for each in made.slices:
        verdict = oracle.judge(each.path)
        assert ({each.refusal} <= verdict.header) if each.refusal else not verdict.header
        assert verdict.image or np.array_equal(verdict.hu, each.hu), each


def check_series(found: Discovery, made: Cohort) -> None:
    """A series holds slices of one scan, each at its place."""
    truth = {each.path: each for each in made.slices}
    for key, slices in found.series.items():
        some = [truth[path] for _, path in slices]
        assert len({each.series for each in some}) == 1, f"{key} mixes {some}"
        assert [z for z, _ in slices] == [each.z for each in some] == sorted({each.z for each in some})
        assert {each.dose for each in some} == {key.dose} and not any(each.refusal for each in some)
    for series in oracle.whole(made.slices):
        keys = {key for key, slices in found.series.items() if truth[slices[0][1]].series == series}
        assert len(keys) <= 1, f"{series} came as {keys}"
    kept = [path for slices in found.series.values() for _, path in slices]
    assert len(kept) == len(set(kept))


def check_pairs(found: Discovery, made: Cohort) -> None:
    """A pair is the two doses of one scan, on one grid, at one place."""
    truth = {each.path: each for each in made.slices}
    for key, pairs in found.pairs.items():
        for _, *both in pairs:
            full, low = (truth[path] for path in both)
            assert full.series[:3] == low.series[:3] and abs(full.z - low.z) < 0.01, f"{key} pairs {full} with {low}"
            assert (full.dose, low.dose) == oracle.DOSES


def check_voxels(manifest, made: Cohort, out: Path) -> dict[Path, str]:
    """What is in the store has the true HU, bit by bit, and stands where the manifest says; returns fates by file."""
    by_sum = {file_sha256(each.path): each for each in made.slices}
    fates = {}
    for row in manifest.itertuples():
        each = by_sum[row.source_sha256]
        hu = open_volume(out, row.volume).slice(row.index)
        assert hu.shape == each.hu.shape and np.array_equal(hu.astype(np.float32), each.hu), f"HU of {each}"
        assert row.z_mm == pytest.approx(each.z, abs=0.0051) and row.dose == each.dose
        fates[each.path] = "paired" if row.paired else "single"
    return fates


def check_accounts(found: Discovery, made: Cohort, fates: dict[Path, set[str]], stored: dict[Path, str]) -> None:
    """Each file is stored as it must be, or left out for the reason that the oracle has, and none is counted twice; what was
    assumed of a slice is said."""
    refused, left = Counter(made.clutter), Counter()
    for each in made.slices:
        ways = fates[each.path]
        if each.path in stored:
            assert stored[each.path] in ways or "copy" in ways, f"{each} is {stored[each.path]}, expected {ways}"
        elif each.refusal:
            refused[each.refusal] += 1
        else:
            assert ways - STORED, f"{each} is not in the store, expected {ways}"
            left[min(ways - STORED)] += 1
    assert found.ignored == dict(refused)
    warned = Counter(kind for each in made.slices for kind in each.warned if not each.refusal and each.kind[1])
    counted, said = Counter(), Counter()
    for problem in found.problems:
        said[problem.kind] += problem.count
        if problem.kind in LEFT_OUT or "no partner slice" in problem.what:
            counted[problem.kind] += problem.count
    assert counted.total() == left.total(), f"{counted}, not {left}"
    for kind in ("patient assumed", "dose assumed", "tenth dose"):
        assert said[kind] == warned[kind], kind
    for kind in ("same z", "odd geometry", "no thickness"):
        assert counted[kind] == left[kind], kind


def check_leaks(made: Cohort, out: Path) -> None:
    """Nothing that names anybody is in the store, in a file or its name."""
    for path in out.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for text in made.secrets:
            for coding in ("utf-8", "latin-1", "utf-16-le"):
                secret = text.encode(coding, "ignore")
                assert not (len(secret) > 3 and secret in content + os.fsencode(path.name)), f"{path.name} has {text}"
