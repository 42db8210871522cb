import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

import encode_corpus
from generate_unconditional_samples import sample_model
from helpers.kills import end_again_and_again
from helpers.numpy_gpt2 import load_weights, logits, softmax
from loading.model_files import weights
from support import command_line
from train import train

SIZES = ('--n_ctx', 16, '--n_embd', 16, '--n_head', 2, '--n_layer', 1)
FEW = ('--steps', 2, '--window', 16, '--validation', 0)
# A run with all that depends on random numbers: it validates at 0, 4, 8, ... and saves at 3, 6, ...
STEPS = 12
RANDOM = ('--dropout', 0.1, '--noise', 0.1, '--accumulate', 2, '--batch_size', 3, '--window', 16)
ROUTINE = ('--validate_every', 4, '--validate_tokens', 100, '--save_every', 3, '--keep', 2)
WHOLE = ('--start', 'bytes', *RANDOM, *ROUTINE, '--learning_rate', 0.01, '--seed', 5)

# The run of argv[2:], killed as it saves step 9: the optimizer is written, nothing else.
KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import train
from support import command_line
from training import trainer

save_weights = trainer.Trainer.save_weights

def killed(self, path):
    if path.endswith('-9'):
        os.kill(os.getpid(), signal.SIGKILL)
    save_weights(self, path)

