"""What the benchmarks' ratios rest on; their speeds are nothing for tests."""

import os
import sys
import threading

import pytest

from helpers.paths import ROOT

sys.path.append(str(ROOT / 'benchmarks'))  # last: scripts of src have such names, too

import decode  # noqa: E402
import decode_peers  # noqa: E402
import one_worker  # noqa: E402
import side_by_side  # noqa: E402

SIZES = {'n_vocab': 300, 'n_ctx': 32, 'n_embd': 64, 'n_head': 2, 'n_layer': 4}


def test_our_engine_is_the_scripts_and_continues_prompts():
    generate = decode.ours(str(ROOT / 'models'), 'demo', 'float32', None)
    assert generate([[5, 6], [7, 8]], 3) == (2, 3)


def test_matrices_of_one_shape_differ():
    """Else an engine that keeps equal ones once reads fewer bytes than a model has."""
    one, other = decode_peers.random_weights(2, 3), decode_peers.random_weights(2, 3)
    assert one.shape == other.shape == (2, 3)
    assert (one != other).all()


@pytest.mark.peers
@pytest.mark.parametrize('dtype, size', [('float32', 4), ('int8', 1)])
def test_ctranslate2_has_all_weights_of_all_layers(tmp_path, dtype, size):
    pytest.importorskip('ctranslate2')
    write = decode_peers.ctranslate2_model.__wrapped__
    write(str(tmp_path / 'model'), SIZES, dtype)
    weights = SIZES['n_embd'] * (12 * SIZES['n_layer'] * SIZES['n_embd'] + SIZES['n_vocab'])
    assert os.path.getsize(tmp_path / 'model' / 'model.bin') > size * weights


def test_a_line_tells_medians_without_the_first_round(capsys):
    answers = {
        'ours': [{'seconds': seconds} for seconds in (9, 2, 4, 1)],
        'peer': [{'seconds': seconds} for seconds in (9, 4, 4, 4)],
    }
    medians = side_by_side.report(8, answers, note=lambda answer: f' note {answer["seconds"]}')
    assert medians == {'ours': 4, 'peer': 2}
    ours, peer = capsys.readouterr().out.splitlines()
    assert '4.0 tok/s (2.0-8.0; first 0.9) note 2.0' in ours
    assert 'ours is 2.00 x as fast' in peer


@pytest.mark.parametrize(
    'flags, message',
    [
        ([], 'name at least one model'),
        (['demo', '--dtypes', 'int4'], 'dtype must be one of'),
        (['demo', '--new', '0'], 'new must be a whole number'),
        (['../demo'], 'error'),
        (['no_such_model'], "there is no model 'no_such_model'"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(run_script, flags, message):
    result = run_script('benchmarks/load.py', *flags)
    assert result.returncode == 2
    assert message in result.stderr and result.stderr.count('\n') == 1
    assert not result.stdout


@pytest.mark.parametrize(
    'flags, message',
    [
        (['--cores', '1,none'], "each number must be a whole number of at least 1, not 'none'"),
        (['--cores', '100000'], 'cores here, not 100000'),
        (['--dtypes', 'int4'], 'dtype must be one of'),
    ],
)
def test_cores_that_cannot_be_measured_are_one_line(run_script, flags, message):
    result = run_script('benchmarks/cores.py', *flags)
    assert result.returncode == 2
    assert message in result.stderr and result.stderr.count('\n') == 1
    assert not result.stdout


def test_one_worker_is_compared_part_by_part_and_its_start_apart(capsys):
    found = {
        'alone': [[20, 60, 1], [10, 40, 1]],
        'one worker': [[15, 41, 1], [14, 50, 1]],
    }
    one_worker.report(found, parts=5)
    alone, shared, last = capsys.readouterr().out.splitlines()
    assert '10.0 s until the first of 5 parts is there, then 10.00 s a part' in alone
    assert '14.0 s until' in shared and '10.25 s a part, 1.0 s to end; 57.0 s in all' in shared
    assert last.startswith(
        'one worker costs +2.5% of a part, and 4.8 s to start and end; in all +11'
    )


def test_lines_of_a_file_that_grows_are_waited_for(tmp_path):
    path, process = tmp_path / 'out', type('', (), {'poll': lambda self: None})()
    threading.Timer(0.05, path.write_bytes, [b'a\n' * 3]).start()
    one_worker.wait_for_lines(path, 3, process)
    process.poll = lambda: 2
    with pytest.raises(SystemExit, match='with 3 of 4 samples'):
        one_worker.wait_for_lines(path, 4, process)
