"""What workers make of an evaluation is what one process makes; their parts are made in process."""

import os
import shutil

import numpy as np
import pytest

from evaluation import parts, runs
from evaluation.progress import Progress
from helpers import small_tasks as small
from helpers.made_parts import InProcess
from helpers.scripted_engine import ScriptedEngine
from helpers.small_evaluation import Evaluation, check_refused, without_seconds
from helpers.table_scorer import TableScorer
from make_random_model import make_random_model

SIZES = dict(n_merges=0, n_ctx=1024, n_embd=8, n_head=2, n_layer=1)
FEW = '--choices=nq.pairs=2'
SCORING = ('--tasks=ptb,text8,lambada,cbt_cn,stereoset', '--stride=8')
LONG = ('--tasks=ptb,text8,lambada', '--context=32', '--stride=8')
GENERATING = ('--tasks=coqa,cnndm_lead3,nq,nq_commonest', FEW)
BOTH = (f'{SCORING[0]},coqa,cnndm_lead3,nq,nq_commonest', '--stride=8', FEW)


@pytest.fixture(scope='module')
def models(tmp_path_factory, gpt2_vocabulary):
    folder = tmp_path_factory.mktemp('models')
    make_random_model('small', str(gpt2_vocabulary), str(folder), **SIZES)
    return folder


@pytest.fixture
def data(tmp_path):
    return small.write_all(tmp_path / 'data')


def machines_of(monkeypatch, evaluation):
    """InProcess, whose workers have the models of an Evaluation."""
    monkeypatch.setattr(runs, 'PIECE_TOKENS', 50)  # many pieces
    monkeypatch.setattr(parts, 'scorer_of', lambda job: evaluation.start_scorer('', '', None))
    monkeypatch.setattr(parts, 'start_engine', evaluation.start_engine)
    return InProcess(monkeypatch)


class Varied(Evaluation):
    """One with a model whose scores depend on what is read."""

    encoder = None

    def start_scorer(self, model_name, models_dir, encoder, dtype='float32'):
        self.encoder = encoder or self.encoder
        table = np.random.RandomState(0).standard_normal([7, self.encoder.n_vocab])
        table -= np.log(np.exp(table).sum(axis=1, keepdims=True))
        scorer = TableScorer(self.encoder, lambda context: table[sum(context) % 7])
        self.scorers.append(scorer)
        return scorer

    def start_engine(self, model_name, models_dir, n_shards, encoder=None, dtype='float32'):
        self.engines.append(ScriptedEngine(encoder or self.encoder, self.answers))
        self.engines[-1].n_shards = n_shards
        return self.engines[-1]


@pytest.fixture
def evaluate(models, data, tmp_path, call, monkeypatch):
    """(folder) -> Varied that writes its results there."""
    from loading.model_files import load_encoder

    monkeypatch.setattr(Varied, 'encoder', load_encoder('small', str(models)))
    return lambda name: Varied(models, data, tmp_path / name, call, monkeypatch)


@pytest.fixture
def serial(evaluate, monkeypatch):
    """(*flags) -> what one process has written: results, table, texts."""
    monkeypatch.setattr(runs, 'PIECE_TOKENS', 50)

    def run(*flags):
        evaluation = evaluate('serial')
        assert evaluation(*flags)[0] == 0
        return content_of(evaluation)

    return run


def content_of(evaluation):
    folder = evaluation.results_dir
    texts = {}
    for path in folder.glob('*.jsonl'):
        origin, *lines = path.read_text('utf-8').splitlines()
        texts[path.name] = origin, sorted(line.partition(', "seed"')[0] for line in lines)
    files = sorted(os.listdir(folder))
    table = (folder / 'small.md').read_text('utf-8')
    return without_seconds(evaluation.results()), table, texts, files


@pytest.mark.parametrize('size', [[], ['--part_size=3'], ['--parts=elsewhere']])
def test_results_are_those_of_one_process(serial, evaluate, monkeypatch, tmp_path, size):
    monkeypatch.chdir(tmp_path)
    expected = serial(*BOTH)
    evaluation = evaluate('shared')
    machines = machines_of(monkeypatch, evaluation)
    status, output, errors = evaluation(*BOTH, '--workers=2', *size)
    assert (status, errors) == (0, '')
    assert content_of(evaluation) == expected
    assert expected[1] in output
    assert len(machines.missing) == 2 and min(machines.missing) > 1
    assert not os.path.exists('elsewhere')


