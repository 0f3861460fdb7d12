"""What the stages read: patches of a subset, encoders with their weights, and the hashes of both."""

from collections.abc import Iterable
from pathlib import Path

import keras
import pandas as pd

from lib.data import split
from lib.data.patches import Patches
from lib.errors import StudyError
from lib.networks import vgg
from lib.perceptual import encoders
from lib.perceptual.configuration import Encoding
from lib.study.config import Study


def subsets(study: Study) -> dict[str, pd.DataFrame]:
    """The study's pairs of slices by subset."""
    return split.subsets(study.paths.volumes, study.cohort.given_split, study.cohort.split_seed)


def patches(study: Study, subset: str, seed: int) -> Patches:
    """The patches of 'train' or 'validation' in the order in which a run with this seed sees them."""
    number = ("train", "validation").index(subset)
    return Patches(subsets(study)[subset], study.paths.volumes, study.training.plan(subset), [seed, number])


def encoder(study: Study, encoding: Encoding, *layers: str) -> keras.Model:
    """A frozen encoder with the weights that its context has in this study.

    Raises
    ------
    StudyError
        A layer that the network lacks. WeightsError: the weights are missing or of another network.
    """
    network = vgg.trunk(encoding.encoder, study.weights(encoding.weights))
    try:
        return encoders.encoder(encoding, layers, network)
    except ValueError as error:
        raise StudyError(str(error), where="losses") from None


def weights_files(study: Study, encodings: Iterable[Encoding]) -> dict[str, Path]:
    """The weights file of each context, for cache keys."""
    return {each.weights: vgg.weights_file(each.encoder, study.weights(each.weights)) for each in encodings}
