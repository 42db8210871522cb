#!/usr/bin/env python3
"""Make a data set of human texts, in the form of OpenAI's gpt-2-output-dataset."""

import functools
import os
import sys

from detection import human_text
from detection.records import check_sizes, check_source
from hparams import read_hparams
from loading.model_files import find_model, load_encoder
from support import command_line
from support.checks import check_number, check_switch, check_whole
from support.files import expand
from training.corpus import is_held_out


def make_human_dataset(
    folder: str,
    *texts: str,
    model_name: str = '124M',
    models_dir: str = 'models',
    source: str = 'human',
    train: int = 250_000,
    valid: int = 5_000,
    test: int = 5_000,
    length: int = None,
    windows: bool = False,
    held_out: float = 0,
    seed: int = 0,
):
    """Write human texts to FOLDER/SOURCE.{train,valid,test}.jsonl, split by documents.

    TEXTS are files, folders, whose .txt and .jsonl files are taken, and patterns; a .jsonl file
    holds a document in the field "text" of each line. A record is {"id", "ended", "length",
    "text"}, as in OpenAI's data set, and says which document it is from. All of a document is in
    one split. Of documents with the same text one is taken.

    folder: where the files go.
    texts: one or more.
    model_name: whose vocabulary counts the tokens, a folder of models_dir.
    models_dir: the folder of all models.
    source: the name of the files.
    train, valid, test: documents are dealt to the splits in this proportion.
    length: tokens in each record at most; None is the model's context.
    windows: a record for each so many tokens of a document, not for the first ones only.
    held_out: if the model was trained on these very texts, the --validation of train.py: only the
        documents that it held out are for validation and test, all others for training. 0: the
        model has seen none of them.
    seed: the --seed of train.py, which says what it held out.
    """
    if not texts:
        raise ValueError('name at least one text after the folder: a file, a folder or a pattern')
    sizes = check_sizes(train, valid, test)
    check_switch('windows', windows)
    check_number('held_out', held_out, least=0, below=1)
    check_whole('seed', seed, least=0)
    models_dir = expand(models_dir)
    model_folder = find_model(model_name, models_dir)
    length = read_hparams(f'{model_folder}/hparams.json').n_ctx if length is None else length
    check_whole('length', length, least=1)
    encoder = load_encoder(model_name, models_dir)
    path = os.path.join(expand(folder), check_source(source))
    documents = human_text.Documents([expand(text) for text in texts])
    unseen = functools.partial(is_held_out, fraction=held_out, seed=seed) if held_out else None
    records = human_text.Records(documents, encoder, sizes, length, not windows, unseen)
    for split, (n_documents, n_records) in human_text.write(path, records).items():
        print(f'{path}.{split}.jsonl: {n_records:,} records of {n_documents:,} documents')
    if documents.repeated:
        note = 'documents left out, as there was one with the same text'
        print(f'{note}: {documents.repeated:,}', file=sys.stderr)


if __name__ == '__main__':
    command_line.run(make_human_dataset)
