"""The Children's Book Test: which of ten words fills a blank (Radford et al. 2019, section 3.2).

No TensorFlow.
"""

import functools
import re
from typing import NamedTuple

from evaluation import detokenizers
from evaluation.choices import choice_task
from evaluation.data_files import DataFile, known_choice

KINDS = ('CN', 'NE')  # common nouns, named entities
SENTENCES = 20  # before the one with the blank
BLANK = 'XXXXX'
CANDIDATES = 10


class ClozeQuestion(NamedTuple):
    """A question of the Children's Book Test, all of it as the file has it: tokens and spaces."""

    context: list  # 20 sentences, str
    query: str  # the sentence after them, with XXXXX in place of a word
    answer: str
    candidates: list  # 10 words, str, the answer among them


def read_cbt(data_dir='data', kind='CN', complete=True):
    """The validation questions of the Children's Book Test, a list of ClozeQuestion.

    kind: 'CN' for common nouns, 'NE' for named entities.
    A question is 21 numbered lines; the last one has the query, the answer, nothing, and the
    candidates with | between, separated by tabs. Blank lines are between questions.
    """
    known_choice('kind', kind, dict.fromkeys(KINDS))
    file = DataFile(data_dir, 'cbt', f'cbtest_{kind}_valid_2000ex.txt', complete)
    with file.complaints():
        lines = [(n, line) for n, line in enumerate(file.lines(), start=1) if line.strip()]
        questions = [
            cloze_question(lines[start : start + SENTENCES + 1])
            for start in range(0, len(lines), SENTENCES + 1)
        ]
        file.require(len(questions), 'questions')
    return questions


def cloze_question(lines):
    """A ClozeQuestion from its lines, a list of (number in the file, text)."""
    texts = []
    for expected, (number, line) in enumerate(lines, start=1):
        found = re.match(r'(\d+) ', line)
        if not found or int(found[1]) != expected:
            raise ValueError(f'line {number} does not begin with {expected} and a space')
        texts.append(line[found.end() :])
    if len(texts) <= SENTENCES:
        raise ValueError(f'the last question ends after {len(texts)} of {SENTENCES + 1} lines')
    fields = texts.pop().split('\t')
    place = f'line {lines[-1][0]}'
    if len(fields) < 3:
        raise ValueError(f'{place} has no query, answer and candidates with tabs between')
    query, answer, candidates = fields[0].strip(), fields[1].strip(), fields[-1].split('|')
    candidates = [candidate.strip() for candidate in candidates]
    if BLANK not in query:
        raise ValueError(f'{place} has no {BLANK} in its query')
    if len(candidates) != CANDIDATES or answer not in candidates:
        raise ValueError(
            f'{place} has {len(candidates)} candidates'
            + f', and its answer {answer!r} is none of them' * (answer not in candidates)
        )
    return ClozeQuestion([text.strip() for text in texts], query, answer, candidates)


def completed(question):
    """The text of a question with each of its candidates, and the index of the right one."""
    texts = [''.join(cbt_question(question, candidate)) for candidate in question.candidates]
    return texts, question.candidates.index(question.answer)


def cbt_question(question, candidate):
    """A question with a candidate in its blank, or blanks, as (prompt, ending): one text.

    question: ClozeQuestion. The prompt is the context and the query up to the blank; the ending is
    the candidate and the rest of the query, with the space before it.
    """
    tokens = question.query.split()
    blank = next(n for n, token in enumerate(tokens) if BLANK in token)
    rest = ' '.join(tokens[blank:]).replace(BLANK, candidate).split()
    query = detokenizers.pieces(tokens[:blank] + rest, penn=True)
    start, ending = ''.join(query[:blank]), ''.join(query[blank:])
    context = ' '.join(map(detokenizers.cbt, question.context))
    return (f'{context} {start}', ending) if start else (context, f' {ending}')


def cbt_task(kind, column):
    return choice_task(
        functools.partial(read_cbt, kind=kind),
        f'validation (cbtest_{kind}_valid_2000ex.txt)',
        'cbt',
        completed,
        'the most likely of 10: candidate and rest of the sentence',
        column,
    )


TASKS = {'cbt_cn': cbt_task('CN', 'cbt_cn'), 'cbt_ne': cbt_task('NE', 'cbt_ne')}
