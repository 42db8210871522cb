"""A small task that generates: capitals by question and answer, with figures of all kinds."""

import math
from typing import NamedTuple

import numpy as np

from evaluation.generating import Generated, GeneratingTask, Prompt
from evaluation.metric import Metric, accuracy

HEAD = 'Q: Capital of Italy?\nA: Rome\n\n'  # shared by all prompts


class Question(NamedTuple):
    country: str
    capital: str


QUESTIONS = [
    Question('France', 'Paris'),
    Question('Spain', 'Madrid'),
    Question('Norway', 'Oslo'),
    Question('Peru', 'Lima'),
    Question('Japan', 'Tokyo'),
]
ANSWERS = {
    f'{HEAD}Q: Capital of {question.country}?\nA:': answer
    for question, answer in zip(
        QUESTIONS, [' Paris\n', ' Lisbon\nQ:', ' Oslo<|endoftext|>', '\n', ' Tok'], strict=True
    )
}
MORE = [Question('Cuba', 'Havana')]


def prompts(questions, encoder, n_ctx, choices):
    head = encoder.encode(HEAD * choices['pairs'])
    found = []
    for question in questions:
        tokens = encoder.encode(f'Q: Capital of {question.country}?\nA:')
        room = n_ctx + 1 - choices['length'] - len(tokens)
        kept = head[max(len(head) - room, 0) :]
        lost = len(head) - len(kept)
        found.append(Prompt(question.country, kept + tokens, len(kept), lost))
    return found


def rows(questions, generated, choices):
    """Whether each answer is right, the probability of it, and how many letters it has."""
    texts = [generated[question.country] for question in questions]
    right = [g.text.strip() == q.capital for g, q in zip(texts, questions, strict=True)]
    return np.array(
        [(r, math.exp(g.logprob), len(g.text)) for r, g in zip(right, texts, strict=True)]
    )


def most_confident(columns):
    """The accuracy in per cent of the more confident half."""
    order = np.argsort(-columns['probability'], kind='stable')
    return 100 * columns['right'][order[: -(-len(order) // 2)]].mean()


CAPITALS = GeneratingTask(
    read=lambda data_dir, complete=True: list(QUESTIONS),
    split='test',
    detokenizer='none',
    prompts=prompts,
    rows=rows,
    columns=('right', 'probability', 'letters'),
    resampled='questions',
    metrics={
        'exact_match': accuracy('right', 'questions', 'the capital', None),
        'most_confident': Metric(
            'accuracy', None, None, 'questions', 'the more confident half', of_rows=most_confident
        ),
        'geometric': Metric(
            'BLEU',
            None,
            'letters',
            'letters',
            'a mean of shares',
            of_sums=lambda sums: 100 * math.sqrt(sums['right'] * sums['probability']) / sums[None],
        ),
    },
    choices={'pairs': 1, 'length': 8, 'stops': ['\n']},
    table=lambda questions, generated, choices: ''.join(
        f'| {question.country} | {generated[question.country].text} |\n' for question in questions
    ),
    export=lambda questions, generated, choices: {
        'answers.txt': ''.join(f'{generated[question.country].text}\n' for question in questions)
    },
)

FIRST_CAPITAL = CAPITALS._replace(
    prompts=None,
    baseline=lambda questions, choices: [
        Generated(question.country, choices['answer'], [], 0.0) for question in questions
    ],
    choices={'answer': 'Paris'},
)

MANY = CAPITALS._replace(
    read=lambda data_dir, complete=True: [Question(f'Land {n}', 'Rome') for n in range(60)],
    choices=CAPITALS.choices | {'length': 100, 'temperature': 1, 'seed': 3},
)
