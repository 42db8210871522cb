#!/usr/bin/env python3
"""Say how probable a model finds texts: perplexity, bits per byte, and each token's surprise."""

import codecs
import contextlib
import itertools
import json
import math
import os
import typing

from tqdm import tqdm

import command_line
import surprise_page
from hparams import read_hparams
from model_files import expand, find_model, load_encoder_with_end
from settings import check_dtype, check_whole
from text_files import STANDARD_INPUT, find_files, texts_of
from whole_file import replacing


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
):
    """Print how probable a model finds the texts of SOURCES.

    A source is a text file in UTF-8, a .jsonl file with a document in the field "text" of each
    line, a folder, whose .txt and .jsonl files are taken, a pattern like 'books/*.txt', or - for
    standard input. Each document is scored on its own, from its first token, which is predicted
    from <|endoftext|>.

    Where there are several documents each gets a line; then come, for all of them together and in
    this order: documents, tokens, words (what whitespace separates), characters, bytes, total nats
    (minus the log-probability of the text), perplexity per token, perplexity per word, bits per
    byte and bits per character.

    Args:
        sources: one or more files, folders or patterns, or -
        model_name: which model to use, a folder of models_dir
        models_dir: the folder of all models
        context: most tokens that are read to predict one; None is all that the model can read
        stride: tokens that are scored in each window of a document longer than the context; None
            is half of the context, fewer give each token more context and take longer
        tokens: write a JSON record for each token to this file
        html: write a page that colours each token by its surprise to this file
        dtype: what weights are stored in and multiplied as: float32, bfloat16 or int8
        tokens_at_once: tokens read together; changes speed and memory, never the results
    """
    if not sources:
        raise ValueError('name at least one source: a file, a folder, a pattern, or - for stdin')
    check_whole('tokens_at_once', tokens_at_once, least=1)
    check_dtype(dtype)
    files = find_files(sources)
    check_outputs([path for path in (tokens, html) if path is not None], files)
    models_dir = expand(models_dir)
    n_ctx = read_hparams(f'{find_model(model_name, models_dir)}/hparams.json').n_ctx
    context = n_ctx if context is None else context
    check_whole('context', context, least=1, below=n_ctx + 1)
    stride = max(context // 2, 1) if stride is None else stride
    check_whole('stride', stride, least=1, below=context + 1)
    encoder = load_encoder_with_end(model_name, models_dir)

    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=0, unit=' tokens', unit_scale=True, disable=None))
        documents = read(files, encoder, bar)
        first = next(documents)  # refuse what cannot be read before TensorFlow is loaded
        sinks = [stack.enter_context(sink) for sink in open_sinks(tokens, html, model_name)]
        scorer = stack.enter_context(
            command_line.start_scorer(
                model_name, models_dir, encoder, dtype, tokens_at_once=tokens_at_once
            )
        )
        to_score, to_show = itertools.tee(itertools.chain([first], documents))
        scores = scorer.score_documents(
            (document.tokens for document in to_score),
            context,
            stride,
            details=bool(sinks),
            ranks=bool(sinks),
            progress=bar.update,
        )
        show(zip(to_show, scores, strict=True), sinks, encoder)


def check_outputs(outputs, files):
    """Refuse to write two things to one file, or over a text."""
    taken = {os.path.realpath(path) for path in files if path != STANDARD_INPUT}
    for path in outputs:
        if os.path.realpath(path) in taken:
            raise ValueError(f'{path} is a source, or another output: choose another name')
        if os.path.isfile(path) or not os.path.exists(path):  # unlike /dev/null, which takes all
            taken.add(os.path.realpath(path))


class Document(typing.NamedTuple):
    name: str
    text: str
    tokens: list


def read(files, encoder, bar):
    """Yield the documents of files; the bar learns of their tokens as they are read."""
    some = False
    for path in files:
        for number, text in enumerate(texts_of(path), start=1):
            if not text:
                continue
            some = True
            name = 'standard input' if path == STANDARD_INPUT else path
            if path.lower().endswith('.jsonl'):
                name += f' {number}'
            document = Document(name, text, encoder.encode(text))
            bar.total += len(document.tokens)
            yield document
    if not some:
        raise ValueError(f'there is no text in {", ".join(files)}')


