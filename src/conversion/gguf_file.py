"""GGUF, the files of llama.cpp: read in any type, written as f32, f16 or q8_0. No TensorFlow."""

import os

import numpy as np

from conversion import names
from conversion.model import Model, Tensor, check_tensors, is_matrix, shapes_of, transposed
from conversion.vocabulary import (
    END,
    Vocabulary,
    checked,
    fitted,
    merges_text,
    special_tokens,
)
from encoder import parse_merges
from hparams import HParams
from support.files import check_is_file, replacing

MAGIC = b'GGUF'
ARCHITECTURE = 'gpt2'
TOKENIZER = 'gpt2'  # byte-level BPE
NORMAL, CONTROL = 1, 3  # kinds of tokens; <|endoftext|> is of the second
SIZES = {
    'n_ctx': 'context_length',
    'n_embd': 'embedding_length',
    'n_head': 'attention.head_count',
    'n_layer': 'block_count',
}
# How much a matrix may differ from itself in another type, as a share of its mean size: where both
# types have at least 16 bits, and where one has 4 or more.
ROUNDED, QUANTIZED = 0.005, 0.15
PLAIN = {'F64', 'F32', 'F16', 'BF16'}
FILE_TYPES = {'float32': 0, 'float16': 1, 'q8_0': 7}  # of llama.cpp's LLAMA_FTYPE
TYPES = {'float32': 'F32', 'float16': 'F16', 'q8_0': 'Q8_0'}


def library():
    """The module gguf, which is no requirement; ValueError where it is not there."""
    try:
        import gguf
    except ImportError:
        raise ValueError('files of GGUF need a package: pip install gguf') from None
    return gguf


def is_gguf(path):
    if not os.path.isfile(path):
        return False
    with open(path, 'rb') as file:
        return file.read(len(MAGIC)) == MAGIC


def read_gguf(path):
    """The Model in a file; ValueError, saying why, if it is damaged or of another architecture."""
    gguf = library()
    check_is_file(path)
    try:
        reader = gguf.GGUFReader(path)
    except Exception as error:  # the library checks little: a damaged file can raise anything
        raise ValueError(f'{path} is damaged ({error})') from error
    fields = {name: field.contents() for name, field in reader.fields.items()}
    if fields.get('general.architecture') != ARCHITECTURE:
        raise ValueError(
            f'{path}: general.architecture is {fields.get("general.architecture")!r}, not gpt2'
        )
    if fields.get('tokenizer.ggml.model') != TOKENIZER:
        raise ValueError(
            f'{path}: tokenizer.ggml.model is {fields.get("tokenizer.ggml.model")!r}, not gpt2'
        )
    epsilon = fields.get('gpt2.attention.layer_norm_epsilon', 1e-5)
    if isinstance(epsilon, float):
        epsilon = float(f'{epsilon:.4g}')  # it is float32 in the file
    if epsilon != 1e-5:
        raise ValueError(f'{path}: layer_norm_epsilon is {epsilon!r}, but the model has 1e-05')
    tensors = {tensor.name: tensor_of(gguf, tensor, path) for tensor in reader.tensors}
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    try:
        sizes = {ours: int(fields[f'gpt2.{theirs}']) for ours, theirs in SIZES.items()}
        sizes['n_vocab'] = tensors['token_embd.weight'].shape[0]
        tokens = fields['tokenizer.ggml.tokens']
        merges = fields.get('tokenizer.ggml.merges', [])  # the library writes no empty lists
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f'{path} lacks {error}') from error
    try:
        hparams = HParams(**sizes)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
    encoder = {token: i for i, token in enumerate(tokens)}
    vocabulary = checked(path, Vocabulary(encoder, merges_text(merges)))
    known = {names.gguf(name): name for name in shapes_of(hparams)}
    head = tensors.pop('output.weight', None)
    tensors = {
        known.get(name, name): transposed(tensor) if is_matrix(known.get(name, name)) else tensor
        for name, tensor in tensors.items()
    }
    check_tensors(tensors, hparams, path)
    if head is not None:
        two = {kinds['output.weight'], kinds['token_embd.weight']}
        tolerance = 0 if len(two) == 1 else ROUNDED if two <= PLAIN else QUANTIZED
        check_head(head, tensors['model/wte'], tolerance, path)
    vocabulary, remarks = fitted(vocabulary, hparams.n_vocab)
    return Model(hparams, tensors, vocabulary, remarks=remarks)


