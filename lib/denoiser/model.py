"""The U-Net in training: Eq. 4 with its terms, Psi and Gamma beside the total, at no extra pass."""

import keras
import tensorflow as tf
from keras import ops

from lib.perceptual import GradientShare, PerceptualInfluence, TotalLoss
from lib.perceptual.losses import pixel_gradient


class Denoiser(keras.Model):
    """A U-Net that ``fit`` trains with Eq. 4, and that reports MSE (the pixel term), PL, Psi and Gamma beside the total
    (Gamma in training: in validation, where nothing is differentiated, it is NaN).

    Its trainable weights are the U-Net's: the encoder belongs to the loss and is neither trained nor saved. ``lambda_`` is
    the loss's own variable, tracked here, so that checkpoints hold it and a callback may assign it.
    """

    def __init__(self, unet: keras.Model, loss: TotalLoss):
        super().__init__(name="denoiser")
        self.unet = unet
        self.total = loss
        self.lambda_ = loss.lambda_
        self.mse_mean = keras.metrics.Mean(name="mse")
        self.pl_mean = keras.metrics.Mean(name="pl")
        self.influence = PerceptualInfluence()
        self.gradient_share = GradientShare()

    def call(self, ldct, training=None):
        return self.unet(ldct, training=training)

    def train_step(self, data):
        """Keras's; the gradient at the output, which is computed on the way to the weights, is kept for Gamma."""
        ldct, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            output = self(ldct, training=True)
            loss = self.compute_loss(ldct, y, output)
            scaled = self.optimizer.scale_loss(loss)
        at_output, *gradients = tape.gradient(scaled, [output, *self.trainable_variables])
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        images = ops.cast(ops.shape(ldct)[0], "float32")
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        next(each for each in self.metrics if each.name == "loss").update_state(loss * replicas, sample_weight=images)
        parts = self.optimizer.scale_loss(1.0) / (images * replicas)  # of the scaled loss, an image's own
        pixel = pixel_gradient(self.total.configuration, y[0] if isinstance(y, tuple | list) else y, output)
        self.gradient_share.update_state(pixel, ops.cast(at_output, "float32") / parts)
        return self.compute_metrics(ldct, y, output)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        parts = self.total.parts(y, y_pred)
        self.mse_mean.update_state(parts.pixel)
        self.pl_mean.update_state(parts.perceptual)
        self.influence.update_state(parts.pixel, parts.weighted)
        # a replica's part of a batch may be empty
        loss = ops.divide_no_nan(ops.sum(parts.total), ops.cast(ops.size(parts.total), "float32"))
        return loss / tf.distribute.get_strategy().num_replicas_in_sync  # Keras sums the replicas' gradients

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Nothing to do: the training stage builds the model. Keras averages a batch over the replicas for this, which
        fails with several workers (keras-team/keras issue 20585)."""

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Keras's, as vectors of length 1 under several workers: it averages a step's metrics along their first axis."""
        results = super().compute_metrics(x, y, y_pred, sample_weight)
        if isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
            return {name: ops.reshape(value, (1,)) for name, value in results.items()}
        return results
