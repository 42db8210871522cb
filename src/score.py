#!/usr/bin/env python3
"""Say how probable a model finds texts: perplexity, bits per byte, and each token's surprisal."""

import contextlib
import itertools
import os
import shutil
import sys

from tqdm import tqdm

from cluster.flags import Spread, takes_workers
from cluster.made import Prepared
from fast import check_dtype, takes_dtype
from hparams import read_hparams
from loading.model_files import find_model, load_encoder_with_end
from scoring.documents import begun, read
from scoring.outputs import files_to_score, open_sinks, print_all, report
from scoring.parts import ARRAYS, model_settings, output_of, scored_in_parts
from scoring.start import start_scorer
from scoring.windows import Cutter
from support import command_line, stopping
from support.checks import check_whole
from support.files import expand


@takes_workers
@takes_dtype
def score(
    *sources: str,
    model_name: str = '124M',
    models_dir: str = 'models',
    context: int = None,
    stride: int = None,
    tokens: str = None,
    html: str = None,
    dtype: str = 'float32',
    tokens_at_once: int = 1024,
    separator: str = None,
    workers: int = None,
    scheduler: str = None,
    parts: str = None,
    part_size: int = None,
):
    """Print how probable a model finds the texts of SOURCES.

    A source is a text file in UTF-8, a .jsonl file with a document in the field "text" of each
    line, a folder, whose .txt and .jsonl files are taken, a pattern like 'books/*.txt', or - for
    standard input. Each document is scored on its own, from its first token, which is predicted
    from <|endoftext|>.

    Several files get a table with a line each and their total; of one file that holds several
    documents each gets a line. Then come, for all of them together and in this order: documents,
    tokens, words (what whitespace separates), characters, bytes, total nats (minus the
    log-probability of the text), perplexity per token, perplexity per word, bits per byte and bits
    per character.

    Args:
        sources: one or more files, folders or patterns, or -
        model_name: which model to use, a folder of models_dir
        models_dir: the folder of all models
        context: most tokens that are read to predict one; None is all that the model can read
        stride: tokens that are scored in each window of a document longer than the context; None
            is half of the context, fewer give each token more context and take longer
        tokens: write a JSON record for each token to this file
        html: write a page that colours each token by its surprisal to this file
        <dtype>
        tokens_at_once: tokens read together; changes speed and memory, never the results
        separator: what stands between the documents of a text, such as '<|endoftext|>'
        <workers>
    """
    check_whole('tokens_at_once', tokens_at_once, least=1)
    check_dtype(dtype)
    spread = Spread(workers, scheduler, parts, part_size)
    spread.check()
    outputs = [path for path in (tokens, html) if path is not None]
    files, separator = files_to_score(sources, separator, outputs)
    spread.check_alone(output_of(outputs))
    models_dir = expand(models_dir)
    hparams = read_hparams(f'{find_model(model_name, models_dir)}/hparams.json')
    context = hparams.n_ctx if context is None else context
    check_whole('context', context, least=1, below=hparams.n_ctx + 1)
    stride = max(context // 2, 1) if stride is None else stride
    check_whole('stride', stride, least=1, below=context + 1)
    encoder = load_encoder_with_end(model_name, models_dir)

    lost = None
    with contextlib.suppress(Prepared), contextlib.ExitStack() as stack:
        quiet = spread.asked or None  # then parts have a bar
        bar = stack.enter_context(tqdm(total=0, unit=' tokens', unit_scale=True, disable=quiet))
        documents = begun(read(files, encoder, bar, separator))
        if spread.asked:
            cutter = Cutter(encoder, hparams)
            settings = model_settings(model_name, models_dir, dtype)
            scored = scored_in_parts(
                documents,
                lambda document: cutter.document_windows(document.tokens, context, stride),
                settings | {'arrays': ARRAYS if outputs else ARRAYS[:1]},
                {'models_dir': os.path.abspath(models_dir), 'tokens_at_once': tokens_at_once},
                spread,
                output_of(outputs),
            )
            scored = stack.enter_context(scored)
        sinks = [stack.enter_context(sink) for sink in open_sinks(tokens, html, model_name)]
        if not spread.asked:
            model = dict(encoder=encoder, dtype=dtype, tokens_at_once=tokens_at_once)
            scorer = stack.enter_context(start_scorer(model_name, models_dir, **model))
            to_score, to_show = itertools.tee(documents)
            scores = scorer.score_documents(
                (document.tokens for document in to_score),
                context,
                stride,
                details=bool(sinks),
                ranks=bool(sinks),
                progress=bar.update,
            )
            scored = zip(to_show, scores, strict=True)
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        lost = print_all(report(scored, sinks, encoder, files, width), go_on=bool(sinks))
    if lost:
        with stopping.keeping(f'{" and ".join(outputs)} written all the same'):
            raise lost


if __name__ == '__main__':
    command_line.run(score)