def check_head(head, embedding, tolerance, path):
    """Raise ValueError if the output layer is another one than the embedding.

    tolerance: of the mean difference, as a share of the mean size: quantized files may have the
      same matrix in two types.
    """
    for one, other in zip(head.blocks(), embedding.blocks(), strict=True):
        if (
            one.shape != other.shape
            or np.abs(one - other).mean() > tolerance * np.abs(other).mean()
        ):
            raise ValueError(
                f'{path} has an output layer of its own: GPT-2 has the embedding there'
            )


def tensor_of(gguf, tensor, path):
    """The Tensor of a reader's tensor of any type, whose rows are dequantized.

    The reader has the file mapped; what is read through that stays in memory.
    """
    shape = tuple(int(n) for n in reversed(tensor.shape))  # the file counts the inner one first
    per_row, offset = tensor.data.nbytes // max(shape[0], 1), int(tensor.data_offset)
    dtype, row, kind = tensor.data.dtype, tensor.data.shape[1:], tensor.tensor_type

    def rows(start, stop):
        n_bytes = (stop - start) * per_row
        data = np.fromfile(path, np.uint8, n_bytes, offset=offset + start * per_row)
        data = data.view(dtype).reshape(-1, *row)
        return np.asarray(gguf.quants.dequantize(data, kind), np.float32)

    return Tensor(shape, rows)


def write_gguf(model, path, dtype='float32', name=''):
    """Write a Model as one file.

    dtype: of the matrices and embeddings; vectors are float32.  name: of the model, for readers.
    """
    gguf = library()
    type_of = gguf.GGMLQuantizationType
    kind = type_of[TYPES[dtype]]
    if dtype == 'q8_0' and model.hparams.n_embd % 32:
        raise ValueError(
            f'q8_0 has blocks of 32 numbers, which do not divide {model.hparams.n_embd}'
        )
    ordered = {
        names.gguf(n): transposed(model.tensors[n]) if is_matrix(n) else model.tensors[n]
        for n in shapes_of(model.hparams)
    }
    kinds = {
        # llama.cpp adds positions to token embeddings in float32
        n: kind if len(t.shape) == 2 and n != 'position_embd.weight' else type_of.F32
        for n, t in ordered.items()
    }
    writer = gguf.GGUFWriter(None, ARCHITECTURE)
    add_fields(writer, model, dtype, name)
    for n, tensor in ordered.items():
        per_block, block_bytes = gguf.GGML_QUANT_SIZES[kinds[n]]
        size = int(np.prod(tensor.shape)) // per_block * block_bytes
        writer.add_tensor_info(n, tensor.shape, np.dtype(np.float32), size, kinds[n])
    with replacing(path, binary=True) as file:
        # The library opens a file of its own by its name, unless it has one.
        writer.fout, writer.state = [file], gguf.gguf_writer.WriterState.EMPTY
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for n, tensor in ordered.items():
            writer.write_padding(file, file.tell())
            for block in tensor.blocks():
                if np.isfinite(block).all():
                    file.write(gguf.quants.quantize(block, kinds[n]).tobytes())
                else:
                    raise ValueError(f'{n} holds NaN or infinity')
        writer.write_padding(file, file.tell())


def add_fields(writer, model, dtype, name):
    """Add what a reader must know of a model: sizes and vocabulary."""
    hparams, encoder = model.hparams, model.vocabulary.encoder
    if name:
        writer.add_name(name)
    writer.add_block_count(hparams.n_layer)
    writer.add_context_length(hparams.n_ctx)
    writer.add_embedding_length(hparams.n_embd)
    writer.add_feed_forward_length(4 * hparams.n_embd)
    writer.add_head_count(hparams.n_head)
    writer.add_layer_norm_eps(1e-5)
    writer.add_file_type(FILE_TYPES[dtype])
    tokens = sorted(encoder, key=encoder.get)
    merges = [' '.join(pair) for pair in parse_merges(model.vocabulary.merges)]
    special = special_tokens(model.vocabulary)
    writer.add_tokenizer_model(TOKENIZER)
    writer.add_tokenizer_pre('gpt-2')
    writer.add_token_list(tokens)
    writer.add_token_types([CONTROL if token in special else NORMAL for token in tokens])
    writer.add_token_merges(merges)
    if END in encoder:
        writer.add_bos_token_id(encoder[END])
        writer.add_eos_token_id(encoder[END])
        writer.add_unk_token_id(encoder[END])
    writer.add_add_bos_token(False)
