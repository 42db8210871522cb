"""config.json of Hugging Face's GPT-2: what there decides whether a model is the same function.

No TensorFlow.
"""

from conversion.model import Tensor
from conversion.vocabulary import read_json
from hparams import HParams

TANH_GELU = ('gelu_new', 'gelu_pytorch_tanh', 'gelu_fast')
ERF_REMARK = (
    'its activation is the exact GELU (erf), and is computed as the tanh approximation of GPT-2: '
    'log-probabilities differ by less than 0.01'
)
SIZES = {'n_vocab': 'vocab_size', 'n_embd': 'n_embd', 'n_head': 'n_head', 'n_layer': 'n_layer'}
MEANT = {  # fields that make another function, with the value that GPT-2 has
    'layer_norm_epsilon': (1e-5, 'the model normalises with 1e-05'),
    'scale_attn_weights': (True, 'the model divides attention by the root of the width of a head'),
    'add_cross_attention': (False, 'the model has no encoder to attend to'),
    'is_encoder_decoder': (False, 'the model has no encoder'),
    'quantization_config': (None, 'weights must be plain numbers'),
}


def read_config(path):
    """What a config.json says: HParams, activation, remarks for the user, and its content.

    Raises ValueError with field, value and reason if it is not of this model.
    """
    config = read_json(path)
    if not isinstance(config, dict) or config.get('model_type', 'gpt2') != 'gpt2':
        kind = config.get('model_type') if isinstance(config, dict) else type(config).__name__
        raise ValueError(f'{path}: model_type is {kind!r}, not gpt2')
    for field, (value, reason) in MEANT.items():
        if config.get(field, value) != value:
            raise ValueError(f'{path}: {field} is {config[field]!r}, but {reason}')
    try:
        sizes = {ours: config[theirs] for ours, theirs in SIZES.items()}
        sizes['n_ctx'] = config['n_positions'] if 'n_positions' in config else config['n_ctx']
        hparams = HParams(**sizes)
    except KeyError as error:
        raise ValueError(f'{path} does not say {error}') from error
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
    if config.get('n_inner') not in (None, 4 * hparams.n_embd):
        raise ValueError(f'{path}: n_inner is {config["n_inner"]}, not 4 x {hparams.n_embd}')
    activation, remarks = read_activation(path, config.get('activation_function', 'gelu_new'))
    if config.get('scale_attn_by_inverse_layer_idx'):
        remarks.append(
            'scale_attn_by_inverse_layer_idx: the queries of layer i are divided by i + 1'
        )
    return hparams, activation, remarks, config


def read_activation(path, name):
    """The activation of a Model, and remarks."""
    if name in TANH_GELU:
        return 'gelu_new', []
    if name == 'gelu':
        return 'gelu', [ERF_REMARK]
    raise ValueError(f'{path}: activation_function is {name!r}, but the model computes gelu_new')


def inverse_layer_scale(tensors, hparams):
    """The tensors of a model that divides attention in layer i by i + 1, of one that does not.

    Attention is a product of queries and keys, so the queries can be divided instead.
    """

    def scaled(tensor, layer):
        def rows(start, stop):
            block = tensor.rows(start, stop).copy()
            if len(tensor.shape) == 2:
                block[:, : hparams.n_embd] /= layer + 1
            else:
                block[: max(hparams.n_embd - start, 0)] /= layer + 1
            return block

        return Tensor(tensor.shape, rows)

    changed = {
        f'model/h{layer}/attn/c_attn/{kind}': layer
        for layer in range(hparams.n_layer)
        for kind in 'wb'
    }
    return {n: scaled(t, changed[n]) if n in changed else t for n, t in tensors.items()}


def config_of(hparams, activation, dtype, end):
    """The content of config.json.

    dtype: of the weights beside it.  end: id of <|endoftext|>, or None.
    Other readers want fields that transformers has defaults for: llama.cpp n_ctx, keras-hub
    resid_pdrop.
    """
    return {
        'architectures': ['GPT2LMHeadModel'],
        'model_type': 'gpt2',
        'activation_function': activation,
        'attn_pdrop': 0.1,
        'bos_token_id': end,
        'dtype': dtype,
        'embd_pdrop': 0.1,
        'eos_token_id': end,
        'initializer_range': 0.02,
        'layer_norm_epsilon': 1e-5,
        'n_ctx': hparams.n_ctx,
        'n_embd': hparams.n_embd,
        'n_head': hparams.n_head,
        'n_inner': None,
        'n_layer': hparams.n_layer,
        'n_positions': hparams.n_ctx,
        'reorder_and_upcast_attn': False,
        'resid_pdrop': 0.1,
        'scale_attn_by_inverse_layer_idx': False,
        'scale_attn_weights': True,
        'tie_word_embeddings': True,
        'use_cache': True,
        'vocab_size': hparams.n_vocab,
    }
