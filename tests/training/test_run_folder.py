import contextlib
import errno
import json
import os
import pathlib
import shutil
import sys

import pytest
import tensorflow.compat.v1 as tf

from loading import checkpoint
from loading.model_files import weights
from training import run_folder
from training.run_folder import SHARED, TrainingRun


class Killed(BaseException):
    """Stands in for the end of the process."""


class Writer:
    """Stands in for a trainer whose weights are the text of `value`."""

    def __init__(self, value='weights'):
        self.value = value

    def save_weights(self, path):
        for ending in ('data-00000-of-00001', 'index'):
            pathlib.Path(f'{path}.{ending}').write_text(self.value, encoding='utf-8')

    save_slots = save_weights


@pytest.fixture
def folder(tmp_path):
    for name in SHARED:
        (tmp_path / name).write_text(f'the {name}', encoding='utf-8')
    return tmp_path


def saved_in(folder):
    """The steps of all files of checkpoints, by kind."""
    found = {'model': set(), 'optimizer': set()}
    for path in folder.glob('*-*.*'):
        kind, step = path.name.split('.')[0].split('-')
        found[kind].add(int(step))
    return found


def records_of(folder):
    lines = (folder / 'metrics.jsonl').read_text(encoding='utf-8').splitlines()
    return [json.loads(line) for line in lines]


def trained(folder, steps, keep=3):
    """A run that has recorded and saved some steps, each with its number as weights and loss."""
    with TrainingRun(folder, keep, 0) as run:
        for step in steps:
            run.record(step, loss=float(step))
            run.save(Writer(str(step)), step)


def value_of(folder):
    """The weights in use."""
    return pathlib.Path(f'{weights(folder)}.index').read_text(encoding='utf-8')


# Checkpoints


def test_the_last_checkpoints_stay_and_the_latest_is_in_use(folder):
    trained(folder, [2, 9, 10, 11], keep=2)
    assert saved_in(folder) == {'model': {10, 11}, 'optimizer': {10, 11}}
    assert value_of(folder) == '11'
    assert {path.name for path in folder.glob('model-11.*')} == {
        'model-11.index',
        'model-11.data-00000-of-00001',
    }


def test_a_run_that_goes_on_counts_the_checkpoints_that_are_there(folder):
    trained(folder, [1, 2])
    with TrainingRun(folder, 2, 2) as run:
        run.save(Writer('3'), 3)
    assert saved_in(folder) == {'model': {2, 3}, 'optimizer': {2, 3}} and value_of(folder) == '3'


@pytest.mark.parametrize('fails', ['save_weights', 'save_slots', 'name_weights'])
def test_a_full_disk_leaves_the_old_checkpoint_in_use_and_nothing_of_the_new_one(
    folder, monkeypatch, fails
):
    def full(*_):
        if fails == 'save_weights':
            (folder / 'model-4.data-00000-of-00001.tempstate77').write_text('half')
        raise OSError(errno.ENOSPC, 'No space left on device')

    trained(folder, [2, 3])
    before = sorted(folder.iterdir())
    with TrainingRun(folder, 2, 3) as run:
        monkeypatch.setattr(checkpoint if fails == 'name_weights' else Writer, fails, full)
        with pytest.raises(OSError, match='No space left'):
            run.save(Writer('4'), 4)
        monkeypatch.undo()
        assert run.step == 3 and value_of(folder) == '3'
        assert sorted(folder.iterdir()) == before
        run.save(Writer('4'), 4)
    assert value_of(folder) == '4'


@pytest.mark.parametrize('killed_in', ['save_weights', 'save_slots', 'name_weights'])
def test_what_a_killed_run_was_saving_is_removed(folder, monkeypatch, killed_in):
    def killed(*_):
        (folder / 'model-4.index.tempstate77').write_text('half', encoding='utf-8')
        raise Killed

    trained(folder, [2, 3])
    before = sorted(folder.iterdir())
    run = TrainingRun(folder, 2, 3)
    run.record(4, loss=4.0)
    monkeypatch.setattr(checkpoint if killed_in == 'name_weights' else Writer, killed_in, killed)
    with pytest.raises(Killed):
        run.save(Writer('4'), 4)
    assert len(list(folder.iterdir())) > len(before) and value_of(folder) == '3'
    TrainingRun(folder, 2, 3)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize('kind', ['model', 'optimizer'])
