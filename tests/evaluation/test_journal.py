import json

import pytest

from evaluation.journal import Journal

ORIGIN = {'model': 'x'}


class Numbers(Journal):
    """A journal of whole numbers."""

    def __init__(self, path, origin):
        self.taken = []
        super().__init__(str(path), origin)

    def take(self, content):
        self.taken.append(int(content['n']))


@pytest.fixture
def path(tmp_path):
    """A file with two lines after that of its origin."""
    with Numbers(tmp_path / 'x.jsonl', ORIGIN) as journal:
        journal.write({'n': 1})
        journal.write({'n': 2})
    return tmp_path / 'x.jsonl'


def test_what_is_written_is_taken_again(path):
    with Numbers(path, ORIGIN) as journal:
        assert journal.taken == [1, 2]
        journal.write({'n': 3})
    lines = [json.loads(line) for line in path.read_text('utf-8').splitlines()]
    assert lines == [ORIGIN, {'n': 1}, {'n': 2}, {'n': 3}]


@pytest.mark.parametrize('torn', [b'{"n": 3', b'{"n": 3}', b'\0' * 9, b'{"n"\0\0\0}\n'])
def test_what_a_crash_left_of_the_last_line_is_cut_off(path, torn):
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    with Numbers(path, ORIGIN) as journal:
        assert journal.taken == [1, 2]
    assert path.read_bytes() == whole


@pytest.mark.parametrize('line', ['{}', '[]', 'no', '{"n": "one"}'])
def test_other_lines_are_damage_and_stay(path, line):
    path.write_text(path.read_text('utf-8') + line + '\n', 'utf-8')
    content = path.read_bytes()
    with pytest.raises(ValueError, match='x.jsonl is damaged: begin anew with --restart'):
        Numbers(path, ORIGIN)
    assert path.read_bytes() == content


def test_another_origin_is_refused(path):
    with pytest.raises(ValueError, match='x.jsonl'):
        Numbers(path, {'model': 'y'})
