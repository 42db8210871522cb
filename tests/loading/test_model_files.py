import json
import ntpath
import os
import re
import shlex
import shutil
import types

import pytest

from encoder import Encoder
from helpers.texts import byte_encoder
from loading import model_files
from loading.model_files import (
    NAMING,
    ModelFiles,
    find_model,
    fingerprint,
    load_encoder,
    vocabulary_sha256,
    weights,
)

WEIGHTS = ['model.ckpt.index', 'model.ckpt.data-00000-of-00001']
RELEASE = ['encoder.json', 'vocab.bpe', 'hparams.json', 'checkpoint', *WEIGHTS]


def put(folder, names=RELEASE, checkpoint='model_checkpoint_path: "model.ckpt"\n'):
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text(checkpoint if name == 'checkpoint' else 'x', encoding='utf-8')
    return str(folder)


def refusal(model_name, models_dir):
    with pytest.raises(ValueError) as caught:
        find_model(model_name, str(models_dir))
    return str(caught.value)


def test_a_complete_folder_is_found_without_the_graph_of_2019(tmp_path):
    folder = put(tmp_path / '124M')
    assert find_model('124M', str(tmp_path)) == folder
    assert os.path.samefile(find_model('124M/', str(tmp_path)), folder)


def test_models_may_lie_in_folders_of_folders(tmp_path):
    folder = put(tmp_path / 'mine' / 'run1')
    assert os.path.samefile(find_model('mine/run1', str(tmp_path)), folder)
    assert os.path.samefile(find_model('other/../mine/run1', str(tmp_path)), folder)


def test_the_home_folder_and_variables_are_expanded(tmp_path, monkeypatch):
    put(tmp_path / 'models' / '124M')
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('USERPROFILE', str(tmp_path))
    monkeypatch.setenv('MODELS', str(tmp_path / 'models'))
    assert find_model('124M', '~/models') == find_model('124M', '$MODELS')


@pytest.mark.parametrize(
    'name', ['', '.', '..', '../outside', 'a/../..', 'a/../../outside', '/tmp']
)
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, name):
    put(tmp_path / 'outside')
    (tmp_path / 'models').mkdir()
    assert f'model name {name!r} does not name a folder inside' in refusal(
        name, tmp_path / 'models'
    )


