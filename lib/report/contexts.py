"""Contexts as figures, tables and claims show them: honest about substitutes, silent about a user's folders."""

from collections.abc import Iterable
from pathlib import Path

from lib.report.labels import UNLEARNT, Labels


def without_folders(contexts: Iterable[str]) -> dict[str, str]:
    """Contexts by what may be written of them: a file's name alone, with a number where an earlier one has it, too."""
    found: dict[str, str] = {}
    for context in contexts:
        if context not in found:
            name, others = Path(context).name, [Path(each).name for each in found]
            found[context] = name + f" ({others.count(name) + 1})" * (name in others)
    return found


def context_names(labels: Labels, contexts: Iterable[str], layer: str = "") -> dict[str, str]:
    """Contexts as they are shown: with an asterisk for a substitute; that one learnt nothing, where no layer did, or, of a
    ``layer`` of an experiment, where that one did not."""
    known: dict[str, list[tuple[bool, str]]] = {}  # those of the layer first, then those that learnt
    for each in labels.experiments.values():
        plain = each.context.removesuffix(UNLEARNT).removesuffix("*").removesuffix(" (file)")
        known.setdefault(plain, []).append((layer not in each.layers, each.context))
    written = without_folders(contexts)
    return {context: min(known.get(context, [(True, name)]), key=lambda found: (found[0], len(found[1])))[1]
            for context, name in written.items()}
