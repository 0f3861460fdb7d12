"""A network that a user brings as an encoder: a whole Keras model in a file, of which no code runs."""

from pathlib import Path

import keras


def whole_model(path: Path) -> keras.Model:
    """A network from a .keras file. Its configuration may name layers of Keras only: code that a file brings, a Lambda for
    example, is refused.

    Raises
    ------
    ValueError : no .keras file, a damaged one, one with code or layers of its own, or no network of one image
    """
    if path.suffix != ".keras" or not path.is_file():
        raise ValueError(f"weights: {path} is no .keras file: save the network with model.save('name.keras')")
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever a file may hold
        reason = " ".join(str(error).split())
        raise ValueError(f"weights: {path} cannot be read without running code, or is damaged ({reason:.120})") from error
    image_channels(model)
    return model


def image_channels(model: keras.Model) -> int:
    """1 or 3, the channels of a network's one input, (batch, rows, columns, channels). Raises ValueError: it is none."""
    shapes = [tuple(each.shape) for each in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] not in (1, 3):
        raise ValueError(f"encoder: {model.name} takes {shapes}, expected one image (batch, rows, columns, 1 or 3)")
    return shapes[0][-1]
