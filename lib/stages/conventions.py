"""S4: how much lambda* hangs on what an encoder is fed and what is taken of it, at one layer of one network.

The paper's own convention: grey as three equal channels, [0, 255], no means subtracted, features after the ReLU, a mean over
elements. Three equal channels are the first kernel summed over its channels, by construction: that is what the heart does.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import keras
import numpy as np
import pandas as pd
from keras import ops

from lib.networks.scale import convolutions
from lib.perceptual import LossConfiguration, balance, encoders
from lib.perceptual.losses import as_list

PAPERS: Final = "the paper's"  # what the others are compared with
SUM, UNIT, BEFORE, ONE = "sum", "[0, 1]", "before ReLU", "one channel"
FIELDS: Final = {PAPERS: {}, SUM: {"reduction": "sum"}, UNIT: {"input_range": (0.0, 1.0)},
                 "[0, 1], mean and SD": {"input_range": (0.0, 1.0), "preprocessing": "torch"},
                 "means subtracted": {"preprocessing": "caffe"}}
"""What is another field of :class:`LossConfiguration`: torchvision's mean and SD, Keras's means."""
TERMS: Final = ["pixel", "perceptual"]


class Conventions(NamedTuple):
    """Losses at some layers under every convention, by (convention, layer), and what measures them all at once."""

    losses: dict[tuple[str, str], LossConfiguration]
    measure: Callable  # of lib.perceptual.balance.pair_losses
    features: keras.Model  # under the paper's convention, and the names of its layers
    names: tuple[str, ...]

    @classmethod
    def of(cls, models: Sequence[keras.Model], trunk: keras.Model, atlas: Sequence[LossConfiguration]) -> "Conventions":
        """Those of a VGG with its weights, with the networks of some states; ``atlas``: a loss at each layer, of one
        context, as the paper has it."""
        losses = {(name, loss.layer_names[0]): replace(loss, **fields) for loss in atlas for name, fields in FIELDS.items()}
        for loss in atlas:
            (layer,) = loss.layer_names
            losses[BEFORE, layer] = replace(loss, layers=layer + encoders.BEFORE)
            losses[ONE, layer] = replace(loss, weights=ONE)
        networks = {atlas[0].weights: trunk, ONE: first_channel(trunk)}
        needed = balance.encodings(losses.values())
        built = {encoding: encoders.encoder(encoding, names, networks[encoding.weights])
                 for encoding, names in needed.items()}
        papers = atlas[0].encoding
        return cls(losses, balance.pair_losses(models, list(losses.values()), built), built[papers], needed[papers])

    def table(self, pairs: Sequence[tuple[np.ndarray, np.ndarray]], states: Sequence[str]) -> pd.DataFrame:
        """A row per state (one for each model), convention, layer and pair, with the pair's number: pixel and perceptual
        term, and ``algebra``: by how much lambda* differs from the paper's as far as that is known without measuring: 1 by
        the number of elements for a sum; 255 squared for [0, 1], where a network has no biases."""
        shapes = as_list(self.features.compute_output_shape((1, *pairs[0][1].shape[1:])))
        known = {(SUM, name): 1 / np.prod(shape[1:]) for name, shape in zip(self.names, shapes, strict=True)}
        found = np.concatenate([ops.convert_to_numpy(self.measure(*each)) for each in pairs], axis=1).astype(float)
        return pd.concat([pd.DataFrame(found[place, :, number], columns=TERMS).assign(
            state=state, convention=convention, layer=layer, pair=np.arange(found.shape[1]),
            algebra=255.0**2 if convention == UNIT else known.get((convention, layer), np.nan))
            for place, state in enumerate(states) for number, (convention, layer) in enumerate(self.losses)],
            ignore_index=True)


def first_channel(network: keras.Model) -> keras.Model:
    """A copy that sees the first channel only: what it makes of grey in three channels is what ``network`` makes of grey in
    that one, with nothing in the two others."""
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    first = convolutions(copy)[0]
    kernel, *rest = first.get_weights()
    kernel[:, :, 1:] = 0
    first.set_weights([kernel, *rest])
    return copy
