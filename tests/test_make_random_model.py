import json
import os
import re

import pytest

from encoder import get_encoder
from make_random_model import make_random_model

SIZES = ('--n_ctx', 16, '--n_embd', 8, '--n_head', 2, '--n_layer', 1)
DATA = 'model.ckpt.data-00000-of-00001'


@pytest.fixture
def make(call, tmp_path, gpt2_vocabulary):
    """Make models/NAME with few merges: (name, *flags) -> (status, output, errors)."""

    def run(name, *flags, n_merges=20):
        common = ('--vocabulary', gpt2_vocabulary, '--models_dir', tmp_path / 'models', *SIZES)
        merges = () if n_merges is None else ('--n_merges', n_merges)
        return call(make_random_model, '--name', name, *common, *merges, *flags)

    return run


def test_the_model_can_be_used_at_once(make, tmp_path):
    from generation.engine import Engine
    from support.settings import Settings

    folder = tmp_path / 'models' / 'new'
    assert make('new') == (0, f'wrote {folder}\n', '')
    sizes = json.loads((folder / 'hparams.json').read_text(encoding='utf-8'))
    assert sizes == {'n_vocab': 277, 'n_ctx': 16, 'n_embd': 8, 'n_head': 2, 'n_layer': 1}
    with Engine('new', str(tmp_path / 'models')) as engine:
        ((*tokens,),) = engine.generate([[0]], Settings(length=16, seed=0))
    assert len(tokens) == 16
    assert os.listdir(tmp_path / 'models') == ['new']


def test_the_kept_merges_are_the_first_and_their_ids_those_of_the_whole(
    make, tmp_path, gpt2_vocabulary
):
    make('new')
    new = get_encoder('new', str(tmp_path / 'models'))
    whole = get_encoder(gpt2_vocabulary.name, str(gpt2_vocabulary.parent))
    assert list(new.bpe_ranks) == list(whole.bpe_ranks)[:20]
    for token, i in new.encoder.items():
        assert i == whole.encoder[token] or token == '<|endoftext|>'
    assert new.end_of_text == 276
    assert new.decode(new.encode('the cat é日本')) == 'the cat é日本'


def test_without_a_number_all_merges_are_kept(make, tmp_path, gpt2_vocabulary):
    make('new', n_merges=None)
    for name in ('encoder.json', 'vocab.bpe'):
        new = (tmp_path / 'models' / 'new' / name).read_text(encoding='utf-8')
        whole = (gpt2_vocabulary / name).read_text(encoding='utf-8')
        assert new.split() == whole.split() or json.loads(new) == json.loads(whole)


def test_the_same_seed_gives_the_same_weights(make, tmp_path):
    weights = []
    for name, seed in [('a', 5), ('b', 5), ('c', 6)]:
        assert make(name, '--seed', seed)[0] == 0
        weights.append((tmp_path / 'models' / name / DATA).read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_weights_are_those_that_training_starts_from(make, tmp_path):
    import tensorflow.compat.v1 as tf

    make('new')
    reader = tf.train.load_checkpoint(str(tmp_path / 'models' / 'new'))
    assert reader.get_tensor('model/wte').std() == pytest.approx(0.02, rel=0.1)
    assert reader.get_tensor('model/wpe').std() == pytest.approx(0.01, rel=0.2)
    assert (reader.get_tensor('model/ln_f/g') == 1).all()


def test_a_model_that_is_there_is_not_replaced(make, tmp_path):
    make('new', '--seed', 1)
    before = (tmp_path / 'models' / 'new' / DATA).read_bytes()
    status, _, errors = make('new', '--seed', 2)
    assert (status, errors) == (2, f'error: {tmp_path / "models" / "new"} is there already\n')
    assert (tmp_path / 'models' / 'new' / DATA).read_bytes() == before


@pytest.mark.parametrize(
    'flags, message',
    [
        (['--n_merges', -1], 'n_merges must be a whole number'),
        (['--n_merges', 1.5], 'n_merges must be'),
        (['--n_merges', 'all'], "n_merges must be a whole number of at least 0, not 'all'"),
        (['--seed', 'abc'], "seed must be a whole number of at least 0 and below .* not 'abc'"),
        (['--n_head', 3], 'n_embd=8 is not divisible by n_head=3'),
        (['--n_layer', 0], 'n_layer must be'),
        (['--n_embd', 6 * 10**8], r'take 17,280,\S+ MB, and \S+ MB are free in '),
        (['--n_ctx', '1k'], "n_ctx must be .* not '1k'"),
        (['--name', '../outside'], "model name '../outside' does not name a folder inside"),
        (['--vocabulary', 'nowhere'], 'nowhere'),
        (['--n_heads', 3], 'unknown flag --n_heads; did you mean --n_head?'),
    ],
)
def test_wrong_values_leave_nothing_behind(make, no_tensorflow, tmp_path, flags, message):
    status, output, errors = make('new', *flags)
    assert (status, output) == (2, '')
    assert errors.count('\n') == 1
    assert not list(tmp_path.rglob('*.json'))
    assert not os.path.exists(tmp_path / 'models') or not os.listdir(tmp_path / 'models')
    assert re.search(message, errors)


def test_a_vocabulary_that_is_damaged_leaves_nothing_behind(make, no_tensorflow, tmp_path):
    (tmp_path / 'encoder.json').write_text('{"a": ', encoding='utf-8')
    status, _, errors = make('new', '--vocabulary', tmp_path)
    assert status == 2 and errors.count('\n') == 1
    assert os.listdir(tmp_path / 'models') == []


@pytest.mark.slow
def test_the_script_says_where_the_model_is_and_nothing_else(run_script, tmp_path, gpt2_vocabulary):
    flags = ('new', gpt2_vocabulary, '--models_dir', tmp_path, '--n_merges', 0, *SIZES)
    result = run_script('src/make_random_model.py', *flags)
    assert (result.returncode, result.stdout) == (0, f'wrote {tmp_path / "new"}\n')
    assert result.stderr == ''
