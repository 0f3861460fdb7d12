"""Gradients in whichever backend Keras has (TensorFlow, PyTorch, JAX): all that is not the same in each of them.

Nothing here knows what a loss is.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

BACKENDS = ("tensorflow", "torch", "jax")


def compiled(function: Callable, variables: Sequence[keras.Variable] = ()) -> Callable:
    """A function of tensors as a graph, where the backend makes one (TensorFlow, JAX); ``variables`` that it reads may have
    other values at each call."""
    if _backend() == "tensorflow":
        import tensorflow

        return tensorflow.function(function, autograph=False, reduce_retracing=True)
    if _backend() == "jax":
        import jax

        def with_values(values: list, *tensors: Any) -> Any:
            with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
                return function(*tensors)

        graph = jax.jit(with_values)
        return lambda *tensors: graph([each.value for each in variables], *tensors)
    return function


def failures() -> tuple[type[Exception], ...]:
    """What Keras and its backend raise where tensors do not fit."""
    known: tuple[type[Exception], ...] = (ValueError, TypeError, RuntimeError, IndexError)
    if _backend() == "tensorflow":
        import tensorflow

        return (*known, tensorflow.errors.OpError)
    return known


def forward(model: Callable, images: Any) -> Any:
    """What a Keras model, as in inference, or another function makes of images."""
    return model(images, training=False) if isinstance(model, keras.Model) else model(images)


def at_input(function: Callable, place: Any) -> tuple[list, list]:
    """Values of several losses, and the gradient of each at their common input.

    Parameters
    ----------
    function : callable, tensor (batch, ...) -> sequence of tensors (batch,): losses, one value per image
    place : tensor, (batch, ...), the input

    Returns
    -------
    values : list of tensors, (batch,)
    gradients : list of tensors, (batch, ...)
        An image's gradient is that of its own loss, not of a mean; zeros where the input plays no part.
    """
    if _backend() == "tensorflow":
        import tensorflow

        with tensorflow.GradientTape(persistent=True) as tape:
            tape.watch(place)
            values = list(function(place))
        found = [tape.gradient(each, place) for each in values]
    elif _backend() == "torch":
        import torch

        with torch.enable_grad():
            place = place.detach().requires_grad_(True)
            values = list(function(place))
        found = [_torch_gradients(each.sum(), [place])[0] for each in values]
        values = [each.detach() for each in values]
    else:
        import jax

        values = list(function(place))  # XLA does what the losses have in common once
        found = [jax.grad(lambda at, n=n: function(at)[n].sum())(place) for n in range(len(values))]
    return values, [ops.zeros_like(place) if each is None else each for each in found]


def at_weights(model: keras.Model, images: Any, gradients: Callable[[Any], Sequence]) -> list[list]:
    """The gradients of several losses at a model's trainable weights, from those at its output: one pass forward, and for
    each loss one back.

    Parameters
    ----------
    model : keras.Model, images (batch, ...) -> output (batch, ...)
    images : tensor, its input
    gradients : callable, output -> sequence of tensors of its shape, the gradient of each loss there

    Returns
    -------
    list
        For each loss a list of tensors, as ``model.trainable_variables``; zeros for a weight that plays no part.
    """
    variables = model.trainable_variables
    if _backend() == "tensorflow":
        import tensorflow

        with tensorflow.GradientTape(persistent=True) as tape:
            output = model(images, training=False)
        found = [tape.gradient(output, variables, output_gradients=each) for each in gradients(output)]
    elif _backend() == "torch":
        import torch

        with torch.enable_grad():
            output = model(images, training=False)
        sources = [each.value for each in variables]
        found = [_torch_gradients(output, sources, each) for each in gradients(output.detach())]
    else:
        import jax

        others = [each.value for each in model.non_trainable_variables]

        def forward(weights: list) -> Any:
            return model.stateless_call(weights, others, images, training=False)[0]

        output, back = jax.vjp(forward, [each.value for each in variables])
        found = [back(each)[0] for each in gradients(output)]
    return [
        [ops.zeros_like(variable) if part is None else part for variable, part in zip(variables, each, strict=True)]
        for each in found
    ]


def _torch_gradients(value: Any, sources: list, upstream: Any = None) -> tuple:
    import torch

    if not value.requires_grad:
        return (None,) * len(sources)
    return torch.autograd.grad(value, sources, upstream, retain_graph=True, allow_unused=True)


def _backend() -> str:
    name = keras.backend.backend()
    if name not in BACKENDS:
        raise ValueError(f"KERAS_BACKEND={name}: gradients need one of {', '.join(BACKENDS)}")
    return name
