"""convert.py from flags to output."""

import filecmp
import os

import pytest

from convert import convert
from helpers.paths import ROOT, TESTDATA

DEMO = ROOT / 'models' / 'demo'


def test_out_to_hugging_face_and_back(call, tmp_path):
    there, back = tmp_path / 'there', tmp_path / 'back'
    assert call(convert, DEMO, there) == (
        0,
        f'wrote {there}: hugging_face, float32, from released\n',
        '',
    )
    assert call(convert, there, back) == (
        0,
        f'wrote {back}: released, float32, from hugging_face\n',
        '',
    )
    for name in ('model.ckpt.index', 'model.ckpt.data-00000-of-00001', 'vocab.bpe'):
        assert filecmp.cmp(DEMO / name, back / name, shallow=False)


def test_remarks_are_told_on_standard_error(call, tmp_path):
    import json

    from conversion.vocabulary import merges_text
    from encoder import bytes_to_unicode

    tokens = {token: i for i, token in enumerate([*bytes_to_unicode().values(), '<|endoftext|>'])}
    (tmp_path / 'encoder.json').write_text(json.dumps(tokens), 'utf-8')
    (tmp_path / 'vocab.bpe').write_text(merges_text([]), 'utf-8')
    source = TESTDATA / 'nanogpt' / 'ckpt.pt'
    status, output, errors = call(convert, source, tmp_path / 'new', '--vocabulary', tmp_path)
    assert (status, output) == (
        0,
        f'wrote {tmp_path / "new"}: released, float32, from nanogpt\n',
    )
    first, second = errors.splitlines()
    assert first.startswith(f'{source}: its activation is the exact GELU (erf)')
    assert second.startswith(f'{source}: cut off 31 rows of the embedding')
    assert (tmp_path / 'new' / 'conversion.json').exists()


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        ((), 'there is no '),
        (('--kind', 'onnx'), "kind is 'onnx', not one of released, hugging_face, gguf"),
        (('--kind', 'released', '--dtype', 'float16'), 'released has float32, not float16'),
        (('--dtype', 'int8'), "dtype is 'int8', not one of float32, float16, bfloat16, q8_0"),
    ],
)
def test_bad_input_gets_one_line(call, tmp_path, flags, message):
    status, output, errors = call(convert, tmp_path / 'nothing', tmp_path / 'new', *flags)
    assert (status, output) == (2, '')
    assert message in errors
    assert errors.count('\n') == 1
    assert os.listdir(tmp_path) == []


def test_nothing_is_replaced(call, tmp_path):
    status, _, errors = call(convert, DEMO, tmp_path)
    assert (status, errors) == (2, f'error: {tmp_path} is there already\n')


def test_a_dtype_that_the_kind_has_not_is_refused(call, tmp_path):
    status, _, errors = call(convert, DEMO, tmp_path / 'x', '--dtype', 'q8_0')
    assert status == 2
    assert errors == 'error: hugging_face has float32, float16, bfloat16, not q8_0\n'
    assert os.listdir(tmp_path) == []


def test_no_tensorflow_is_loaded(run_script, tmp_path):
    """A converter that starts in a tenth of a second, and takes little memory."""
    (tmp_path / 'tensorflow.py').write_text('raise ImportError("not here")')
    done = run_script('src/convert.py', DEMO, tmp_path / 'x', env={'PYTHONPATH': str(tmp_path)})
    assert (done.returncode, done.stderr) == (0, '')
