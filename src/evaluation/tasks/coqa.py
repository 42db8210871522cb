"""CoQA: a conversation about a story (Radford et al. 2019, section 3.5, tables 16 and 17).

No TensorFlow.
"""

import itertools
import json
from typing import NamedTuple

import numpy as np

from evaluation.answers import agreement, exact_match, f1, leave_one_out
from evaluation.data_files import DataFile, known_choice
from evaluation.generating import Generated, GeneratingTask
from evaluation.metric import Metric
from evaluation.prompts import fitted, room_for, start_of

FILE = 'coqa-dev-v1.0.json'
PREDICTIONS = 'coqa-dev-v1.0.predictions.json'
DROPPED = ('oldest tokens', 'oldest turns')  # what a prompt that is too long loses
COLUMNS = ('f1', 'exact', 'turns')


class Turn(NamedTuple):
    """A turn of a conversation.

    id: 'STORY/NUMBER'.  references: the answers of several people, str; the conversation went on
    with the first.
    """

    id: str
    question: str
    references: list


class Conversation(NamedTuple):
    """A story and the turns of a conversation about it.  source: of the story, such as 'cnn'."""

    id: str
    source: str
    story: str
    turns: list


def read_coqa(data_dir='data', complete=True):
    """The conversations of CoQA's development set, a list of Conversation.

    Texts are as in the file, without white space at their ends.
    """
    file = DataFile(data_dir, 'coqa', FILE, complete)
    with file.complaints():
        try:
            content = json.loads(file.text())
        except (ValueError, RecursionError) as error:
            raise ValueError(f'it is not JSON ({error})') from error
        records = enumerate(field(content, 'data', list, 'the file'), start=1)
        stories = [conversation(record, f'story {number}') for number, record in records]
        if len({story.id for story in stories}) < len(stories):
            raise ValueError('two stories have the same id')
        file.require(len(stories), 'stories')
        file.require(sum(len(story.turns) for story in stories), 'turns')
    return stories


def conversation(record, place):
    """The Conversation in a record of the file; ValueError says what is not right at a place."""
    id, source, story = (field(record, name, str, place) for name in ('id', 'source', 'story'))
    if not story.strip():
        raise ValueError(f'the text of {place} is empty')
    questions = texts_of(record, 'questions', place)
    others = record.get('additional_answers')
    if not isinstance(others, dict) or not others:
        raise ValueError(
            f'{place} has no additional answers, which the original development set has and the '
            'figure is defined by'
        )
    answers = [texts_of(record, 'answers', place)]
    answers += [texts_of(others, name, f'the additional answers of {place}') for name in others]
    if {len(some) for some in answers} != {len(questions)}:
        raise ValueError(f'{place} has not as many answers as questions')
    by_turn = zip(questions, *answers, strict=True)
    turns = [
        Turn(f'{id}/{number}', question, references)
        for number, (question, *references) in enumerate(by_turn, start=1)
    ]
    if silent := [number for number, turn in enumerate(turns, 1) if not any(turn.references)]:
        raise ValueError(f'question {silent[0]} of {place} has only empty answers')
    return Conversation(id, source, story.strip(), turns)


def texts_of(record, name, place):
    """The texts of a list of turns, which are numbered from 1."""
    texts = []
    for number, item in enumerate(field(record, name, list, place), start=1):
        what = f'{name} {number} of {place}'
        text, turn = field(item, 'input_text', str, what), field(item, 'turn_id', int, what)
        if turn != number:
            raise ValueError(f'{what} has the turn_id {turn}')
        texts.append(text.strip())
    if not texts:
        raise ValueError(f'{place} has no {name}')
    return texts


def field(record, name, kind, place):
    """record[name], which is of a kind; ValueError names it if it is not there."""
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, kind):
        raise ValueError(f'{place} has no {name}, or one that is no {kind.__name__}')
    return value


def check_choices(choices):
    known_choice('dropped', choices['dropped'], dict.fromkeys(DROPPED))


def prompts(stories, encoder, n_ctx, choices):
    """A Prompt for each turn: the story, the turns before with the first of their answers, and A:.

    The layout is that of the paper's tables 16 and 17. The history has people's answers, so that
    no prompt depends on what is generated.
    """
    room, before = room_for(choices, n_ctx), start_of(choices, encoder)
    found = []
    for story in stories:
        start, turns = before + encoder.encode(story.story), []
        for turn in story.turns:
            turns.append(encoder.encode(f'\n\nQ: {turn.question}\nA:'))
            found.append(prompt_of(turn.id, start, turns, room, choices['dropped']))
            turns[-1] = turns[-1] + encoder.encode(f' {turn.references[0]}')
    return found


