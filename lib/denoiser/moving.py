"""A rule that moves lambda while a training runs, as a callback: it reads the epoch's sums, which are computed anyway."""

import logging
import math

from lib.denoiser.checkpoints import Checkpoints, StepCallback
from lib.perceptual.rules import Fixed, State, Sums

log = logging.getLogger(__name__)
NAME = "rule"  # under which a checkpoint keeps its state


class MovingLambda(StepCallback):
    """Assigns ``model.lambda_`` after each step as ``rule`` says, adds the lambda of the step to the logs, and warns where
    the rule had to put it back or hold it.

    It stands before ``checkpoints`` in the list of callbacks: what these save is the state after the step. The sums of a
    step are differences of the epoch's, in float32: of 10,000 steps the last is known to a few in 10,000.
    """

    def __init__(self, rule: Fixed, checkpoints: Checkpoints):
        super().__init__(checkpoints.course)
        self.rule, self.checkpoints = rule, checkpoints
        self.state: State | None = None
        self._before = Sums(0.0, 0.0, 0.0, 0.0)
        self._used = 0.0  # in the step before

    def on_train_begin(self, logs=None):
        if self.state is not None:  # Keras's fit is called once for a part of an epoch, then for the others
            return
        if kept := self.checkpoints.kept.get(NAME):
            self.state, self._before = State(**kept["state"]), Sums(*kept["before"])
        else:
            self.state = self.rule.start(float(self.model.lambda_.numpy()))
        self._assign(self.state.lambda_)

    def on_epoch_begin(self, epoch, logs=None):
        if epoch != self.course.begin.epoch or not self.course.begin.batch:
            self._before = Sums(0.0, 0.0, 0.0, 0.0)
        super().on_epoch_begin(epoch)

    def on_step(self, step, done, logs):
        now = self._sums()
        pixel, weighted, pixel_gradient, weighted_gradient = (a - b for a, b in zip(now, self._before, strict=True))
        lambda_, was, clamped = self.state.lambda_, self.state.fallbacks, self.state.clamped
        logs["lambda"] = self._used = lambda_
        of_one = (1 / lambda_) if lambda_ > 0 else math.nan
        self._assign(self.rule.step(self.state, Sums(pixel, weighted * of_one, pixel_gradient, weighted_gradient * of_one)))
        self._before = now
        if self.state.fallbacks > was:
            log.warning("step %d: no numbers to move lambda by, it is put back to %.3g", step, self.state.first)
        self._say_held(clamped, "step", step)
        self._keep()

    def on_epoch_end(self, epoch, logs=None):
        logs["lambda"] = self._used
        was, clamped = self.state.fallbacks, self.state.clamped
        self._assign(self.rule.epoch(self.state))
        if self.state.fallbacks > was:
            log.warning("epoch %d: no numbers to move lambda by, it stays at %.3g", epoch + 1, self.state.lambda_)
        self._say_held(clamped, "epoch", epoch + 1)
        self._keep()

    def _say_held(self, clamped: int, what: str, number: int) -> None:
        """Once: ``clamped`` is how often a limit had held lambda before."""
        if self.state.clamped and not clamped:
            log.warning("%s %d: lambda would leave its limits, it is held at %.3g", what, number, self.state.lambda_)

    def _sums(self) -> Sums:
        """Of the epoch so far: pixel term, lambda times the perceptual one, and the norms of their gradients."""
        shares = self.model.influence, self.model.gradient_share
        return Sums(*(float(each.numpy()) for share in shares for each in (share.s_a, share.s_b)))

    def _assign(self, lambda_: float) -> None:
        self.model.lambda_.assign(lambda_)

    def _keep(self) -> None:
        self.checkpoints.kept[NAME] = {"state": self.state.as_dict(), "before": list(self._before)}
