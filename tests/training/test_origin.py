import json
import os
import shutil
import subprocess
import sys

import pytest

from helpers.paths import SRC
from hparams import HParams
from loading.model_files import find_model
from training.origin import (
    FIXED,
    Origin,
    check_setup,
    check_step,
    find_origin,
    held,
    read_setup,
    write_json,
    write_setup,
)
from training.saved import last_step

SMALL = {'n_ctx': 16, 'n_embd': 16, 'n_head': 2, 'n_layer': 1}
SETTINGS = {'steps': 10, 'batch_size': 2, 'data': ['text.txt'], 'start': 'bytes'}
CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from training import origin
try:
    with origin.held(sys.argv[2]):
        print('had it')
except ValueError as error:
    print(error)
"""


@pytest.fixture
def models(byte_models, tmp_path):
    """A models folder of the test's own, with the model `bytes`."""
    shutil.copytree(byte_models / 'bytes', tmp_path / 'bytes')
    return tmp_path


def put_run(folder, step=None, **settings):
    """Make the folder of a run whose `checkpoint` names a step."""
    folder.mkdir()
    bytes_model = folder.parent / 'bytes'
    for name in ('hparams.json', 'encoder.json', 'vocab.bpe'):
        shutil.copy(bytes_model / name, folder)
    (folder / 'training.json').write_text(json.dumps(SETTINGS | settings), encoding='utf-8')
    if step:
        name_in_checkpoint(folder, f'model-{step}')
        put_weights(folder, f'model-{step}', f'optimizer-{step}')


def put_weights(folder, *names):
    """Make files of weights, empty ones."""
    folder.mkdir(exist_ok=True)
    for name in names:
        for ending in ('index', 'data-00000-of-00001'):
            (folder / f'{name}.{ending}').touch()


def name_in_checkpoint(folder, name):
    line = f'model_checkpoint_path: "{name}"\n' if name else ''
    (folder / 'checkpoint').write_text(line, encoding='utf-8')


# Where a run starts


def test_fine_tuning_starts_from_the_weights_and_sizes_of_a_model(models):
    origin = find_origin('new', str(models), start='bytes')
    assert (origin.folder, origin.step, origin.slots) == (str(models / 'new'), 0, None)
    assert origin.weights == str(models / 'bytes' / 'model.ckpt')
    assert origin.hparams == HParams(n_vocab=257, n_ctx=64, n_embd=16, n_head=2, n_layer=2)
    assert origin.encoder.encode('A') == [origin.encoder.encoder['A']]
    assert not (models / 'new').exists()


@pytest.mark.parametrize('name', ['new', 'run'])
def test_the_sizes_that_a_model_has_may_be_said(models, name):
    put_run(models / 'run', step=5)
    own = {'n_ctx': 64, 'n_embd': 16, 'n_head': 2, 'n_layer': 2}
    assert find_origin(name, str(models), 'bytes', sizes=own).hparams == HParams(n_vocab=257, **own)


def test_from_scratch_the_sizes_that_are_not_said_are_those_of_124m(models):
    origin = find_origin('new', str(models), vocabulary='bytes', sizes={'n_layer': 1})
    assert origin.hparams == HParams(257, n_ctx=1024, n_embd=768, n_head=12, n_layer=1)


def test_from_scratch_takes_the_vocabulary_of_a_model_or_of_its_own_folder(models):
    (models / 'own').mkdir()
    for name in ('encoder.json', 'vocab.bpe'):
        shutil.copy(models / 'bytes' / name, models / 'own')
    for name, vocabulary in [('new', 'bytes'), ('own', None)]:
        origin = find_origin(name, str(models), vocabulary=vocabulary, sizes=SMALL)
        assert origin.hparams == HParams(n_vocab=257, **SMALL)
        assert (origin.source, origin.weights) == (str(models / (vocabulary or name)), None)


