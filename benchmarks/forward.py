"""Whole slices through the U-Net as the evaluation passes them, beside the plain U-Net on the same path and batch.

What ``model.predict`` of one slice at a time takes is given, too (``predict``); no ratio counts it.
"""

import numpy as np

from benchmarks.measure import by_turns, ratio, require_close
from benchmarks.setting import Setting
from lib.data.hu import denormalise, normalise
from lib.denoiser.inference import denoise
from lib.networks.unet import unet
from lib.networks.winograd import accelerated
from lib.stages.evaluate import BATCH

ROUNDS = 12
TOLERANCE = 2e-5  # of the output, which is in [0, 1]: float32 rounding through 23 layers


def run(setting: Setting) -> dict:
    """Milliseconds a slice of ours, the reference and ``predict``, kernels and biases random."""
    network = varied(unet(setting.channels, seed=5))
    hu = denormalise(np.random.default_rng(0).normal(0.3, 0.1, (BATCH, setting.size, setting.size)))
    fast, found = accelerated(network), {}

    def ours() -> None:
        found["ours"] = normalise(denoise(fast, hu))

    def plain() -> None:
        found["reference"] = normalise(denoise(network, hu))

    def predict() -> None:
        for each in normalise(hu):
            network.predict(each[None, ..., None], verbose=0)

    works = {"ours": ours, "reference": plain, "predict": predict}
    for work in works.values():
        work()
    spread = float(found["reference"].std())
    difference = require_close("forward pass", found["ours"], found["reference"], atol=TOLERANCE)
    seconds = by_turns(works, setting.pick(ROUNDS, 1))
    return {
        "forward_ratio": ratio(seconds["reference"], seconds["ours"]),
        **{f"{name}_ms_a_slice": 1e3 * min(values) / BATCH for name, values in seconds.items()},
        **{f"{name}_slices_per_s": BATCH / min(values) for name, values in seconds.items()},
        "output_sd": spread, "largest_difference": difference, "allowed_difference": TOLERANCE,
    }


def varied(network):
    """The network with larger random kernels and some bias: its output varies over the image as a trained one's does."""
    for layer in network.layers:
        if layer.get_weights():
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel * np.float32(1.5), bias + np.float32(0.01)])
    return network