def test_a_half_checkpoint_does_not_count_as_one_that_is_kept(folder, kind):
    trained(folder, [1, 2, 3])
    (folder / f'{kind}-2.index').unlink()
    TrainingRun(folder, 2, 3)
    assert saved_in(folder) == {'model': {1, 3}, 'optimizer': {1, 3}}


def test_files_of_others_stay(folder):
    others = ['model-notes.txt', 'my model-1.index', 'notes-7.txt', 'remodel-7.index']
    for name in others:
        (folder / name).write_text('mine', encoding='utf-8')
    trained(folder, [1, 2, 3], keep=1)
    TrainingRun(folder, 1, 3)
    assert set(others) <= set(os.listdir(folder))


def put_weights(*paths):
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        Writer('mine').save_weights(path)
    return [path for folder in {path.parent for path in paths} for path in folder.iterdir()]


def test_weights_that_the_run_has_not_noted_are_never_removed(folder):
    trained(folder, [1, 2, 3], keep=1)
    mine = put_weights(folder / 'model-2', folder / 'optimizer-2', folder / 'best' / 'model-70')
    (folder / 'metrics.jsonl').write_text('{"step": 1, "loss": 1.0}\n{"step": 3, "loss": 3.0}\n')
    (folder / 'model-3.notes.txt').write_text('mine', encoding='utf-8')
    for step in (3, 4):
        with TrainingRun(folder, 1, step) as run:
            run.record(step + 1, loss=1.0)
            run.save(Writer(), step + 1)
    assert saved_in(folder) == {'model': {2, 3, 5}, 'optimizer': {2, 5}}  # 3: the notes
    left = {path for path in mine if path.exists()}
    assert {path.name for path in left} >= {'model-2.index', 'optimizer-2.index', 'model-70.index'}


def test_without_metrics_no_weights_are_removed(folder):
    trained(folder, [1, 2, 3])
    (folder / 'metrics.jsonl').unlink()
    before = sorted(folder.iterdir())
    TrainingRun(folder, 1, 3)
    assert sorted(folder.iterdir()) == before


def test_what_others_put_into_best_stays(folder):
    run = TrainingRun(folder, 3, 0)
    run.save_if_best(Writer(), 1.5, 0)
    (folder / 'best' / 'notes.txt').write_text('mine', encoding='utf-8')
    TrainingRun(folder, 3, 0)
    assert os.listdir(folder / 'best') == ['notes.txt']


@pytest.mark.parametrize('save', ['save', 'save_if_best'])
def test_a_step_is_noted_on_the_disk_before_its_weights_are_saved(folder, monkeypatch, save):
    done = []
    monkeypatch.setattr(run_folder, 'sync', lambda file: done.append(os.path.basename(file.name)))
    monkeypatch.setattr(Writer, 'save_weights', lambda *_: done.append('weights'))
    monkeypatch.setattr(Writer, 'save_slots', lambda *_: done.append('slots'))
    with TrainingRun(folder, 3, 0) as run:
        run.record(1, loss=1.0)
        run.save(Writer(), 1) if save == 'save' else run.save_if_best(Writer(), 1.0, 1)
    assert done == ['metrics.jsonl', *['slots'] * (save == 'save'), 'weights']


def test_a_run_that_begins_anew_leaves_nothing_of_the_one_before(folder):
    """One that was killed before its first checkpoint, or had another text."""
    run = TrainingRun(folder, 3, 0)
    run.record(0, validation=1.5)
    run.save_if_best(Writer('old'), 1.5, 0)
    run.record(7, loss=1.5)
    Writer().save_slots(folder / 'optimizer-7')
    run = TrainingRun(folder, 3, 0)
    assert records_of(folder) == [] and saved_in(folder)['optimizer'] == set()
    assert not (folder / 'best').exists()
    run.save_if_best(Writer('new'), 1.6, 0)
    assert value_of(folder / 'best') == 'new'


