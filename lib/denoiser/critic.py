"""WGAN-GP: a critic beside the U-Net, and a training that has an adversarial term beside Eq. 4.

    critic:  mean D(f(x)) - mean D(y) + penalty * mean (|grad D| - 1)^2, the gradient at a random place between f(x) and y
    U-Net:   Eq. 4 - weight * mean D(f(x))

(Arjovsky et al. 2017, Gulrajani et al. 2017; with a perceptual term Yang et al. 2018.) Psi and Gamma are of Eq. 4's two
terms: the adversarial one is in neither side. So is the ``loss`` in the logs; ``wasserstein`` (the critic's distance between
NDCT and output) and ``penalty`` stand beside it.
"""

import keras
import tensorflow as tf
from keras import layers, ops

from lib.denoiser.model import Denoiser
from lib.perceptual import TotalLoss
from lib.perceptual.adversarial import Adversarial, Norm
from lib.perceptual.losses import pixel_gradient

LEAK, MOMENTA = 0.2, (0.5, 0.9)
TINY = 1e-12  # added to a squared norm: the gradient of the norm is finite where that of the critic is 0
WIDTHS = (1, 1, 2, 2, 4, 4)  # of the six convolutions, times ``channels``; every second one halves the sides
DENSE = 16


def critic(size: int, channels: int = 64, seed: int = 0) -> keras.Model:
    """Yang's critic, in float32: patches (batch, size, size, 1) -> (batch, 1), by six convolutions and two dense layers."""
    random = keras.random.SeedGenerator(seed)
    kernels = {"kernel_initializer": keras.initializers.GlorotUniform(random), "dtype": "float32"}
    image = x = keras.Input((size, size, 1), dtype="float32")
    for place, width in enumerate(WIDTHS):
        x = layers.Conv2D(width * channels, 3, strides=1 + place % 2, padding="same", **kernels)(x)
        x = layers.LeakyReLU(LEAK, dtype="float32")(x)
    x = layers.LeakyReLU(LEAK, dtype="float32")(layers.Dense(DENSE * channels, **kernels)(layers.Flatten()(x)))
    return keras.Model(image, layers.Dense(1, **kernels)(x), name="critic")


def gradient_penalty(network: keras.Model, between, norm: Norm = "image"):
    """The mean of (|gradient of the critic| - 1)^2 at images (batch, rows, columns, 1): norms over an image, or over
    the rows of each column, as Yang's code has them."""
    with tf.GradientTape() as tape:
        tape.watch(between)
        value = tf.reduce_sum(network(between, training=True))
    squares = tf.square(tape.gradient(value, between))
    norms = tf.sqrt(tf.reduce_sum(squares, axis=(1, 2, 3) if norm == "image" else 1) + TINY)
    return tf.reduce_mean(tf.square(norms - 1.0))


class AdversarialDenoiser(Denoiser):
    """A U-Net that ``fit`` trains with Eq. 4 and an adversarial term. The critic and its optimizer are saved with it; where
    f(x) and y are mixed follows from ``seed`` and the step, so that a training goes on as it was.

    Parameters
    ----------
    unet, loss : as for :class:`lib.denoiser.model.Denoiser`
    adversarial : Adversarial
    size : int, side of a patch
    """

    def __init__(self, unet: keras.Model, loss: TotalLoss, adversarial: Adversarial, size: int, seed: int):
        super().__init__(unet, loss)
        self.adversarial, self.seed = adversarial, seed
        self.critic = critic(size, adversarial.channels, seed)
        self.critic_optimizer = keras.optimizers.Adam(adversarial.lr, beta_1=MOMENTA[0], beta_2=MOMENTA[1])
        self.critic_optimizer.build(self.critic.trainable_variables)
        self.wasserstein_mean = keras.metrics.Mean(name="wasserstein")
        self.penalty_mean = keras.metrics.Mean(name="penalty")

    @property
    def trainable_variables(self):
        """The U-Net's: what Eq. 4 is differentiated by."""
        return self.unet.trainable_variables

    def train_step(self, data):
        """Steps of the critic, then one of the U-Net."""
        ldct, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        ndct = y[0] if isinstance(y, tuple | list) else y
        made = ops.cast(self(ldct, training=True), "float32")  # the U-Net stays what it is while the critic learns
        for number in range(self.adversarial.critic_steps):
            self._train_critic(ndct, made, number)
        with tf.GradientTape(persistent=True) as tape:
            output = self(ldct, training=True)
            loss = self.compute_loss(ldct, y, output)
            against = -self.adversarial.weight * tf.reduce_mean(self.critic(ops.cast(output, "float32"), training=True))
            scale = self.optimizer.scale_loss(1.0)
            scaled, scaled_against = scale * (loss + against), scale * against
        at_output, *gradients = tape.gradient(scaled, [output, *self.trainable_variables])
        adversary = tape.gradient(scaled_against, output)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        images = ops.cast(ops.shape(ldct)[0], "float32")
        next(each for each in self.metrics if each.name == "loss").update_state(loss, sample_weight=images)
        of_eq4 = (ops.cast(at_output, "float32") - ops.cast(adversary, "float32")) / (scale / images)
        self.gradient_share.update_state(pixel_gradient(self.total.configuration, ndct, output), of_eq4)
        return self.compute_metrics(ldct, y, output)

    def _train_critic(self, ndct, made, number: int) -> None:
        step = tf.cast(self.optimizer.iterations, tf.int64) * self.adversarial.critic_steps + number
        part = tf.random.stateless_uniform((tf.shape(made)[0], 1, 1, 1), tf.stack([tf.cast(self.seed, tf.int64), step]))
        with tf.GradientTape() as tape:
            distance = tf.reduce_mean(self.critic(ndct, training=True)) - tf.reduce_mean(self.critic(made, training=True))
            penalty = gradient_penalty(self.critic, part * ndct + (1 - part) * made, self.adversarial.norm)
            loss = self.adversarial.penalty * penalty - distance
        variables = self.critic.trainable_variables
        self.critic_optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        self.wasserstein_mean.update_state(distance)
        self.penalty_mean.update_state(penalty)
