#!/usr/bin/env python3
"""Learn a byte-level BPE vocabulary from text: encoder.json and vocab.bpe, as GPT-2 has them."""

import itertools
import json
import os
import sys
import tempfile

from encoder import BOUNDARY, END_OF_TEXT, PATTERN, Encoder, bytes_to_unicode
from loading.model_files import folder_of
from support import command_line, stopping
from support.checks import check_whole
from support.documents import Separator, find_files, note_ends, pieces, read_documents
from support.files import building, expand, open_named, place_to_build, shown
from support.progress import show_progress
from training.saved import VOCABULARY

N_NOT_MERGED = 256 + 1  # tokens that no merge makes: the bytes and <|endoftext|>
PART_CHARACTERS = 2**14  # tokenizers gets so many at a time; 16 times as many halve its speed


def train_encoder(
    name: str,
    *sources: str,
    n_vocab: int = 4096,
    models_dir: str = 'models',
    min_frequency: int = 2,
    separator: str = None,
):
    """Learn a vocabulary from text and write it, encoder.json and vocab.bpe, to models/NAME.

    Needs Hugging Face's tokenizers (pip install tokenizers). The same text always gives the same
    vocabulary. Reads the text twice: to learn, and to tell how many bytes a token stands for.

    Args:
        name: the model's folder; it may be there, but not with a vocabulary in it.
        sources: the text to learn from, one or more: .txt or .jsonl files, folders or globs.
        n_vocab: tokens in all: 256 bytes, the merges, and <|endoftext|>.
        models_dir: the folder of all models.
        min_frequency: merge no pair that is rarer than this; then there may be fewer tokens.
        separator: what stands between the documents of a text, such as '<|endoftext|>', and is not
            learned from.
    """
    check_whole('n_vocab', n_vocab, least=N_NOT_MERGED, below=2**24)
    check_whole('min_frequency', min_frequency, least=1, below=2**31)
    folder = folder_of(name, expand(models_dir))
    refuse_to_replace(folder)
    files = files_to_learn_from(sources)
    separator = None if separator is None else Separator(separator)
    require_writable(folder)
    with stopping.deadly_signals():  # tokenizers would let Python hear of them at its end
        merges = learn_merges(
            read_documents(files, separator), n_vocab - N_NOT_MERGED, min_frequency
        )
    encoder = Encoder(number_tokens(merges), merges)
    bytes_per_token, spelled_ends = measure(encoder, read_documents(files, separator))
    write_vocabulary(folder, encoder.encoder, merges)
    note_ends(spelled_ends)
    if encoder.n_vocab < n_vocab:
        print(
            f'note: {encoder.n_vocab} tokens, not {n_vocab}: the text has only {len(merges)} pairs'
            f' to merge that occur {min_frequency} times or more',
            file=sys.stderr,
        )
    with stopping.keeping(f'{folder} is written'):
        learned = f'{len(merges)} merges, {bytes_per_token:.3f} bytes per token'
        print(f'wrote {shown(folder)}: {learned}', flush=True)


def files_to_learn_from(sources):
    """Return the files that sources stand for; ValueError for one that cannot be read twice."""
    if not sources:
        raise ValueError('name at least one file or folder of text to learn from')
    files = find_files(sources)
    for path in files:
        if not os.path.isfile(path):
            raise ValueError(f'{path} is not a regular file: the text has to be read twice')
    return files


def learn_merges(documents, n_merges, min_frequency=2):
    """Return the merges that byte-pair encoding learns, a list of (str, str), first merges first.

    Each joins the pair of neighbours that is most frequent inside the words of all documents
    (Sennrich et al. 2016, algorithm 1); of equally frequent pairs the one whose tokens have the
    lower ids. Nothing in a document is special. No two merges make the same token.

    documents: iterable of str.
    n_merges: int; fewer are learned if no pair is left that occurs min_frequency times.
    Raises ValueError if Hugging Face's tokenizers, which does the work, is not installed.
    """
    try:
        from tokenizers import Tokenizer, models, trainers
    except ImportError:
        raise ValueError(
            "learning a vocabulary needs Hugging Face's tokenizers: pip install tokenizers"
        ) from None
    alphabet = list(bytes_to_unicode().values())
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + n_merges,
        min_frequency=min_frequency,
        initial_alphabet=alphabet,
        show_progress=False,  # its bar prints empty lines to standard output
    )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = word_splitter()
    tokenizer.train_from_iterator(parts(documents, 'learning'), trainer)
    merges = json.loads(tokenizer.to_str())['model']['merges']
    # A merge was one text before tokenizers 0.20.
    return [tuple(pair.split(' ') if isinstance(pair, str) else pair) for pair in merges]


def word_splitter():
    """Return a pre-tokenizer that splits a text into the words of `encoder.SPLIT`, as bytes."""
    from tokenizers import Regex, pre_tokenizers

    # The pattern's $ means the end of the text; in this engine it matches before any newline too.
    words = pre_tokenizers.Split(Regex(PATTERN.replace('$', r'\z')), 'isolated')
    in_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([words, in_bytes])


def parts(documents, description):
    """Yield documents cut where words end anyway (see encoder.chunks), and show how far it is."""
    with show_progress(desc=description, unit=' characters', unit_scale=True) as shown:
        for piece in itertools.chain.from_iterable(map(pieces, documents)):
            start = 0
            while start < len(piece):
                boundary = BOUNDARY.search(piece, start + PART_CHARACTERS)
                end = boundary.start() if boundary else len(piece)
                yield piece[start:end]
                shown.update(end - start)
                start = end


def number_tokens(merges):
    """Return {token: id} in the order of GPT-2's encoder.json: bytes, merges, <|endoftext|>."""
    tokens = [*bytes_to_unicode().values(), *map(''.join, merges), END_OF_TEXT]
    assert len(set(tokens)) == N_NOT_MERGED + len(merges), 'two merges make the same token'
    return {token: i for i, token in enumerate(tokens)}


def measure(encoder, documents):
    """Return the mean bytes of UTF-8 that a token stands for, and the count of <|endoftext|>."""
    n_bytes = n_tokens = spelled_ends = 0
    for part in parts(documents, 'measuring'):
        n_bytes += len(part.encode('utf-8'))
        n_tokens += len(encoder.encode(part))
        spelled_ends += part.count(END_OF_TEXT)
    return n_bytes / n_tokens, spelled_ends


def refuse_to_replace(folder):
    """Raise ValueError if a folder has a vocabulary, or half of one."""
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise ValueError(f'{folder} is not a folder')
    for name in VOCABULARY:
        if os.path.lexists(os.path.join(folder, name)):
            raise ValueError(f'{os.path.join(folder, name)} is there already')


def require_writable(folder):
    """Raise OSError, before the long work, if nothing can be written at its end."""
    with tempfile.TemporaryFile(dir=place_to_build(folder)):
        pass


def write_vocabulary(folder, ids, merges):
    """Write encoder.json and vocab.bpe in the released format; a new folder appears with both."""
    with building(folder) as unfinished:
        with open_named(os.path.join(unfinished, 'encoder.json')) as f:
            json.dump(ids, f)
        with open_named(os.path.join(unfinished, 'vocab.bpe')) as f:
            f.write('\n'.join(['#version: 0.2', *map(' '.join, merges), '']))


if __name__ == '__main__':
    command_line.run(train_encoder)
