"""Every task of Table 3 on files in the original formats, with models whose figures are known."""

import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest

from evaluation.task import Task, figures
from evaluation.tasks import TASKS, find_tasks
from helpers import small_tasks as small
from helpers.paths import SRC
from helpers.table_scorer import TableScorer, memory, uniform
from helpers.texts import byte_encoder

ENCODER = byte_encoder()
END = ENCODER.end_of_text
V = ENCODER.n_vocab
TEXTS = {
    'lambada': small.LAMBADA_TEXTS,
    'lambada_plain': small.LAMBADA_PLAIN_TEXTS,
    'cbt_cn': small.cbt_files()['CN'][1],
    'cbt_ne': small.cbt_files()['NE'][1],
    'wikitext2': [small.WIKITEXT_TEXT],
    'wikitext103': [small.WIKITEXT_TEXT],
    'wikitext_raw': [small.WIKITEXT_RAW],
    'ptb': [small.PTB_TEXT],
    '1bw': small.ONE_BILLION_TEXTS,
    'enwik8': [small.ENWIK8_TAIL],
    'text8': [small.TEXT8_TAIL],
    'winograd': small.SCHEMA_TEXTS,
}
UNITS = {
    'wikitext2': small.WIKITEXT_UNITS,
    'wikitext103': small.WIKITEXT_UNITS,
    'wikitext_raw': small.WIKITEXT_UNITS,
    'ptb': small.PTB_UNITS,
    '1bw': small.ONE_BILLION_UNITS,
    'enwik8': len(small.ENWIK8_TAIL),
    'text8': len(small.TEXT8_TAIL),
}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return str(small.write_all(tmp_path_factory.mktemp('data')))


def evaluated(name, model, data, context=1024, stride=512):
    scorer = TableScorer(ENCODER, model, n_ctx=1024)
    chosen = TASKS[name]
    parts = chosen.parts(chosen.read(data, complete=False), scorer, context, stride)
    return figures(chosen, chosen.score(scorer, parts), context)


def as_bytes(text):
    return list(text if isinstance(text, bytes) else text.encode('utf-8'))


def knows(name, ending=b'.'):
    """A model that has read the texts of a task, as they should be read, many times."""
    start = [] if name.startswith('lambada') else [END]
    return memory([start + as_bytes(text) + list(ending) for text in TEXTS[name]], V)


@pytest.mark.parametrize('name', TEXTS)
def test_a_model_that_knows_the_texts_by_heart_is_perfect(data, name):
    for metric, figure in evaluated(name, knows(name), data).items():
        best = {'accuracy': 100, 'perplexity': 1}.get(figure['measure'], 0)
        if name == '1bw':  # three sentences, each as likely as the others until its first token
            best = math.exp(3 * math.log(3) / figure['units'])
        assert figure['value'] == pytest.approx(best, abs=1e-6), metric
        if figure['interval'] and name != '1bw':
            assert figure['interval'] == pytest.approx([best, best], abs=1e-6)


@pytest.mark.parametrize('name', UNITS)
@pytest.mark.parametrize('context, stride', [(1024, 512), (32, 5), (16, 16)])
def test_a_uniform_model_pays_the_logarithm_of_its_vocabulary_for_each_token(
    data, name, context, stride
):
    n_tokens = sum(len(as_bytes(text)) for text in TEXTS[name])
    nats = n_tokens * math.log(V)
    main, per_token = evaluated(name, uniform(V), data, context, stride).values()
    per_unit = nats / UNITS[name]
    bits = main['measure'].startswith('bits')
    expected = per_unit / math.log(2) if bits else math.exp(per_unit)
    assert main['value'] == pytest.approx(expected)
    assert main['units'] == UNITS[name]
    assert per_token['value'] == pytest.approx(V)
    assert per_token['units'] == n_tokens


@pytest.mark.parametrize('name', ['lambada', 'lambada_plain'])
def test_a_uniform_model_never_finds_a_last_word(data, name):
    """Of equally likely tokens the lowest id is taken: chance is none, for it begins no word."""
    figures = evaluated(name, uniform(V), data)
    for metric in ('accuracy', 'accuracy_filtered', 'last_token_accuracy'):
        assert figures[metric]['value'] == 0
    lengths = [1 + len(text.split()[-1]) for text in TEXTS[name]]  # with the space
    assert figures['perplexity']['value'] == pytest.approx(V ** np.mean(lengths))
    assert figures['last_token_perplexity']['value'] == pytest.approx(V)