@pytest.mark.parametrize('dtype, n_shards', [('float32', None), ('int8', 1)])
def test_workers_take_the_shards_of_one_process(evaluate, monkeypatch, dtype, n_shards):
    evaluation = evaluate('shared')
    machines_of(monkeypatch, evaluation)
    assert evaluation('--tasks=nq', FEW, f'--dtype={dtype}', '--workers=2')[0] == 0
    assert [engine.n_shards for engine in evaluation.engines] == [n_shards]


@pytest.mark.parametrize('tasks', [SCORING, GENERATING])
def test_the_same_command_goes_on(serial, evaluate, monkeypatch, tasks):
    expected = serial(*tasks)
    evaluation = evaluate('shared')
    machines = machines_of(monkeypatch, evaluation)
    machines.stops_after = 2
    flags = *tasks, '--workers=2', '--part_size=1'
    for _ in range(2):
        status, _, errors = evaluation(*flags)
        assert status == 130 and 'keeps what is made: run the same command again' in errors
    machines.stops_after = None
    assert evaluation(*flags)[0] == 0
    assert content_of(evaluation) == expected
    all_of_them = machines.missing[0]
    assert machines.missing == [all_of_them, all_of_them - 2, all_of_them - 4]


def test_workers_go_on_where_a_serial_run_stopped_and_it_does_where_their_parts_are_gone(
    serial, evaluate, monkeypatch
):
    """Killed while rows are added, then again, then the last task by one process."""
    expected = serial(*LONG)
    evaluation = evaluate('shared')
    machines = machines_of(monkeypatch, evaluation)
    add, room = Progress.add, []

    def added(progress, rows, seconds):
        if not room:
            raise KeyboardInterrupt
        room.pop()
        add(progress, rows, seconds)

    monkeypatch.setattr(Progress, 'add', added)
    room[:] = [True] * 5
    assert evaluation('--tasks=text8,lambada', *LONG[1:])[0] == 130  # one process
    room[:] = [True] * 9
    assert evaluation(*LONG, '--workers=2', '--part_size=1')[0] == 130
    room[:] = [True] * 9
    assert evaluation(*LONG, '--workers=2', '--part_size=1')[0] == 130
    assert machines.missing == [machines.missing[0], 0]  # then all parts were there
    room[:] = [True] * 1000
    kept = evaluation.results_dir / 'small.parts'
    check_refused(evaluation(*LONG), f'{kept} holds parts that workers have made')
    shutil.rmtree(kept)
    assert evaluation(*LONG)[0] == 0
    assert content_of(evaluation)[:3] == expected[:3]


def test_parts_of_the_same_weights_with_another_vocabulary_are_refused(
    evaluate, models, monkeypatch
):
    evaluation = evaluate('shared')
    machines_of(monkeypatch, evaluation).stops_after = 2
    flags = *LONG, '--workers=2', '--part_size=1'
    assert evaluation(*flags)[0] == 130
    file = models / 'small' / 'vocab.bpe'
    before = file.read_bytes()
    try:
        file.write_bytes(before + b'\n')
        check_refused(evaluation(*flags), "was begun with vocab.bpe='", 'or remove the folder')
    finally:
        file.write_bytes(before)


@pytest.mark.parametrize('workers', [[], ['--workers=2', '--part_size=1']])
def test_a_restart_forgets_parts(evaluate, monkeypatch, workers):
    evaluation = evaluate('shared')
    machines = machines_of(monkeypatch, evaluation)
    machines.stops_after = 2
    flags = *LONG, '--workers=2', '--part_size=1'
    assert evaluation(*flags)[0] == 130
    machines.stops_after = None
    assert evaluation(*LONG, *workers, '--restart')[0] == 0
    assert len(set(machines.missing[:2])) == 1
    assert sorted(os.listdir(evaluation.results_dir)) == ['small.json', 'small.md']


def test_parts_whose_numbers_mean_others_by_now_are_refused(evaluate, monkeypatch):
    """One process has finished a later task meanwhile: then its items come first."""
    evaluation = evaluate('shared')
    machines = machines_of(monkeypatch, evaluation)
    machines.stops_after = 4
    flags = *LONG, '--workers=2', '--part_size=1', f'--parts={evaluation.results_dir}/elsewhere'
    assert evaluation(*flags)[0] == 130
    assert evaluation('--tasks=text8', *LONG[1:])[0] == 0
    check_refused(evaluation(*flags), 'was begun with runs=', 'or remove the folder')
