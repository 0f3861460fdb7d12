"""Rules for a lambda that moves: where they settle, how fast, what stops them, and that they resume as they were."""

import json
import math
from contextlib import suppress

import keras
import numpy as np
import pytest
import tensorflow as tf

from lib.artifacts.cache import Step
from lib.denoiser.checkpoints import Checkpoints, StepCallback
from lib.denoiser.model import Denoiser
from lib.denoiser.moving import MovingLambda
from lib.perceptual import LossConfiguration, TotalLoss, psi_algorithm2
from lib.perceptual.rules import EpochRatio, Fixed, Held, Ramp, State, Sums

SUMS = Sums(2e-3, 40.0, 0.1, 900.0)
NOTHING = Sums(*[math.nan] * 4)


def after(rule, lambda_: float, steps: int, sums=SUMS) -> tuple[State, list[float]]:
    state = rule.start(lambda_)
    return state, [rule.step(state, sums(n) if callable(sums) else sums) for n in range(steps)]


def share(lambda_: float, sums: Sums, which: str) -> float:
    return float(psi_algorithm2(*(sums[:2] if which == "psi" else sums[2:]), lambda_))


@pytest.mark.parametrize("which", ["psi", "gamma"])
@pytest.mark.parametrize("target", [0.05, 0.95, 0.999])
@pytest.mark.parametrize("start", [1e-6, 1e-3, 1.0])
def test_a_held_share_is_reached_from_both_sides(which, target, start):
    state, lambdas = after(Held(which, target, limit=1e9), start, 400)
    assert share(lambdas[-1], SUMS, which) == pytest.approx(target, rel=1e-6)
    away = np.abs(np.log(lambdas) - np.log(lambdas[-1]))
    assert (np.diff(away) <= 1e-9).all() and state.fallbacks == state.clamped == 0  # straight there, without swinging


def test_a_step_is_bounded_and_lambda_stays_in_its_limits():
    state, lambdas = after(Held(target=0.999999, limit=8.0, largest=1.5), 1e-6, 30)
    steps = np.exp(np.abs(np.diff(np.log([1e-6, *lambdas]))))
    assert steps.max() == pytest.approx(1.5) and lambdas[-1] == pytest.approx(8e-6) and state.clamped > 0


def test_a_share_is_held_while_the_losses_move():
    """The ratio of losses falls by a decade over 400 steps, with noise of a third: the smoothed share stays."""
    random = np.random.default_rng(4)
    sums = [Sums(2e-3 * 10 ** (-n / 400) * math.exp(0.3 * random.normal()), 40.0 * math.exp(0.3 * random.normal()), 1, 1)
            for n in range(400)]
    _, lambdas = after(Held("psi", 0.9), 4.5e-4, 400, sums.__getitem__)
    held = [share(lambda_, Sums(2e-3 * 10 ** (-n / 400), 40.0, 1, 1), "psi") for n, lambda_ in enumerate(lambdas)]
    assert 0.85 < min(held) and max(held) < 0.94
    fixed = share(4.5e-4, Sums(2e-4, 40.0, 1, 1), "psi")
    assert fixed > 0.98


def test_steps_without_numbers_change_nothing_and_many_put_lambda_back():
    rule = Held(patience=3, target=0.999)
    state, lambdas = after(rule, 1e-5, 10)
    for sums, expected in ((NOTHING, lambdas[-1]), (Sums(0.0, 1, 1, 1), lambdas[-1]), (Sums(math.inf, 1, 1, 1), 1e-5)):
        assert rule.step(state, sums) == expected
    assert (state.fallbacks, state.bad, state.a) == (1, 0, 0.0)
    assert rule.step(state, SUMS) == pytest.approx(1.1e-5)


@pytest.mark.parametrize("rule", [Fixed(), Held("gamma", 0.9), Ramp(7), EpochRatio(0.3)])
def test_a_rule_resumes_as_it_was(rule):
    random = np.random.default_rng(1)
    sums = [Sums(*random.uniform(1, 2, 4)) for _ in range(20)]
    whole, state = rule.start(0.1), rule.start(0.1)
    for each in sums:
        rule.step(whole, each)
    for each in sums[:11]:
        rule.step(state, each)
    state = State(**json.loads(json.dumps(state.as_dict())))
    for each in sums[11:]:
        rule.step(state, each)
    assert state == whole and rule.epoch(state) == rule.epoch(whole)


def test_a_ramp_rises_evenly_and_stays():
    _, lambdas = after(Ramp(4, 0.2), 10.0, 6)
    assert Ramp(4, 0.2).start(10.0).lambda_ == 2.0 and lambdas == pytest.approx([4, 6, 8, 10, 10, 10])


def test_an_epochs_losses_choose_the_next_lambda():
    rule = EpochRatio(0.5)
    state, lambdas = after(rule, 1e-3, 3)
    assert lambdas == [1e-3] * 3 and rule.epoch(state) == pytest.approx(5e-5)
    rule.step(state, NOTHING)
    assert rule.epoch(state) == pytest.approx(5e-5) and state.fallbacks == 1


