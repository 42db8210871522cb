"""Language modeling: how well a model predicts whole texts (Radford et al. 2019, section 3.1).

WikiText-2 and -103, the Penn Treebank, the One Billion Word Benchmark, enwik8 and text8.
No TensorFlow.
"""

import functools
import os
import re

from evaluation import detokenizers, texts
from evaluation.data_files import DataFile, known_choice
from evaluation.metric import Metric
from evaluation.task import Task
from evaluation.texts import Text

WIKITEXTS = (2, 103)
PTB_SPLITS = ('test', 'valid')
TEXT8_ALPHABET = b' abcdefghijklmnopqrstuvwxyz'
TEST_SHARE = 20  # The last twentieth of enwik8 and text8 is the test split.


def read_wikitext(data_dir='data', size=2, raw=True, complete=True):
    """The test split of WikiText, a str: lines that begin and end with a space, and ` \\n` between.

    size: 2 or 103. raw: with all words (wiki.test.raw), or with <unk> for rare ones
    (wiki.test.tokens).
    """
    known_choice('size', size, dict.fromkeys(WIKITEXTS))
    name = 'wiki.test.raw' if raw else 'wiki.test.tokens'
    file = DataFile(data_dir, f'wikitext{size}', name, complete)
    with file.complaints():
        text = file.text()
        file.require(text.count('\n') + (not text.endswith('\n')), 'lines')
        if not re.search(r'^ = .+ = $', text, re.MULTILINE):
            raise ValueError('it has no heading of the form " = Title = "')
    return text


def read_ptb(data_dir='data', split='test', complete=True):
    """The sentences of the Penn Treebank as Mikolov prepared it, a list of str.

    split: 'test' or 'valid'. The spaces at either end of a line are left out.
    """
    known_choice('split', split, dict.fromkeys(PTB_SPLITS))
    file = DataFile(data_dir, 'ptb', f'ptb.{split}.txt', complete)
    with file.complaints():
        lines = [line.strip() for line in file.lines()]
        file.require(len(lines), 'lines')
        if not all(lines):
            raise ValueError(f'line {lines.index("") + 1} is empty')
    return lines


def read_one_billion(data_dir='data', complete=True):
    """The sentences of the One Billion Word Benchmark's first held-out shard, a list of str."""
    file = DataFile(data_dir, '1bw', 'news.en.heldout-00000-of-00050', complete)
    with file.complaints():
        text = file.text()
        if complete and not text.endswith('\n'):
            raise ValueError('its last line is cut off')
        return [line for line in map(str.strip, text.split('\n')) if line]


def read_enwik8(data_dir='data', complete=True):
    """The test split of enwik8, bytes: the last 5,000,000 of 100,000,000."""
    file = DataFile(data_dir, 'enwik8', 'enwik8', complete)
    with file.complaints():
        return last_part(file)


def read_text8(data_dir='data', complete=True):
    """The test split of text8, a str of a-z and spaces: the last 5,000,000 of 100,000,000."""
    file = DataFile(data_dir, 'text8', 'text8', complete)
    with file.complaints():
        data = last_part(file)
        strange = data.translate(None, TEXT8_ALPHABET)
        if strange:
            raise ValueError(f'it has the byte {strange[:1]!r}, which is neither a-z nor a space')
    return data.decode('ascii')


def last_part(file):
    size = os.path.getsize(file.path)
    file.require(size, 'size')
    with open(file.path, 'rb') as f:
        f.seek(size - size // TEST_SHARE)
        data = f.read()
    if not data:
        raise ValueError(f'{size} bytes are too few to hold a test split')
    return data


def text_metrics(measure, unit, column):
    """The figure by original units, and the perplexity of the model's own tokens beside it."""
    name = measure.replace(' ', '_')
    normalisation = 'log-probability of the whole text / ' + unit
    per_token = 'log-probability of the whole text / tokens of the model'
    return {
        name: Metric(measure, 'nll', 'units', unit, normalisation, column),
        'token_perplexity': Metric('perplexity', 'nll', 'tokens', 'tokens', per_token),
    }


def text_task(read, split, detokenizer, measure, unit, column, strides):
    return Task(
        read,
        split,
        detokenizer,
        parts=texts.stream,
        score=texts.score_parts,
        columns=texts.COLUMNS,
        resampled='blocks of {context} tokens',
        metrics=text_metrics(measure, unit, column),
        strides=strides,
        stream=True,
    )


def running_text(read, detokenize, split, detokenizer, column):
    """A task by words and line ends, at half of the context and the whole one, which is cheap."""
    return text_task(
        by_words(read, detokenize),
        split,
        detokenizer,
        measure='perplexity',
        unit='words and line ends',
        column=column,
        strides=(2, 1),
    )


def by_words(read, detokenize):
    """A reader of one Text, whose units are its words and the ends of its lines."""

    def read_texts(data_dir, complete):
        text = read(data_dir, complete=complete)
        text = text if isinstance(text, str) else ''.join(line + '\n' for line in text)
        return [Text(detokenize(text), len(text.split()) + text.count('\n'))]

    return read_texts


def by_length(read):
    """A reader of one Text, whose units are its bytes or characters."""

    def read_texts(data_dir, complete):
        content = read(data_dir, complete=complete)
        return [Text(content, len(content))]

    return read_texts


def by_sentence(read, detokenize):
    """A reader of many Texts, each a sentence, whose units are its words."""

    def read_texts(data_dir, complete):
        return [
            Text(detokenize(line), len(line.split())) for line in read(data_dir, complete=complete)
        ]

    return read_texts


def wikitext(size, raw):
    return functools.partial(read_wikitext, size=size, raw=raw)


def ptb_lines(text):
    return '\n'.join(map(detokenizers.ptb, text.split('\n')))


def unchanged(text):
    return text


TASKS = {
    'wikitext2': running_text(
        wikitext(2, raw=False),
        detokenizers.wikitext,
        split='test (wiki.test.tokens)',
        detokenizer='wikitext; <unk> literally',
        column='wikitext2',
    ),
    'wikitext103': running_text(
        wikitext(103, raw=False),
        detokenizers.wikitext,
        split='test (wiki.test.tokens)',
        detokenizer='wikitext; <unk> literally',
        column='wikitext103',
    ),
    'wikitext_raw': running_text(
        wikitext(2, raw=True),
        unchanged,
        split='test (wiki.test.raw, the same for WikiText-2 and -103)',
        detokenizer='none',
        column='wikitext103',
    ),
    'ptb': running_text(
        read_ptb,
        ptb_lines,
        split='test (ptb.test.txt)',
        detokenizer='ptb; <unk> and N literally',
        column='ptb',
    ),
    '1bw': Task(
        by_sentence(read_one_billion, detokenizers.one_billion),
        split='held-out (news.en.heldout-00000-of-00050)',
        detokenizer='one_billion',
        parts=texts.documents,
        score=texts.score_parts,
        columns=texts.COLUMNS,
        resampled='sentences',
        metrics=text_metrics('perplexity', 'words', '1bw'),
        strides=(2,),
    ),
    'enwik8': text_task(
        by_length(read_enwik8),
        split='test (the last 5,000,000 bytes)',
        detokenizer='none',
        measure='bits per byte',
        unit='bytes',
        column='enwik8',
        strides=(2,),
    ),
    'text8': text_task(
        by_length(read_text8),
        split='test (the last 5,000,000 characters)',
        detokenizer='none',
        measure='bits per character',
        unit='characters',
        column='text8',
        strides=(2,),
    ),
}
