"""Any pairs and any losses, as the measurements take them; what cannot be measured is named in one line."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count, islice
from typing import Any

import keras
import numpy as np
from keras import ops

from .gradients import failures, forward

SIDES = (1, 1024)  # of a square patch, between which the smallest that an encoder takes is looked for


def batches(pairs: Iterable, most: int | None = None) -> Iterator[tuple]:
    """Pairs batch by batch, as float32 tensors (batch, ...).

    Parameters
    ----------
    pairs : iterable of (images, targets)
        Batches of arrays or tensors of any library: a list, a generator, a ``tf.data.Dataset``, a
        ``keras.utils.PyDataset``, a PyTorch ``DataLoader`` (channels last, as everywhere here).
    most : int, optional, how many batches at most: pairs without an end need it

    Raises
    ------
    ValueError : what is no such iterable; images and targets of different number, or none; values that are not finite
    """
    for number, batch in enumerate(_each(pairs, most)):
        if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
            kind = f"{len(batch)} parts" if isinstance(batch, tuple | list) else f"a {type(batch).__name__}"
            raise ValueError(f"pairs: batch {number} is {kind}, expected (images, targets)")
        if len(batch) == 3 and batch[2] is not None:
            raise ValueError(f"pairs: batch {number} has sample weights, which play no part here: leave them out")
        both = [_tensor(each) for each in batch[:2]]
        if not (len(both[0].shape) and len(both[1].shape)):
            raise ValueError(f"pairs: batch {number} is of numbers, expected arrays (batch, ...)")
        if both[0].shape[:1] != both[1].shape[:1]:
            counts = [len(each) for each in both]
            raise ValueError(f"pairs: batch {number} has {counts[0]} images and {counts[1]} targets")
        if 0 in both[0].shape:
            raise ValueError(f"pairs: batch {number} is empty, leave it out")
        for each, what in zip(both, ("images", "targets"), strict=True):
            if not bool(ops.all(ops.isfinite(each))):
                raise ValueError(f"pairs: the {what} of batch {number} hold values that are no numbers")
        yield both[0], both[1]


def _each(pairs: Iterable, most: int | None) -> Iterator:
    if isinstance(pairs, keras.utils.PyDataset):
        if pairs.num_batches is None and most is None:
            raise ValueError("pairs: this PyDataset has no end, give it a length")
        places = count() if pairs.num_batches is None else range(pairs.num_batches)
        return (pairs[place] for place in islice(places, most))
    if isinstance(pairs, tuple | list) and len(pairs) == 2 and all(hasattr(each, "shape") for each in pairs):
        raise ValueError("pairs: two arrays, expected batches: pass [(images, targets)]")
    try:
        return islice(iter(pairs), most)
    except TypeError:
        raise ValueError(f"pairs: a {type(pairs).__name__}, expected batches: pass [(images, targets)]") from None


def _tensor(value: Any) -> Any:
    if ops.is_tensor(value):
        return ops.cast(value, "float32")
    if hasattr(value, "detach"):  # PyTorch's, where Keras has another backend; NumPy has no bfloat16
        value = value.detach().cpu().float()
    try:
        return ops.convert_to_tensor(np.asarray(value, np.float32))
    except (TypeError, ValueError):
        raise ValueError(f"pairs: a {type(value).__name__} is no array of numbers of one shape") from None


def function_of(loss: Callable) -> Callable:
    """A loss before it is reduced over a batch: that of Keras has it as ``call``."""
    return loss.call if isinstance(loss, keras.losses.Loss) else loss


def per_image(loss: Callable, name: str) -> Callable:
    """A loss as one value for each image, (batch,): a mean over whatever else its value has. It is computed in float32, as
    Keras's ``fit`` does, whatever the precision of the predictions."""
    function = function_of(loss)

    def values(targets: Any, predictions: Any) -> Any:
        targets, predictions = (ops.cast(each, "float32") for each in (targets, predictions))
        known: tuple[type[Exception], ...] = (*failures(), AttributeError)
        try:
            found, count = ops.cast(function(targets, predictions), "float32"), ops.shape(predictions)[0]
        except known as error:
            reason = f"it cannot be computed of a network's output ({first_line(error)})"
            raise ValueError(f"{name}: {reason}; in a graph only operations of tensors can be, as keras.ops has") from error
        if len(found.shape) and found.shape[0] not in (predictions.shape[0], None):
            raise ValueError(f"{name}: its value has the shape {tuple(found.shape)}, expected a number, or one per image")
        return ops.mean(ops.reshape(found, (count, -1)), axis=1)

    return values