trainer.Trainer.save_weights = killed
command_line.run(train.train, sys.argv[2:])
"""


@pytest.fixture(scope='module')
def models(byte_models, tmp_path_factory):
    """A models folder with the model `bytes`, for all runs of this file."""
    folder = tmp_path_factory.mktemp('models')
    shutil.copytree(byte_models / 'bytes', folder / 'bytes')
    return folder


@pytest.fixture(scope='module')
def text(tmp_path_factory):
    """A folder of twelve documents."""
    folder = tmp_path_factory.mktemp('text')
    words = 'the a quick brown fox dog jumps over lazy and one two three blind mice run'.split()
    for number in range(12):
        document = ' '.join(random.Random(number).choices(words, k=60))
        (folder / f'{number:02}.txt').write_text(document, encoding='utf-8')
    return folder


@pytest.fixture(scope='module')
def whole(models, text):
    """The flags of a run, and the folder of that run as it is when nobody interrupts it."""
    flags = (text, '--models_dir', models, *WHOLE)
    with contextlib.redirect_stdout(io.StringIO()):
        command_line.run(train, ['whole', *map(str, flags), '--steps', str(STEPS)])
    return flags, models / 'whole'


@pytest.fixture
def copied(whole, models, request):
    """The name of a copy of the whole run."""
    name = f'copy of {request.node.name}'
    shutil.copytree(whole[1], models / name)
    return name


def metrics_of(folder):
    """What metrics.jsonl holds, but how fast it was."""
    lines = (folder / 'metrics.jsonl').read_text(encoding='utf-8').splitlines()
    records = [json.loads(line) for line in lines]
    return [{k: v for k, v in r.items() if k != 'tokens_per_second'} for r in records]


def step_in_use(folder):
    return int(weights(folder).split('-')[-1])


def validations_of(folder):
    """{step: validation loss} of a run."""
    return {r['step']: r['validation'] for r in metrics_of(folder) if 'validation' in r}


def loss_of(path, folder):
    """The mean loss of the first tokens that a run has held out, by NumPy."""
    tokens = np.load(folder / 'corpus' / 'validation.npy')[:100]
    losses = []
    for start in range(0, 99, 16):
        targets = tokens[start + 1 : start + 17]
        inputs = tokens[start : start + len(targets)]
        p = softmax(logits(load_weights(path), inputs, n_head=2))
        losses += list(-np.log(p[np.arange(len(targets)), targets]))
    assert len(losses) == 99
    return np.mean(losses)


def check_same_run(folder, expected):
    """Losses, weights and the state of the optimizer are the same, bit by bit."""
    assert metrics_of(folder) == metrics_of(expected)
    for name in (f'model-{STEPS}', f'optimizer-{STEPS}', f'best/model-{STEPS}'):
        ours, theirs = load_weights(folder / name), load_weights(expected / name)
        assert ours.keys() == theirs.keys()
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key])
    assert files_of(folder) == files_of(expected)


def files_of(folder):
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob('*'))
    return sorted(path for path in paths if 'tfevents' not in path)


# A whole run


def test_a_run_leaves_a_model_its_best_and_the_last_checkpoints(whole):
    _, folder = whole
    bundle = ('data-00000-of-00001', 'index')
    model = {'checkpoint', 'encoder.json', 'hparams.json', 'vocab.bpe'}
    saved = {
        f'{kind}-{n}.{end}' for kind in ('model', 'optimizer') for n in (9, 12) for end in bundle
    }
    own = {'training.json', 'metrics.jsonl', 'lock', 'corpus', 'events', 'best'}
    assert set(os.listdir(folder)) == model | saved | own
    assert set(os.listdir(folder / 'best')) == model | {f'model-{STEPS}.{end}' for end in bundle}
    assert step_in_use(folder) == STEPS


def test_each_step_and_each_validation_is_recorded_once(whole):
    records = metrics_of(whole[1])
    losses = [record for record in records if 'loss' in record]
    assert [record['step'] for record in losses] == list(range(1, STEPS + 1))
    assert all(record['norm'] > 0 for record in losses)
    assert losses[0]['rate'] == 0.01 and losses[-1]['rate'] < 0.001
    validations = [record for record in records if 'validation' in record]
    assert [record['step'] for record in validations] == [0, 4, 8, 12]
    # 257 tokens are all alike to a model that is not trained.
    assert validations[0]['validation'] == pytest.approx(np.log(257), rel=0.02)
    assert validations[-1]['validation'] < validations[0]['validation'] - 1
    for record in validations:
        assert record['perplexity'] == pytest.approx(np.exp(record['validation']))


def test_validation_is_the_mean_loss_of_the_first_tokens_that_were_held_out(whole, models):
    validations = validations_of(whole[1])
    for step, path in [(0, models / 'bytes' / 'model.ckpt'), (STEPS, whole[1] / f'model-{STEPS}')]:
        assert validations[step] == pytest.approx(loss_of(path, whole[1]), rel=1e-5)


def test_the_model_and_its_best_work_with_other_scripts(call, whole, models):
    common = ('--models_dir', models, '--nsamples', 1, '--length', 12, '--seed', 1)
    for name in ('whole', 'whole/best'):
        status, output, errors = call(sample_model, '--model_name', name, *common)
        assert (status, errors) == (0, '') and output.startswith('=' * 40 + ' SAMPLE 1 ')


def test_the_best_model_is_the_one_with_the_lowest_validation_loss(whole):
    validations = validations_of(whole[1])
    assert min(validations, key=validations.get) == STEPS
    best, last = (
        load_weights(weights(whole[1] / 'best')),
        load_weights(whole[1] / f'model-{STEPS}'),
    )
    for name in last:
        np.testing.assert_array_equal(best[name], last[name])


def test_tensorboard_shows_the_losses_of_metrics_jsonl(whole):
    import tensorflow.compat.v1 as tf

    shown = {}
    for path in (whole[1] / 'events').iterdir():
        for event in tf.train.summary_iterator(str(path)):
            shown |= {(event.step, value.tag): value.simple_value for value in event.summary.value}
    for record in metrics_of(whole[1]):
        for tag in record.keys() - {'step'}:
            assert shown.pop((record['step'], tag)) == np.float32(record[tag])
    assert {tag for _, tag in shown} == {'tokens_per_second'}


def test_a_run_that_is_done_is_left_alone_without_tensorflow(call, no_tensorflow, whole):
    flags, folder = whole
    before = metrics_of(folder)
    status, output, errors = call(train, 'whole', *flags, '--steps', STEPS)
    assert (status, output) == (0, '')
    assert errors == f'{folder}: 12 steps are done already\n'
    assert metrics_of(folder) == before


def test_a_finished_run_from_before_optimizers_could_be_chosen_is_one_of_adamw(
    call, no_tensorflow, whole, models, copied
):
    flags, _ = whole
    path = models / copied / 'training.json'
    setup = json.loads(path.read_text(encoding='utf-8'))
    assert (setup.pop('optimizer'), setup['beta1'], setup['beta2']) == ('adamw', 0.9, 0.999)
    path.write_text(json.dumps(setup), encoding='utf-8')
    status, _, errors = call(train, copied, *flags, '--steps', STEPS)
    assert (status, errors) == (0, f'{models / copied}: 12 steps are done already\n')


# Interruptions


@pytest.mark.skipif(sys.platform == 'win32', reason='kills as POSIX does')
def test_a_killed_run_goes_on_to_the_losses_of_one_that_was_not(call, whole, models):
    """Killed between the optimizer of step 9 and its weights, and in the midst of a line."""
    flags, expected = whole
    command = ('killed', *flags, '--steps', STEPS)
    source = os.path.dirname(sys.modules['train'].__file__)
    child = [sys.executable, '-c', KILLED, source, *map(str, command)]
    killed = subprocess.run(child, capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    folder = models / 'killed'
    assert step_in_use(folder) == 6 and (folder / 'optimizer-9.index').exists()
    assert metrics_of(folder)[-1]['step'] == 9
    os.truncate(folder / 'metrics.jsonl', (folder / 'metrics.jsonl').stat().st_size - 5)

    status, _, errors = call(train, *command)
    assert (status, errors) == (0, '')
    check_same_run(folder, expected)


def test_a_run_killed_before_its_checkpoint_was_named_goes_on_from_the_one_before(
    call, whole, models, copied
):
    flags, expected = whole
    folder = models / copied
    names = (folder / 'checkpoint').read_text(encoding='utf-8')
    (folder / 'checkpoint').write_text(names.replace('model-12', 'model-9'), encoding='utf-8')
    assert step_in_use(folder) == 9
    status, output, errors = call(train, copied, *flags, '--steps', STEPS)
    assert (status, errors) == (0, '')
    assert re.findall(r'^step (\d+): validation', output, re.M) == ['12']
    assert sorted(files_of(folder)) == sorted(files_of(expected))
    check_same_run(folder, expected)


def test_the_best_is_never_one_of_steps_that_did_not_come_again(call, whole, models, monkeypatch):
    """Killed after step 8, the best so far; from step 6 on it goes on at a rate that spoils it."""
    from training.trainer import Trainer

    class Killed(BaseException):
        pass

    def killed(self, path):
        if path.endswith('-9'):
            raise Killed
        save_slots(self, path)

    flags, _ = whole
    command = ('branches', *flags, '--steps', STEPS)
    save_slots, folder = Trainer.save_slots, models / 'branches'
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Trainer, 'save_slots', killed)
        call(train, *command)
    assert step_in_use(folder) == 6 and step_in_use(folder / 'best') == 8
    abandoned = validations_of(folder)
    assert abandoned[8] < abandoned[4] < abandoned[0]

    status, _, errors = call(train, *command, '--learning_rate', 30)
    assert (status, errors) == (0, 'note: learning_rate was 0.01, now 30\n')
    validations = validations_of(folder)
    assert validations[4] == abandoned[4] < min(validations[8], validations[12])
    assert step_in_use(folder / 'best') == 4
    assert loss_of(weights(folder / 'best'), folder) == pytest.approx(validations[4], rel=1e-5)


@pytest.mark.parametrize(
    'name, status, told',
    [
        ('SIGINT', 130, '\n'),
        ('SIGTERM', 143, 'stopped by SIGTERM; '),
        ('SIGHUP', 129, 'stopped by SIGHUP; '),
    ],
)
def test_a_signal_saves_the_step_it_is_at(call, whole, models, monkeypatch, name, status, told):
    from training.trainer import Trainer

    if not hasattr(signal, name):
        pytest.skip('this system has no such signal')
    number = getattr(signal, name)
    flags, expected = whole
    folder = models / f'stopped by {name}'
    command = (folder.name, *flags, '--steps', STEPS)
    step = Trainer.step

    def send_signal(self, step_number, *others):
        if step_number == 5:
            signal.raise_signal(number)
        return step(self, step_number, *others)

    default = signal.default_int_handler if name == 'SIGINT' else signal.SIG_DFL
    before = signal.signal(number, default)  # a shell may ignore it
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, 'step', send_signal)
            ended = call(train, *command)
    finally:
        signal.signal(number, before)
    kept = f'{folder} keeps step 5: run the same command again to go on\n'
    assert (ended[0], ended[2]) == (status, told + kept)
    assert step_in_use(folder) == metrics_of(folder)[-1]['step'] == 5

    assert call(train, *command)[0] == 0
    check_same_run(folder, expected)


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='there is no disk that is always full')
@pytest.mark.parametrize('full', [False, True])
def test_output_that_goes_away_saves_the_step_it_is_at(call, whole, models, monkeypatch, full):
    """As in `train.py … | head -1`, and where a log file fills its disk."""
    flags, expected = whole
    folder = models / f'without output {full}'
    command = (folder.name, *flags, '--steps', STEPS)
    ours, theirs = os.pipe()
    os.close(ours)
    with open('/dev/full' if full else theirs, 'w') as stream, monkeypatch.context() as patch:
        patch.setattr(sys, 'stdout', stream)
        status, _, errors = call(train, *command)
    kept = f'{folder} keeps step 1: run the same command again to go on\n'
    if full:
        told = 'error: cannot write to standard output: No space left on device; '
    else:
        told = 'standard output was closed; '
    assert (status, errors) == (2 if full else 1, told + kept)
    assert step_in_use(folder) == 1

    assert call(train, *command)[0] == 0
    check_same_run(folder, expected)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == 'win32', reason='kills as POSIX does')
def test_a_run_that_is_ended_again_and_again_ends_as_one_that_was_not(call, models, text):
    """At any moment, from the command line: what was saved is never lost."""
    steps = 500
    flags = (text, '--models_dir', models, *WHOLE, '--steps', steps)
    assert call(train, 'patient', *flags)[0] == 0
    folder, expected = models / 'tried', models / 'patient'
    script = os.path.join(os.path.dirname(sys.modules['train'].__file__), 'train.py')
    command = [sys.executable, script, 'tried', *map(str, flags)]
    streams = dict(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding='utf-8')
    saved = [0]

    def check(number, errors):
        if not (folder / 'checkpoint').exists():
            return
        saved.append(step_in_use(folder))
        assert saved[-2] <= saved[-1] <= steps
        load_weights(weights(folder))
        load_weights(folder / f'optimizer-{saved[-1]}')
        if f'{folder} keeps step' in errors:
            assert f'{folder} keeps step {saved[-1]}: ' in errors and number != signal.SIGKILL

    end_again_and_again(
        start=lambda: subprocess.Popen(command, **streams),
        progress=lambda: last_step_noted(folder),
        check=check,
    )
    assert len(set(saved)) > 3
    assert call(train, 'tried', *flags)[0] == 0
    assert metrics_of(folder) == metrics_of(expected)
    left = [name for name in files_of(folder) if 'unfinished-' not in name]  # for a minute
    assert left == files_of(expected)
    for name in (f'model-{steps}', f'optimizer-{steps}'):
        ours, theirs = load_weights(folder / name), load_weights(expected / name)
        assert ours.keys() == theirs.keys() and all((ours[k] == theirs[k]).all() for k in ours)


def last_step_noted(folder):
    path = folder / 'metrics.jsonl'
    steps = re.findall(r'"step": (\d+)', path.read_text(encoding='utf-8')) if path.exists() else []
    return int(steps[-1]) if steps else 0


# What stops a run


def test_a_loss_that_is_not_finite_leaves_the_last_good_checkpoint(call, whole, models, copied):
    flags, _ = whole
    more = (*flags, '--steps', 20, '--warmup', 0, '--save_every', 1)
    status, _, errors = call(train, copied, *more, '--learning_rate', 1e30)
    assert status == 2
    *_, error = errors.splitlines()
    folder = models / copied
    assert re.fullmatch(
        rf'error: step 13 ended with (a loss|gradients) of .*; {re.escape(str(folder))} keeps '
        'the weights of step 12; try a lower learning rate',
        error,
    )
    assert step_in_use(folder) == 12 and not list(folder.glob('model-1[3-9]*'))
    status, _, errors = call(train, copied, *more, '--learning_rate', 0.001)
    assert (status, step_in_use(folder)) == (0, 20)


@pytest.mark.skipif(sys.platform == 'win32', reason='limits the size of files as POSIX does')
def test_a_full_disk_leaves_the_last_checkpoint_in_use(call, whole, models, copied):
    import resource

    flags, _ = whole
    folder = models / copied
    before = load_weights(weights(folder))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        status, _, errors = call(train, copied, *flags, '--steps', 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert status == 2
    assert errors.splitlines()[-1].startswith(f'error: cannot write {folder / "optimizer-15"}: ')
    assert step_in_use(folder) == 12 and not list(folder.glob('*-15*'))
    after = load_weights(weights(folder))
    assert all((after[name] == before[name]).all() for name in before)
    assert call(train, copied, *flags, '--steps', 20)[0] == 0
    assert step_in_use(folder) == 20


@pytest.mark.skipif(sys.platform == 'win32', reason='limits the size of files as POSIX does')
def test_a_disk_that_takes_no_more_metrics_ends_a_run_in_one_line(call, whole, models, copied):
    import resource

    flags, _ = whole
    folder = models / copied
    with open(folder / 'metrics.jsonl', 'a', encoding='utf-8') as file:
        file.write(json.dumps({'step': 12, 'remark': 'x' * 200_000}) + '\n')  # beyond the weights
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (folder / 'metrics.jsonl').stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 300, limits[1]))
    try:
        status, output, errors = call(train, copied, *flags, '--steps', 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    *notes, error = errors.splitlines()
    assert (status, output) == (2, '') and all(note.startswith('note: ') for note in notes)
    assert error == (
        f'error: cannot write {folder / "metrics.jsonl"}: File too large; '
        f'{folder} keeps the weights of step 12'
    )
    assert step_in_use(folder) == 12
    assert call(train, copied, *flags, '--steps', 20)[0] == 0
    assert [r['step'] for r in metrics_of(folder) if 'loss' in r] == list(range(1, 21))


def test_damaged_weights_of_a_run_are_named_with_a_remedy(call, whole, models, copied):
    flags, _ = whole
    path = models / copied / 'optimizer-12.data-00000-of-00001'
    os.truncate(path, path.stat().st_size // 2)
    status, _, errors = call(train, copied, *flags, '--steps', 20)
    assert status == 2 and 'optimizer-12' in errors.splitlines()[-1]
    assert errors.endswith(f'; to start anew, remove {models / copied}\n')


# Other ways to train


def test_only_variables_that_match_are_trained(call, models, text):
    flags = (text, '--models_dir', models, '--start', 'bytes', *FEW, '--train_only', 'h1/mlp|/ln_f')
    assert call(train, 'partly', *flags)[::2] == (0, '')
    before = load_weights(models / 'bytes' / 'model.ckpt')
    after = load_weights(models / 'partly' / 'model-2')
    changed = {name for name in before if (before[name] != after[name]).any()}
    expected = {f'model/h1/mlp/{layer}/{v}' for layer in ('c_fc', 'c_proj') for v in 'wb'}
    assert changed == expected | {'model/ln_f/g', 'model/ln_f/b'}
    slots = load_weights(models / 'partly' / 'optimizer-2')
    assert slots.keys() == {f'optimizer/{name}/{slot}' for name in changed for slot in 'mv'}


def test_a_model_is_trained_from_scratch_on_a_corpus_that_was_encoded_before(
    call, models, text, tmp_path
):
    """With samples on the way, and on texts that are lines of JSON."""
    lines = [json.dumps({'text': path.read_text()}) for path in sorted(text.iterdir())]
    (tmp_path / 'text.jsonl').write_text('\n'.join(lines), encoding='utf-8')
    corpus = tmp_path / 'corpus'
    encode = encode_corpus.encode_corpus
    source = tmp_path / 'text.jsonl'
    vocabulary = ('--model_name', 'bytes', '--models_dir', models)
    assert call(encode, corpus, source, *vocabulary, '--validation', 0.25)[0] == 0

    flags = ('--models_dir', models, '--vocabulary', 'bytes', *SIZES)
    more = ('--steps', 60, '--batch_size', 8, '--learning_rate', 0.01, '--dropout', 0)
    shown = ('--sample_every', 30, '--sample_length', 5)
    status, output, errors = call(train, 'scratch', corpus, *flags, *more, *shown)
    assert (status, errors) == (0, '')
    assert re.findall('^=+ SAMPLE AT STEP (.*?) =+$', output, re.M) == ['30', '60']
    first, *_, last = (r['loss'] for r in metrics_of(models / 'scratch') if 'loss' in r)
    assert first == pytest.approx(np.log(257), rel=0.02) and last < 0.6 * first
    assert not (models / 'scratch' / 'corpus').exists()


# What is refused


@pytest.fixture
def wrong_texts(tmp_path):
    """A folder of texts that cannot be used."""
    (tmp_path / 'empty.txt').touch()
    (tmp_path / 'latin1.txt').write_bytes('Æsop'.encode('latin-1'))
    (tmp_path / 'short.txt').write_bytes(b'Too short')
    (tmp_path / 'tokens.npy').touch()
    (tmp_path / 'line.jsonl').write_bytes(b'{"title": "no text"}\n')
    return tmp_path


@pytest.mark.parametrize(
    'wrong, message',
    [
        (['empty.txt'], 'there is no text in '),
        (['latin1.txt'], '{folder}latin1.txt: byte 0 is not UTF-8'),
        (['line.jsonl'], '{folder}line.jsonl line 1 holds no text in a field "text"'),
        (['nowhere.txt'], 'there is no file or folder '),
        (
            ['short.txt', '--validation', 0],
            '10 tokens are too few: a window of 64 takes 65; give more text, or --window 9 or',
        ),
        (['short.txt', '--separator', '***'], "the separator '***' is nowhere in "),
        ([], 'there is no text to train on: name files or folders after the model'),
        (['--learning_rate', 0], 'learning_rate must be a number above 0, not 0'),
        (['--learning_rate', -1], 'learning_rate must be a number above 0, not -1'),
        (['--learning_rate', 'nan'], "learning_rate must be a number above 0, not 'nan'"),
        (['--learning_rate', '1e999'], 'learning_rate must be a number above 0, not inf'),
        (['--learning_rate', 'fast'], "learning_rate must be a number above 0, not 'fast'"),
        (['--optimizer', 'sgd'], 'optimizer must be adamw'),
        (['--beta2', 1], 'beta2 must be a number at least 0 and below 1, not 1'),
        (['--schedule', 'linear'], "schedule must be cosine or constant, not 'linear'"),
        (['--dtype', 'float16'], "dtype must be float32 or bfloat16, not 'float16'"),
        (['--steps', 0], 'steps must be a whole number of at least 1, not 0'),
        (['--steps', 'many'], "steps must be a whole number of at least 1, not 'many'"),
        (['--warmup', 1000], 'a warm-up of 1000 leaves nothing of 1000 steps'),
        (['--batch_size', 0], 'batch_size must be a whole number of at least 1'),
        (['--window', 65], 'a window of 65 tokens exceeds the context of 64'),
        (['--dropout', 1], 'dropout must be a number at least 0 and below 1, not 1'),
        (['--train_only', '('], 'train_only is not a regular expression: '),
        (['--recompute=yes'], "recompute must be True or False, not 'yes'"),
        (['--validation', 1], 'validation must be a number at least 0 and below 1, not 1'),
        (['--validation_data', 'gone'], 'there is no file or folder gone'),
        (['--validate_every', 0], 'validate_every must be a whole number of at least 1'),
        (['--validate_tokens', 1], 'validate_tokens must be a whole number of at least 2'),
        (['--sample_every', 0], 'sample_every must be a whole number of at least 1'),
        (['--save_every', 0], 'save_every must be a whole number of at least 1'),
        (['--keep', 0], 'keep must be a whole number of at least 1'),
        (['--n_layer', 3], 'bytes has n_layer 2, which --n_layer 3 cannot change: only a new'),
        (['--n_ctx', 1024], 'bytes has n_ctx 64, which --n_ctx 1024 cannot change: only a new'),
        (['--n_embd', 768], 'bytes has n_embd 16, which --n_embd 768 cannot change: only a new'),
        (['--n_head', 'x'], 'bytes has n_head 2, which --n_head x cannot change: only a new'),
        (
            ['tokens.npy'],
            '{folder}tokens.npy holds tokens, not text: name the folder that src/enco',
        ),
        (['--start', 'gone'], "there is no model 'gone' in "),
        (['--vocabulary', 'bytes'], '--vocabulary is for training from scratch: bytes has its own'),
        (['--task', 1], 'task must be a whole number of at least 0 and below 1, not 1'),
        (['--processes', 'a:1,b:1', '--task', 2], 'task must be a whole number of at least 0 and'),
        (['--processes', 'a:1,b:1'], 'several processes read tokens: encode the text with src/'),
        (['--workers', 2], '--workers 2: training takes the addresses of all its processes, --pro'),
        (['--processes', '2'], '--processes 2: training takes the addresses of all its processes'),
        (['--processes', 'a:1,b', '--task', 1], '--processes a:1,b: training takes the addresses'),
        (
            ['--processes', 'a:1,b:1', '--workers', 'a:1,b:1'],
            '--workers is the old name of --processes: give one of them',
        ),
        (['--step', 5], 'unknown flag --step; did you mean --steps?'),
    ],
)
def test_what_is_wrong_is_refused_in_one_line_without_tensorflow(
    call, no_tensorflow, models, wrong_texts, wrong, message
):
    named = [wrong_texts / w if str(w).endswith(('.txt', '.jsonl', '.npy')) else w for w in wrong]
    if wrong and str(wrong[0]).startswith('--'):
        good = wrong_texts / 'good.txt'
        good.write_text('A good text. ' * 20, encoding='utf-8')
        named.insert(0, good)
    start = () if '--start' in wrong else ('--start', 'bytes')
    status, output, errors = call(train, 'refused', *named, '--models_dir', models, *start)
    assert (status, output) == (2, '') and errors.count('\n') == 1
    assert errors.startswith('error: ' + message.format(folder=f'{wrong_texts}{os.sep}'))
    assert not (models / 'refused' / 'training.json').exists()


def test_the_old_name_of_processes_works_and_says_so(call, no_tensorflow, models, text):
    flags = (text, '--models_dir', models, '--start', 'bytes', '--workers', 'a:1,b:1')
    status, output, errors = call(train, 'refused', *flags)
    note, error = errors.splitlines()
    assert note == 'note: --workers is now --processes; the old name goes with the next release'
    assert (status, output) == (2, '') and error.startswith('error: several processes read tokens')


def test_a_name_that_is_a_model_already_is_refused(call, no_tensorflow, models, text):
    before = files_of(models / 'bytes')
    status, output, errors = call(train, 'bytes', text, '--models_dir', models)
    assert (status, output) == (2, '') and files_of(models / 'bytes') == before
    assert errors == (
        f'error: {models / "bytes"} is a model already: choose another name; '
        '--start bytes begins with it\n'
    )


def test_weights_of_others_under_the_name_are_refused_and_stay(call, no_tensorflow, models, text):
    folder = models / 'novel'
    folder.mkdir()
    for path in (models / 'bytes').glob('model.ckpt.*'):
        shutil.copy(path, folder / path.name.replace('model.ckpt', 'model-500'))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    status, output, errors = call(
        train, 'novel', text, '--models_dir', models, '--start', 'bytes', *FEW
    )
    assert (status, output) == (2, '')
    assert errors.startswith(
        f'error: {folder} holds model-500.data-00000-of-00001, model-500.index '
    )
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_run_goes_on_with_the_batch_size_and_text_it_began_with(call, no_tensorflow, whole):
    flags, folder = whole
    before = (folder / 'training.json').read_bytes()
    for flag, value, old in [('batch_size', 4, 3), ('seed', 6, 5), ('train_only', 'h0', None)]:
        status, output, errors = call(train, 'whole', *flags, '--steps', 20, f'--{flag}', value)
        assert (status, output) == (2, '')
        assert errors == (
            f'error: {folder} was started with {flag} {old}, which cannot change to {value}: '
            'choose another name\n'
        )
    assert (folder / 'training.json').read_bytes() == before


def test_tokens_of_another_vocabulary_are_refused(
    call, no_tensorflow, models, models_dir, tmp_path, text
):
    corpus = tmp_path / 'corpus'
    vocabulary = ('--model_name', 'demo', '--models_dir', models_dir)
    assert call(encode_corpus.encode_corpus, corpus, text, *vocabulary)[0] == 0
    flags = ('--models_dir', models, '--start', 'bytes')
    status, output, errors = call(train, 'refused', corpus, *flags)
    assert (status, output) == (2, '')
    assert errors == f"error: the tokens in {corpus} are not of this model's vocabulary\n"


def test_a_pattern_that_matches_no_variable_is_refused(call, models, text):
    flags = (text, '--models_dir', models, '--start', 'bytes', *FEW)
    status, output, errors = call(train, 'mistyped', *flags, '--train_only', 'layer1')
    assert (status, output) == (2, '') and errors.count('\n') == 1
    assert errors.startswith('error: train_only matches none of the variables (model/wpe, model/w')
    assert not (models / 'mistyped' / 'checkpoint').exists()


def test_a_start_that_failed_can_be_corrected_under_the_same_name(
    call, no_tensorflow, models, text
):
    """It gets as far as TensorFlow, which is not there."""
    short = models / 'short.txt'
    short.write_text('Too short', encoding='utf-8')
    flags = ('--models_dir', models, '--start', 'bytes', '--validation', 0)
    for data, batch_size in [(short, 2), (text, 4)]:
        command = ('corrected', data, *flags, '--batch_size', batch_size)
        if data == short:
            assert call(train, *command)[2].startswith('error: 10 tokens are too few')
        else:
            with pytest.raises(ImportError):
                call(train, *command)
    setup = json.loads((models / 'corrected' / 'training.json').read_text(encoding='utf-8'))
    assert (setup['data'], setup['batch_size']) == ([str(text)], 4)


def test_the_script_waits_with_tensorflow_until_its_flags_are_checked():
    code = 'import sys; sys.path.insert(0, sys.argv[1]); import train; '
    code += "sys.exit('tensorflow' in sys.modules)"
    source = os.path.dirname(sys.modules['train'].__file__)
    assert subprocess.run([sys.executable, '-c', code, source], timeout=60).returncode == 0


def test_help_explains_every_flag(call, no_tensorflow):
    status, output, errors = call(train, '--', '--help')
    assert (status, errors) == (0, '')
    names = train.__code__.co_varnames[: train.__code__.co_argcount]
    for name in names[1:]:
        assert re.search(rf'--{name}=.*\n(.*(Type|Default): .*\n)+ {{8}}[a-z]', output), name
