"""Executions of the forward pass (seam.py) that put other kinds of weights in place of plain ones.

`Stored` gives weights of a dtype that a checkpoint sets, for generating and scoring.
shards.TensorParallel gives those that several cores share. `Variables` gives the float32 variables
of a model in training, for validation and samples. Training itself has an execution of its own,
training.dropout.Training, which takes the kind of its matrices from `trained_matrix`.
"""

import copy
import importlib

import tensorflow.compat.v1 as tf

import seam
from fast import DTYPES, onednn, restore, xla_activation
from fast.weights import Store


class Stored(seam.Execution):
    """Weights as they are stored for use: of a dtype, and without initial values.

    dtype: one of fast.DTYPES; biases and gains stay float32.
    loaded: {name: weight} of those that `load` sets.
    """

    def __init__(self, dtype='float32'):
        module, _ = DTYPES[dtype]
        module = importlib.import_module(module) if module else None
        self.kinds = module.KINDS if module else {}  # in place of seam.py's, by name
        self.sharded_kinds = module.SHARDED if module else {}  # in place of sharded_weights.KINDS
        self.loaded = {}
        self.many_rows = False

    def for_many_rows(self):
        """An execution with the same weights for hundreds of positions at a time."""
        other = copy.copy(self)
        other.many_rows = True
        return other

    def weight(self, kind, name, shape, initializer):
        if name in self.kinds:
            weight = self.load_later(self.kinds[name], full_name(name), shape)
            return weight.for_many_rows() if self.many_rows else weight
        kind = fused_kinds().get(kind, kind) if self.many_rows else kind
        return kind(self.load_later(Store, full_name(name), shape).values)

    def load_later(self, make, name, shape):
        """What `make` makes of a weight's name and shape, once; `load` sets it."""
        if name not in self.loaded:
            with tf.name_scope(None):  # of variables, not of what first asks for them
                self.loaded[name] = make(name, shape)
        return self.loaded[name]

    def load(self, session, path, reader):
        """Set `loaded` from the checkpoint at `path`, which `reader` reads."""
        restore.load(session, path, reader, list(self.loaded.values()))


def full_name(name):
    """The name of a weight in checkpoints: that of its variable scope comes first."""
    scope = tf.get_variable_scope().name
    return f'{scope}/{name}' if scope else name


def fused_kinds():
    """Kinds of float32 weights whose operations are oneDNN's kernels, {plain kind: kind}."""
    verified = onednn.verified()
    kinds = {'linear': (seam.Matrix, onednn.FusedMatrix), 'norm': (seam.Gain, onednn.FusedGain)}
    return dict(pair for name, pair in kinds.items() if name in verified)


class Variables(Stored):
    """Float32 variables that are there already, of a model that is being trained."""

    def weight(self, kind, name, shape, initializer):
        kind = fused_kinds().get(kind, kind) if self.many_rows else kind
        return kind(tf.get_variable(name, shape, initializer=initializer))


def trained_matrix():
    """The kind of matrices that training multiplies by, with compiled activations if possible."""
    return xla_activation.TrainedMatrix if xla_activation.can_compile() else seam.Matrix