def test_a_released_model_that_is_missing_comes_with_the_command_that_gets_it(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    command = 'get it with: python3 download_model.py 124M'
    assert refusal('124M', 'models').endswith(command)
    put(tmp_path / 'models' / 'demo')
    assert refusal('124M', 'models').endswith(f'{command} (--model_name demo works now)')


def test_the_command_names_the_folder_if_it_is_not_the_usual_one(tmp_path):
    assert f'download_model.py 355M --models_dir {tmp_path}' in refusal('355M', tmp_path)
    assert f'download_model.py NAME --models_dir {tmp_path}' in refusal('mine', tmp_path)


def test_another_missing_model_comes_with_the_names_there_are(tmp_path):
    assert 'there is no other;' in refusal('mine', tmp_path)
    put(tmp_path / 'demo')
    put(tmp_path / '124M')
    (tmp_path / 'notes').mkdir()
    assert 'there are: 124M, demo;' in refusal('mine', tmp_path)


def test_advice_does_not_name_the_model_that_failed(tmp_path, monkeypatch):
    put(tmp_path / 'mine', ['hparams.json'])
    put(tmp_path / 'other')
    put(tmp_path / 'without_weights', RELEASE[:3])
    monkeypatch.setenv('MODELS', str(tmp_path))
    for name in ('mine', 'mine/', './mine'):
        assert '; there are: other;' in refusal(name, tmp_path)
    assert 'there are: other;' in model_files.remedy('mine', '$MODELS')


@pytest.mark.parametrize('name', RELEASE)
def test_each_missing_file_is_named(tmp_path, name):
    put(tmp_path / '124M', [other for other in RELEASE if other != name])
    message = refusal('124M', tmp_path)
    hint = r'to use model.ckpt, write into .*: model_checkpoint_path: "model.ckpt"; or '
    assert re.search(f'lacks {name}; ({hint if name == "checkpoint" else ""})get it with', message)


def test_several_missing_files_are_named_together(tmp_path):
    put(tmp_path / '124M', [])
    assert 'lacks encoder.json, vocab.bpe, hparams.json, checkpoint;' in refusal('124M', tmp_path)
    put(tmp_path / '355M', RELEASE[:4])
    assert f'lacks {", ".join(WEIGHTS)};' in refusal('355M', tmp_path)


def test_the_checkpoint_file_says_which_weights_a_fine_tuned_model_uses(tmp_path):
    state = 'model_checkpoint_path: "model-90"\nall_model_checkpoint_paths: "model-80"\n'
    weights = ['model-90.index', 'model-90.data-00000-of-00001']
    folder = put(tmp_path / 'tuned', RELEASE[:4] + weights, state)
    assert find_model('tuned', str(tmp_path)) == folder
    os.remove(f'{folder}/model-90.index')
    assert 'lacks model-90.index;' in refusal('tuned', tmp_path)


@pytest.mark.parametrize(
    'named',
    ['/where/it/was/trained/model.ckpt', r'C:\\runs\\1\\model.ckpt', r'../\303\251/model.ckpt'],
)
def test_weights_that_were_moved_are_found_beside_their_checkpoint_file(tmp_path, named):
    folder = put(tmp_path / 'mine', checkpoint=f'model_checkpoint_path: "{named}"\n')
    assert weights(find_model('mine', str(tmp_path))) == os.path.join(folder, 'model.ckpt')


def test_names_are_read_as_tensorflow_writes_them(tmp_path):
    folder = put(tmp_path / 'mine', checkpoint=r'model_checkpoint_path: "mod\303\250le \"1\""')
    assert weights(folder) == os.path.join(folder, 'modèle "1"')


@pytest.mark.parametrize(
    'content',
    [
        'model_checkpoint_path:"model.ckpt"',
        "model_checkpoint_path: 'model.ckpt'",
        'last_preserved_timestamp: 1.5 model_checkpoint_path : "model.ckpt"',
        '# by hand\n  model_checkpoint_path:\n"model.ckpt"; # model_checkpoint_path: "no"\n',
        'all_model_checkpoint_paths: "' + NAMING + ': a" ' + NAMING + ': "model.ckpt"',
        r'model_checkpoint_path: "runs\\model.ckpt" all_model_checkpoint_paths: "\"#"',
    ],
)
def test_a_checkpoint_file_may_be_written_by_hand_as_tensorflow_takes_it(tmp_path, content):
    import tensorflow.compat.v1 as tf

    folder = put(tmp_path / 'mine', checkpoint=content)
    assert weights(find_model('mine', str(tmp_path))) == os.path.join(folder, 'model.ckpt')
    named = tf.train.get_checkpoint_state(folder).model_checkpoint_path
    assert re.split(r'[/\\]', named)[-1] == 'model.ckpt'


def test_weights_that_are_there_are_named_with_what_to_write(tmp_path):
    steps = [f'{kind}-{n}' for kind in ('model', 'optimizer') for n in (9, 10, 100, 1000)]
    files = [f'{step}{ending}' for step in steps for ending in ('.index', '.data-00000-of-00001')]
    state = 'model_checkpoint_path: "model-2000"'
    folder = put(tmp_path / 'mine', RELEASE[:4] + files + ['model-3000.index'], state)
    advice = (
        f'; to use model-10 or model-100 or model-1000, write into {folder}/checkpoint: '
        'model_checkpoint_path: "model-1000"'
    )
    missing = 'model-2000.index, model-2000.data-00000-of-00001'
    assert refusal('mine', tmp_path) == f'{folder} lacks {missing}{advice}'
    os.remove(f'{folder}/checkpoint')
    assert refusal('mine', tmp_path) == f'{folder} lacks checkpoint{advice}'


@pytest.mark.parametrize('content', ['', '<html>404</html>', 'model_checkpoint_path: ""'])
def test_a_damaged_checkpoint_file_is_refused_with_what_would_help(tmp_path, content):
    put(tmp_path / '124M', checkpoint=content)
    line = 'model_checkpoint_path: "model.ckpt"'
    assert refusal('124M', tmp_path).split('; ')[:2] == [
        f'{tmp_path}/124M/checkpoint names no checkpoint',
        f'to use model.ckpt, write into {tmp_path}/124M/checkpoint: {line}',
    ]
    assert refusal('124M', tmp_path).split('; ')[2].startswith('or get it with: ')


@pytest.mark.parametrize('name', ['C:', 'C:other', r'C:\other', r'\other', '/other', r'..\other'])
def test_on_windows_names_do_not_lead_out_either(monkeypatch, name):
    windows = types.SimpleNamespace(path=ntpath, sep='\\')
    monkeypatch.setattr(model_files, 'os', windows)
    with pytest.raises(ValueError, match='does not name a folder inside'):
        model_files.folder_of(name, r'D:\models')
    assert model_files.folder_of('mine/run1', r'D:\models') == r'D:\models\mine\run1'


def test_a_damaged_tokenizer_comes_with_the_command_that_gets_it_anew(tmp_path):
    put(tmp_path / '124M')
    with pytest.raises(ValueError, match='encoder.json is damaged') as caught:
        load_encoder('x/../124M', str(tmp_path))
    advice = f'; get it with: python3 download_model.py 124M --models_dir {tmp_path}'
    assert '\n' not in str(caught.value)
    with pytest.raises(ValueError) as caught:
        load_encoder('124M', str(tmp_path))
    assert str(caught.value).endswith(advice)
    with pytest.raises(ValueError, match='does not name a folder inside'):
        load_encoder('../124M', str(tmp_path))


def test_a_model_is_found_with_its_sizes_and_its_tokenizer(models_dir, monkeypatch):
    files = ModelFiles('demo', str(models_dir), with_end=True)
    assert files.folder == str(models_dir / 'demo')
    assert files.hparams.n_ctx == 256 and files.hparams.n_vocab == files.encoder.n_vocab
    monkeypatch.setattr(model_files, 'load_encoder', None)
    assert ModelFiles('demo', str(models_dir), files.encoder).encoder is files.encoder


@pytest.mark.parametrize('remove_end', [False, True])
def test_a_tokenizer_that_is_not_the_models_is_refused(tmp_path, models_dir, remove_end):
    folder = tmp_path / 'mine'
    shutil.copytree(models_dir / 'demo', folder)
    ids = json.loads((folder / 'encoder.json').read_text(encoding='utf-8'))
    if remove_end:
        del ids['<|endoftext|>']
        message = 'has no <.endoftext.> to start texts with'
    else:
        ids['<new>'] = len(ids)
        message = (
            r'has 4097 tokens in encoder.json but n_vocab=4096 in hparams.json; there is no other'
        )
    (folder / 'encoder.json').write_text(json.dumps(ids), encoding='utf-8')
    with pytest.raises(ValueError, match=message):
        ModelFiles('mine', str(tmp_path), with_end=True)


def test_weights_have_a_fingerprint_of_their_own(tmp_path):
    one, other = put(tmp_path / 'one'), put(tmp_path / 'other')
    assert fingerprint(one) == fingerprint(other)
    (tmp_path / 'other' / 'model.ckpt.index').write_bytes(b'y')
    assert re.fullmatch('[0-9a-f]{16}', fingerprint(one)) and fingerprint(one) != fingerprint(other)


def test_the_command_can_be_pasted_into_a_shell(tmp_path):
    folder = tmp_path / "the user's models"
    words = shlex.split(refusal('124M', folder).partition('get it with: ')[2])
    if os.name == 'posix':
        assert words == ['python3', 'download_model.py', '124M', '--models_dir', str(folder)]


def test_an_old_name_is_explained(tmp_path):
    assert 'it is now called 124M: get it with: python3 download_model.py 124M' in refusal(
        '117M', tmp_path
    )


def test_vocabularies_differ_in_their_digest():
    encoder = byte_encoder()
    ids = encoder.encoder
    merged = ids | {'ab': 257, 'bc': 258}
    encoders = [
        encoder,
        byte_encoder(257),
        Encoder(merged, [('a', 'b'), ('b', 'c')]),
        Encoder(merged, [('b', 'c'), ('a', 'b')]),
    ]
    assert len(set(map(vocabulary_sha256, encoders))) == 4
    reordered = Encoder(dict(reversed(ids.items())), [])
    assert vocabulary_sha256(reordered) == vocabulary_sha256(encoder)
