"""Algorithm 2 for the four configurations and both states of f_theta: one shared pass beside one pass for each.

``calibration_ratio`` is against *batched* passes in compiled functions, the target's features computed anew for ours,
though the trainings use them again. Ours is as for a cohort of the paper's size (:func:`lib.networks.winograd.quick`).
Also given: the same with features that are there already, and both against the algorithm to the letter, which takes one
pair at a time (eagerly, as its pseudocode reads).
"""

import numpy as np
import tensorflow as tf

from benchmarks import reference
from benchmarks.forward import varied
from benchmarks.measure import by_turns, ratio, require_close
from benchmarks.setting import Setting
from lib.data.patches import Patches
from lib.networks.unet import unet
from lib.networks.vgg import encoder, trunk
from lib.networks.winograd import WORTHWHILE, quick
from lib.paper import published
from lib.stages.calibrate import BATCH, STATES, pair_losses_of
from lib.stages.feature_cache import CONTEXTS, target_features

ROUNDS, BATCHES, LITERAL_PAIRS = 4, 2, 8
RTOL = 1e-3


def run(setting: Setting) -> dict:
    """Pairs a second of every variant; the losses must agree."""
    batch = setting.pick(BATCH, 4)
    study = setting.study(patches=BATCHES * batch)
    patches, phis = Patches(study, "train"), list(study.encoder.phis.values())
    known = [target_features(study, context, patches) for context in CONTEXTS]
    unets = [varied(unet(setting.channels, seed=seed)) for seed, _ in enumerate(STATES)]
    encoders = [quick(encoder(study, context, *phis), WORTHWHILE) for context in CONTEXTS]  # as for a cohort of this size
    shared = pair_losses_of([quick(network, WORTHWHILE) for network in unets], encoders, [None, None])
    dataset = patches.dataset(drop_remainder=False, batch=batch)
    found: dict[str, np.ndarray] = {}

    def ours() -> None:
        values = [shared(ldct, ndct, [[each[phi].read(first, first + len(ndct)) for phi in phis] for each in known])
                  for first, (ldct, ndct) in zip(range(0, len(patches), batch), dataset, strict=True)]
        found["ours"] = np.concatenate([each.numpy() for each in values], axis=1)

    def features() -> None:
        with open(setting.folder / "features.bin", "wb") as stream:
            for network in encoders:
                for _, ndct in dataset:
                    stream.writelines(np.ascontiguousarray(values).data for values in network.predict_on_batch(ndct))

    plain = {name: reference.features_of(trunk(study, published.EXPERIMENTS[name].context), study.phi(name))
             for name in published.CALIBRATED}
    compiled = [{name: _compiled(network, features) for name, features in plain.items()} for network in unets]
    images = list(dataset)

    def batched() -> None:
        found["reference"] = np.stack([_table([[np.concatenate([each.numpy() for each in terms]) for terms in zip(
            *(work(*pair) for pair in images), strict=True)] for work in works.values()]) for works in compiled])

    def literal() -> None:
        for network in unets:
            for configuration in plain.values():
                for number in range(setting.pick(LITERAL_PAIRS, 2)):
                    ldct, ndct = (each[number : number + 1] for each in images[0])
                    mse, pl = reference.losses(network, configuration, ldct, ndct)
                    float(mse[0]), float(pl[0])

    works = {"ours": ours, "features": features, "batched": batched, "literal": literal}
    for work in works.values():
        work()
    difference = require_close("losses of pairs, relative", found["ours"] / found["reference"], 1.0, atol=RTOL)
    seconds = by_turns(works, setting.pick(ROUNDS, 1))
    a_pair = {name: np.array(values) / (setting.pick(LITERAL_PAIRS, 2) if name == "literal" else len(patches))
              for name, values in seconds.items()}
    whole = a_pair["ours"] + a_pair["features"]
    return {
        "calibration_ratio": ratio(a_pair["batched"], whole),
        "ratio_features_given": ratio(a_pair["batched"], a_pair["ours"]),
        "ratio_to_one_pair_at_a_time": ratio(a_pair["literal"], whole),
        "ratio_to_one_pair_at_a_time_features_given": ratio(a_pair["literal"], a_pair["ours"]),
        **{f"{name}_ms_a_pair": 1e3 * min(values) for name, values in a_pair.items()},
        "ours_pairs_per_s": 1 / min(whole), "reference_pairs_per_s": 1 / min(a_pair["batched"]),
        "largest_relative_difference": difference, "rtol": RTOL,
    }


def _compiled(network, features):
    return tf.function(lambda ldct, ndct: reference.losses(network, features, ldct, ndct))


def _table(terms: list) -> np.ndarray:
    """(mse, pl) of each configuration, in the order E1 to E4 -> (pairs, 1 + configurations), as ours."""
    return np.stack([terms[0][0], *(pl for _, pl in terms)], axis=-1)
