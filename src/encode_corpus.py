#!/usr/bin/env python3
"""Encode texts once, to train on them often: a folder of token files."""

from loading.model_files import load_encoder
from support import command_line, stopping
from support.documents import Separator
from support.files import expand
from training import corpus


def encode_corpus(
    folder: str,
    *sources: str,
    model_name: str = '124M',
    models_dir: str = 'models',
    validation: float = corpus.HELD_OUT,
    seed: int = 0,
    validation_data: str = None,
    separator: str = None,
):
    """Write the texts of SOURCES as tokens: FOLDER/train.npy, validation.npy and corpus.json.

    A source is a text file in UTF-8, a .jsonl file with a document in the field "text" of each
    line, a folder, whose .txt and .jsonl files are taken, or a pattern like 'books/*.txt'. Each
    document is followed by the <|endoftext|> token.

    Args:
        folder: where to write; must not hold a corpus
        sources: one or more files, folders or patterns
        model_name: the model whose vocabulary is used, a folder of models_dir
        models_dir: the folder of all models
        validation: hold out about this fraction of the documents, or the end of a single one
        seed: another one holds out other documents
        validation_data: hold out this file, folder or pattern instead, and nothing of SOURCES
        separator: what stands between the documents of a text, such as '<|endoftext|>'; None takes
            a text for one document
    """
    if not sources:
        raise ValueError('name at least one source: a file, a folder or a pattern')
    separator = None if separator is None else Separator(separator)
    sources = corpus.Sources(sources, separator)
    held_out = None if validation_data is None else corpus.Sources([validation_data], separator)
    encoder = load_encoder(model_name, expand(models_dir))
    written = corpus.encode_with_progress(sources, encoder, folder, validation, seed, held_out)
    with stopping.keeping(f'{folder} is written'):
        for split in corpus.SPLITS:
            if split in written:
                print(summary(split, **written[split]), flush=True)


def summary(split, documents, tokens, bytes):
    some = 'document' if documents == 1 else 'documents'
    return f'{split}: {documents} {some}, {tokens} tokens, {bytes / tokens:.2f} bytes per token'


if __name__ == '__main__':
    command_line.run(encode_corpus)
