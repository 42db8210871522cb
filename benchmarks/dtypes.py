#!/usr/bin/env python3
"""What bfloat16 and int8 cost in quality: a text under each, beside float32.

    python benchmarks/dtypes.py                             # the demo model on Moby Dick
    python benchmarks/dtypes.py heldout.txt --model_name 124M
    python benchmarks/dtypes.py --random                    # 124M shapes with random weights

Perplexity is that of each token after the first, in windows of the model's context. The divergence
is that of Kullback and Leibler from float32's distribution of the next token, in nats. Top-1 is how
often the most likely token is the same as float32's. The error of the logits is its root mean
square in units of their standard deviation, all that random weights can tell.
"""

import pathlib
import sys
import tempfile

import numpy as np
from side_by_side import make_model

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'src'))

from fast import DTYPES  # noqa: E402
from loading.startup import quiet  # noqa: E402
from support import command_line  # noqa: E402

TEXT = ROOT / 'tests' / 'testdata' / 'moby_dick_chapters_1_to_19.txt'


def compare_dtypes(
    *files: str,
    model_name: str = 'demo',
    models_dir: str = str(ROOT / 'models'),
    tokens: int = 20_000,
    random: bool = False,
):
    """Print perplexity, divergence, top-1 agreement and error of the logits for each dtype.

    Args:
        files: texts; without any, the chapters of Moby Dick that the tests carry
        model_name: which model to use, a folder of models_dir
        models_dir: the folder of all models
        tokens: so many tokens of the texts are read
        random: 124M shapes with random weights, and 2,048 random tokens instead of a text
    """
    with tempfile.TemporaryDirectory() as scratch, quiet():
        if random:
            make_model(scratch, '124M')
            model_name, models_dir = '124M', scratch
        sums = compare(model_name, models_dir, list(files) or [TEXT], tokens, random)
    print(f'{"dtype":10}{"perplexity":>12}{"":>9}{"divergence":>12}{"top-1":>9}{"logit error":>13}')
    for dtype, each in sums.items():
        perplexity, relative = each.perplexity(), each.perplexity() / sums['float32'].perplexity()
        print(
            f'{dtype:10}{perplexity:12.3f}{relative - 1:+9.3%}{each.mean("divergence"):12.6f}'
            f'{each.mean("agree"):9.2%}{each.mean("error") ** 0.5:13.4%}'
        )


def compare(model_name, models_dir, files, n_tokens, random):
    """The Sums of each dtype; only one model is in memory beside float32's logits."""
    from loading.model_files import load_encoder

    encoder = load_encoder(model_name, models_dir)
    if random:
        tokens = np.random.default_rng(0).integers(len(encoder.encoder), size=2048)
    else:
        texts = [pathlib.Path(file).read_text(encoding='utf-8') for file in files]
        tokens = np.array([token for text in texts for token in encoder.encode(text)][:n_tokens])
    models = {dtype: Logits(model_name, models_dir, encoder, dtype) for dtype in DTYPES}
    sums = {dtype: Sums() for dtype in DTYPES}
    context = models['float32'].hparams.n_ctx
    for start in range(0, len(tokens) - 1, context):
        window = tokens[start : start + context + 1]
        exact = models['float32'].of(window[:-1])
        for dtype, model in models.items():
            sums[dtype].add(model.of(window[:-1]), exact, window[1:])
    return sums


class Sums:
    """Sums over positions, of what `mean` and `perplexity` divide by their number."""

    def __init__(self):
        self.n, self.sums = 0, dict.fromkeys(('loss', 'divergence', 'agree', 'error'), 0.0)

    def add(self, logits, exact, targets):
        """logits, exact: [S, V].  targets: [S]."""
        logprobs, exact_logprobs = log_softmax(logits), log_softmax(exact)
        scale = exact.std(axis=-1, keepdims=True)
        found = {
            'loss': -logprobs[np.arange(len(targets)), targets],
            'divergence': (np.exp(exact_logprobs) * (exact_logprobs - logprobs)).sum(axis=-1),
            'agree': logits.argmax(axis=-1) == exact.argmax(axis=-1),
            'error': np.square((logits - exact) / scale).mean(axis=-1),
        }
        for name, values in found.items():
            self.sums[name] += float(values.sum())
        self.n += len(targets)

    def mean(self, name):
        return self.sums[name] / self.n

    def perplexity(self):
        return np.exp(self.mean('loss'))


def log_softmax(logits):
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


class Logits:
    """A model that gives the logits of all positions."""

    def __init__(self, model_name, models_dir, encoder, dtype):
        import tensorflow.compat.v1 as tf

        import model
        import seam
        from fast import Stored, session_config
        from loading.loaded_model import LoadedModel

        loaded, stored = LoadedModel(model_name, models_dir, encoder), Stored(dtype)
        self.hparams = loaded.hparams
        with tf.Graph().as_default(), seam.carried_out_by(stored):
            self.tokens = tf.placeholder(tf.int32, [1, None])
            self.logits = model.model(self.hparams, self.tokens)['logits']
            self.session = tf.Session(config=session_config())
            loaded.restore(self.session, stored)

    def of(self, tokens):
        return self.session.run(self.logits, {self.tokens: [tokens]})[0]


if __name__ == '__main__':
    command_line.run(compare_dtypes)
