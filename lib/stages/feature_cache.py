"""The targets' features on disk: a third of the encoder's work, and the same in every epoch and experiment.

The features of one (context, phi) for every training patch's NDCT, in the order in which training sees them: computed
once by the calibration, where disk holds them, and read by it and by every training. They are a cache: the run deletes
them at its end.
"""

import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from lib.artifacts.cache import Step
from lib.artifacts.files import atomic, file_sha256
from lib.data.features import Features
from lib.data.patches import Patches
from lib.networks.vgg import encoder, vgg, weights_file
from lib.networks.winograd import quick
from lib.paper import published
from lib.study.config import Study

BATCH = 16  # patches an encoder pass
CONTEXTS: tuple[published.Context, ...] = ("ImageNet", "Medical")


def sizes(study: Study, patches: int) -> dict[str, int]:
    """Bytes that the features of so many patches take, by phi; the same for both contexts."""
    network = vgg(study.encoder.architecture)
    side = study.training.patch_size
    shapes = {phi: keras.Model(network.inputs, network.get_layer(phi).output).compute_output_shape((1, side, side, 3))
              for phi in study.encoder.phis.values()}
    return {phi: 4 * patches * int(np.prod(shape)) for phi, shape in shapes.items()}


def kept(study: Study, patches: int) -> list[str]:
    """The phis whose features are kept on disk: the smallest first, as long as ``features_gib`` holds both contexts'."""
    left, chosen = study.training.features_gib * 1024**3, []
    for phi, size in sorted(sizes(study, patches).items(), key=lambda item: item[1]):
        left -= len(CONTEXTS) * size
        if left >= 0:
            chosen.append(phi)
    return chosen


def target_features(study: Study, context: published.Context, patches: Patches) -> dict[str, Features]:
    """Features of every training patch's NDCT by phi, for those that :func:`kept` names; computed if they are not there.

    Args:
        patches: the training patches.
    """
    phis = kept(study, len(patches))
    folder = study.paths.features
    files = {phi: folder / f"{context}_{phi}.npy" for phi in phis}
    step = Step(f"features, {context}", folder / f"{context}.json", {"lib.stages.feature_cache"},
                {"phi": phis, "architecture": study.encoder.architecture, "patch_size": study.training.patch_size},
                {"manifest": file_sha256(study.paths.manifest), "encoder": file_sha256(weights_file(study, context)),
                 "patches": patches.digest})
    if phis and not step.is_current():
        needed, free = sum(sizes(study, len(patches))[phi] for phi in phis), shutil.disk_usage(study.paths.root).free
        if needed > free:
            print(f"features of the targets are computed at every step: they need {needed / 1e9:.1f} GB of disk and "
                  f"{free / 1e9:.1f} GB are free", file=sys.stderr)
            return {}
        with step.making() as outputs:
            _compute(study, context, patches, files)
            outputs += files.values()
    return {phi: Features(path) for phi, path in files.items()}


def _compute(study: Study, context: published.Context, patches: Patches, files: dict[str, Path]) -> None:
    network = quick(encoder(study, context, *files), len(patches))
    with ExitStack() as stack:
        streams = [open(stack.enter_context(atomic(path)), "wb") for path in files.values()]
        for batch, (_, ndct) in enumerate(tqdm(patches.dataset(drop_remainder=False, batch=BATCH), unit="batch",
                                               total=-(-len(patches) // BATCH), desc=f"features {context}",
                                               mininterval=1.0, delay=2)):
            found = network.predict_on_batch(ndct)
            found: Sequence[np.ndarray] = [found] if len(files) == 1 else found
            for stream, values in zip(streams, found, strict=True):
                if batch == 0:
                    header = {"descr": "<f4", "fortran_order": False, "shape": (len(patches), *values.shape[1:])}
                    np.lib.format.write_array_header_1_0(stream, header)
                stream.write(np.ascontiguousarray(values, np.float32).data)
        for stream in streams:
            stream.close()
