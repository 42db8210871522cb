#!/usr/bin/env python3
"""Count how much of one text is in another: the share of its 8-grams, as in the paper."""

import contextlib
import os
import sys

from cluster.flags import Spread, takes_workers
from cluster.made import Prepared
from evaluation.figure import write
from loading.model_files import load_encoder, vocabulary_sha256
from ngrams import counts as counting
from ngrams.figure import check_matplotlib, draw
from ngrams.parts import Sharing
from ngrams.training_text import begin, memory_of, read_all, total_size
from scoring.outputs import check_outputs
from support import command_line, stopping
from support.documents import Separator, find_files
from support.files import expand
from support.progress import show_progress


@takes_workers
def overlap(
    *texts: str,
    filter: str = None,
    results: str = None,
    figure: str = None,
    documents: bool = False,
    separator: str = None,
    test_separator: str = None,
    capacity: int = None,
    exact: bool = False,
    model_name: str = '124M',
    models_dir: str = 'models',
    workers: int = None,
    scheduler: str = None,
    parts: str = None,
    part_size: int = None,
):
    """Print how many 8-grams of TEST are in TRAIN (Radford et al. 2019, section 4).

    The first of TEXTS is the training text, TRAIN, all others are texts to look for in it, TEST.
    Each is a text file in UTF-8, a .jsonl file with a document in the field "text" of each line, a
    folder, whose .txt and .jsonl files are taken, a pattern like 'books/*.txt', or - for standard
    input. TRAIN may also be filters that were saved, or a pattern of them: these are merged.

    An 8-gram is eight tokens in a row of the text's lower-case words of letters and digits. Those
    of TRAIN are kept in a Bloom filter, so that at most 1 in 100,000,000 is found by mistake.

    Args:
        texts: the training text, then one or more texts to look for in it
        filter: save the 8-grams of TRAIN in this file; if it is there, files that it has are not
            read again, and others are added
        results: write all figures to this file, as JSON
        figure: draw which share of documents has how much overlap, the paper's figure 5, to this
            name; a .png and a .svg are written
        documents: print a line for each document, too
        separator: what stands between the documents of TRAIN, such as '<|endoftext|>'; None takes
            a text for one document
        test_separator: the same for TEST
        capacity: different 8-grams that the filter has room for; None estimates them by the sizes
            of the files
        exact: keep the 8-grams themselves, without a filter: 20 times the memory
        model_name: the model whose vocabulary is used, a folder of models_dir
        models_dir: the folder of all models
        <workers>
    """
    if not texts or len(texts) == 1 and filter is None:
        raise ValueError('name two texts: overlap.py TRAIN TEST; or one and --filter to save it')
    if len(texts) == 1 and (results is not None or figure is not None or documents):
        raise ValueError('--results, --figure and --documents are for texts after TRAIN')
    spread = Spread(workers, scheduler, parts, part_size)
    spread.check()
    training, tests = find_files(texts[:1]), find_files(texts[1:])
    check_places(filter, results, figure, training + tests)
    spread.check_alone(filter)
    encoder = load_encoder(model_name, models_dir)
    vocabulary = vocabulary_sha256(encoder)
    if spread.asked:
        models = {'model_name': model_name, 'models_dir': os.path.abspath(expand(models_dir))}
        shared = Sharing(vocabulary, models, filter, spread)
    text, to_read = begin(training, vocabulary, filter, capacity, exact)
    print(memory_of(text), file=sys.stderr)

    def kept():
        some = f'{text.n_saved} file{"s" * (text.n_saved != 1)}'
        return f'{filter} has {some} of TRAIN; the same command goes on' if text.n_saved else ''

    counts = None
    with contextlib.suppress(Prepared), stopping.keeping(kept):
        if spread.asked:
            shared.read_all(text, to_read, separator_of(separator))
        else:
            with bar('TRAIN', to_read) as shown:
                read_all(text, to_read, separator_of(separator), encoder, filter, shown.update)
        if tests and spread.asked:
            counts = shared.count_all(tests, separator_of(test_separator))
        elif tests:
            with bar('TEST', tests) as shown:
                splitting = separator_of(test_separator)
                counts = counting.count_all(tests, text.ngrams, splitting, encoder, shown.update)
    if counts is None:
        return
    print_all(counts, documents)
    if figure is not None:
        draw(counts, lambda drawn: write(drawn, figure_name(figure)))
    if results is not None:
        made_by = {'train': training, 'model_name': model_name, 'vocabulary': vocabulary}
        separators = {'separator': separator, 'test_separator': test_separator}
        counting.write_results(results, text.ngrams, counts, made_by | separators)


def check_places(filter, results, figure, sources):
    """Raise ValueError for what cannot be written, before hours of work."""
    outputs = [path for path in (filter, results) if path is not None]
    if figure is not None:
        check_matplotlib()
        if not os.path.basename(figure_name(figure)):
            raise ValueError(f'--figure {figure!r} names no picture')
        outputs += [f'{figure_name(figure)}.{ending}' for ending in ('png', 'svg')]
    check_outputs(outputs, sources)
    for path in outputs:
        folder = os.path.dirname(path) or '.'
        if os.path.isdir(path) or not os.path.isdir(folder):
            what = f'{path} is a folder' if os.path.isdir(path) else f'there is no folder {folder}'
            raise ValueError(f'{what}: name a file to write')


def figure_name(figure):
    return expand(figure).removesuffix('.png').removesuffix('.svg')


def separator_of(text):
    return None if text is None else Separator(text)


def bar(what, files):
    """A progress bar in bytes of files."""
    total = total_size(files) if all(map(os.path.isfile, files)) else None
    return show_progress(desc=what, total=total, unit='B', unit_scale=True)


def print_all(counts, documents):
    for line in counting.document_lines(counts) if documents else []:
        print(line)
    for line in counting.table_lines(counts):
        print(line)
    total = counting.total_of(counts)
    if len(total.percents()) > 1 and len(total.ngrams) > len(counts):
        print()
        for line in counting.histogram_lines(total):
            print(line)


if __name__ == '__main__':
    command_line.run(overlap)
