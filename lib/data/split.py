"""Which patients train, validate and test: the user's file, the paper's, or a random division with a stated seed."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lib.data.patients import ALIASES, SUBSETS
from lib.data.store import reading
from lib.errors import CohortError
from lib.paper import published

Split = Mapping[str, Sequence[str]] | None
SHARES = {"validation": 0.1, "test": 0.2}  # of the patients, as the paper's 7 / 1 / 2


def subsets(store: Path, split: Split, seed: int) -> dict[str, pd.DataFrame]:
    """The pairs of slices of a store (folder of the volumes) by subset, see :func:`split_pairs` and :func:`division`."""
    return split_pairs(reading.pairs(reading.load_manifest(store)), division(store, split, seed))


def division(store: Path, split: Split, seed: int) -> dict[str, list[str]]:
    """Patients of each subset, of all whom the headers name: a slice that cannot be decoded changes no division."""
    summary = reading.load_summary(store)
    return patients(split, seed, summary["divided"], summary["collection"])


def patients(split: Split, seed: int, present: Iterable[str], collection: str) -> dict[str, list[str]]:
    """Patients of each subset: ``split`` if somebody chose them, else the paper's for 'mayo2016', else `random_split`."""
    if split is None and collection != "mayo2016":
        return random_split(present, seed)
    return {name: list(part) for name, part in (published.SPLIT if split is None else split).items()}


def describe(split: Split, seed: int, collection: str) -> str:
    """Where the division comes from, in words."""
    if split is not None:
        return "split of the profile or of SPLIT"
    return "the paper's split" if collection == "mayo2016" else f"patients divided at random, seed {seed}"


def random_split(present: Iterable[str], seed: int) -> dict[str, list[str]]:
    """Divide patients at random, 70 / 10 / 20 %, alike in each anatomy of TCIA's (C, L, N: first letter). Raises CohortError
    for fewer than three patients."""
    names = sorted(set(present))
    if len(names) < 3:
        raise CohortError(f"{len(names)} patient(s) with pairs ({', '.join(names)}) cannot be divided into train, "
                          "validation and test", remedy="add patients")
    random = np.random.default_rng([seed, 0x511])
    order = [names[place] for place in random.permutation(len(names))]
    parts: dict[str, list[str]] = {name: [] for name in SUBSETS}
    for group in sorted({name[0] for name in names}):
        members = [name for name in order if name[0] == group]
        for subset, count in [(subset, round(share * len(members))) for subset, share in SHARES.items()]:
            parts[subset] += members[:count]
            members = members[count:]
        parts["train"] += members
    for subset in SHARES:
        if not parts[subset]:
            parts[subset].append(parts["train"].pop())
    return {subset: sorted(part) for subset, part in parts.items()}


def split_pairs(table: pd.DataFrame, split: Mapping[str, Sequence[str]]) -> dict[str, pd.DataFrame]:
    """Divide pairs by patient into train, validation and test. Raises CohortError if a patient is in two subsets or a subset
    is empty, and ValueError if the split's keys are not the three subsets."""
    present = set(table["patient"])
    owners = table["patient"].map(_owners(present, split))
    parts = {subset: table[owners == subset].reset_index(drop=True) for subset in SUBSETS}
    if empty := [subset for subset, part in parts.items() if part.empty]:
        raise CohortError(
            f"no pairs for {', '.join(empty)}, the data have pairs of {', '.join(sorted(present)) or 'no patient'}",
            where="split", remedy="name at least one of them for each subset in SPLIT=file.csv (columns patient,subset)")
    return parts


def remarks(present: Iterable[str], split: Mapping[str, Sequence[str]]) -> list[str]:
    """What a user should know of a split: patients that it names but the data lack, or the other way round, and L097."""
    present = set(present)
    owners = _owners(present, split)
    found = [f"split: {name} is read as {ALIASES[name]} (a misprint in the paper)"
             for part in split.values() for name in part if name in ALIASES and name not in present]
    if absent := sorted(owners.keys() - present):
        found.append(f"split: no pairs of {', '.join(absent)} in the data; the study goes on without")
    if unused := sorted(present - owners.keys()):
        found.append(f"split: {', '.join(unused)} are in the data but in no subset; their pairs are not used")
    return found


def _owners(present: set[str], split: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The subset of each patient."""
    if set(split) != set(SUBSETS):
        raise ValueError(f"split has the subsets {sorted(split)}, expected {', '.join(SUBSETS)}")
    owner: dict[str, str] = {}
    for subset in SUBSETS:
        for name in split[subset]:
            patient = name if name in present else ALIASES.get(name, name)
            if owner.setdefault(patient, subset) != subset:
                raise CohortError(f"patient {patient} is in both {owner[patient]} and {subset}", where="split",
                                  remedy="keep it in one")
    return owner