@pytest.mark.parametrize(("pixel", "sign"), [(1e-9, -1), (1e9, 1)])
def test_an_epochs_losses_move_lambda_within_bounds(pixel, sign):
    rule = EpochRatio(0.5, largest=10.0, limit=200.0)
    state, found = rule.start(0.1), []
    for _ in range(4):
        rule.step(state, Sums(pixel, 1.0, 0.0, 0.0))
        found.append(rule.epoch(state))
    assert found == pytest.approx([0.1 * factor**sign for factor in (10, 100, 200, 200)]) and state.clamped == 2


@pytest.mark.parametrize(("make", "says"), [
    (lambda: Held("phi"), "share: 'phi', expected one of psi, gamma"), (lambda: Held(target=1.0), "target: 1.0"),
    (lambda: Held(decay=1.0), "decay"), (lambda: Held(gain=0.0), "gain"), (lambda: Held(largest=1.0), "largest"),
    (lambda: Held(limit=0.5), "limit"), (lambda: Held(patience=0), "patience"), (lambda: Ramp(0), "steps, part: 0"),
    (lambda: EpochRatio(0.0), "target"), (lambda: EpochRatio(largest=1.0), "largest, limit: 1.0"),
    (lambda: EpochRatio(limit=0.5), "limit"), (lambda: EpochRatio().start(0.0), "lambda: 0.0, an epoch's losses move it"),
    (lambda: Held().start(0.0), "lambda: 0.0, a share is held from a positive"),
])  # fmt: skip
def test_wrong_rules_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


# The rule in a training


@pytest.fixture
def trained(tmp_path):
    """A tiny denoiser, trained for two epochs of six steps with a rule, with a checkpoint every four; it may stop at a step,
    and go on in a new process's place. Returns lambda after each step, and the model."""
    random = np.random.default_rng(6)
    x, y = (random.uniform(0, 1, (24, 8, 8, 1)).astype(np.float32) for _ in range(2))

    def fit(rule, stop: int | None = None, lambda_: float = 0.3) -> tuple[list[float], Denoiser]:
        image = keras.Input((None, None, 1))
        made = keras.layers.Conv2D(1, 3, padding="same", kernel_initializer=keras.initializers.GlorotUniform(seed=2))
        encoder = keras.layers.Conv2D(3, 3, kernel_initializer=keras.initializers.GlorotUniform(seed=1), activation="relu")
        loss = TotalLoss(LossConfiguration("vgg19", None, ("f",)), lambda_, keras.Model(image, encoder(image)))
        denoiser = Denoiser(keras.Model(image, made(image)), loss)
        denoiser.compile(keras.optimizers.Adam(1e-3))
        denoiser.build((None, 8, 8, 1))
        denoiser.optimizer.build(denoiser.trainable_variables)
        kept = Checkpoints(tmp_path, Step("training", tmp_path / "stamp.json", {"lib.perceptual.rules"}, {}, {}, []), 6, 4)
        kept.resume(denoiser)
        lambdas: list[float] = []

        class Watch(StepCallback):
            def on_step(self, step, done, logs):
                lambdas.append(logs["lambda"])
                if step == stop:
                    raise KeyboardInterrupt

        callbacks = [MovingLambda(rule, kept), kept, Watch(kept.course)]
        epoch, begun = kept.course.begin
        parts = [(0, epoch, 2)] if not begun else [(begun, epoch, epoch + 1), (0, epoch + 1, 2)]
        batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
        with suppress(KeyboardInterrupt):
            for done, first, last in parts:
                denoiser.fit(batches.repeat().skip(done), steps_per_epoch=6 - done, initial_epoch=first, epochs=last,
                             callbacks=callbacks, verbose=0, shuffle=False)
        return lambdas, denoiser

    return fit


RULES_THAT_MOVE = [Held("psi", 0.9), Held("gamma", 0.3), Ramp(5, 0.2), EpochRatio(0.7)]


@pytest.mark.parametrize("rule", RULES_THAT_MOVE, ids=lambda rule: type(rule).__name__)
def test_a_training_resumes_with_the_lambdas_that_it_would_have_had(trained, tmp_path, rule):
    whole, model = trained(rule)
    for path in tmp_path.glob("step-*"):
        path.unlink()
    begun, _ = trained(rule, stop=9)
    rest, resumed = trained(rule)
    assert begun == whole[:9] and rest == whole[6:] and len(set(whole)) > 1  # checkpoints after 4, 6 and 10: from 6
    for ours, its in zip(resumed.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, its)


def test_an_epoch_without_numbers_and_a_limit_are_said(trained, tmp_path, caplog):
    class Nothing(EpochRatio):
        def step(self, state, sums):
            return super().step(state, NOTHING)

    trained(Nothing())
    assert [each for each in caplog.messages if "lambda" in each] == [
        f"epoch {epoch}: no numbers to move lambda by, it stays at 0.3" for epoch in (1, 2)]
    caplog.clear()
    for path in tmp_path.glob("step-*"):
        path.unlink()
    trained(EpochRatio(1 - 1e-9, limit=2.0))
    assert [each for each in caplog.messages if "lambda" in each] == [
        "epoch 1: lambda would leave its limits, it is held at 0.6"]
