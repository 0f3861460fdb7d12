"""A training step: ours with the target's features from disk, beside two separate passes of a three-channel VGG-19.

Ours includes the reading of patches and features; the reference has its batches in memory.
"""

import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from benchmarks import reference
from benchmarks.arithmetic import burst, convolutions, step_flops
from benchmarks.measure import by_turns, ratio, require_close
from benchmarks.setting import Setting
from lib.denoiser.model import Denoiser
from lib.denoiser.moving import MovingLambda
from lib.perceptual import encoders
from lib.perceptual.psi import lambda_star
from lib.perceptual.rules import Held
from lib.stages import inputs, train
from lib.stages.feature_cache import target_features
from lib.study.runs import Run

ROUNDS, BATCHES = 9, 6
EXPERIMENTS = {"block3_conv2": "E1", "block5_conv4": "E2"}
LOSS_RTOL = 1e-4
UPDATE_RTOL = 2e-2  # Adam's first step is the sign of the gradient: rounding turns a few that are nearly zero


def run(setting: Setting, phi: str) -> dict:
    """Patches a second of both at one layer, GFLOP/s of ours and of the best convolution."""
    study = setting.study(patches=BATCHES * setting.study().training.batch)
    training, batch, size = Run(EXPERIMENTS[phi], study.seed), study.training.batch, study.training.patch_size
    encoding, patches = study.configurations[training.experiment].encoding, inputs.patches(study, "train", study.seed)
    features = target_features(study, encoding, patches, study.seed)[phi]
    memory = list(patches.dataset(batch, drop_remainder=True))
    unet, separate = train.new_unet(study.unet, study.seed, patches), reference.features_of(study, encoding, phi)
    lambda_ = lambda_star(*reference.losses(unet, separate, *memory[0]))  # both terms count in what is compared
    denoiser = train.new_denoiser(study, training, lambda_, patches, 1000)
    plain = reference.training_step(unet, separate, lambda_, train.optimizer(study.training, 1000))
    batches = iter(patches.dataset(batch, drop_remainder=True, features=[features]).repeat())
    begin = unet.get_weights()
    losses = {"ours": float(denoiser.train_on_batch(*next(batches), return_dict=True)["loss"]),
              "reference": float(plain(*memory[0]))}
    loss = require_close("loss of a step", losses["ours"], losses["reference"], rtol=LOSS_RTOL)
    tolerance = 10 * UPDATE_RTOL if setting.tiny else UPDATE_RTOL  # few weights: a sign more counts
    update = _update_difference(begin, denoiser.unet.get_weights(), unet.get_weights(), tolerance)
    turn = iter(range(10**9))
    works = {"ours": lambda: denoiser.train_on_batch(*next(batches)),
             "reference": lambda: float(plain(*memory[next(turn) % len(memory)]))}
    for work in works.values():
        work()
    measured = list(convolutions(batch, size))
    ceiling = {name: 0.0 for name, _, _ in measured}

    def convolve() -> None:
        for name, operations, work in measured:
            ceiling[name] = max(ceiling[name], burst(operations, work))

    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(setting.pick(ROUNDS, 1)):
        for name, values in by_turns(works, 1).items():
            seconds[name] += values
        if number % 2 == 0:
            convolve()
    operations = batch * step_flops(unet, encoders.encoder(encoding, [phi], encoders.network(encoding.encoder)), size)
    rate = operations / min(seconds["ours"]) / 1e9
    moving = _moving(denoiser, works["ours"], setting.pick(ROUNDS, 2))
    return {
        "step_ratio": ratio(seconds["reference"], seconds["ours"]), "moving_ms": 1e3 * moving,
        "moving_ratio": min(seconds["ours"]) / (min(seconds["ours"]) + moving),
        **{f"{name}_patches_per_s": batch / min(values) for name, values in seconds.items()},
        **{f"{name}_ms": 1e3 * min(values) for name, values in seconds.items()},
        "ours_gflop_a_patch": operations / batch / 1e9, "ours_gflop_per_s": rate, "convolutions_gflop_per_s": ceiling,
        "fraction_of_ceiling": rate / max(ceiling.values()),
        "loss": losses["reference"], "lambda": lambda_, "loss_difference": loss, "loss_rtol": LOSS_RTOL,
        "update_relative_difference": update, "update_rtol": tolerance,
    }


def _moving(denoiser: Denoiser, step: Callable, rounds: int) -> float:
    """Seconds that a rule which holds Psi adds to a step."""
    callback, found = MovingLambda(Held("psi"), SimpleNamespace(course=None, kept={})), []
    callback.set_model(denoiser)
    callback.on_train_begin()
    for number in range(rounds):
        step()
        begin = time.perf_counter()
        callback.on_step(number, number, {})
        found.append(time.perf_counter() - begin)
    return float(np.median(found))


def _update_difference(begin: list, ours: list, plain: list, tolerance: float) -> float:
    """Norm of the difference of the two updates of all weights over the norm of one."""
    first, one, other = (np.concatenate([np.ravel(each) for each in weights]).astype(np.float64)
                         for weights in (begin, ours, plain))
    relative = float(np.linalg.norm(one - other) / np.linalg.norm(other - first))
    require_close("weights after a step", relative, 0.0, atol=tolerance)
    return relative
