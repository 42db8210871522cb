"""What the user of a dtype is told that is slower than float32 where it runs."""

import types

import pytest

from fast import int8, processor
from loading import startup


@pytest.fixture
def with_flags(tmp_path, monkeypatch):
    """Lets the processor be one with these instructions."""

    def put(flags, key='flags'):
        path = tmp_path / 'cpuinfo'
        path.write_text(f'processor\t: 0\n{key}\t\t: {flags}\nbugs\t\t: none\n')
        monkeypatch.setattr(processor, 'FILE', str(path))

    return put


@pytest.mark.parametrize(
    'flags, key, slow',
    [
        ('fpu avx2 avx512f', 'flags', True),
        ('fpu avx512f avx512_bf16', 'flags', False),
        ('fpu amx_bf16', 'flags', False),
        ('fp asimd bf16 i8mm', 'Features', False),
        ('fp asimd', 'Features', True),
        ('', 'model name', False),  # unknown
    ],
)
def test_bfloat16_is_slow_without_its_instructions(with_flags, flags, key, slow):
    with_flags(flags, key)
    assert bool(processor.why_slow('bfloat16', on_gpu=False)) == slow
    assert processor.why_slow('bfloat16', on_gpu=True) is None
    assert processor.why_slow('float32', on_gpu=False) is None


def test_where_nothing_is_known_nothing_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(processor, 'FILE', str(tmp_path / 'none'))
    assert processor.why_slow('bfloat16', on_gpu=False) is None


@pytest.mark.parametrize('has_kernel', [False, True])
def test_int8_is_slow_without_its_kernel(monkeypatch, has_kernel):
    monkeypatch.setattr(int8, 'has_int8_kernel', lambda: has_kernel)
    lines = [processor.why_slow('int8', on_gpu) for on_gpu in (False, True)]
    assert lines == [None, None] if has_kernel else 'processor' in lines[0] and 'GPU' in lines[1]


def test_the_user_is_told_in_one_line(with_flags, capsys):
    with_flags('fpu avx2')
    for dtype in 'float32', 'bfloat16':
        owner = types.SimpleNamespace(on_gpu=False, dtype=dtype)
        assert startup.started(lambda owner=owner: owner, startup.remark_on_dtype) is owner
        said = capsys.readouterr().err
        assert said.count('\n') == (dtype == 'bfloat16')
    assert said.startswith('note: this processor has no instructions for bfloat16')
