import json
import sys

import pytest

from cluster.flags import HELP, Spread, takes_workers
from cluster.parts import PartsFolder, make_share
from helpers.toy_parts import toy_job


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(workers=-1), 'workers must be a whole number of at least 0'),
        (dict(workers='many'), 'workers must be'),
        (dict(workers=True), 'workers must be'),
        (dict(workers=1, part_size=0), 'part_size must be'),
        (dict(workers=1, scheduler='tcp://head:8786'), 'either here, --workers, or of a cluster'),
        (dict(parts='folder'), '--parts and --part_size need --workers or --scheduler'),
        (dict(part_size=4), '--parts and --part_size need --workers or --scheduler'),
    ],
)
def test_what_cannot_be_meant_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Spread(**wrong).check()


def test_who_asks_for_workers():
    assert not Spread().asked
    assert Spread(workers=0).asked and Spread(workers=2).asked
    assert Spread(scheduler='tcp://head:8786').asked


def test_the_folder_is_beside_the_output_unless_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Spread(2).folder('out.jsonl') == str(tmp_path / 'out.jsonl.parts')
    assert Spread(2, parts='mine').folder('out.jsonl') == str(tmp_path / 'mine')


@pytest.mark.parametrize(
    'spread, n_items, at_most, batch_size, size',
    [
        (Spread(2), 250_000, 64, 1, 64),  # a minute
        (Spread(2), 40, 64, 1, 5),  # four parts a worker
        (Spread(2), 400, 640, 16, 48),  # whole batches
        (Spread(2), 40, 640, 16, 5),  # but work for all
        (Spread(2), 1, 64, 1, 1),
        (Spread(1), 0, 64, 1, 1),
        (Spread(scheduler='tcp://head:8786'), 6400, 640, 1, 100),
        (Spread(2, part_size=7), 250_000, 64, 16, 7),
    ],
)
def test_sizes_of_parts(tmp_path, spread, n_items, at_most, batch_size, size):
    assert spread.size_of_parts(tmp_path / 'parts', n_items, at_most, batch_size) == size


def test_a_folder_keeps_its_size(tmp_path):
    with PartsFolder(tmp_path / 'parts', toy_job(), 10, 3):
        assert Spread(2).size_of_parts(tmp_path / 'parts', 10, 64) == 3


def test_without_workers_the_folder_is_written_and_what_is_there_is_taken(tmp_path, capsys):
    path, items, taken = tmp_path / 'parts', list('abcdefg'), []
    with PartsFolder(path, toy_job(), 7, 3, items) as folder:
        assert not Spread(0).carry_out(folder)
    assert capsys.readouterr().err.startswith(f'{path}: 3 parts are to be made')
    assert json.loads((path / '000000003-3.items').read_text()) == ['d', 'e', 'f']
    make_share(path, 0, 3)
    with PartsFolder(path, toy_job(), 7, 3, items) as folder:
        assert not Spread(0).carry_out(folder, taken=taken.append)
        assert taken == folder.parts()[:1]
    make_share(path, 2, 3)
    make_share(path, 1, 3)
    with PartsFolder(path, toy_job(), 7, 3, items) as folder:
        taken.clear()
        assert Spread(0).carry_out(folder, taken=taken.append)
        assert taken == folder.parts()


@pytest.mark.parametrize('below', ['.', 'TRAIN'])
def test_one_process_leaves_parts_of_workers_alone(tmp_path, below):
    path = tmp_path / 'out [1].parts'
    with PartsFolder(path / below, toy_job(), 7, 3):
        pass
    before = sorted(path.rglob('*'))
    with pytest.raises(ValueError, match=r'out \[1\].parts holds parts .* by --workers or --sched'):
        Spread().check_alone(tmp_path / 'out [1]')
    assert sorted(path.rglob('*')) == before
    Spread(1).check_alone(tmp_path / 'out [1]')  # goes on
    Spread().check_alone(tmp_path / 'other')
    Spread().check_alone(None)
    (path / below / 'job.json').rename(path / 'of_something_else.json')
    Spread().check_alone(tmp_path / 'out [1]')


def test_help_is_put_into_a_docstring():
    @takes_workers
    def script():
        """Do it.

        Args:
            <workers>
        """

    assert all(f'{name}: {text[:20]}' in script.__doc__ for name, text in HELP.items())


def test_without_dask_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'distributed', None)
    with PartsFolder(tmp_path / 'parts', toy_job(), 7, 3) as folder:
        for spread in (Spread(2), Spread(scheduler='tcp://head:8786')):
            with pytest.raises(ValueError, match='pip install -r requirements-cluster.txt'):
                spread.carry_out(folder)
