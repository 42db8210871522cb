"""Summarization: the news of CNN and the Daily Mail (Radford et al. 2019, section 3.6).

No TensorFlow.
"""

import functools

import numpy as np
from tqdm import tqdm

from evaluation.generating import Generated, GeneratingTask, Prompt
from evaluation.metric import Metric
from evaluation.packages import version_of
from evaluation.prompts import room_for, start_of
from evaluation.sentences import SPLITTER, check_splitter, first_sentences, sentences
from evaluation.stories import read_stories
from support.checks import check_whole

ROUGE = ('rouge1', 'rouge2', 'rougeLsum')
COLUMNS = (*ROUGE, 'average')
CHOICES = {'sentences': 3, 'splitter': SPLITTER}
GENERATING = {
    'length': 100,
    'temperature': 1.0,
    'top_k': 2,
    'seed': 0,
    'between_paragraphs': '\n',
    'kept': 'first',
    'end_of_text_first': False,
    **CHOICES,
}
KEPT = ('first', 'last')  # tokens of an article that is too long


def prompts(stories, encoder, n_ctx, choices):
    """Each article, a paragraph a line, cut to what fits, and the hint after it.

    In a context of 1,024 that is 919 tokens of the article: 100 new ones and the hint's five fit in
    beside them.
    """
    start = start_of(choices, encoder)
    hint = encoder.encode(choices['hint'])
    room = room_for(choices, n_ctx) - len(start) - len(hint)
    if room < 1:
        raise ValueError(f'the hint has {len(hint)} tokens and leaves no room for an article')
    made = []
    for story in stories:
        tokens = encoder.encode(choices['between_paragraphs'].join(story.paragraphs))
        kept = tokens[:room] if choices['kept'] == 'first' else tokens[-room:]
        made.append(Prompt(story.id, start + kept + hint, lost=len(tokens) - len(kept)))
    return made


def check_choices(choices):
    check_whole('sentences', choices['sentences'], least=1)
    check_splitter(choices['splitter'])
    if choices.get('kept', 'first') not in KEPT:
        raise ValueError(f'kept must be one of {", ".join(KEPT)}, not {choices["kept"]!r}')


def check_choices_of_drawn(choices):
    check_choices(choices)
    check_whole('seed', choices['seed'], least=0, below=2**32)


def generated_summary(text, choices):
    """The sentences of what is generated that count as the summary, a list."""
    return first_sentences(text, choices['sentences'])


def lines(text, _choices):
    """The sentences of a summary that has one a line."""
    return text.split('\n')


def rouge_rows(stories, generated, choices, summary=generated_summary):
    """F of ROUGE-1, -2 and -L (Lin 2004) and their average, float64 [stories, COLUMNS].

    Of 0 to 1, with stemmed words. ROUGE-L is that of whole summaries, the union of longest common
    subsequences over their sentences, as ROUGE-1.5.5 computes it: rouge-score's rougeLsum.
    summary: (text, choices) -> its sentences.
    """
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(ROUGE, use_stemmer=True)
    rows = []
    for story in shown(stories, 'ROUGE'):
        found = summary(generated[story.id].text, choices)
        scores = scorer.score('\n'.join(story.highlights), '\n'.join(found))
        f_measures = [scores[name].fmeasure for name in ROUGE]
        rows.append([*f_measures, np.mean(f_measures)])
    return np.array(rows, np.float64)


def shown(stories, what):
    """The stories, with a bar that says how far the work on them is: minutes on a whole set."""
    return tqdm(stories, desc=what, unit=' stories', leave=False, disable=None)


def export(stories, generated, choices, summary=generated_summary):
    """Summaries and references for rouge-score's command: a sentence a line, a blank line after
    each text."""
    found = [summary(generated[story.id].text, choices) for story in stories]
    return {
        'summaries.txt': records(found),
        'references.txt': records(story.highlights for story in stories),
    }


def records(texts):
    return ''.join('\n'.join(text) + '\n\n' for text in texts)


def lead(stories, choices):
    """The first sentences of each article."""
    n = choices['sentences']
    return [
        Generated(story.id, '\n'.join(first_sentences('\n'.join(story.paragraphs), n)), [], 0.0)
        for story in shown(stories, 'sentences')
    ]


def drawn(stories, choices):
    """Sentences of each article, drawn at random without replacement, in the article's order."""
    made = []
    for story in shown(stories, 'sentences'):
        found = list(sentences('\n'.join(story.paragraphs)))
        # of this story alone, so that --limit changes no draw
        random = np.random.RandomState([choices['seed'], int(story.id[:8], 16)])
        numbers = sorted(random.permutation(len(found))[: choices['sentences']])
        made.append(Generated(story.id, '\n'.join(found[n] for n in numbers), [], 0.0))
    return made


def rouge_metrics(column, what):
    """{name: Metric}.

    column: how their names in published_results.json begin.  what: what is taken for the summary.
    """

    def metric(total, name, of):
        how = f'{what}; mean over stories of {of}, {version_of("rouge-score")} with stemmer'
        return Metric('ROUGE', total, None, 'stories', how, f'{column}_rouge_{name}')

    return {
        'rouge1': metric('rouge1', '1', 'F of ROUGE-1'),
        'rouge2': metric('rouge2', '2', 'F of ROUGE-2'),
        'rougeLsum': metric('rougeLsum', 'l', 'F of ROUGE-L of whole summaries (rougeLsum)'),
        'rouge_average': metric('average', 'avg', 'the average F of the three'),
    }


TASK = GeneratingTask(
    read_stories,
    split='test (all_test.txt)',
    detokenizer='none',
    prompts=prompts,
    rows=rouge_rows,
    columns=COLUMNS,
    resampled='stories',
    metrics={},
    choices={},
    check=check_choices,
    export=export,
    requires=('rouge-score', 'pysbd'),
)


def generating(hint, column):
    metrics = rouge_metrics(column, 'the first sentences generated')
    return TASK._replace(choices=GENERATING | {'hint': hint}, metrics=metrics)


def without_model(baseline, name, what, more=None):
    return TASK._replace(
        prompts=None,
        baseline=baseline,
        published_as=name,
        rows=functools.partial(rouge_rows, summary=lines),
        export=functools.partial(export, summary=lines),
        choices=CHOICES | (more or {}),
        metrics=rouge_metrics('cnndm', what),
    )


TASKS = {
    'cnndm': generating('\nTL;DR:', 'cnndm'),
    'cnndm_no_hint': generating('', 'cnndm_no_hint'),
    'cnndm_lead3': without_model(lead, 'lead-3', 'the first sentences of the article'),
    'cnndm_random3': without_model(
        drawn, 'random-3', 'random sentences of the article', {'seed': 0}
    )._replace(check=check_choices_of_drawn),
}