def show(scored, sinks, encoder):
    """Print a line for each document, if there are several, and what holds for all together.

    scored: pairs of a Document and its Scores.
    """
    sums, held_back = Sums(), None
    for document, scores in scored:
        own = Sums.of(document, scores)
        line = f'{document.name}: {own.line()}'
        if sums.documents == 0:
            held_back = line  # until there is a second one
        else:
            for each in (held_back, line):
                if each is not None:
                    tqdm.write(each)
            held_back = None
        sums = sums.plus(own)
        for sink in sinks:
            sink.write(document, list(token_records(encoder, document.tokens, scores)), own)
    for label, value in sums.rows():
        tqdm.write(f'{label:22}{value}')


class Sums(typing.NamedTuple):
    """What is counted of documents."""

    documents: int = 0
    tokens: int = 0
    words: int = 0
    characters: int = 0
    bytes: int = 0
    nats: float = 0.0

    @classmethod
    def of(cls, document, scores):
        text = document.text
        counts = len(document.tokens), len(text.split()), len(text), len(text.encode('utf-8'))
        return cls(1, *counts, -scores.total)

    def plus(self, other):
        return Sums(*map(sum, zip(self, other, strict=True)))

    def rows(self):
        """(label, value) of all that is printed, both str."""
        return [
            ('documents', f'{self.documents}'),
            ('tokens', f'{self.tokens}'),
            ('words', f'{self.words}'),
            ('characters', f'{self.characters}'),
            ('bytes', f'{self.bytes}'),
            ('total nats', f'{self.nats:.3f}'),
            ('perplexity per token', perplexity(self.nats, self.tokens)),
            ('perplexity per word', perplexity(self.nats, self.words)),
            ('bits per byte', f'{self.nats / math.log(2) / self.bytes:.4f}'),
            ('bits per character', f'{self.nats / math.log(2) / self.characters:.4f}'),
        ]

    def line(self):
        shown = ('tokens', 'total nats', 'perplexity per token', 'perplexity per word')
        shown += ('bits per byte', 'bits per character')
        return ', '.join(f'{label} {value}' for label, value in self.rows() if label in shown)


def perplexity(nats, units):
    if not units:
        return 'none'  # a text of nothing but whitespace has no words
    try:
        return f'{math.exp(nats / units):.4f}'
    except OverflowError:  # a text of one very long word
        return f'e^{nats / units:.1f}'


def token_records(encoder, tokens, scores):
    """Yield a dict for each token: id, text, logprob, rank, entropy, and bytes where it needs them.

    A token may end inside a character. Its text is what it completes: all texts together are the
    document, exactly. Where that is not what the token's bytes stand for alone, `bytes` has these
    as hexadecimal digits.
    """
    utf8 = codecs.getincrementaldecoder('utf-8')()
    columns = (scores.logprobs, scores.ranks, scores.entropies)
    values = zip(*(column.tolist() for column in columns), strict=True)
    for token, (logprob, rank, entropy) in zip(tokens, values, strict=True):
        data = encoder.decode_bytes([token])
        record = {'id': token, 'text': utf8.decode(data)}
        if record['text'].encode('utf-8') != data:
            record['bytes'] = data.hex()
        # Seven digits say all that a float32 holds.
        record |= {'logprob': rounded(logprob), 'rank': rank, 'entropy': rounded(entropy)}
        yield record


def rounded(number):
    return float(f'{number:.7g}')


def open_sinks(tokens, html, model_name):
    """Where the tokens of each document go: context managers with a `write`."""
    if tokens is not None:
        yield TokenFile(tokens)
    if html is not None:
        yield PageFile(html, model_name)


class Sink:
    """A file that takes its place when all documents are written."""

    def __init__(self, path):
        self.path = path
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        self.file = self.stack.enter_context(replacing(self.path))
        return self

    def __exit__(self, *exception):
        return self.stack.__exit__(*exception)


class TokenFile(Sink):
    """A JSON record a line for each token: `token_records`, the document's name and the index."""

    def write(self, document, records, sums):
        for index, record in enumerate(records):
            record = {'document': document.name, 'index': index} | record
            self.file.write(json.dumps(record, ensure_ascii=False) + '\n')


class PageFile(Sink):
    """The page of surprise_page.py."""

    def __init__(self, path, model_name):
        super().__init__(path)
        self.model_name = model_name

    def __enter__(self):
        super().__enter__()
        self.file.write(surprise_page.head(self.model_name))
        return self

    def write(self, document, records, sums):
        self.file.write(surprise_page.section(document.name, sums.rows()[1:], records))

    def __exit__(self, *exception):
        if exception == (None, None, None):
            self.file.write(surprise_page.FOOT)
        return super().__exit__(*exception)


if __name__ == '__main__':
    command_line.run(score)