def for_losses(losses: Mapping[str, Callable], pairs: Iterable) -> Iterator[tuple]:
    """:func:`batches`, one pair at a time where one of the losses has one value for a whole batch. Raises ValueError, which
    names the loss: it cannot be computed for images of this size."""
    single = None
    for images, targets in batches(pairs):
        if single is None:
            single = False
            for name, loss in losses.items():
                single |= not len(_tried(loss, name, targets[:1]).shape)
        yield from [(images[i : i + 1], targets[i : i + 1]) for i in range(len(images))] if single else [(images, targets)]


def _tried(loss: Callable, name: str, target: Any) -> Any:
    require_room(loss, name, target.shape)
    try:
        return ops.convert_to_tensor(function_of(loss)(target, target))
    except failures() as error:
        where = " x ".join(map(str, target.shape[1:]))
        raise ValueError(f"{name}: it cannot be computed for images of {where} ({first_line(error)})") from error


def encoder_of(loss: Any) -> keras.Model | None:
    """The network of a perceptual loss, where it has one that we know of: its attribute ``encoder``."""
    found = getattr(getattr(loss, "perceptual", None) or loss, "encoder", None)
    return found if isinstance(found, keras.Model) else None


def require_room(loss: Any, name: str, shape: Sequence[int]) -> None:
    """Raise ValueError, with the least side, if a loss has an encoder whose layers leave nothing of images of a shape
    (batch, rows, columns, channels), or that takes other channels."""
    encoder = encoder_of(loss)
    if encoder is None or len(shape) != 4:
        return
    rows, columns, channels = shape[1:]
    takes = encoder.inputs[0].shape[1:] if encoder.inputs else (None,) * 3
    if takes[-1] not in (None, channels):
        raise ValueError(f"{name}: its encoder takes images of {takes[-1]} channels, these have {channels}")
    if any(side not in (None, own) for side, own in zip(takes, (rows, columns), strict=False)):
        sides = " x ".join("any" if side is None else str(side) for side in takes[:2])
        raise ValueError(f"{name}: its encoder takes images of {sides} only, these are {rows} x {columns}")
    if not _fits(encoder, rows, columns, channels):
        low, high = SIDES
        if not _fits(encoder, high, high, channels):
            raise ValueError(f"{name}: its encoder takes no images of {rows} x {columns}, pass those of its own size")
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if _fits(encoder, middle, middle, channels) else (middle + 1, high)
        raise ValueError(f"{name}: its encoder leaves nothing of images of {rows} x {columns}, pass {low} x {low} or more, "
                         "or take a shallower layer")  # fmt: skip


def _fits(encoder: keras.Model, *shape: int) -> bool:
    try:
        found = encoder.compute_output_shape((1, *shape))
    except ValueError:  # Keras's, of a pooling or a convolution without an output
        return False
    shapes = found if isinstance(found, list) else [found]
    return all(size is None or size > 0 for each in shapes for size in each)


def fitting(model: Callable, pairs: Iterable[tuple]) -> Iterator[tuple]:
    """:func:`batches` as they come. Raises ValueError if the network does not take the images, or its output has not the
    targets' shape: before the first of each shape."""
    seen: set[tuple] = set()
    for images, targets in pairs:
        shapes = tuple(images.shape[1:]), tuple(targets.shape[1:])
        if shapes not in seen:
            try:
                output = forward(model, images[:1])
            except failures() as error:
                raise ValueError(f"pairs: the network takes no images of {shapes[0]} ({first_line(error)})") from error
            if not hasattr(output, "shape"):
                raise ValueError(f"model: its output is a {type(output).__name__}, expected one tensor")
            made = tuple(output.shape[1:])
            if made != shapes[1]:
                raise ValueError(f"pairs: the network's output is {made}, the target {shapes[1]}")
            seen.add(shapes)
        yield images, targets


def require_values(values: np.ndarray, names: Sequence[str]) -> None:
    """Raise ValueError if one of the losses, (pairs, losses), has a value of which no share can be taken."""
    for place, name in enumerate(names):
        column = values[:, place]
        for wrong, what in ((~np.isfinite(column), "it is no number"), (column < 0, "a share needs losses of 0 or more")):
            if wrong.any():
                pair = int(np.flatnonzero(wrong)[0])
                raise ValueError(f"{name}: {column[pair]:g} for pair {pair}, {what}")


def first_line(error: Exception) -> str:
    """What a library's error says, without its preamble and colours, cut to a line."""
    plain = re.sub(r"\x1b\[\d*m", "", str(error))
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith("Exception encountered")] or [type(error).__name__]
    return f"{said[0]:.160}"
