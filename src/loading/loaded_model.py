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
        checkpoint.check_sizes(weights(self.folder), self.hparams, self.remedy)

    def restore(self, session, stored=None):
        """Set the weights of the default graph; the session is closed if that fails.

        stored: a fast.Stored, for weights that are not in float32 variables.
        Raises ValueError, with what would help, if the files are damaged.
        """
        try:
            checkpoint.restore(
                session, weights(self.folder), tf.trainable_variables(), self.remedy, stored
            )
        except BaseException:
            session.close()
            raise