# The best model


def validated(run, step, loss, value=None):
    run.save_if_best(Writer(value or str(step)), loss, step)
    run.record(step, validation=loss)


def weights_in_best(folder):
    return sorted(path.stem for path in (folder / 'best').glob('*.index'))


def test_the_best_is_that_of_the_lowest_validation_loss(folder):
    with TrainingRun(folder, 3, 0) as run:
        for step, loss in enumerate((3.0, 2.0, 2.5, 2.0, 1.9, 4.0)):
            run.save_if_best(Writer(f'weights of {loss}'), loss, step)
            assert value_of(folder / 'best') == f'weights of {run.best}'
    assert run.best == 1.9
    for name in SHARED:
        assert (folder / 'best' / name).read_text(encoding='utf-8') == f'the {name}'
    assert sorted(os.listdir(folder)) == sorted(['best', *SHARED])
    assert weights_in_best(folder) == ['model-4']


def test_a_run_that_goes_on_knows_its_best(folder):
    with TrainingRun(folder, 3, 0) as run:
        for step, loss in [(1, 2.0), (2, 3.0)]:
            validated(run, step, loss)
        run.save(Writer(), 2)
    run = TrainingRun(folder, 3, 2)
    assert run.best == 2.0
    validated(run, 3, 2.5)
    assert value_of(folder / 'best') == '1'
    validated(run, 4, 1.5)
    assert value_of(folder / 'best') == '4'


def test_what_was_best_after_the_checkpoint_is_forgotten_with_what_led_there(folder):
    """The steps come again, perhaps with other settings: then there is no such model any more."""
    with TrainingRun(folder, 3, 0) as run:
        validated(run, 1, 2.0)
        run.save(Writer(), 2)
        validated(run, 3, 1.5)
        validated(run, 4, 1.0)
        assert value_of(folder / 'best') == '4'
        assert weights_in_best(folder) == ['model-1', 'model-4']
    for _ in range(2):  # it may be killed again at once
        run = TrainingRun(folder, 3, 2)
        assert (value_of(folder / 'best'), run.best) == ('1', 2.0)
        assert weights_in_best(folder) == ['model-1']
    validated(run, 3, 2.5)
    assert value_of(folder / 'best') == '1'
    validated(run, 4, 1.9, 'another')
    assert value_of(folder / 'best') == 'another'
    run.save(Writer(), 4)
    assert weights_in_best(folder) == ['model-4']


def test_of_a_run_that_goes_on_from_long_ago_the_best_is_found_anew(folder):
    """By hand, that is: what was best until then is not there any more."""
    with TrainingRun(folder, 3, 0) as run:
        for step, loss in [(1, 2.0), (2, 1.0)]:
            validated(run, step, loss)
            run.save(Writer(), step)
    run = TrainingRun(folder, 3, 1)
    assert not (folder / 'best').exists()
    validated(run, 2, 3.0, 'another')
    assert value_of(folder / 'best') == 'another'