def test_a_run_goes_on_from_the_step_that_its_checkpoint_names(models):
    put_run(models / 'run', step=1250)
    origin = find_origin('run', str(models), start='gone')
    assert (origin.step, origin.source) == (1250, str(models / 'run'))
    assert origin.weights == str(models / 'run' / 'model-1250')
    assert origin.slots == str(models / 'run' / 'optimizer-1250')


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(models):
    put_run(models / 'run')
    origin = find_origin('run', str(models), start='bytes')
    assert (origin.step, origin.weights) == (0, str(models / 'bytes' / 'model.ckpt'))


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('bytes',), 'bytes is a model already: choose another name; --start bytes begins with it'),
        (('new', 'nowhere'), "there is no model 'nowhere' in"),
        (('new',), 'new holds no vocabulary: --start with a model, name one with --vocabulary, or'),
        (('new', None, 'nowhere'), 'nowhere holds no vocabulary'),
        (('new', 'bytes', 'bytes'), '--vocabulary is for training from scratch: bytes has its own'),
        (('new', 'bytes', None, SMALL), 'bytes has n_ctx 64, which --n_ctx 16 cannot change: only'),
        (('new', 'bytes', None, {'n_ctx': 1024}), 'bytes has n_ctx 64, which --n_ctx 1024 cannot'),
        (('new', 'bytes', None, {'n_head': 12}), 'bytes has n_head 2, which --n_head 12 cannot'),
        (('run', 'bytes', None, {'n_layer': 12}), 'run has n_layer 2, which --n_layer 12 cannot'),
        (('run', None, None, {'n_embd': 768}), 'run has n_embd 16, which --n_embd 768 cannot'),
        (('new', None, 'bytes', {'n_embd': 15}), 'n_embd=15 is not divisible by n_head=12'),
        (('own', 'bytes'), 'own holds a vocabulary already: choose another name, or train from'),
        (('../new', 'bytes'), "model name '../new' does not name a folder inside"),
        (('', 'bytes'), "model name '' does not name a folder inside"),
        (('new', 'lacking'), 'lacking lacks vocab.bpe'),
        (('new', 'large'), 'large has 257 tokens in encoder.json but n_vocab=300 in hparams.json'),
    ],
)
def test_a_start_that_is_not_there_or_not_meant_is_refused(models, arguments, message):
    put_run(models / 'run', step=5)
    put_run(models / 'own')
    (models / 'own' / 'training.json').unlink()
    shutil.copytree(models / 'bytes', models / 'lacking')
    (models / 'lacking' / 'vocab.bpe').unlink()
    shutil.copytree(models / 'bytes', models / 'large')
    (models / 'large' / 'hparams.json').write_text('{"n_vocab": 300}', encoding='utf-8')
    before = sorted(models.rglob('*'))
    name, *others = arguments
    with pytest.raises(ValueError) as caught:
        find_origin(name, str(models), *others)
    assert message in str(caught.value) and '\n' not in str(caught.value)
    assert sorted(models.rglob('*')) == before


@pytest.mark.parametrize(
    'named', ['', 'model.ckpt', 'optimizer-5', 'model-5.bak', 'mymodel-5', 'model-0']
)
def test_a_damaged_checkpoint_file_does_not_start_a_run_anew(models, named):
    """It would remove the weights that are there."""
    put_run(models / 'run')
    name_in_checkpoint(models / 'run', named)
    with pytest.raises(ValueError, match='names? (no checkpoint|weights of a training run)'):
        find_origin('run', str(models), start='bytes')


def test_the_step_in_use_is_read_from_the_name_of_the_weights(tmp_path):
    assert last_step(tmp_path) == 0
    put_weights(tmp_path, 'model-70', 'model-700')
    name_in_checkpoint(tmp_path, '/elsewhere/models/run/model-70')
    assert last_step(tmp_path) == 70


@pytest.mark.parametrize('missing', ['index', 'data-00000-of-00001'])
def test_a_checkpoint_that_names_weights_which_are_not_there_is_refused(models, missing):
    put_run(models / 'run', step=5)
    put_weights(models / 'run', 'model-900')
    name_in_checkpoint(models / 'run', 'model-900')
    (models / 'run' / f'model-900.{missing}').unlink()
    with pytest.raises(ValueError, match=f'names model-900, but model-900.{missing} is not there'):
        find_origin('run', str(models))


# What others have put there


def content_of(folder):
    """{path: bytes} of a folder."""
    return {p: p.is_file() and p.read_bytes() for p in folder.rglob('*')}


