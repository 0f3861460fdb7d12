"""Metrics of all experiments: one channel, LDCT once, in two threads, beside three channels and LDCT each time."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks import reference
from benchmarks.measure import by_turns, ratio, require_close
from benchmarks.setting import Setting
from lib.metrics.image_quality import authors_metrics
from lib.perceptual import presets

ROUNDS = 5


def run(setting: Setting) -> dict:
    """Milliseconds a slice for all experiments, of both; their values must be equal."""
    slices, random = setting.pick(6, 2), np.random.default_rng(0)
    experiments = len(presets.paper())
    ndct = random.random((slices, setting.size, setting.size), np.float32)
    ldct, *outputs = (ndct + random.normal(0, 0.02, ndct.shape).astype(np.float32) for _ in range(1 + experiments))
    found: dict[str, list] = {}

    def ours() -> None:
        with ThreadPoolExecutor(2) as pool:
            found["ours"] = [[scores[:3] for scores in pool.map(authors_metrics, images, ndct)]
                             for images in (ldct, *outputs)]

    def plain() -> None:
        pairs = [[list(map(reference.metrics, images, ndct)) for images in (ldct, each)] for each in outputs]
        found["reference"] = [pairs[0][0], *(scores for _, scores in pairs)]

    seconds = by_turns({"ours": ours, "reference": plain}, setting.pick(ROUNDS, 1))
    return {
        "metrics_ratio": ratio(seconds["reference"], seconds["ours"]), "experiments": experiments,
        **{f"{name}_ms_a_slice": 1e3 * min(values) / slices for name, values in seconds.items()},
        "largest_difference": require_close("metrics", found["ours"], found["reference"], rtol=1e-10),
    }
