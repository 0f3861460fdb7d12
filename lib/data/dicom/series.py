"""Slices to series. A series is a SeriesInstanceUID on one grid; what was delivered in pieces is put together again by a
rule, and said. Nothing is merged because names agree: two phases, two fields of view and two studies stay apart."""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from lib.artifacts.files import file_sha256
from lib.data.dicom.geometry import Grid, difference
from lib.data.dicom.identity import Problem
from lib.data.dicom.slice import Header

SAME = 0.005 + 1e-9  # mm: slices whose z differ by no more are at one place
FOREIGN = 1 / 3  # of a series: fewer slices on another grid are left out, as many or more are a series of their own
MOST = 8  # grids of one series that others are compared with: no more than three can be kept
NEAREST, GAP = 0.9, 1.5  # spacings of slices between two pieces of one series
AS_WELL = 0.05  # spacings: of two that fit a piece so nearly alike, none is taken

T = TypeVar("T")
Slices = list[tuple[float, Path]]
"""(z in mm, file), z rising."""


class SeriesKind(NamedTuple):
    """What the series of a patient are told apart by in results; kernel as 'B30', slice thickness in mm."""

    patient: str
    dose: str
    kernel: str
    thickness_mm: float

    def __str__(self) -> str:
        return f"{self.patient} {self.dose} dose {self.kernel} {self.thickness_mm:g} mm"


@dataclass
class Series:
    """One stack of slices on one grid."""

    kind: SeriesKind
    series_uid: str
    study_uid: str
    frame_uid: str  # of the frame of reference
    grid: Grid
    slices: Slices = field(default_factory=list)
    usable: bool = True  # False: it is left out, and what fits it as well as another one fits neither for certain

    @property
    def first(self) -> Path:
        """The file at the lowest z."""
        return self.slices[0][1]


def matched(one: Series, other: Series) -> list[tuple[float, Path, Path]]:
    """(z, file, file of the other) for the slices of two series at one place: each the other's nearest."""
    here, there = (np.array([z for z, _ in each.slices]) for each in (one, other))
    found = []
    for (z, path), nearest in zip(one.slices, np.abs(here[:, None] - there[None, :]).argmin(axis=1), strict=True):
        partner, file = other.slices[nearest]
        if abs(z - partner) <= SAME and one.slices[int(np.abs(here - partner).argmin())][1] == path:
            found.append((z, path, file))
    return found


def series_of(headers: dict[Path, Header], problems: list[Problem]) -> list[Series]:
    """All series of these slices, ordered: each with one grid and one slice a place, z rising; also those that are left out
    as a whole (not `usable`). What is left out, and what is put together, goes to `problems`."""
    named: dict[tuple, list[Path]] = defaultdict(list)
    for path, header in headers.items():
        kind = SeriesKind(header.patient, header.dose, header.kernel, header.thickness_mm)
        named[kind, header.study_uid, header.frame_uid, header.series_uid].append(path)
    found = [Series(kind, uid, *of, grid, [(headers[path].z_mm, path) for path in paths])
             for (kind, *of, uid), members in sorted(named.items())
             for grid, one_grid in _by_grid(kind, members, headers, problems)
             for paths in _by_acquisition(one_grid, [[path] for path in one_grid], headers)]
    kinds: dict[SeriesKind, list[Series]] = defaultdict(list)
    for each in found:
        each.usable = _order(each, problems)
        kinds[each.kind].append(each)
    return [each for kind in sorted(kinds) for each in _together(kind, kinds[kind], headers, problems)]


def overlap(one: Series, other: Series) -> bool:
    """Whether slices of one lie on the other's grid, and at the places of its slices or between them."""
    return (one.slices[0][0] <= other.slices[-1][0] + SAME and other.slices[0][0] <= one.slices[-1][0] + SAME
            and not difference(one.grid, other.grid))


def _by_grid(
    kind: SeriesKind, paths: Iterable[Path], headers: dict[Path, Header], problems: list[Problem]
) -> list[tuple[Grid, list[Path]]]:
    """The slices of one SeriesInstanceUID by their grid; the few on another one than most are left out."""
    exact: dict[Grid, list[Path]] = defaultdict(list)
    for path in paths:
        exact[headers[path].grid].append(path)
    grids: list[tuple[Grid, list[Path]]] = []
    for grid, members in sorted(exact.items(), key=lambda item: -len(item[1])):
        alike = next((others for known, others in grids[:MOST] if not difference(known, grid)), None)
        if alike is None:
            grids.append((grid, members))
        else:
            alike.extend(members)
    total, usual, kept = sum(len(members) for _, members in grids), grids[0][0], []
    for grid, members in grids:
        if len(members) >= FOREIGN * total:
            kept.append((grid, members))
            continue
        what = f"other geometry than the rest of its series {kind}: {difference(usual, grid)}"
        problems += [Problem(path, "odd geometry", what, "leave it out or export the series again") for path in members]
    if not kept:
        what = f"{len(grids)} geometries in series {kind}, none of them for a third of its slices, so it is left out"
        problems.append(Problem(grids[0][1][0], "odd geometry", what, "export it as slices of one size and place", total))
    return kept


