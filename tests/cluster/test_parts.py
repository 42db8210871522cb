import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from cluster import parts
from cluster.parts import Job, Part, PartsFolder, make_part, make_share, worker_of
from helpers.paths import SRC
from helpers.toy_parts import Toy, toy_job, whole


def bytes_of(folder):
    return b''.join(pathlib.Path(path).read_bytes() for path in folder.joined())


def make(folder, chosen=None):
    worker = worker_of(folder.job)
    for part in folder.missing() if chosen is None else chosen:
        make_part(folder.path, folder.job, part, folder.items_of(part), worker)


def files(path):
    return {file.name: file.read_bytes() for file in pathlib.Path(path).iterdir()}


@pytest.mark.parametrize('n_items, size', [(0, 4), (1, 4), (4, 4), (5, 4), (11, 3), (11, 100)])
def test_parts_joined_are_the_whole_whatever_their_size_and_order(tmp_path, n_items, size):
    with PartsFolder(tmp_path / 'parts', toy_job(), n_items, size) as folder:
        assert sum(part.count for part in folder.missing()) == n_items
        make(folder, folder.missing()[::-1])
        assert folder.missing() == []
        assert bytes_of(folder) == whole(n_items)
        folder.remove()
    assert not (tmp_path / 'parts').exists()


def test_a_part_gets_its_items(tmp_path):
    items = ['a', [1, 2], None, 'd', 'e']
    with PartsFolder(tmp_path / 'parts', toy_job(), 5, 2, items) as folder:
        make(folder)
        assert bytes_of(folder) == whole(5, items)


def test_names_are_in_the_order_of_the_parts(tmp_path):
    with PartsFolder(tmp_path / 'parts', toy_job(), 10**6, 64) as folder:
        names = [part.name for part in folder.parts()]
    assert names == sorted(names) and len(set(names)) == len(names)


def test_what_is_there_is_not_made_again(tmp_path):
    with PartsFolder(tmp_path / 'parts', toy_job(), 5, 2) as folder:
        make(folder, [Part(2, 2)])
        assert folder.missing() == [Part(0, 2), Part(4, 1)]

        class Unused(Toy):
            def make(self, *_):
                raise AssertionError

        make_part(folder.path, folder.job, Part(2, 2), None, Unused(folder.job))


def test_a_part_that_fails_leaves_nothing(tmp_path):
    with PartsFolder(tmp_path / 'parts', toy_job(fails=3), 4, 2) as folder:
        with pytest.raises(ValueError, match='item 3 cannot be made'):
            make(folder)
        assert sorted(files(folder.path)) == ['000000000-2.part', 'job.json', 'lock']


def test_what_killed_processes_have_left_goes_and_what_is_being_made_stays(tmp_path):
    with PartsFolder(tmp_path / 'parts', toy_job(), 4, 2) as folder:
        leftover = tmp_path / 'parts' / 'unfinished-000000000-2.part-0123abcd'
        leftover.write_bytes(b'half')
    assert not leftover.exists()
    leftover.write_bytes(b'half')
    busy = tmp_path / 'parts' / 'unfinished-000000002-2.part-0123abcd'
    with open(busy, 'wb') as file:
        parts.lock(file, parts.FAR)
        with PartsFolder(tmp_path / 'parts', toy_job(), 4, 2) as folder:
            assert not leftover.exists() and busy.exists()
            assert folder.missing() == [Part(0, 2), Part(2, 2)]


def test_items_that_were_taken_are_not_needed(tmp_path):
    with PartsFolder(tmp_path / 'parts', toy_job(), 10, 3, done=4) as folder:
        assert folder.missing() == [Part(3, 3), Part(6, 3), Part(9, 1)]
        assert folder.part_at(4) == Part(3, 3) and folder.part_at(9) == Part(9, 1)
        make(folder)
        folder.drop(Part(3, 3))
        assert folder.missing() == []
        assert 'done' in parts.read_description(folder.path)
        assert make_share(folder.path, 0, 1) == 1  # as far as the folder knows


def test_a_folder_goes_on_with_its_part_size_and_with_other_resources(tmp_path):
    path = tmp_path / 'parts'
    with PartsFolder(path, toy_job(seconds=0), 10, 3) as folder:
        make(folder, folder.missing()[1:])
    with PartsFolder(path, toy_job(seconds=0.001), 10) as folder:
        assert folder.part_size == 3 and folder.missing() == [Part(0, 3)]
    assert json.loads((path / 'job.json').read_text())['resources'] == {'seconds': 0.001}


@pytest.mark.parametrize('n_items', [7, 14])
def test_a_folder_goes_on_with_more_items_or_fewer(tmp_path, n_items):
    with PartsFolder(tmp_path / 'parts', toy_job(), 10, 3) as folder:
        make(folder)
    with PartsFolder(tmp_path / 'parts', toy_job(), n_items, 3) as folder:
        make(folder)
        assert bytes_of(folder) == whole(n_items)
        folder.remove()
    assert not (tmp_path / 'parts').exists()


