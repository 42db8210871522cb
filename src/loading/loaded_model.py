"""A model that was found by its name, and how its weights are restored."""

import tensorflow.compat.v1 as tf

from loading import checkpoint
from loading.model_files import ModelFiles, weights


class LoadedModel(ModelFiles):
    """The files of a model, and what sets a session's weights from them.

    Arguments are those of ModelFiles. Raises ValueError, too, if the weights have other sizes than
    hparams.json says.
    """

    def __init__(self, model_name, models_dir='models', encoder=None):
        super().__init__(model_name, models_dir, encoder)
        self.weights = weights(self.folder)
        checkpoint.check_sizes(self.weights, self.hparams, self.remedy)

    def restore(self, session, stored=None):
        """Set the weights of the default graph; the session is closed if that fails.

        stored: a fast.Stored, for weights that are not in float32 variables.
        Raises ValueError, with what would help, if the files are damaged.
        """
        try:
            variables = tf.trainable_variables()
            checkpoint.restore(session, self.weights, variables, self.remedy, stored)
        except BaseException:
            session.close()
            raise

    def check_finite(self):
        """Raise ValueError, with what would help, if a weight is NaN or infinite."""
        checkpoint.check_finite(self.weights, self.remedy)
