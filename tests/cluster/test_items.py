import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.items import StoredItems
from cluster.parts import Job, PartsFolder

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(st.lists(JSON, max_size=9), st.integers(0, 10), st.integers(0, 10))
def test_a_slice_is_that_of_the_list(values, first, stop):
    with StoredItems(iter(values)) as items:
        assert len(items) == len(values)
        assert items[first:stop] == values[first:stop]
        assert list(items) == values


def test_equal_items_have_one_digest_and_others_another(tmp_path):
    with StoredItems([[1, 2], [3]]) as one, StoredItems([[1, 2], [3]], tmp_path) as other:
        assert one.digest == other.digest
    with StoredItems([[1], [2, 3]]) as third:
        assert third.digest != one.digest


def test_nothing_of_them_is_seen_in_the_folder(tmp_path):
    with StoredItems(['text'], tmp_path / 'new'):
        assert list((tmp_path / 'new').iterdir()) == []


def test_a_folder_of_parts_takes_them(tmp_path):
    job = Job('any:Worker', {}, {})
    with StoredItems(range(10)) as items:
        with PartsFolder(str(tmp_path), job, len(items), 4, items) as folder:
            assert [folder.items_of(part) for part in folder.parts()] == [
                [0, 1, 2, 3],
                [4, 5, 6, 7],
                [8, 9],
            ]


def test_what_cannot_be_written_names_the_folder(tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    with pytest.raises(OSError, match='file'):
        StoredItems([1], tmp_path / 'file')


def test_an_error_of_what_is_read_comes_through():
    def values():
        yield 1
        raise ValueError('no text')

    with pytest.raises(ValueError, match='no text'):
        StoredItems(values())
