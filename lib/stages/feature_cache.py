"""The targets' features on disk: a third of the encoder's work, and the same in every epoch and experiment.

The features of one encoding and layer for every training patch's NDCT, in the order in which training sees them: computed
once for each seed, where disk holds them, and read by the calibration and by every training. They are a cache: the run
deletes them at its end.
"""

import logging
import shutil
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path

import keras
import numpy as np
from filelock import FileLock
from tqdm import tqdm

from lib.artifacts.cache import Step, digest
from lib.artifacts.files import atomic
from lib.data.features import Features
from lib.data.patches import Patches
from lib.errors import StudyError
from lib.networks import any_network
from lib.perceptual import balance, encoders
from lib.perceptual.configuration import Encoding, LossConfiguration
from lib.perceptual.losses import as_list
from lib.stages import inputs
from lib.study.config import Study
from lib.study.sections import Training

BATCH = 16  # patches per encoder pass
log = logging.getLogger(__name__)


def sizes(needed: Mapping[Encoding, tuple[str, ...]], patches: int, side: int) -> dict[tuple[Encoding, str], int]:
    """Bytes that the features of so many patches of ``side`` x ``side`` take, by encoding and layer.

    Raises StudyError for a layer that a network lacks."""
    found = {}
    for encoding, names in needed.items():
        whole = encoding.encoder == encoders.FILE  # else what matters here does not hang on the weights
        network = any_network.network(encoders.FILE, encoding.weights) if whole else encoders.network(encoding.encoder)
        try:
            encoders.check_layers(network, names)
        except ValueError as error:
            raise StudyError(str(error), where="losses") from None
        image = (1, side, side, encoders.image_channels(network))
        for name, output in zip(names, encoders.outputs_of(network, names), strict=True):
            layer = keras.Model(network.inputs, output)
            found[encoding, name] = 4 * patches * int(np.prod(layer.compute_output_shape(image)))
    return found


def kept(sizes: Mapping[tuple[Encoding, str], int], limit: float) -> dict[tuple[Encoding, str], int]:
    """Those whose features are kept on disk: the smallest first, as long as ``limit`` bytes hold them."""
    rising = sorted(sizes.items(), key=lambda item: item[1])
    return {key: size for (key, size), total in zip(rising, accumulate(size for _, size in rising), strict=True)
            if total <= limit}


def kept_in(losses: Iterable[LossConfiguration], settings: Training, patches: int) -> dict[tuple[Encoding, str], int]:
    """Bytes of the features that are kept for so many training patches, by encoding and layer."""
    if not settings.features_gib:
        return {}
    return kept(sizes(balance.encodings(losses), patches, settings.patch_size), settings.features_gib * 1024**3)


def target_features(study: Study, encoding: Encoding, patches: Patches, seed: int) -> dict[str, Features]:
    """Features of every training patch's NDCT by layer, for those that are kept; computed if they are not there.

    ``encoding`` is one of the study's experiments', ``patches`` are the training patches in the order of the run's ``seed``.
    """
    every = kept_in(study.chosen.values(), study.training, len(patches))
    size = {name: each for (of, name), each in every.items() if of == encoding}
    folder = study.paths.features / f"seed-{seed}"
    stem = digest([encoding, [*size], patches.digest])[:12]  # trainings of other settings go on beside this one
    files = {name: folder / f"{stem}_{name.replace(':', '-')}.npy" for name in size}
    step = Step(f"features, {encoding.weights}", folder / f"{stem}.json", {"lib.stages.feature_cache"},
                {"layers": list(files), "encoding": encoding, "patch_size": study.training.patch_size},
                {"manifest": study.paths.manifest, "patches": patches.digest}
                | inputs.weights_files(study.weights, [encoding]), files.values())
    if not files:
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{stem}.lock"):  # of trainings that begin together, one computes and the others wait
        if not step.is_current():
            needs, free = sum(size.values()), shutil.disk_usage(study.paths.root).free
            if needs > free:
                log.warning("features of the targets are computed at every step: they need %.1f GB of disk and %.1f GB are "
                            "free", needs / 1e9, free / 1e9)
                return {}
            with step.making(seed=seed):
                network = inputs.encoder(study.weights, encoding, *files)
                _compute(network, patches, list(files.values()), f"features {encoding.weights}")
    return {name: Features(path) for name, path in files.items()}


def _compute(network: keras.Model, patches: Patches, files: list[Path], name: str) -> None:
    with ExitStack() as stack:
        streams = [stack.enter_context(stack.enter_context(atomic(path)).open("wb")) for path in files]
        batches = patches.dataset(BATCH, drop_remainder=False)
        for batch, (_, ndct) in enumerate(tqdm(batches, unit="batch", desc=name, mininterval=1.0, delay=2)):
            for stream, values in zip(streams, as_list(network.predict_on_batch(ndct)), strict=True):
                if batch == 0:
                    header = {"descr": "<f4", "fortran_order": False, "shape": (len(patches), *values.shape[1:])}
                    np.lib.format.write_array_header_1_0(stream, header)
                stream.write(np.ascontiguousarray(values, np.float32).data)
