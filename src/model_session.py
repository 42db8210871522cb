"""A model in a graph and a session of its own: what the engine and the scorer both are."""

import abc
import os

import tensorflow.compat.v1 as tf

import checkpoint
from hparams import read_hparams
from matrices import stored_as
from model_files import find_model, load_encoder, remedy, weights
from settings import check_dtype
from tf_session import SessionOwner, session_config


class ModelSession(SessionOwner, abc.ABC):
    """Loads a model with its tokenizer; a subclass defines what is run, in `_build(getter)`.

    model_name, models_dir: as the scripts take them.
    encoder: the model's tokenizer, if it has been loaded already; an attribute like hparams.
    dtype: what weight matrices are stored in and multiplied as, one of settings.DTYPES; an
        attribute, too.
    Raises ValueError, with what would help, if the model is not there or damaged.
    """

    how_it_runs = {}  # what session_config takes

    def __init__(self, model_name='124M', models_dir='models', encoder=None, dtype='float32'):
        check_dtype(dtype)
        self.dtype = dtype
        folder = find_model(model_name, models_dir)
        self.encoder = encoder or load_encoder(model_name, models_dir)
        self.hparams = read_hparams(os.path.join(folder, 'hparams.json'))
        if len(self.encoder.encoder) != self.hparams.n_vocab:
            raise ValueError(
                f'{folder} has {len(self.encoder.encoder)} tokens in encoder.json '
                f'but n_vocab={self.hparams.n_vocab} in hparams.json; '
                + remedy(model_name, models_dir)
            )
        self.heads = self._heads()
        # Before the first product: int8 tries one.
        config = session_config(**self.how_it_runs, n_shards=len(self.heads))
        self.graph = tf.Graph()
        with self.graph.as_default():
            getter, matrices = stored_as(dtype, self.heads)
            self._build(getter)
            self.session = tf.Session(config=config)
            try:
                checkpoint.restore(
                    self.session,
                    weights(folder),
                    tf.trainable_variables(),
                    remedy(model_name, models_dir),
                    matrices.values(),
                )
            except BaseException:
                self.close()
                raise
        self.graph.finalize()

    def _heads(self):
        """How many heads each shard (shards.py) has; one shard has all of them."""
        return [self.hparams.n_head]

    @abc.abstractmethod
    def _build(self, getter):
        """Define the graph; variables with weights come by `getter`, as from `stored_as`."""