@pytest.mark.parametrize(
    'there',
    [
        *('model-500.index', 'model-500.data-00000-of-00001', 'optimizer-3.index'),
        *('best/notes.txt', 'corpus/train.npy', 'events/mine', 'metrics.jsonl', 'hparams.json'),
    ],
)
@pytest.mark.parametrize('start', ['bytes', None])
def test_what_a_new_run_would_replace_is_named_and_stays(models, there, start):
    path = models / 'novel' / there
    path.parent.mkdir(parents=True)
    path.write_text('mine', encoding='utf-8')
    if start is None:
        for name in ('encoder.json', 'vocab.bpe'):
            shutil.copy(models / 'bytes' / name, models / 'novel')
    before = content_of(models)
    with pytest.raises(ValueError) as caught:
        find_origin('novel', str(models), start)
    name = there.split('/')[0]
    assert f'novel holds {name} already, which training would replace: ' in str(caught.value)
    assert content_of(models) == before


@pytest.mark.parametrize('there', ['encoder.json', 'vocab.bpe'])
@pytest.mark.parametrize('arguments', [{'start': 'bytes'}, {'vocabulary': 'bytes'}])
def test_half_a_vocabulary_is_not_replaced(models, there, arguments):
    (models / 'novel').mkdir()
    (models / 'novel' / there).write_text('mine', encoding='utf-8')
    with pytest.raises(ValueError, match='novel holds a vocabulary already'):
        find_origin('novel', str(models), **arguments)


def test_what_a_start_has_left_that_failed_as_it_encoded_the_text_is_no_obstacle(models):
    with held(str(models / 'novel')):
        (models / 'novel' / 'corpus').mkdir()
    assert find_origin('novel', str(models), 'bytes').step == 0


@pytest.mark.parametrize(
    'names', [['model-9', 'optimizer-9', 'model-12', 'optimizer-12'], ['model-12']]
)
def test_a_run_that_has_lost_its_checkpoint_file_loses_no_weights(models, names):
    put_run(models / 'run')
    put_weights(models / 'run', *names)
    before = content_of(models)
    with pytest.raises(ValueError) as caught:
        find_origin('run', str(models), 'bytes')
    there = ', '.join(name for name in names if name.startswith('model'))
    assert f'run holds {there} but no file `checkpoint`' in str(caught.value)
    assert 'write the line model_checkpoint_path: "model-12" to ' in str(caught.value)
    assert content_of(models) == before
    line = 'model_checkpoint_path: "model-12"'  # does what it says
    (models / 'run' / 'checkpoint').write_text(line, encoding='utf-8')
    assert find_origin('run', str(models)).step == 12


def test_first_weights_that_a_killed_run_has_not_named_yet_are_those_it_goes_on_from(models):
    put_run(models / 'run')
    put_weights(models / 'run', 'model-9', 'optimizer-9')
    origin = find_origin('run', str(models), 'bytes')
    assert (origin.step, origin.weights) == (9, str(models / 'run' / 'model-9'))
    assert find_model('run', str(models))


def test_an_optimizer_without_weights_is_what_a_killed_run_leaves_of_its_first_checkpoint(models):
    put_run(models / 'run')
    put_weights(models / 'run', 'optimizer-9')
    (models / 'run' / 'metrics.jsonl').write_text('{"step": 9}\n', encoding='utf-8')
    assert find_origin('run', str(models), 'bytes').step == 0


@pytest.mark.parametrize(
    'step, name',
    [
        *[(5, 'model-500'), (5, 'optimizer-500'), (None, 'optimizer-500')],
        *[(5, 'best/model-500'), (None, 'best/model-500')],
    ],
)
def test_weights_that_a_run_would_replace_and_has_not_noted_are_named(models, step, name):
    put_run(models / 'run', step)
    path = models / 'run' / name
    put_weights(path.parent, path.name)
    before = content_of(models)
    with pytest.raises(ValueError) as caught:
        find_origin('run', str(models), 'bytes')
    assert f'{path}.index would be replaced, and training has not ' in str(caught.value)
    assert content_of(models) == before
    lines = '{"step": 499}\n{"step": 500, "lo'  # the last one torn by a power failure
    (models / 'run' / 'metrics.jsonl').write_text(lines, encoding='utf-8')
    assert find_origin('run', str(models), 'bytes').step == (step or 0)


def test_of_many_names_a_message_has_a_few(models):
    put_run(models / 'run')
    put_weights(models / 'run', *(f'model-{step}' for step in range(5, 100)))
    with pytest.raises(ValueError, match='run holds model-5, model-6, …, model-99 but no file'):
        find_origin('run', str(models))


