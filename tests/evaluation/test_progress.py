import json
import os
import signal

import pytest

from evaluation.progress import Progress

ORIGIN = {'model': 'small', 'settings': {'context': 32}}
ROWS = [[1.0, 2.0, 3.0], [-4.5, 0.0, 1.0], [0.1, 0.2, 0.3]]


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'text8.jsonl'


def open_rows(path, origin=ORIGIN, width=3, most=1000):
    return Progress(str(path), origin, width, most)


def test_a_later_process_has_the_rows_and_the_seconds_of_those_before(path):
    with open_rows(path) as progress:
        assert (progress.rows, progress.seconds) == ([], 0)
        progress.add(ROWS[:1], 5.0)
    with open_rows(path) as progress:
        assert (progress.rows, progress.seconds) == (ROWS[:1], 5)
        progress.add(ROWS[1:], 0.25)
        assert (progress.rows, progress.seconds) == (ROWS, 5.25)
    with open_rows(path) as progress:
        assert (progress.rows, progress.seconds) == (ROWS, 5.25)


def test_what_was_added_outlives_a_process_that_closes_nothing(path):
    progress = open_rows(path)
    progress.add(ROWS, 1.0)
    with open_rows(path) as another:
        assert another.rows == ROWS
    progress.file.close()


@pytest.mark.parametrize(
    'torn',
    [
        '{"rows": [[1.0, 2',
        '{"rows": [[1, 2, 3]], "seconds": 1}',
        '\0' * 5000,
        '{"rows": [[1' + '\0' * 5000,
        '\0' * 5000 + '2, 3]], "seconds": 1}\n',
        '{"rows": [[1' + '\0' * 5000 + '], "seconds": 1}\n{"rows": [[1, 2, 3]], "seconds": 1}\n',
    ],
    ids=['cut', 'without an end', 'zeros', 'zeros after', 'zeros before', 'zeros within'],
)
def test_what_a_crash_or_a_power_failure_left_is_dropped(path, torn):
    with open_rows(path) as progress:
        progress.add(ROWS[:1], 5.0)
    whole = path.read_bytes()
    path.write_bytes(whole + torn.encode())
    with open_rows(path) as progress:
        assert (progress.rows, progress.seconds) == (ROWS[:1], 5)
        assert path.read_bytes() == whole
        progress.add(ROWS[1:], 5.0)
    with open_rows(path) as progress:
        assert progress.rows == ROWS


def test_a_first_line_that_a_power_failure_left_is_written_again(path):
    path.write_text('\0' * 5000)
    with open_rows(path):
        assert [json.loads(line) for line in path.read_text().splitlines()] == [ORIGIN]


def test_rows_after_a_damaged_first_line_are_not_dropped(path):
    before = '\0' * 100 + '}\n{"rows": [[1, 2, 3]], "seconds": 1}\n'
    path.write_text(before)
    with pytest.raises(ValueError, match=r'text8\.jsonl is damaged: begin anew with --restart'):
        open_rows(path)
    assert path.read_text() == before


def test_rows_are_on_the_disk_when_they_are_added(path, monkeypatch):
    def full(descriptor):
        raise OSError(28, 'No space left on device')

    with open_rows(path) as progress:
        monkeypatch.setattr(os, 'fsync', full)
        with pytest.raises(ValueError, match=r'text8\.jsonl cannot be written \(No space left'):
            progress.add(ROWS, 1.0)
        assert progress.rows == []


def test_a_first_line_without_an_end_is_written_again(path):
    path.write_text('{"model": "sm')
    with open_rows(path):
        assert [json.loads(line) for line in path.read_text().splitlines()] == [ORIGIN]


def test_rows_of_another_origin_are_left_alone(path):
    with open_rows(path) as progress:
        progress.add(ROWS, 1.0)
    before = path.read_bytes()
    reason = r"made with settings=\{'context': 32\}, not \{'context': 16\}: .* --restart"
    with pytest.raises(ValueError, match=reason):
        open_rows(path, ORIGIN | {'settings': {'context': 16}})
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    'line',
    [
        'garbage',
        '5',
        '{"rows": 5, "seconds": 1}',
        '{"rows": [[1, 2, 3]]}',
        '{"rows": [[1, 2, 3]], "seconds": "x"}',
        '{"rows": [1, 2, 3], "seconds": 1}',
        '{"rows": "abc", "seconds": 1}',
        '{"rows": [[1, 2]], "seconds": 1}',
        '{"rows": [[1, 2, "3"]], "seconds": 1}',
        '{"rows": [[1, 2, NaN]], "seconds": 1}',
        '{"rows": [[1, 2, 1' + '0' * 400 + ']], "seconds": 1}',
        '{"rows": [[1, 2, 3]], "seconds": NaN}',
        '{"rows": [[1, 2, 3]], "seconds": Infinity}',
        '{"rows": [[1, 2, 3]], "seconds": null}',
        '{"rows": [[1, 2, 3]], "seconds": 1' + '0' * 400 + '}',
        '{"rows": {"1": 2}, "seconds": 1}',
        '{"rows": null, "seconds": 1}',
        'null',
        '[[1, 2]]',
        '[' * 100_000,
        '{"rows": [' + '[1, 2, 3],' * 999 + '[1, 2, 3]], "seconds": 1}',  # more than there are
    ],
)
def test_a_damaged_file_of_rows_is_named(path, line):
    with open_rows(path) as progress:
        progress.add(ROWS[:1], 1.0)
    with open(path, 'a', encoding='utf-8') as file:
        file.write(line + '\n')
    with pytest.raises(ValueError, match=r'text8\.jsonl is damaged: begin anew with --restart'):
        open_rows(path)


@pytest.mark.skipif(not hasattr(signal, 'SIGXFSZ'), reason='no limit on file sizes here')
def test_a_full_disk_loses_nothing_that_was_written(path):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (900, limits[1]))
    try:
        with open_rows(path) as progress:
            with pytest.raises(ValueError, match=r'cannot be written \(File too large\).* kept'):
                for _ in range(100):
                    progress.add(ROWS, 1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    kept = progress.rows
    assert 0 < len(kept) < 300
    with open_rows(path) as progress:
        assert (progress.rows, progress.seconds) == (kept, len(kept) / 3)