@pytest.mark.parametrize(
    'change, what',
    [
        (dict(job=Job('helpers.toy_parts:Toy', {'seed': 8}, {})), 'seed=7, not 8'),
        (dict(job=Job('helpers.toy_parts:Toy', {'seed': 7, 'k': 1}, {})), 'k=None, not 1'),
        (dict(job=Job('helpers.toy_parts:Toy', {}, {})), 'seed=7, not None'),
        (dict(job=Job('other:Toy', {'seed': 7}, {})), "worker='helpers.toy_parts:Toy', not 'oth"),
        (dict(part_size=4), 'part_size=3, not 4'),
    ],
)
def test_the_folder_of_another_job_is_refused_untouched(tmp_path, change, what):
    path, same = tmp_path / 'parts', dict(job=toy_job(), n_items=10, part_size=3)
    with PartsFolder(path, **same) as folder:
        make(folder, folder.missing()[:2])
    before = files(path)
    with pytest.raises(ValueError, match=f'was begun with {what}'):
        PartsFolder(path, **(same | change))
    assert files(path) == before
    with PartsFolder(path, **same):
        pass


def test_other_code_is_refused(tmp_path, monkeypatch):
    with PartsFolder(tmp_path / 'parts', toy_job(), 10, 3):
        pass
    monkeypatch.setattr(parts, 'source_digest', lambda: 'another')
    with pytest.raises(ValueError, match="was begun with sources=.*, not 'another'"):
        PartsFolder(tmp_path / 'parts', toy_job(), 10, 3)
    with pytest.raises(ValueError, match='all machines need the same version of src'):
        make_share(tmp_path / 'parts', 0, 1)


def test_one_driver_at_a_time(tmp_path):
    with PartsFolder(tmp_path / 'parts', toy_job(), 10, 3):
        with pytest.raises(ValueError, match='another process is at work on'):
            PartsFolder(tmp_path / 'parts', toy_job(), 10, 3)
    with PartsFolder(tmp_path / 'parts', toy_job(), 10, 3):
        pass


def test_a_folder_of_something_else_is_refused_untouched(tmp_path):
    (tmp_path / 'thesis.txt').write_text('Chapter 1')
    with pytest.raises(ValueError, match='no job.json: it is no folder of parts'):
        PartsFolder(tmp_path, toy_job(), 10, 3)
    assert (tmp_path / 'thesis.txt').read_text() == 'Chapter 1'
    assert os.listdir(tmp_path) == ['thesis.txt']
    (tmp_path / 'job.json').write_text('{"settings": []}')
    with pytest.raises(ValueError, match='describes no job'):
        PartsFolder(tmp_path, toy_job(), 10, 3)
    with pytest.raises(ValueError, match='no job.json'):
        make_share(tmp_path / 'nowhere', 0, 1)


def test_what_others_have_put_into_a_folder_stays(tmp_path):
    with PartsFolder(tmp_path / 'parts', toy_job(), 4, 2) as folder:
        make(folder)
        (tmp_path / 'parts' / 'notes.txt').write_text('mine')
        folder.remove()
    assert files(tmp_path / 'parts') == {'notes.txt': b'mine'}


def test_shares_without_an_engine_make_the_whole(tmp_path):
    items = list('abcdefghijk')
    with PartsFolder(tmp_path / 'parts', toy_job(), 11, 2, items) as folder:
        folder.write_items()
    made = [make_share(tmp_path / 'parts', share, 4) for share in (3, 0, 2, 1)]
    assert made == [1, 2, 1, 2]
    assert [make_share(tmp_path / 'parts', share, 4) for share in range(4)] == [0] * 4
    with PartsFolder(tmp_path / 'parts', toy_job(), 11, 2, items) as folder:
        assert folder.missing() == []
        assert bytes_of(folder) == whole(11, items)
        folder.remove()
    assert not (tmp_path / 'parts').exists()


def test_parts_need_no_engine_and_no_tensorflow():
    code = 'import cluster.parts, sys; assert not {"distributed", "tensorflow"} & set(sys.modules)'
    subprocess.run([sys.executable, '-c', code], env=os.environ | {'PYTHONPATH': SRC}, check=True)


def test_a_part_is_made_where_the_folder_is_now(tmp_path):
    """A folder may move, as to another machine and back."""
    with PartsFolder(tmp_path / 'parts', toy_job(), 4, 2):
        pass
    shutil.move(tmp_path / 'parts', tmp_path / 'elsewhere')
    assert make_share(tmp_path / 'elsewhere', 0, 1) == 2
