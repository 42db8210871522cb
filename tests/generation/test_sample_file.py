import json
import os
import sys

import pytest

from generation.sample_file import SampleFile, seed_of

SETTINGS = {'length': 3, 'temperature': 1, 'top_k': 40, 'seed': 7, 'stop_at_end': False}
SAMPLES = [('one', [1, 2, 3], False), ('zwei\n"日本" \ufffd', [4, 5, 6], True), ('', [7], True)]


def open_file(path, model='demo', **changes):
    origin = {'model': model, 'weights': changes.pop('weights', '1a')}
    origin |= {name: changes.pop(name) for name in ['shards'] if name in changes}
    return SampleFile(str(path), origin, SETTINGS | changes)


def write_all(path, samples=SAMPLES):
    with open_file(path) as sink:
        for sample in samples[sink.written :]:
            sink.write(*sample)
    return path.read_bytes()


def test_a_record_is_a_line_that_says_what_was_sampled_and_how(tmp_path):
    lines = write_all(tmp_path / 'out.jsonl').decode('utf-8').splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            'sample': number,
            'text': text,
            'tokens': tokens,
            'ended': ended,
            'seed': 7,
            'model': 'demo',
            'weights': '1a',
            'settings': {'length': 3, 'temperature': 1, 'top_k': 40, 'stop_at_end': False},
        }
        for number, (text, tokens, ended) in enumerate(SAMPLES, start=1)
    ]
    assert '日本' in lines[1]  # readable as it is


def test_a_record_is_there_as_soon_as_it_is_written(tmp_path):
    path = tmp_path / 'out.jsonl'
    with open_file(path) as sink:
        for number, sample in enumerate(SAMPLES, start=1):
            sink.write(*sample)
            assert path.read_bytes().count(b'\n') == number == sink.written
        assert sink.tokens == 7
    with open_file(path) as sink:
        assert sink.tokens == 7


@pytest.mark.parametrize('lost', [b'', b'\0', b'\0' * 5000], ids=['', 'one NUL', 'many'])
def test_a_file_cut_off_anywhere_is_continued_to_the_same_bytes(tmp_path, lost):
    """A power failure may leave NULs where data did not reach the disk, but the size did."""
    path = tmp_path / 'out.jsonl'
    complete = write_all(path)
    for size in range(len(complete) + 1):
        path.write_bytes(complete[:size] + lost)
        with open_file(path) as sink:
            assert sink.written == complete[:size].count(b'\n')
        assert write_all(path) == complete


def test_a_model_may_have_a_name_that_is_not_utf8(tmp_path):
    path, name = tmp_path / 'out.jsonl', 'caf\udce9'
    with open_file(path, model=name) as sink:
        sink.write(*SAMPLES[0])
    assert json.loads(path.read_text('utf-8'))['model'] == name
    with open_file(path, model=name) as sink:
        assert sink.written == 1


def test_the_seed_of_a_file_is_that_of_its_samples(tmp_path):
    path = tmp_path / 'out.jsonl'
    assert seed_of(str(path)) is None
    path.write_bytes(b'{"samp')
    assert seed_of(str(path)) is None
    write_all(path)
    assert seed_of(str(path)) == 7


@pytest.mark.parametrize(
    'changes, message',
    [
        ({'temperature': 0.7}, 'temperature=1, not 0.7'),
        ({'top_k': 0}, 'top_k=40, not 0'),
        ({'length': 4}, 'length=3, not 4'),
        ({'seed': 8}, 'seed=7, not 8'),
        ({'stop_at_end': True}, 'stop_at_end=False, not True'),
        ({'model': '124M'}, "model='demo', not '124M'"),
        ({'weights': '1b'}, "weights='1a', not '1b'"),
    ],
)
def test_samples_made_otherwise_are_not_continued(tmp_path, changes, message):
    path = tmp_path / 'out.jsonl'
    before = write_all(path)
    with pytest.raises(ValueError, match=message):
        open_file(path, **changes)
    assert path.read_bytes() == before


def test_a_file_older_than_a_parameter_counts_it_as_its_default(tmp_path):
    path = tmp_path / 'out.jsonl'
    before = write_all(path)
    with open_file(path, min_p=0, typical_p=1, repetition_penalty=1.0) as sink:
        assert sink.written == len(SAMPLES)
    with pytest.raises(ValueError, match='made with min_p=0, not 0.1'):
        open_file(path, min_p=0.1)
    assert path.read_bytes() == before


