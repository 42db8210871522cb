"""The zero-shot tasks: what each reads, how it is scored, and what its figures are called.

Radford et al. 2019, sections 3.1 to 3.4. The paper leaves much of each protocol open; an entry says
what is done here, and DEVELOPERS.md why. No TensorFlow.

A task's examples become units of work (`parts`), each unit is scored to a row of numbers (`score`),
and a figure is a ratio of two sums over the rows: so work can stop between any two units, and
figures get their intervals from drawing rows anew.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import choice_scoring
import detokenizers
import last_words
import task_files
import text_scoring
from bootstrap_interval import blocks, ratio_interval
from text_scoring import Text

VALUE = {
    'perplexity': lambda nats: float(np.exp(nats)),
    'accuracy': lambda share: 100 * share,
    'bits per byte': lambda nats: nats / math.log(2),
    'bits per character': lambda nats: nats / math.log(2),
}


class Metric(NamedTuple):
    """A figure: VALUE[measure] of the sum of column `total` by that of column `per`.

    per: a column, or None for the number of rows.  unit: what `per` counts.
    normalisation: the same in words.
    column: of published_results.json, what the paper has for it, or None.
    """

    measure: str
    total: str
    per: str | None
    unit: str
    normalisation: str
    column: str | None = None


class Task(NamedTuple):
    """A task.

    read: (data_dir, complete=...) -> examples.  split, detokenizer: what they are of, how written.
    parts: (examples, scorer, context, stride) -> units of work, each with a `cost` in tokens read
      and the tokens `scored`.
    score: (scorer, parts, progress) -> float64 [parts, columns].
    resampled: what is drawn anew for the interval.
    metrics: {name: Metric}.
    strides: how far windows move, as divisors of the context, the main one first; none where each
      example is a window of its own.
    stream: the parts are windows of one text, and neighbours are drawn together.
    """

    read: Callable
    split: str
    detokenizer: str
    parts: Callable
    score: Callable
    columns: tuple[str, ...]
    resampled: str
    metrics: dict[str, Metric]
    strides: tuple[int, ...] = ()
    stream: bool = False


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
        parts=text_scoring.stream,
        score=text_scoring.score_parts,
        columns=text_scoring.COLUMNS,
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

    def texts(data_dir, complete):
        text = read(data_dir, complete=complete)
        text = text if isinstance(text, str) else ''.join(line + '\n' for line in text)
        return [Text(detokenize(text), len(text.split()) + text.count('\n'))]

    return texts


def by_length(read):
    """A reader of one Text, whose units are its bytes or characters."""

    def texts(data_dir, complete):
        content = read(data_dir, complete=complete)
        return [Text(content, len(content))]

    return texts


def by_sentence(read, detokenize):
    """A reader of many Texts, each a sentence, whose units are its words."""

    def texts(data_dir, complete):
        return [
            Text(detokenize(line), len(line.split())) for line in read(data_dir, complete=complete)
        ]

    return texts


def wikitext(size, raw):
    return functools.partial(task_files.read_wikitext, size=size, raw=raw)


def ptb_lines(text):
    return '\n'.join(map(detokenizers.ptb, text.split('\n')))


def unchanged(text):
    return text


TEXTS = {
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
        task_files.read_ptb,
        ptb_lines,
        split='test (ptb.test.txt)',
        detokenizer='ptb; <unk> and N literally',
        column='ptb',
    ),
    '1bw': Task(
        by_sentence(task_files.read_one_billion, detokenizers.one_billion),
        split='held-out (news.en.heldout-00000-of-00050)',
        detokenizer='one_billion',
        parts=text_scoring.documents,
        score=text_scoring.score_parts,
        columns=text_scoring.COLUMNS,
        resampled='sentences',
        metrics=text_metrics('perplexity', 'words', '1bw'),
        strides=(2,),
    ),
    'enwik8': text_task(
        by_length(task_files.read_enwik8),
        split='test (the last 5,000,000 bytes)',
        detokenizer='none',
        measure='bits per byte',
        unit='bytes',
        column='enwik8',
        strides=(2,),
    ),
    'text8': text_task(
        by_length(task_files.read_text8),
        split='test (the last 5,000,000 characters)',
        detokenizer='none',
        measure='bits per character',
        unit='characters',
        column='text8',
        strides=(2,),
    ),
}


def accuracy(total, unit, normalisation, column):
    return Metric('accuracy', total, None, unit, normalisation, column)


def perplexity(total, unit, column):
    normalisation = f'log-probability of the last {unit} / last {unit}'
    return Metric('perplexity', total, None, unit, normalisation, column)


LAST_WORD = {
    'accuracy_filtered': accuracy(
        'right_filtered',
        'passages',
        f'the likeliest word but {len(last_words.STOP_WORDS)} stop words (own list) is the last',
        'lambada_accuracy',
    ),
    'accuracy': accuracy(
        'right',
        'passages',
        'each token of the last word is the likeliest',
        'lambada_accuracy_no_filter',
    ),
    'last_token_accuracy': accuracy(
        'last_right',
        'passages',
        'the last token of the last word is the likeliest',
        'lambada_accuracy',
    ),
    'perplexity': perplexity('nll', 'words', 'lambada_perplexity'),
    'last_token_perplexity': perplexity('last_nll', 'tokens', 'lambada_perplexity'),
}


def lambada_task(version, split, detokenizer, detokenize):
    def read(data_dir, complete):
        passages = task_files.read_lambada(data_dir, version, complete=complete)
        return [detokenize(passage) for passage in passages]

    return Task(
        read,
        split,
        detokenizer,
        parts=last_words.passages,
        score=last_words.score_passages,
        columns=last_words.COLUMNS,
        resampled='passages',
        metrics=LAST_WORD,
    )


def cbt_task(kind, column):
    return Task(
        functools.partial(task_files.read_cbt, kind=kind),
        f'validation (cbtest_{kind}_valid_2000ex.txt)',
        'cbt',
        parts=choice_scoring.cloze_choices,
        score=choice_scoring.score_choices,
        columns=('right',),
        resampled='questions',
        metrics={
            'accuracy': accuracy(
                'right',
                'questions',
                'the likeliest of 10: candidate and rest of the sentence',
                column,
            )
        },
    )


TASKS = {
    'lambada': lambada_task('openai', 'test (lambada_test.jsonl)', 'lambada', detokenizers.lambada),
    'lambada_plain': lambada_task(
        'plain',
        'test (lambada_test_plain_text.txt, lower-case)',
        'lambada_plain',
        detokenizers.lambada_plain,
    ),
    'cbt_cn': cbt_task('CN', 'cbt_cn'),
    'cbt_ne': cbt_task('NE', 'cbt_ne'),
    **TEXTS,
    'winograd': Task(
        task_files.read_winograd,
        'all (the first 273 of WSCollection.xml)',
        'none',
        parts=choice_scoring.schema_choices,
        score=choice_scoring.score_choices,
        columns=('full', 'partial'),
        resampled='schemas',
        metrics={
            'accuracy_full': accuracy(
                'full', 'schemas', 'the likelier of 2: the whole sentence', 'winograd'
            ),
            'accuracy_partial': accuracy(
                'partial', 'schemas', 'the likelier of 2: what follows the candidate', 'winograd'
            ),
        },
    ),
}


def find_tasks(names):
    """The names of tasks in a text such as 'lambada,ptb' or 'all', in the order of TASKS.

    Raises ValueError for a name that is no task.
    """
    wanted = [name.strip() for name in names.split(',') if name.strip()]
    if wanted == ['all']:
        return list(TASKS)
    unknown = [name for name in wanted if name not in TASKS]
    if unknown or not wanted:
        what = f'there is no task {unknown[0]!r}' if unknown else 'no task is named'
        raise ValueError(f'{what}; there are: {", ".join(TASKS)}, and all')
    return [name for name in TASKS if name in wanted]


def figures(task, rows, context):
    """The figures of a task: {metric: dict of value, interval, units and how they come about}.

    rows: float64 [parts, columns], as `task.score` gives them.
    """
    rows = dict(zip(task.columns, np.asarray(rows, np.float64).T, strict=True))
    rows[None] = np.ones(len(rows[task.columns[0]]))
    return {name: figure(task, metric, rows, context) for name, metric in task.metrics.items()}


def figure(task, metric, rows, context):
    total, per = rows[metric.total], rows[metric.per]
    drawn = np.stack([total, per], axis=1)
    if task.stream:
        drawn = blocks(drawn, rows['tokens'], context)
    value_of = VALUE[metric.measure]
    interval = ratio_interval(drawn[:, 0], drawn[:, 1])
    return {
        'value': value_of(float(total.sum() / per.sum())),
        'measure': metric.measure,
        'interval': interval and [value_of(end) for end in interval],
        'units': round(per.sum()),
        'unit': metric.unit,
        'normalisation': metric.normalisation,
        'resampled': task.resampled.format(context=context),
        'n_resampled': len(drawn),
        'split': task.split,
        'detokenizer': task.detokenizer,
        'column': metric.column,
    }
