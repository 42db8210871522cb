"""A model as TensorFlow's SavedModel, for programs in other languages and for servers.

Everything is in the graph but the tokenizer: TensorFlow's core has no operation for that.
"""

import os
import textwrap

import tensorflow.compat.v1 as tf

import model
import sample
from likelihoods import logprobs_of
from support.settings import SAMPLING

VERSION = '1'  # the folder inside of the model's that TensorFlow Serving looks for
TAG = tf.saved_model.tag_constants.SERVING
README = 'README.txt'
ENTRY = 'serving_default'
MEANING = {
    'tokens': 'token ids of texts of one length',
    'logits': 'of the next token after each one; their softmax is the probabilities',
    'logprobs': 'natural logarithm of the probability of each token but the first',
    'context': 'token ids of prompts; shorter ones stand on the right, with anything on their left',
    'prompt_lengths': 'how many tokens of each row of context are its prompt',
    'length': 'new tokens for each row',
    'seed': 'the same seed and number of sample give the same text',
    'first_sample': 'the number of the sample in row 0; row i is that number + i',
    'end_token': 'a row ends after this token and is filled up with it; -1: it never does',
    'all_tokens': 'context, and the new tokens after it',
}


def write_saved_model(loaded, folder):
    """Write a model into a folder that is there: 1/ with the SavedModel, and README.txt.

    loaded: loading.loaded_model.LoadedModel.
    """
    with tf.Graph().as_default():
        signatures = signatures_of(loaded.hparams)
        with tf.Session() as session:
            loaded.restore(session)
            builder = tf.saved_model.Builder(os.path.join(folder, VERSION))
            definitions = {
                name: tf.saved_model.predict_signature_def(*tensors)
                for name, tensors in signatures.items()
            }
            builder.add_meta_graph_and_variables(
                session, [TAG], definitions, strip_default_attrs=True
            )
            builder.save()
    with open(os.path.join(folder, README), 'w', encoding='utf-8') as file:
        file.write(readme(loaded, signatures))


def signatures_of(hparams):
    """Build the graph: {name: (inputs, outputs)}, each a dict of tensors by name."""
    tokens = tf.placeholder(tf.int32, [None, None], 'tokens')
    logits = model.model(hparams, tokens, reuse=tf.AUTO_REUSE)['logits']
    return {
        ENTRY: ({'tokens': tokens}, {'logits': logits}),
        'logprobs': ({'tokens': tokens}, {'logprobs': logprobs(logits, tokens)}),
        'generate': generation(hparams),
    }


def logprobs(logits, tokens):
    """Log-probabilities of tokens [B, S] but the first, float32 [B, S - 1]."""
    batch, n = tf.shape(tokens)[0], tf.shape(tokens)[1] - 1
    flat = tf.reshape(logits[:, :-1], [batch * n, tf.shape(logits)[2]])
    found = logprobs_of(flat, tf.nn.softmax(flat), tf.reshape(tokens[:, 1:], [-1]))
    return tf.reshape(found, [batch, n])


def generation(hparams):
    """The signature that continues prompts, as sample.sample_sequence does."""
    parameters = sample.SamplingParameters.placeholders()._asdict()
    inputs = {
        'context': tf.placeholder(tf.int32, [None, None], 'context'),
        'prompt_lengths': tf.placeholder(tf.int32, [None], 'prompt_lengths'),
        'length': tf.placeholder(tf.int32, [], 'length'),
        **parameters,
    }
    return inputs, {'all_tokens': sample.sample_sequence(hparams=hparams, **inputs)}


def readme(loaded, signatures):
    """The text of README.txt: the signatures, their tensors, and what these mean."""
    hparams = loaded.hparams
    lines = [
        f'{os.path.basename(loaded.folder)}: a GPT-2 as a SavedModel of TensorFlow, in {VERSION}/',
        '',
        f'Tag: {TAG}. Tokens are those of the model in encoder.json and vocab.bpe, '
        f'{hparams.n_vocab} of them;',
        f'a text has at most {hparams.n_ctx}. Every input must be fed.',
        '',
    ]
    for name, (inputs, outputs) in signatures.items():
        lines.append(f'signature {name}')
        for direction, tensors in (('in ', inputs), ('out', outputs)):
            for key, tensor in tensors.items():
                lines.append(f'  {direction} {key:<20}{tensor.name:<22}{shape(tensor)}')
                lines += textwrap.wrap(
                    MEANING.get(key) or SAMPLING[key].metadata['help'],
                    92,
                    initial_indent=6 * ' ',
                    subsequent_indent=6 * ' ',
                )
        lines.append('')
    return '\n'.join(lines)


def shape(tensor):
    """int32 [?, ?] of a tensor of unknown sizes."""
    sizes = ', '.join('?' if n is None else str(n) for n in tensor.shape.as_list())
    return f'{tensor.dtype.name} [{sizes}]'