def _by_acquisition(parts: list[T], slices: list[list[Path]], headers: dict[Path, Header]) -> list[list[T]]:
    """Slices of one SeriesInstanceUID and grid, or pieces of one study and grid, each with the slices in it: apart by
    AcquisitionNumber where one acquisition goes over the places of another, as two phases do; together where they follow
    each other, as the turns of one scan do."""
    places: dict[int | None, list[float]] = defaultdict(list)
    numbered: dict[frozenset[int | None], list[T]] = defaultdict(list)
    for part, paths in zip(parts, slices, strict=True):
        numbered[frozenset(headers[path].acquisition for path in paths)].append(part)
        for path in paths:
            places[headers[path].acquisition].append(headers[path].z_mm)
    ends = sorted((min(z), max(z)) for z in places.values())
    apart = any(later[0] < earlier[1] for earlier, later in pairwise(ends))
    return list(numbered.values()) if apart else [parts]


def _order(series: Series, problems: list[Problem]) -> bool:
    """Sort by z, one slice a place; False if two different slices claim one."""
    places: list[Slices] = []
    for z, path in sorted(series.slices):
        if places and z - places[-1][0][0] <= SAME:
            places[-1].append((z, path))
        else:
            places.append([(z, path)])
    clash, copies = [], []
    for found in places:
        if len(found) > 1 and not _same([path for _, path in found]):
            clash += [(z, path, len(found)) for z, path in found]
        else:
            copies += [path for _, path in found[1:]]
    what = f"the same file twice in series {series.kind}"
    problems += [Problem(path, "copy", what, "nothing to do, one is kept") for path in copies]
    for z, path, count in clash:
        what = f"{count} different slices at z = {z:g} mm in series {series.kind}, so the series is left out"
        problems.append(Problem(path, "same z", what, "keep one reconstruction of the series in the folder"))
    series.slices = [found[0] for found in places]
    named = {path for _, path, _ in clash}
    if clash and (rest := [path for _, path in series.slices if path not in named]):
        what = f"the other {len(rest)} slice(s) of series {series.kind}, which is left out for places claimed twice"
        problems.append(Problem(rest[0], "same z", what, "keep one reconstruction of the series in the folder", len(rest)))
    return not clash


def _same(paths: list[Path]) -> bool:
    """Whether these are copies; what cannot be read any more is none."""
    try:
        return len({file_sha256(path) for path in paths}) == 1
    except OSError:
        return False


def _together(
    kind: SeriesKind, found: list[Series], headers: dict[Path, Header], problems: list[Problem]
) -> list[Series]:
    """Pieces of one series as one: equal study, frame of reference and grid, and slices that continue each other's or fill
    their holes, as far apart as slices of one series are. Phases at the same places, or between them, are no pieces, and
    where a piece could belong to either of two phases, none is put together; AcquisitionNumber may tell the phases apart."""
    alike: list[list[Series]] = []
    for each in found:
        known = next((some for some in alike if (some[0].study_uid, some[0].frame_uid) == (each.study_uid, each.frame_uid)
                      and not difference(some[0].grid, each.grid)), None)
        if known is None:
            alike.append([each])
        else:
            known.append(each)
    phases = [phase for some in alike
              for phase in _by_acquisition(some, [[path for _, path in each.slices] for each in some], headers)]
    joined = sorted((whole for phase in phases for whole in _joined(phase)), key=_place)
    usable = sum(each.usable for each in found)
    if usable > len(joined):
        what = f"{kind}: {usable} series of one geometry that continue each other are read as {len(joined)}"
        problems.append(Problem(joined[0].first, "pieces", what, "nothing to do", usable))
    return joined + [each for each in found if not each.usable]


def _place(series: Series) -> tuple[float, str]:
    return series.slices[0][0], series.series_uid


def _joined(found: list[Series]) -> list[Series]:
    """The usable ones of these, which have study, frame of reference and grid in common; pieces of one as one."""
    usable = sorted((each for each in found if each.usable), key=_place)
    places = np.unique([each.slices[0][0] for each in found if len(each.slices) == 1])  # with those that are left out
    spacing = float(np.median(np.diff(places))) if len(places) > 2 else math.inf
    whole: list[Series] = []
    owner: dict[int, Series] = {}
    for piece in usable:
        off = [_misfit(each, piece, spacing) for each in whole]
        best = min(off, default=math.inf)
        fitting = [each for each, by in zip(whole, off, strict=True) if by <= best + AS_WELL]
        rivals = best < math.inf and any(
            owner.get(id(each)) is not fitting[0] and overlap(piece, each)
            and _misfit(fitting[0], each, spacing) <= best + AS_WELL for each in found if each is not piece)
        if best < math.inf and len(fitting) == 1 and not rivals:
            owner[id(piece)] = fitting[0]
            fitting[0].slices = sorted(fitting[0].slices + piece.slices)
        else:
            owner[id(piece)] = replace(piece)
            whole.append(owner[id(piece)])
    return whole


def _misfit(one: Series, other: Series, spacing: float) -> float:
    """How far, in spacings of slices, the distance of two pieces is from one spacing; infinite where they are none of one
    series. ``spacing``: in mm, of those that have one slice."""
    here, there = (np.array([z for z, _ in each.slices]) for each in (one, other))
    nearest, longest = float(np.abs(here[:, None] - there[None, :]).min()), max(here, there, key=len)
    spacings = nearest / (float(np.median(np.diff(longest))) if len(longest) > 1 else spacing)
    return abs(spacings - 1) if nearest > SAME and NEAREST <= spacings <= GAP else math.inf