RECORD = b'{"sample": 1, "text": "", "tokens": [], "ended": true, "seed": 7, "model": "demo", '


@pytest.mark.parametrize(
    'content',
    [
        b'my thesis\n',
        b'my thesis',
        b'\n',
        b'{}\n',
        b'[1]\n',
        b'1\n',
        b'\xff\xfe\x00\n',
        b'{"sample": 1}\n',
        RECORD + b'"settings": 5}\n',
        RECORD + b'"settings": [["length", 3]]}\n',
        b'{"samples": 3',
        b'{"sample": "my precious data"}',
        b'{"sample": 2, "text": "',  # cut off, but not of the first line
        b'[' * 100_000,
        RECORD + b'"settings": {"len',  # cut off, but not at the end of the file
        b'\0' * 100 + b'data',
        b'data' + b'\0' * 100,
        b'\0' * 100 + b'\n',
    ],
)
def test_a_file_that_holds_something_else_is_left_as_it_is(tmp_path, content):
    path = tmp_path / 'out.jsonl'
    if content.endswith(b'"len'):
        content += b'\n' + RECORD
    path.write_bytes(content)
    for attempt in (open_file, lambda p: seed_of(str(p))):
        with pytest.raises(ValueError, match='out.jsonl line 1 is no record of a sample'):
            attempt(path)
    assert path.read_bytes() == content


def test_a_damaged_line_behind_good_ones_is_named(tmp_path):
    path = tmp_path / 'out.jsonl'
    content = write_all(path) + b'something else\n'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='line 4 is no record'):
        open_file(path)
    assert path.read_bytes() == content


def test_samples_must_be_numbered_without_gaps(tmp_path):
    path = tmp_path / 'out.jsonl'
    first, second, third = write_all(path).splitlines(keepends=True)
    path.write_bytes(first + third)
    with pytest.raises(ValueError, match='line 2 holds sample 3, not 2'):
        open_file(path)
    assert path.read_bytes() == first + third


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no named pipes')
def test_devices_and_pipes_are_refused_instead_of_read_for_ever(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    for path in (tmp_path / 'pipe', tmp_path, '/dev/zero'):
        with pytest.raises(ValueError, match='is not a regular file'):
            open_file(path)
        with pytest.raises(ValueError, match='is not a regular file'):
            seed_of(str(path))


def test_a_second_writer_is_refused_until_the_first_has_ended(tmp_path):
    path = tmp_path / 'out.jsonl'
    with open_file(path) as first:
        first.write(*SAMPLES[0])
        with pytest.raises(ValueError, match='another process is writing to .*out.jsonl'):
            open_file(path)
        first.write(*SAMPLES[1])
    assert write_all(path).count(b'\n') == 3


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OSError, match='nowhere'):
        open_file(tmp_path / 'nowhere' / 'out.jsonl')


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
def test_a_full_disk_is_an_error_not_a_lost_record(tmp_path):
    with pytest.raises(OSError, match='No space left'):
        with open_file(tmp_path / 'out.jsonl') as sink:
            with open('/dev/full', 'ab') as full:
                os.dup2(full.fileno(), sink.file.fileno())
            sink.write(*SAMPLES[0])


@pytest.mark.skipif(sys.platform == 'win32', reason='sets a limit of POSIX')
def test_a_record_that_fits_the_disk_in_part_is_written_again(tmp_path):
    import resource
    import signal

    complete = write_all(tmp_path / 'complete.jsonl')
    path = tmp_path / 'out.jsonl'
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(complete) - 10, limits[1]))
        with pytest.raises(OSError, match='too large'):
            write_all(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert complete.startswith(path.read_bytes())
    assert write_all(path) == complete


def test_records_that_name_no_shards_are_of_one(tmp_path):
    path = tmp_path / 'out.jsonl'
    complete = write_all(path)
    with open_file(path, shards=1) as sink:
        assert sink.written == 3
    with pytest.raises(ValueError, match='was made with shards=1, not 2'):
        open_file(path, shards=2)
    assert path.read_bytes() == complete
