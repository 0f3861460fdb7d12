"""Which patients train, validate and test: the user's file, the paper's, or a random division with a stated seed."""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from lib.data.patients import ALIASES, SUBSETS
from lib.data.store import reading
from lib.errors import CohortError
from lib.paper import published
from lib.study.config import Cohort, Study

SHARES = {"validation": 0.1, "test": 0.2}  # of the patients, as the paper's 7 / 1 / 2


def subsets(study: Study, *, warn: Callable[[str], None] = lambda text: None) -> dict[str, pd.DataFrame]:
    """The study's pairs of slices by subset, see :func:`split_pairs` and :func:`patients`."""
    manifest = reading.load_manifest(study.paths.volumes)
    table = reading.pairs(manifest)
    return split_pairs(table, patients(study.cohort, table["patient"], manifest["collection"].iloc[0]), warn=warn)


def patients(cohort: Cohort, present: Iterable[str], collection: str) -> dict[str, list[str]]:
    """Patients of each subset: the study's own division, else the paper's for 'mayo2016', else :func:`random_split`."""
    if cohort.split is not None:
        return cohort.split.parts()
    if collection == "mayo2016":
        return {name: list(part) for name, part in published.SPLIT.items()}
    return random_split(present, cohort.split_seed)


def describe(cohort: Cohort, collection: str) -> str:
    """Where the division comes from, in words."""
    if cohort.split is not None:
        return "split of the profile or of SPLIT"
    return "the paper's split" if collection == "mayo2016" else f"patients divided at random, seed {cohort.split_seed}"


def random_split(present: Iterable[str], seed: int) -> dict[str, list[str]]:
    """Divide patients at random, 70 / 10 / 20 %, alike in each anatomy of TCIA's (C, L, N: first letter).

    Raises CohortError for fewer than three patients.
    """
    names = sorted(set(present))
    if len(names) < 3:
        raise CohortError(f"{len(names)} patient(s) with pairs ({', '.join(names)}) cannot be divided into train, "
                          "validation and test: add patients")
    random = np.random.default_rng([seed, 0x511])
    order = [names[place] for place in random.permutation(len(names))]
    parts: dict[str, list[str]] = {name: [] for name in SUBSETS}
    for group in sorted({name[0] for name in names}):
        members = [name for name in order if name[0] == group]
        counts = {subset: round(share * len(members)) for subset, share in SHARES.items()}
        for subset, count in counts.items():
            parts[subset] += members[:count]
            members = members[count:]
        parts["train"] += members
    for subset in SHARES:
        if not parts[subset]:
            parts[subset].append(parts["train"].pop())
    return {subset: sorted(part) for subset, part in parts.items()}


def split_pairs(
    table: pd.DataFrame, split: dict[str, list[str]], *, warn: Callable[[str], None] = lambda text: None
) -> dict[str, pd.DataFrame]:
    """Divide `pairs` by patient into train, validation and test; no patient can be in two of them.

    Patients that the split names but the data lack, or the other way round, and L097 for L096, go to `warn` as text.

    Raises CohortError if a patient is in two subsets, a subset is empty, or the split's keys are not the three.
    """
    if set(split) != set(SUBSETS):
        raise CohortError(f"split has the subsets {sorted(split)}; expected {', '.join(SUBSETS)}")
    present = set(table["patient"])
    owner: dict[str, str] = {}
    for subset in SUBSETS:
        for name in split[subset]:
            patient = ALIASES.get(name, name) if name not in present else name
            if patient != name:
                warn(f"split: {name} is read as {patient} (a misprint in the paper)")
            if owner.setdefault(patient, subset) != subset:
                raise CohortError(f"split: patient {patient} is in both {owner[patient]} and {subset}; keep it in one")
    if absent := sorted(owner.keys() - present):
        warn(f"split: no pairs of {', '.join(absent)} in the data; the study goes on without")
    if unused := sorted(present - owner.keys()):
        warn(f"split: {', '.join(unused)} are in the data but in no subset; their pairs are not used")
    owners = table["patient"].map(owner)
    parts = {subset: table[owners == subset].reset_index(drop=True) for subset in SUBSETS}
    if empty := [subset for subset, part in parts.items() if part.empty]:
        raise CohortError(
            f"split: no pairs for {', '.join(empty)}; the data have pairs of {', '.join(sorted(present)) or 'no patient'}, "
            "name at least one of them for each subset in SPLIT=file.csv (columns patient,subset)"
        )
    return parts