def prompt_of(id, start, turns, room, dropped):
    """The Prompt of a story and the turns up to the question, all of them tokens.

    dropped: what it loses if it has more than `room` tokens, one of DROPPED: its first tokens, so
        the beginning of the story; or its first turns, and the beginning of the story only if the
        question alone does not fit after it.
    """
    size = n_tokens = sum(map(len, (start, *turns)))
    first = 0
    while dropped == 'oldest turns' and size > room and first < len(turns) - 1:
        size -= len(turns[first])
        first += 1
    tokens = [*start, *itertools.chain.from_iterable(turns[first:])]
    shared = len(tokens) - len(turns[-1]) if len(turns) > 1 else 0
    prompt = fitted(id, tokens, room, 0 if first else shared)
    return prompt._replace(lost=n_tokens - len(prompt.tokens))


def rows(stories, generated, _choices):
    """What COLUMNS says of each story.  generated: {id of a turn: Generated}."""
    return sums(
        stories,
        lambda score, turn: leave_one_out(score, generated[turn.id].text, turn.references),
    )


def human_rows(stories, generated, _choices):
    """The same of people: each answer of a turn is compared with the others."""
    return sums(
        stories,
        lambda score, turn: agreement(score, [generated[id].text for id in answer_ids(turn)]),
    )


def sums(stories, turn_score):
    """The sums of both scores over the turns of each story, and their number, as COLUMNS says.

    turn_score: (score, turn) -> from 0 to 1.  Returns float64 [stories, columns].
    """
    return np.array(
        [
            [sum(turn_score(score, turn) for turn in story.turns) for score in (f1, exact_match)]
            + [len(story.turns)]
            for story in stories
        ],
        np.float64,
    )


def answer_ids(turn):
    return [f'{turn.id}/{number}' for number in range(len(turn.references))]


def human_answers(stories, _choices):
    """All answers of people, as if they were generated."""
    return [
        Generated(id, text, [], 0.0, 0)
        for story in stories
        for turn in story.turns
        for id, text in zip(answer_ids(turn), turn.references, strict=True)
    ]


def by_source(rows):
    """The `table` of a task: its figures by source of the stories, as the official script has them.

    rows: of the task.
    """

    def table(stories, generated, choices):
        found = rows(stories, generated, choices)
        sources = np.array([story.source for story in stories])
        lines = ['| source | F1 | exact match | turns |', '| --- | --- | --- | --- |']
        for source in [*dict.fromkeys(sources.tolist()), 'all']:
            *scores, turns = found[(sources == source) | (source == 'all')].sum(axis=0)
            f1, exact = (f'{100 * score / turns:.1f}' for score in scores)
            lines.append(f'| {source} | {f1} | {exact} | {turns:.0f} |')
        return '\n'.join(lines) + '\n'

    return table


def export(stories, generated, _choices):
    """What CoQA's evaluate-v1.0.py takes as --pred-file."""
    answers = [
        {'id': story.id, 'turn_id': number, 'answer': generated[turn.id].text.strip()}
        for story in stories
        for number, turn in enumerate(story.turns, start=1)
    ]
    return {PREDICTIONS: json.dumps(answers, indent=1) + '\n'}


def metric(measure, total, normalisation, column=None):
    return Metric(measure, total, 'turns', 'turns', normalisation, column)


LEAVE_ONE_OUT = "the best of people's answers, each of them left out in turn"
OF_PEOPLE = 'the best of the other answers of people'


def metrics(against):
    return {
        'f1': metric('F1', 'f1', f'words in common with {against}', 'coqa_f1'),
        'exact_match': metric('accuracy', 'exact', f'equal, once normalised, to {against}'),
    }


COMMON = {
    'read': read_coqa,
    'split': f'development ({FILE})',
    'detokenizer': 'none',
    'columns': COLUMNS,
    'resampled': 'stories',
}
TASKS = {
    'coqa': GeneratingTask(
        **COMMON,
        prompts=prompts,
        rows=rows,
        metrics=metrics(LEAVE_ONE_OUT),
        choices={
            'length': 50,
            'stops': ['\n'],
            'temperature': 0.0,
            'seed': 0,
            'end_of_text_first': False,
            'dropped': DROPPED[0],
        },
        check=check_choices,
        table=by_source(rows),
        export=export,
    ),
    'coqa_human': GeneratingTask(
        **COMMON,
        prompts=None,
        rows=human_rows,
        metrics=metrics(OF_PEOPLE),
        choices={},
        baseline=human_answers,
        published_as='human',
        table=by_source(human_rows),
    ),
}
