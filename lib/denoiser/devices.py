"""How TensorFlow computes: on which devices, in which precision, repeatably or not."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import keras
import tensorflow as tf

from lib.errors import TrainingError


def repeatable(seed: int, deterministic: bool = True) -> None:
    """Seed Python, NumPy and TensorFlow; ``deterministic`` lets TensorFlow use only kernels that repeat their bits."""
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


@cache
def strategy(name: str) -> tf.distribute.Strategy:
    """The strategy of the study's ``compute.strategy``; 'multiworker' must be asked for before TensorFlow computes anything.

    Raises TrainingError for 'multiworker' without a TF_CONFIG that names the workers.
    """
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    if name == "multiworker":
        try:
            cluster, task = (json.loads(os.environ["TF_CONFIG"])[part] for part in ("cluster", "task"))
            cluster["worker"][task["index"]]
        except (KeyError, ValueError, IndexError, TypeError):
            raise TrainingError("compute.strategy=multiworker needs the environment variable TF_CONFIG on every machine, "
                                '{"cluster": {"worker": ["host1:port", "host2:port"]}, "task": {"type": "worker", '
                                '"index": 0}}', remedy="set it, then run `python -m lib train EXPERIMENT` on each") from None
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()


def is_chief(chosen: tf.distribute.Strategy) -> bool:
    """Whether this process writes: the only worker, or the first one of several."""
    resolver = chosen.cluster_resolver
    return resolver is None or not resolver.task_type or (resolver.task_type, resolver.task_id) in (
        ("worker", 0), ("chief", 0))


def device_names(chosen: tf.distribute.Strategy) -> list[str]:
    """The devices that compute here: all replicas', or the one that TensorFlow prefers."""
    if chosen is tf.distribute.get_strategy() and chosen.num_replicas_in_sync == 1:
        return [(tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU"))[0].name]
    return [*chosen.extended.worker_devices]


def require_even(batch: int, chosen: tf.distribute.Strategy) -> None:
    """Raise TrainingError if the global batch cannot be divided among the replicas."""
    replicas = chosen.num_replicas_in_sync
    if batch % replicas:
        raise TrainingError(f"training.batch {batch} cannot be divided among {replicas} devices",
                            remedy=f"choose a multiple of {replicas}, "
                            f"SET=training.batch={batch // replicas * replicas or replicas}")


def require_one(name: str, what: str) -> None:
    """Raise TrainingError where ``what`` needs one device and the study's ``compute.strategy`` is for several."""
    if name in ("mirrored", "multiworker"):
        raise TrainingError(f"{what} trains on one device, compute.strategy is {name}",
                            remedy="pass SET=compute.strategy=single")


@contextmanager
def precision(policy: str) -> Iterator[None]:
    """Layers that are made inside compute in ``policy``, 'mixed_float16' for example; their weights stay float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
