"""Natural Questions: short questions without a text (Radford et al. 2019, section 3.8, table 5).

No TensorFlow.
"""

import collections
import json
from typing import NamedTuple

import numpy as np

from evaluation.answers import matches_any
from evaluation.data_files import DataFile
from evaluation.generating import Generated, GeneratingTask
from evaluation.metric import Metric, accuracy
from evaluation.pairs import drawn
from evaluation.prompts import fitted, room_for, start_of

FILES = {'dev': 'NQ-open.dev.jsonl', 'train': 'NQ-open.train.jsonl'}
PREDICTIONS = 'NQ-open.dev.predictions.jsonl'
COLUMNS = ('right', 'logprob')
CONFIDENT = 100  # One answer in so many is a most confident one.
LISTED = 30  # answers in the paper's table 5
# The first of these in a question is its type.
QUESTION_WORDS = frozenset('who whom whose what which when where why how'.split())


class Question(NamedTuple):
    """text: as in the file, lower case without a question mark.  answers: list of str."""

    text: str
    answers: list


def read_nq(data_dir='data', split='dev', complete=True):
    """The questions of NQ-open, a list of Question.  split: 'dev' or 'train'."""
    file = DataFile(data_dir, 'nq', FILES[split], complete)
    with file.complaints():
        records = file.records('question', 'answer')
        questions = [question(record, f'line {n}') for n, record in enumerate(records, start=1)]
        file.require(len(questions), 'questions')
    return questions


def question(record, place):
    text, answers = record['question'], record['answer']
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f'{place} has no question that is a text')
    if not isinstance(answers, list) or not answers:
        raise ValueError(f'{place} has no list of answers')
    if not all(isinstance(answer, str) and answer.strip() for answer in answers):
        raise ValueError(f'{place} has an answer that is empty or no text')
    return Question(text.strip(), answers)


def training_questions(data_dir='data', complete=True):
    return read_nq(data_dir, 'train', complete)


def asked(question):
    """A question as the paper's table 5 prints it: a capital first letter and a question mark."""
    text = question.text
    return text[0].upper() + text[1:] + '?' * (not text.endswith('?'))


def prompts(questions, encoder, n_ctx, choices, training):
    """A Prompt for each question: questions with their first answers, then the question and A:."""
    pairs = drawn(training, choices['pairs'], choices['pairs_seed'])
    examples = ''.join(f'Q: {asked(pair)}\nA: {pair.answers[0].strip()}\n' for pair in pairs)
    start, room = start_of(choices, encoder) + encoder.encode(examples), room_for(choices, n_ctx)
    found = []
    for id, question in identified(questions):
        tokens = start + encoder.encode(f'Q: {asked(question)}\nA:')
        found.append(fitted(id, tokens, room, shared=len(start) if found else 0))
    return found


def identified(questions):
    """Pairs of id and Question: the ids count from 1, as the lines of the file do."""
    return [(str(number), question) for number, question in enumerate(questions, start=1)]


def rows(questions, generated, _choices):
    """Whether each answer is right, and its log-probability: float64 [questions, COLUMNS]."""
    return np.array(
        [
            (matches_any(generated[id].text, question.answers), generated[id].logprob)
            for id, question in identified(questions)
        ],
        np.float64,
    )


def most_confident(logprobs, n):
    """The places of the n largest, the largest first; of equal ones the first in order."""
    return np.argsort(-np.asarray(logprobs), kind='stable')[:n]


def accuracy_of_most_confident(columns):
    """The accuracy, in %, of the answers with the highest probability, one in CONFIDENT.

    columns: {'right': float64 [n], 'logprob': float64 [n]}.
    """
    n = max(len(columns['right']) // CONFIDENT, 1)
    return 100 * columns['right'][most_confident(columns['logprob'], n)].mean()


def table(questions, generated, choices):
    """The answers with the highest probability, as in the paper's table 5."""
    right, logprobs = rows(questions, generated, choices).T
    lines = ['| question | answer | correct | probability |', '| --- | --- | --- | --- |']
    pairs = identified(questions)
    for place in most_confident(logprobs, LISTED):
        id, question = pairs[place]
        cells = asked(question), generated[id].text.strip()
        texts = ' | '.join(' '.join(cell.split()).replace('|', r'\|') for cell in cells)
        mark = '✓' if right[place] else '✗'
        lines.append(f'| {texts} | {mark} | {100 * np.exp(logprobs[place]):.1f} % |')
    return '\n'.join(lines) + '\n'


def export(questions, generated, _choices):
    """What orqa/evaluation/evaluate_predictions.py of google-research/language reads."""
    lines = [
        {'question': question.text, 'prediction': generated[id].text.strip()}
        for id, question in identified(questions)
    ]
    return {PREDICTIONS: ''.join(json.dumps(line) + '\n' for line in lines)}


def commonest_answers(questions, _choices, training):
    """Each question answered by the commonest training answer to questions of its type."""
    counts = collections.defaultdict(collections.Counter)
    for pair in training:
        counts[type_of(pair)].update(pair.answers)
    commonest = {kind: found.most_common(1)[0][0] for kind, found in counts.items()}
    return [
        Generated(id, commonest.get(type_of(question), ''), [], 0.0)
        for id, question in identified(questions)
    ]


def type_of(question):
    """The question word of a question, or '' if it has none."""
    words = question.text.lower().replace("'", ' ').split()
    return next((word for word in words if word in QUESTION_WORDS), '')


EXACT_MATCH = accuracy(
    'right', 'questions', 'equal, once normalised, to one of the answers', 'nq_exact_match'
)
MOST_CONFIDENT = Metric(
    'accuracy',
    None,
    None,
    'questions',
    f'exact match of the most probable answers, 1 in {CONFIDENT}, with their line end',
    'nq_most_confident',
    of_rows=accuracy_of_most_confident,
)
COMMON = {
    'read': read_nq,
    'split': f'development ({FILES["dev"]})',
    'detokenizer': 'none; capital first letter and question mark',
    'rows': rows,
    'columns': COLUMNS,
    'resampled': 'questions',
    'pairs': training_questions,
    'export': export,
}
TASKS = {
    'nq': GeneratingTask(
        **COMMON,
        prompts=prompts,
        metrics={'exact_match': EXACT_MATCH, 'most_confident_accuracy': MOST_CONFIDENT},
        choices={
            'length': 30,
            'stops': ['\n'],
            'temperature': 0.0,
            'seed': 0,
            'end_of_text_first': False,
            'pairs': 10,
            'pairs_seed': 0,
        },
        table=table,
    ),
    'nq_commonest': GeneratingTask(
        **COMMON,
        prompts=None,
        metrics={'exact_match': EXACT_MATCH},
        choices={},
        baseline=commonest_answers,
        published_as='most frequent answer',
    ),
}
