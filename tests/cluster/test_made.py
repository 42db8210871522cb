import pytest

from cluster.flags import Spread
from cluster.made import Prepared, made_parts
from helpers.made_parts import InProcess
from helpers.toy_parts import toy_job, whole
from support.stopping import Stopped


@pytest.fixture
def by_workers(monkeypatch):
    return InProcess(monkeypatch)


def make(path, items='abcdefgh', **flags):
    return made_parts(Spread(**{'workers': 2} | flags), str(path), toy_job(), items, at_most=3)


def test_parts_are_read_and_gone(by_workers, tmp_path):
    with make(tmp_path / 'p') as folder:
        assert b''.join(open(path, 'rb').read() for path in folder.joined()) == whole(8, 'abcdefgh')
        assert folder.part_size == 1  # four parts a worker
    assert not (tmp_path / 'p').exists()


def test_parts_stay_where_they_could_not_be_used(by_workers, tmp_path):
    with pytest.raises(Stopped) as caught, make(tmp_path / 'p', part_size=4):
        raise Stopped(15)
    assert (
        caught.value.kept == f'{tmp_path}/p keeps what is made: run the same command again to go on'
    )
    with make(tmp_path / 'p', part_size=4):
        assert by_workers.missing == [2, 0]


def test_no_workers_write_the_folder_and_nothing_else_is_done(tmp_path):
    with pytest.raises(Prepared), make(tmp_path / 'p', workers=0):
        pytest.fail('the block is not entered')
    assert (tmp_path / 'p' / 'job.json').exists()
    assert len(list((tmp_path / 'p').glob('*.items'))) == 8