@pytest.mark.parametrize('fails', ['save_weights', 'name_weights'])
def test_a_full_disk_leaves_the_best_as_it_was(folder, monkeypatch, fails):
    run = TrainingRun(folder, 3, 0)
    run.save_if_best(Writer('good'), 2.0, 1)

    def full(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    with monkeypatch.context() as patch, pytest.raises(OSError, match='No space left'):
        patch.setattr(checkpoint if fails == 'name_weights' else Writer, fails, full)
        run.save_if_best(Writer('better'), 1.0, 2)
    assert value_of(folder / 'best') == 'good'
    run.save_if_best(Writer('better'), 1.0, 3)
    assert weights_in_best(folder) == ['model-3']


@pytest.mark.parametrize('killed_in', ['copyfileobj', 'save_weights', 'name_weights', 'remove'])
@pytest.mark.parametrize('first', [True, False])
def test_a_run_killed_while_the_best_changes_places_has_a_best(
    folder, monkeypatch, killed_in, first
):
    run = TrainingRun(folder, 3, 5)
    for step in (6, 7, 8, 9):
        run.record(step, loss=3.0)
    if not first:
        run.save_if_best(Writer('good'), 2.0, 6)
        run.save(Writer(), 7)
        run.save_if_best(Writer('better'), 1.5, 8)

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        where = {'copyfileobj': shutil, 'name_weights': checkpoint, 'remove': os}
        patch.setattr(where.get(killed_in, Writer), killed_in, killed)
        run.save_if_best(Writer('best'), 1.0, 9)
    run = TrainingRun(folder, 3, run.step)
    assert weights_in_best(folder) == ([] if first else ['model-6'])
    assert first or value_of(folder / 'best') == 'good'
    run.save_if_best(Writer('next'), 0.5, 10)
    assert value_of(folder / 'best') == 'next'
    assert {path.name for path in (folder / 'best').iterdir()} >= set(SHARED)


# Metrics


DAMAGED = [
    '',
    '{"step": 5, "lo',
    '{',
    '\0\0\0',
    '5',
    '[]',
    'null',
    '"step"',
    '\udcff',
    '[' * 100_000,
]
DAMAGED += [
    '{}',
    '{"step": "2"}',
    '{"step": null}',
    '{"step": 2.0}',
    '{"step": [1]}',
    '{"step": true}',
]
DAMAGED += [f'{{"step": 2, "validation": {n}}}' for n in ('"a"', 'null', '[1]', 'NaN', '1e999')]
DAMAGED += ['{"step": 2, "loss": Infinity}', f'{{"step": 2, "validation": {"9" * 400}}}']


@pytest.mark.parametrize('end', [*DAMAGED, *(f'{line}\n' for line in DAMAGED)])
def test_records_after_the_checkpoint_are_dropped_and_half_a_line_too(folder, end):
    trained(folder, [1, 2])
    with open(folder / 'metrics.jsonl', 'a', encoding='utf-8', errors='surrogateescape') as file:
        file.write('{"step": 3, "loss": 3.0}\n{"step": 4, "loss": 4.0}\n' + end)
    with TrainingRun(folder, 3, 2) as run:
        assert records_of(folder) == [{'step': 1, 'loss': 1.0}, {'step': 2, 'loss': 2.0}]
        run.record(3, loss=0.3)
    assert records_of(folder)[-1] == {'step': 3, 'loss': 0.3}


def test_a_last_line_that_lacks_its_end_alone_is_kept(folder):
    (folder / 'metrics.jsonl').write_text('{"step": 1, "loss": 0.1}', encoding='utf-8')
    with TrainingRun(folder, 3, 1) as run:
        run.record(2, loss=0.2)
    assert records_of(folder) == [{'step': 1, 'loss': 0.1}, {'step': 2, 'loss': 0.2}]


def test_numbers_keep_all_their_bits(folder):
    values = [0.1, 1 / 3, 2.0**-140, 5e-324, 1.7976931348623157e308]
    with TrainingRun(folder, 3, 0) as run:
        for step, value in enumerate(values, start=1):
            run.record(step, loss=value)
    TrainingRun(folder, 3, len(values))
    assert [record['loss'] for record in records_of(folder)] == values


@pytest.mark.skipif(sys.platform == 'win32', reason='limits the size of files as POSIX does')
def test_metrics_that_cannot_be_written_end_in_one_line_and_keep_what_is_there(folder):
    import resource

    trained(folder, [1, 2])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with TrainingRun(folder, 3, 2) as run:
        size = (folder / 'metrics.jsonl').stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limits[1]))
        try:
            with pytest.raises(OSError) as caught:
                run.record(3, loss=3.0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    path = folder / 'metrics.jsonl'
    assert str(caught.value) == (
        f'cannot write {path}: File too large; {folder} keeps the weights of step 2'
    )
    assert value_of(folder) == '2'
    TrainingRun(folder, 3, 2)
    assert records_of(folder) == [{'step': 1, 'loss': 1.0}, {'step': 2, 'loss': 2.0}]


# TensorBoard


def shown_by_tensorboard(folder):
    """{(step, tag): value} in the event files, with what a restart has made void left out."""
    shown = {}
    for path in sorted((folder / 'events').iterdir()):  # their names begin with the time
        for event in tf.train.summary_iterator(str(path)):
            if event.session_log.status == tf.SessionLog.START:
                shown = {key: value for key, value in shown.items() if key[0] < event.step}
            for value in event.summary.value:
                assert (event.step, value.tag) not in shown
                shown[event.step, value.tag] = value.simple_value
    return shown


def test_tensorboard_shows_what_is_recorded(folder):
    with TrainingRun(folder, 3, 0) as run:
        run.record(0, validation=2.5)
        run.record(1, loss=1.5, norm=0.5)
        run.record(1, validation=0.25)
    assert shown_by_tensorboard(folder) == {
        (0, 'validation'): 2.5,
        (1, 'loss'): 1.5,
        (1, 'norm'): 0.5,
        (1, 'validation'): 0.25,
    }


@pytest.mark.skipif(sys.platform != 'linux', reason='names are UTF-8 elsewhere')
@pytest.mark.parametrize('name', ['caf\udce9', 'a [draft] \\ of 5*?'])
def test_a_folder_of_any_name_is_noted_in(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    trained(folder, [1])
    assert records_of(folder) == [{'step': 1, 'loss': 1.0}]
    (events,) = (folder / 'events').iterdir()
    assert events.stat().st_size


@pytest.mark.parametrize('step', [0, 2])
def test_tensorboard_forgets_what_comes_again(folder, step):
    with TrainingRun(folder, 3, 0) as run:
        for number in range(5):
            run.record(number, loss=float(number))
    (events,) = (folder / 'events').iterdir()
    events.rename(events.with_name('events.out.tfevents.1'))  # as if it were not of this second
    with TrainingRun(folder, 3, step) as run:
        for number in range(step + 1 if step else 0, 4):
            run.record(number, loss=number + 0.5)
    expected = [0.0, 1.0, 2.0, 3.5] if step else [0.5, 1.5, 2.5, 3.5]
    assert shown_by_tensorboard(folder) == {(n, 'loss'): v for n, v in enumerate(expected)}


def test_what_is_after_a_checkpoint_is_on_disk_for_tensorboard_too(folder):
    """A killed run takes along what it had not written, and it would not come again."""
    run = TrainingRun(folder, 3, 0)
    run.record(1, loss=0.5)
    run.save(Writer(), 1)
    assert shown_by_tensorboard(folder) == {(1, 'loss'): 0.5}


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='there is no disk that is always full')
def test_a_disk_too_full_for_tensorboard_is_told_once_and_stops_nothing(folder, monkeypatch, capfd):
    writer = tf.io.TFRecordWriter
    with monkeypatch.context() as patch:
        patch.setattr(tf.io, 'TFRecordWriter', lambda path: writer('/dev/full'))
        trained(folder, [1, 2, 3])
    assert [record['step'] for record in records_of(folder)] == [1, 2, 3]
    assert value_of(folder) == '3'
    assert capfd.readouterr() == (
        '',
        f'note: TensorBoard gets nothing from here on, {folder / "events"} cannot be written '
        '(No space left on device); metrics.jsonl has the same numbers\n',
    )


def test_a_file_in_the_place_of_events_stops_nothing(folder, capfd):
    (folder / 'events').touch()
    trained(folder, [1, 2])
    assert value_of(folder) == '2' and len(records_of(folder)) == 2
    assert capfd.readouterr().err.count('\n') == 1


def test_what_a_network_disk_says_only_as_a_file_is_closed_stops_nothing(folder, monkeypatch):
    def full(_):
        raise tf.errors.ResourceExhaustedError(None, None, 'x; No space left on device')

    monkeypatch.setattr(tf.io.TFRecordWriter, 'close', full)
    trained(folder, [1])
    assert value_of(folder) == '1'


@pytest.mark.skipif(os.name == 'nt', reason='Windows has no such names')
def test_events_are_written_whatever_the_folder_is_called(tmp_path):
    folder = tmp_path / os.fsdecode(b'caf\xe9 [1]')
    events = run_folder.Events(str(folder), 0)
    events.add(1, {'loss': 2.0})
    events.close()
    (path,) = (folder / 'events').iterdir()
    assert b'loss' in path.read_bytes()
