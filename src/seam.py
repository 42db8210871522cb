"""The seam between the forward pass in model.py and what carries it out.

model.py takes its weights from here, and lets its layers be called from here. `Execution` is the
plain way: weights are variables, nothing is dropped, a layer is called. Training and src/fast have
subclasses, with weights of the same methods as those below, and put them in place for a block of
code:

    with seam.carried_out_by(execution):
        outputs = model.model(hparams, X)

The forward pass never asks which execution it has. What attention remembers is the other half of
the seam: see model.Memory.
"""

import contextlib
import contextvars
import functools

import tensorflow.compat.v1 as tf

# The project's one switch: graphs and sessions as in 2019, with the variables of today.
tf.logging.set_verbosity(tf.logging.ERROR)
tf.disable_v2_behavior()
tf.enable_resource_variables()
# Float32 means float32 on every GPU: TensorFloat-32 would keep 10 bits of each factor.
tf.config.experimental.enable_tensor_float_32_execution(False)


class Gain:
    """The gain of a layer normalization, [n]."""

    def __init__(self, variable):
        self.values = variable

    def norm(self, x, b, *, axis=-1, epsilon=1e-5):
        """x [..., n] normalized along an axis, in float32 inside, times the gain, plus b [n]."""
        wide = tf.cast(x, tf.float32)
        centred = wide - tf.reduce_mean(wide, axis=axis, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axis=axis, keepdims=True)
        return tf.cast(centred * tf.rsqrt(variance + epsilon), x.dtype) * self.values + b


class Matrix:
    """The weights of a linear layer, [1, k, m] as the released checkpoints have them."""

    def __init__(self, variable):
        self.values = tf.reshape(variable, variable.shape[-2:])

    def product(self, x):
        """x [N, k] times the matrix: [N, m]."""
        return tf.matmul(x, self.values)

    def layer(self, x, b, activation=None):
        """`product` plus a bias b [m], through a function of each number, if there is one."""
        c = self.product(x) + b
        return activation(c) if activation else c


class Embedding:
    """Embedded tokens or positions, [m, k]: a vector for each."""

    def __init__(self, variable):
        # tf.gather on a variable itself turns every later read of it, such as a matmul's, into a
        # copy of all; on its values it does not.
        self.values = tf.convert_to_tensor(variable)

    def rows(self, ids):
        """The vectors of ids: [..., k]."""
        return tf.gather(self.values, ids)

    def product(self, x):
        """x [N, k] times all vectors, the logits where they are those of tokens: [N, m]."""
        return tf.matmul(x, self.values, transpose_b=True)


Bias = tf.convert_to_tensor  # a bias is a tensor, [m]


class Execution:
    """Carries out a forward pass as model.py reads."""

    def weight(self, kind, name, shape, initializer):
        """A weight of the current variable scope, as an object with the methods of `kind`.

        kind: Matrix, Embedding, Gain or Bias.  name, shape: as in checkpoints.
        """
        return kind(tf.get_variable(name, shape, initializer=initializer))

    def dropout(self, x, place):
        """x with some values dropped in training; place: str, unique in the variable scope."""
        return x

    def block(self, block, *arguments, **more):
        """What `block` returns for these arguments."""
        return block(*arguments, **more)

    def attention(self, attn, *arguments, **more):
        """What `attn` returns for these arguments; its heads are independent of each other."""
        return attn(*arguments, **more)

    def feed_forward(self, mlp, *arguments, **more):
        """What `mlp` returns for these arguments; its hidden units are independent likewise."""
        return mlp(*arguments, **more)


_execution = contextvars.ContextVar('execution', default=Execution())  # noqa: B039 (has no state)


@contextlib.contextmanager
def carried_out_by(execution):
    """Let `execution` carry out the forward passes that are built in this block."""
    token = _execution.set(execution)
    try:
        yield
    finally:
        _execution.reset(token)


def weight(kind, name, shape, initializer):
    return _execution.get().weight(kind, name, shape, initializer)


def token_embedding(hparams, scope='model'):
    """The Embedding of a model that has been built in this execution: it makes logits of states."""
    with tf.variable_scope(scope, reuse=True):
        return weight(Embedding, 'wte', [hparams.n_vocab, hparams.n_embd], None)


def dropout(x, place):
    return _execution.get().dropout(x, place)


def layer(block):
    """Declare a function to be a layer of the model."""
    return _called_by('block', block)


def independent_heads(attn):
    """Declare that no head of a layer looks at another: the output is a sum over the heads.

    Then each of several cores may compute some of the heads. Without the declaration, or where a
    trial on random weights contradicts it, every layer is computed as a whole.
    """
    return _called_by('attention', attn)


def independent_units(mlp):
    """Declare the same of the hidden units of a feed-forward layer."""
    return _called_by('feed_forward', mlp)


def _called_by(method, function):
    @functools.wraps(function)
    def call(*arguments, **more):
        return getattr(_execution.get(), method)(function, *arguments, **more)

    call.declared = method
    return call
