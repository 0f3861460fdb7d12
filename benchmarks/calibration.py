"""Algorithm 2 for the four configurations and both states of f_theta: one shared pass beside one pass for each.

``calibration_ratio`` is against *batched* passes in compiled functions, the target's features computed anew for ours,
though the trainings use them again. Also given:
the same with features that are there already, and both against the algorithm to the letter, which takes one pair at a time
(eagerly, as its pseudocode reads).
"""

import numpy as np
import tensorflow as tf

from benchmarks import reference
from benchmarks.forward import varied
from benchmarks.measure import by_turns, ratio, require_close
from benchmarks.setting import Setting
from lib.networks.unet import unet
from lib.networks.winograd import accelerated
from lib.perceptual import balance
from lib.stages import inputs
from lib.stages.calibrate import BATCH, STATES
from lib.stages.feature_cache import target_features

ROUNDS, BATCHES, LITERAL_PAIRS = 4, 2, 8
RTOL = 1e-3


def run(setting: Setting) -> dict:
    """Pairs a second of every variant; the losses must agree."""
    batch = setting.pick(BATCH, 4)
    study = setting.study(patches=BATCHES * batch)
    patches = inputs.patches(study, "train", study.seed)
    chosen = {name: loss for name, loss in study.configurations.items() if loss.lambda_.calibrated}
    layers = balance.encodings(chosen.values())
    known = {encoding: target_features(study, encoding, patches, study.seed) for encoding in layers}
    unets = [varied(unet(setting.channels, seed=seed)) for seed, _ in enumerate(STATES)]
    encoders = {encoding: inputs.encoder(study.weights, encoding, *names) for encoding, names in layers.items()}
    shared = balance.pair_losses([accelerated(network) for network in unets], list(chosen.values()), encoders,
                                 dict.fromkeys(layers))
    dataset = patches.dataset(batch, drop_remainder=False)
    found: dict[str, np.ndarray] = {}

    def ours() -> None:
        values = [shared(ldct, ndct, [[known[encoding][name].read(start, start + len(ndct)) for name in names]
                                      for encoding, names in layers.items()])
                  for start, (ldct, ndct) in zip(range(0, len(patches), batch), dataset, strict=True)]
        terms = np.concatenate([each.numpy() for each in values], axis=1)
        found["ours"] = np.concatenate([terms[:, :, :1, 0], terms[..., 1]], axis=-1)

    def features() -> None:
        with open(setting.folder / "features.bin", "wb") as stream:
            for network in encoders.values():
                for _, ndct in dataset:
                    stream.writelines(np.ascontiguousarray(values).data for values in network.predict_on_batch(ndct))

    plain = {name: reference.features_of(study, loss.encoding, *loss.layer_names) for name, loss in chosen.items()}
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
