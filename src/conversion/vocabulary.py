"""Vocabularies of other ecosystems: the same tokens and merges in other files. No TensorFlow."""

import json
import os

from conversion.model import Vocabulary
from encoder import Encoder, parse_merges
from support.files import check_is_file, open_named

VERSION = '#version: 0.2\n'  # the first line of vocab.bpe and merges.txt
END = '<|endoftext|>'


def read_json(path):
    """The content of a JSON file; ValueError, naming it, if it is none."""
    check_is_file(path)
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} is not JSON ({error})') from error


def read_text(path):
    check_is_file(path)
    try:
        with open(path, encoding='utf-8', newline='') as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is damaged: byte {error.start} is not UTF-8') from None


def read_vocabulary(folder):
    """The vocabulary in a folder of the 2019 release or of Hugging Face; None if there is none."""
    for tokens, merges in (('encoder.json', 'vocab.bpe'), ('vocab.json', 'merges.txt')):
        paths = os.path.join(folder, tokens), os.path.join(folder, merges)
        if all(map(os.path.exists, paths)):
            encoder = read_json(paths[0])
            try:
                return checked(folder, Vocabulary(encoder | added(folder), read_text(paths[1])))
            except TypeError as error:
                raise ValueError(f'{folder} has no dict of tokens ({error})') from error
    path = os.path.join(folder, 'tokenizer.json')
    return checked(path, of_tokenizer(path)) if os.path.exists(path) else None


def added(folder):
    """The tokens that were added to a vocabulary of Hugging Face, {token: id}.

    transformers 5 writes tokenizer.json alone, beside older files where those are there.
    """
    path, newer = (os.path.join(folder, f'{n}.json') for n in ('added_tokens', 'tokenizer'))
    older = read_json(path) if os.path.exists(path) else {}
    return older | (added_to(read_json(newer), newer) if os.path.exists(newer) else {})


def added_to(content, path):
    """The tokens that were added to the vocabulary in the content of a tokenizer.json."""
    try:
        return {token['content']: token['id'] for token in content.get('added_tokens', [])}
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f'{path} is no tokenizer of Hugging Face ({error!r})') from error


def of_tokenizer(path):
    """The vocabulary in a tokenizer.json, which is all that transformers 5 saves."""
    content = read_json(path)
    try:
        model = content['model']
        if model['type'] != 'BPE':
            raise ValueError(f'{path} is of type {model["type"]!r}, not BPE')
        merges = [pair if isinstance(pair, str) else ' '.join(pair) for pair in model['merges']]
        return Vocabulary(model['vocab'] | added_to(content, path), merges_text(merges))
    except (LookupError, TypeError) as error:
        raise ValueError(f'{path} is no tokenizer of Hugging Face ({error!r})') from error


def merges_text(merges):
    """The text of vocab.bpe.  merges: list of 'a b'."""
    return VERSION + ''.join(f'{merge}\n' for merge in merges)


def special_tokens(vocabulary):
    """The set of tokens that no merge makes, such as <|endoftext|>.

    Raises ValueError where the parts of the vocabulary do not fit together.
    """
    return Encoder(vocabulary.encoder, parse_merges(vocabulary.merges)).special


def checked(source, vocabulary):
    """A vocabulary as it is; ValueError where its parts do not fit together."""
    try:
        special_tokens(vocabulary)
    except ValueError as error:
        raise ValueError(f'{source}: {error}') from error
    return vocabulary


def fitted(vocabulary, n_rows):
    """A vocabulary without the tokens that an embedding of n_rows has no row for, and a remark.

    Tokens after an id that no token has are left out, too: here ids are numbers without gaps.
    Raises ValueError where more than added tokens lack a row.
    """
    ids = set(vocabulary.encoder.values())
    n_kept = next(i for i in range(len(ids) + 1) if i not in ids or i == n_rows)
    kept = {token: i for token, i in vocabulary.encoder.items() if i < n_kept}
    without = [token for token in vocabulary.encoder if token not in kept]
    if not without:
        return vocabulary, []
    try:
        checked('the vocabulary', Vocabulary(kept, vocabulary.merges))
    except ValueError:
        raise ValueError(
            f'the embedding has {n_rows:,} rows for {len(vocabulary.encoder):,} tokens of the '
            'vocabulary: they are of different models'
        ) from None
    return vocabulary._replace(encoder=kept), [
        f'left out {len(without)} added tokens that the embedding has no row for, or whose ids '
        f'leave a gap: {", ".join(without)}'
    ]


def write_vocabulary(vocabulary, folder, tokens, merges):
    """Write a vocabulary as two files, `tokens` and `merges`, into a folder."""
    with open_named(os.path.join(folder, tokens)) as file:
        json.dump(vocabulary.encoder, file)
    with open_named(os.path.join(folder, merges)) as file:
        file.write(vocabulary.merges)
