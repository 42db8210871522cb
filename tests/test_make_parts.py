import os

import pytest

from cluster.parts import PartsFolder
from helpers.toy_parts import toy_job
from make_parts import make_parts


@pytest.fixture
def folder(tmp_path):
    with PartsFolder(tmp_path / 'parts', toy_job(), 10, 3, list('abcdefghij')) as parts:
        parts.write_items()
    return tmp_path / 'parts'


def test_shares_of_a_folder_are_made_wherever_it_is_named_from(call, folder, monkeypatch):
    assert call(make_parts, folder, '--part', 1, '--of', 3) == (0, '', '1 parts made\n')
    monkeypatch.chdir(folder.parent)
    assert call(make_parts, 'parts') == (0, '', '3 parts made\n')
    assert call(make_parts, 'parts') == (0, '', '0 parts made\n')
    assert len([name for name in os.listdir(folder) if name.endswith('.part')]) == 4


@pytest.mark.parametrize(
    'wrong, message',
    [
        (['--of', 0], 'of must be a whole number of at least 1'),
        (['--part', 3, '--of', 3], 'part must be a whole number of at least 0 and below 3'),
        (['--part', -1], 'part must be'),
        (['--parts', 2], 'unknown flag --parts; did you mean --part?'),
    ],
)
def test_what_is_wrong_is_refused_in_one_line(call, folder, wrong, message):
    status, output, errors = call(make_parts, folder, *wrong)
    assert (status, output) == (2, '')
    assert errors.startswith(f'error: {message}') and errors.count('\n') == 1


def test_what_is_no_folder_of_parts_is_refused(call, tmp_path):
    status, _, errors = call(make_parts, tmp_path / 'nowhere')
    assert status == 2 and errors.endswith('has no job.json: it is no folder of parts\n')


def test_ctrl_c_keeps_the_parts_that_were_made(call, folder, monkeypatch):
    from helpers import toy_parts

    make = toy_parts.Toy.make

    def interrupted(self, part, items, file):
        if part.first == 6:
            raise KeyboardInterrupt
        make(self, part, items, file)

    monkeypatch.setattr(toy_parts.Toy, 'make', interrupted)
    assert call(make_parts, folder) == (130, '', '\nthe parts that were made are kept\n')
    assert sorted(n for n in os.listdir(folder) if n.endswith('.part')) == [
        '000000000-3.part',
        '000000003-3.part',
    ]