@pytest.mark.skipif(sys.platform == 'win32', reason='has no such pipes')
@pytest.mark.parametrize('name', ['training.json', 'metrics.jsonl'])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(models, name):
    put_run(models / 'run', step=5)
    put_weights(models / 'run', 'model-9')
    (models / 'run' / name).unlink(missing_ok=True)
    os.mkfifo(models / 'run' / name)
    with pytest.raises(ValueError, match=f'{name} is not a file'):
        find_origin('run', str(models))


def test_another_model_in_the_place_of_the_best_is_named(models):
    put_run(models / 'run', step=5)
    put_weights(models / 'run', 'model.ckpt')  # which nothing would replace
    assert find_origin('run', str(models)).step == 5
    put_weights(models / 'run' / 'best', 'model.ckpt')
    with pytest.raises(ValueError, match='best.model.ckpt.index would be replaced'):
        find_origin('run', str(models))


@pytest.mark.parametrize(
    'content', ['', '[1]', '[]', '[["steps", 1]]', '{"steps": 1', 'null', '[' * 100_000, '\0' * 9]
)
def test_a_damaged_training_json_is_named(models, content):
    put_run(models / 'run', step=5)
    (models / 'run' / 'training.json').write_text(content, encoding='utf-8')
    with pytest.raises(ValueError, match='cannot read .*training.json: .*; remove .*run to start'):
        find_origin('run', str(models), start='bytes')


# Settings


@pytest.mark.parametrize('name', FIXED)
def test_settings_that_decide_the_course_of_a_run_cannot_change(models, name):
    put_run(models / 'run', step=5, **{name: 3})
    origin = find_origin('run', str(models))
    check_setup(origin, SETTINGS | {name: 3})
    with pytest.raises(ValueError) as caught:
        check_setup(origin, SETTINGS | {name: 4})
    assert str(caught.value) == (
        f'{models / "run"} was started with {name} 3, which cannot change to 4: choose another name'
    )


def test_settings_that_are_lost_are_not_taken_for_the_same(models):
    put_run(models / 'run', step=5)
    (models / 'run' / 'training.json').write_text('{"steps": 10}', encoding='utf-8')
    with pytest.raises(ValueError, match='training.json is damaged: it lacks start, data, batch_s'):
        check_setup(find_origin('run', str(models)), SETTINGS)


@pytest.mark.parametrize(
    'name, spellings, other',
    [
        ('start', ['demo', 'demo/', './demo', 'demo//'], 'demo2'),
        ('vocabulary', ['a/b', 'a//b/', 'a/./b'], 'b'),
        ('validation_data', ['v.txt', './v.txt', '{here}/v.txt', 'texts/../v.txt'], '{here}/w.txt'),
        ('validation_data', ['-'], '{here}/-'),
        ('data', [['t', 'u'], ['t/', './u'], ['{here}/t', '{here}/u/']], ['u', 't']),
        ('data', [['t']], ['\0']),
        ('data', [['t/*.txt'], ['{here}/t/*.txt'], ['./t//*.txt']], ['t/*.jsonl']),
    ],
)
def test_a_run_goes_on_however_its_text_and_models_are_spelled(
    models, monkeypatch, capsys, name, spellings, other
):
    def spelled(value):
        return json.loads(json.dumps(value).replace('{here}', str(models)))

    monkeypatch.chdir(models)
    put_run(models / 'run', step=5, **{name: spellings[0]})
    origin = find_origin('run', str(models))
    for spelling in spellings:
        check_setup(origin, SETTINGS | {name: spelled(spelling)})
    assert capsys.readouterr() == ('', '')
    with pytest.raises(ValueError, match=f'was started with {name} '):
        check_setup(origin, SETTINGS | {name: spelled(other)})


def test_encoded_text_may_move(models):
    put_run(models / 'run', step=5, data=['here'], text='abc')
    origin = find_origin('run', str(models))
    check_setup(origin, SETTINGS | {'data': ['there'], 'text': 'abc'})
    with pytest.raises(ValueError, match='was started with text abc'):
        check_setup(origin, SETTINGS | {'data': ['here'], 'text': 'abd'})


def test_other_settings_may_change_and_are_noted(models, capsys):
    put_run(models / 'run', step=5, steps='\x1b[2J', weight_decay=0.1, older=1)
    check_setup(find_origin('run', str(models)), SETTINGS | {'steps': 20, 'weight_decay': 0.2})
    assert capsys.readouterr() == (
        '',
        'note: steps was \\x1b[2J, now 20\nnote: weight_decay was 0.1, now 0.2\n',
    )