def test_a_uniform_model_chooses_by_chance(data):
    """All candidates of a question have the same number of tokens here, so none is likelier."""
    for name in ('cbt_cn', 'cbt_ne'):
        assert evaluated(name, uniform(V), data)['accuracy']['value'] == pytest.approx(10)
    schemas = evaluated('winograd', uniform(V), data)
    assert schemas['accuracy_partial']['value'] == pytest.approx(50)


def test_where_lengths_differ_a_uniform_model_takes_the_shortest(data):
    # 'the men' is shorter than 'the boys' and right, 'Sue' and 'Ann', 'the cup' and 'the bag' tie
    schemas = evaluated('winograd', uniform(V), data)
    assert schemas['accuracy_full']['value'] == pytest.approx(100 * (1 + 0.5 + 0.5) / 3)


def test_a_model_that_knows_other_answers_is_always_wrong(data):
    wrong = {
        'cbt_ne': [small.cbt_files()['NE'][1][0].replace('Mary', 'Paul')],
        'winograd': [
            small.SCHEMA_TEXTS[0].replace('because the men', 'because the boys'),
            small.SCHEMA_TEXTS[1].replace("Sue's", "Ann's"),
            small.SCHEMA_TEXTS[2].replace('The cup is', 'The bag is'),
        ],
    }
    for name, texts in wrong.items():
        model = memory([[END, *as_bytes(text)] for text in texts], V)
        for figure in evaluated(name, model, data).values():
            assert figure['value'] == 0


def test_windows_of_any_stride_score_each_token_once(data):
    """What is memorised behind 24 tokens stays so in windows; each has at least 32 before it."""
    for stride in (1, 7, 32):
        for figure in evaluated('ptb', knows('ptb'), data, 64, stride).values():
            assert figure['value'] == pytest.approx(1)


def test_the_blocks_of_a_long_text_are_drawn_for_the_interval(data):
    figure = evaluated('text8', uniform(V), data, context=32, stride=8)['token_perplexity']
    assert figure['n_resampled'] == len(small.TEXT8_TAIL) // 32
    assert figure['interval'] == pytest.approx([V, V])  # all of them are the same


def test_the_names_of_tasks():
    assert find_tasks('all') == list(TASKS)
    assert find_tasks('1bw, lambada,') == ['lambada', '1bw']
    with pytest.raises(ValueError, match="no task 'penn'; there are: lambada, lambada_plain, cbt"):
        find_tasks('ptb,penn')
    with pytest.raises(ValueError, match='no task is named'):
        find_tasks(' ')


def test_each_figure_says_how_it_was_made(data):
    for name, one in TASKS.items():
        if not isinstance(one, Task):
            continue
        for figure in evaluated(name, uniform(V), data).values():
            assert figure['split'] == one.split and figure['detokenizer'] == one.detokenizer
            assert figure['units'] > 0 and figure['unit'] and figure['normalisation']
            assert figure['n_resampled'] > 0 and figure['resampled']


NEW_TASK = """
from evaluation.choices import choice_task
from evaluation.data_files import DataFile


def read(data_dir='data', complete=True):
    file = DataFile(data_dir, 'endings', 'questions.jsonl', complete)
    with file.complaints():
        return file.records('start', 'endings', 'right')


def completed(question):
    return [question['start'] + ending for ending in question['endings']], question['right']


TASKS = {'endings': choice_task(read, 'all', 'none', completed, 'the most likely of all')}
"""


def test_a_file_in_the_folder_is_enough_for_a_task(tmp_path):
    """As for anyone who adds one: a copy of the package with one more file, in a new process."""
    shutil.copytree(SRC, tmp_path / 'src', ignore=shutil.ignore_patterns('__pycache__'))
    (tmp_path / 'src/evaluation/tasks/endings.py').write_text(NEW_TASK, 'utf-8')
    (tmp_path / 'data/endings').mkdir(parents=True)
    question = {'start': 'ab', 'endings': ['cd', 'e'], 'right': 1}
    (tmp_path / 'data/endings/questions.jsonl').write_text(json.dumps(question), 'utf-8')
    code = (
        'from evaluation.runs import read_examples\n'
        'from evaluation.tasks import TASKS, find_tasks\n'
        'examples = read_examples(find_tasks("endings"), "../data", complete=True)["endings"]\n'
        'print(",".join(TASKS), len(examples))'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path / 'src', capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    names, n_examples = done.stdout.split()
    assert (sorted(names.split(',')), n_examples) == (sorted([*TASKS, 'endings']), '1')
