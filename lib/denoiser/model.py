"""The U-Net in training: Eq. 4 with its terms and Psi beside the total, at no extra pass."""

import keras
import tensorflow as tf
from keras import ops

from lib.perceptual.influence import PerceptualInfluence, TotalLoss, total_loss


class Denoiser(keras.Model):
    """A U-Net that ``fit`` trains with Eq. 4, and that reports MSE, PL and Psi beside the total at no extra pass.

    Its weights are the U-Net's: the encoder belongs to the loss and is neither trained nor saved.
    """

    def __init__(self, unet: keras.Model, loss: TotalLoss):
        super().__init__(name="denoiser")
        self.unet = unet
        self.total = loss
        self.mse_mean = keras.metrics.Mean(name="mse")
        self.pl_mean = keras.metrics.Mean(name="pl")
        self.influence = PerceptualInfluence(loss.lambda_)

    def call(self, ldct, training=None):
        return self.unet(ldct, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        mse, pl = self.total.terms(y, y_pred)
        self.mse_mean.update_state(mse)
        self.pl_mean.update_state(pl)
        self.influence.update_state(mse, pl)
        total = total_loss(mse, pl, self.total.lambda_)
        loss = ops.divide_no_nan(ops.sum(total), ops.cast(ops.size(total), "float32"))  # a replica's part may be empty
        return loss / tf.distribute.get_strategy().num_replicas_in_sync  # Keras sums the replicas' gradients

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Nothing to do: ``lib.stages.train`` builds the model. Keras averages a batch over the replicas for this, which
        fails with several workers (keras-team/keras issue 20585)."""

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Keras's, as vectors of length 1 under several workers: it averages a step's metrics along their first axis."""
        results = super().compute_metrics(x, y, y_pred, sample_weight)
        if isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
            return {name: ops.reshape(value, (1,)) for name, value in results.items()}
        return results