def test_a_run_from_before_optimizers_could_be_chosen_goes_on_with_adamw(models, capsys):
    put_run(models / 'run', step=5)
    assert 'optimizer' not in SETTINGS
    origin = find_origin('run', str(models))
    check_setup(origin, SETTINGS | {'optimizer': 'adamw'})
    assert capsys.readouterr() == ('', '')
    with pytest.raises(ValueError, match='with optimizer adamw, which cannot change to lion'):
        check_setup(origin, SETTINGS | {'optimizer': 'lion'})


def test_a_run_from_before_there_were_separators_goes_on_without_one(models):
    put_run(models / 'run', step=5)
    origin = find_origin('run', str(models))
    check_setup(origin, SETTINGS | {'separator': None})
    with pytest.raises(ValueError, match='with separator None, which cannot change to <|end'):
        check_setup(origin, SETTINGS | {'separator': '<|endoftext|>'})


def test_before_the_first_checkpoint_all_may_change(models, capsys):
    """So that who has mistyped something can try again with the same name."""
    put_run(models / 'run')
    origin = find_origin('run', str(models), start='bytes')
    check_setup(origin, {'batch_size': 7, 'data': ['other.txt'], 'start': 'other'})
    assert capsys.readouterr() == ('', '')


def test_a_new_run_becomes_a_model_without_weights(models):
    for name, arguments in [('new', {'start': 'bytes'}), ('from/scratch', {'vocabulary': 'bytes'})]:
        origin = find_origin(name, str(models), **arguments)
        with held(origin.folder):
            write_setup(origin, SETTINGS)
        folder = models / name
        assert read_setup(folder) == SETTINGS
        assert json.loads((folder / 'hparams.json').read_text()) == origin.hparams.values()
        for vocabulary in ('encoder.json', 'vocab.bpe'):
            written = (folder / vocabulary).read_bytes()
            assert written == (models / 'bytes' / vocabulary).read_bytes()


def test_a_run_that_goes_on_notes_its_settings_and_leaves_the_rest(models):
    put_run(models / 'run', step=5)
    write_setup(find_origin('run', str(models)), SETTINGS | {'steps': 20})
    assert read_setup(models / 'run') == SETTINGS | {'steps': 20}
    (models / 'run' / 'vocab.bpe').unlink()
    write_setup(Origin(models / 'run', models / 'bytes', None, None, 5), SETTINGS)
    assert not (models / 'run' / 'vocab.bpe').exists()


def test_a_start_that_was_killed_while_it_wrote_is_repeated(models):
    (models / 'run').mkdir()
    (models / 'run' / 'training.json').write_text('{}', encoding='utf-8')
    (models / 'run' / 'encoder.json').write_text('{"ha', encoding='utf-8')
    origin = find_origin('run', str(models), start='bytes')
    write_setup(origin, SETTINGS)
    assert find_origin('run', str(models)).encoder.encoder == origin.encoder.encoder


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / 'values.json'
    write_json(str(path), {'old': 1})
    with pytest.raises(TypeError):
        write_json(str(path), {'new': 2, 'not to be written': object()})
    assert json.loads(path.read_text(encoding='utf-8')) == {'old': 1}
    assert os.listdir(tmp_path) == ['values.json']


def test_only_one_process_trains_in_a_folder(tmp_path):
    folder = tmp_path / 'models' / 'run'

    def try_elsewhere():
        command = [sys.executable, '-c', CHILD, str(SRC), str(folder)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with held(folder):
        assert try_elsewhere() == f'{folder} is being trained by another process'
    assert try_elsewhere() == 'had it'


@pytest.mark.parametrize('before, now', [(None, 5), (5, 9)])
def test_what_another_process_has_just_saved_is_not_lost(models, before, now):
    put_run(models / 'run', step=before)
    origin = find_origin('run', str(models), 'bytes')
    with held(origin.folder):
        check_step(origin)
    put_weights(models / 'run', f'model-{now}', f'optimizer-{now}')
    name_in_checkpoint(models / 'run', f'model-{now}')
    with held(origin.folder), pytest.raises(ValueError, match='has just trained in .*: run the'):
        check_step(origin)
