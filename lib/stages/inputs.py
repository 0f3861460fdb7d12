"""What the stages read: patches of a subset, encoders with their weights, and the files of both."""

from collections.abc import Callable, Iterable
from pathlib import Path

import keras
import pandas as pd

from lib.data import split
from lib.data.patches import Patches
from lib.errors import StudyError
from lib.networks import any_network
from lib.networks.winograd import accelerated
from lib.perceptual import encoders
from lib.perceptual.configuration import Encoding
from lib.study.config import Study
from lib.study.sections import Training

Weights = Callable[[str], str | Path]
"""What a context's name stands for: :meth:`lib.study.config.Study.weights`."""


def subsets(study: Study) -> dict[str, pd.DataFrame]:
    """The study's pairs of slices by subset."""
    return split.subsets(study.paths.volumes, study.cohort.given_split, study.cohort.split_seed)


def patches(study: Study, subset: str, seed: int, settings: Training | None = None) -> Patches:
    """The patches of 'train' or 'validation' in the order in which a run with this seed sees them (a pilot: of its
    own ``settings``)."""
    number = ("train", "validation").index(subset)
    return Patches(subsets(study)[subset], study.paths.volumes, (settings or study.training).plan(subset), [seed, number])


def encoder(weights: Weights, encoding: Encoding, *layers: str, gradient: bool = False) -> keras.Model:
    """A frozen encoder, by Winograd's convolutions where they are faster; ``gradient``: for a loss that trains. Raises
    StudyError for a layer that it lacks, WeightsError or WheelError for weights."""
    network = any_network.network(encoding.encoder, weights(encoding.weights))
    try:
        features = encoders.encoder(encoding, layers, network)
    except ValueError as error:
        raise StudyError(str(error), where="losses") from None
    return accelerated(features, gradient)


def weights_files(weights: Weights, encodings: Iterable[Encoding]) -> dict[str, Path | str]:
    """The weights file of each context, or its checksum, for cache keys; of a further network of one context with the
    network's name."""
    found: dict[str, Path | str] = {}
    networks: dict[str | None, str | None] = {}
    for each in encodings:
        first = networks.setdefault(each.weights, each.encoder) == each.encoder
        name = each.weights if first else f"{each.weights}, {each.encoder}"
        found[name] = any_network.weights_key(each.encoder, weights(each.weights))
    return found
