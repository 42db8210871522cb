"""The stories of CNN/Daily Mail as they are in their archives."""

import gzip
import tarfile

import pytest

from evaluation.stories import read_stories, story
from helpers import small_texts as small
from helpers.data_files import fails
from helpers.small_archives import tarred


def read(folder):
    return read_stories(folder, complete=False)


def test_stories_come_out_of_both_archives_in_the_order_of_the_list(tmp_path):
    small.write_cnndm(tmp_path)
    path = tmp_path / 'cnndm' / 'all_test.txt'
    path.write_text('\r\n'.join(small.ADDRESSES[::-1]))
    second, first = read(tmp_path)
    assert [first.id, second.id] == small.NAMES
    assert ['\n'.join(s.paragraphs) for s in (first, second)] == small.ARTICLES
    assert [s.highlights for s in (first, second)] == small.HIGHLIGHTS


@pytest.mark.parametrize('end', ['', '.', '!', '?', '...', "'", '"', '\u2019', '\u201d', ')', '`'])
def test_a_highlight_gets_a_full_stop_only_if_it_has_no_end(end):
    (highlight,) = story('0', f'Text.\n\n@highlight\n\nIt rains{end}').highlights
    assert highlight == f'It rains{end or "."}'


@pytest.mark.parametrize(
    'text, paragraphs, highlights',
    [
        ('', [], []),
        ('One.\n\nTwo', ['One.', 'Two'], []),
        ('@highlight\n\nOne', [], ['One.']),
        ('One.\n\n@highlight\n\n@highlight\n\nTwo', ['One.'], ['Two.']),
        ('One.\n@highlight Two', ['One.'], ['Two.']),
        ('\u00a0One\u2028more. \r\n\r\n@highlight\r\nTwo\r\n', ['One\u2028more.'], ['Two.']),
    ],
)
def test_odd_files(text, paragraphs, highlights):
    assert story('0', text) == ('0', paragraphs, highlights)


def archives(folder, cnn):
    """The small data, but for what the first archive holds of its story."""
    small.write_cnndm(folder)
    (folder / 'cnndm' / 'cnn_stories.tgz').write_bytes(cnn)


@pytest.mark.parametrize('text', ['@highlight\n\nOne', 'One.', ' \n'])
def test_a_story_without_article_or_highlights_is_left_out(tmp_path, text):
    archives(tmp_path, tarred({f'cnn/stories/{small.NAMES[0]}.story': text.encode()}))
    assert [s.id for s in read(tmp_path)] == small.NAMES[1:]


def test_an_extract_may_lack_stories_and_the_published_files_may_not(tmp_path):
    archives(tmp_path, tarred({'cnn/stories/other.story': b'One.'}))
    assert [s.id for s in read(tmp_path)] == small.NAMES[1:]
    fails(read_stories, tmp_path, command='cnndm', reason='2 stories instead of 11,490')
    addresses = ''.join(f'http://a/{n}\n' for n in range(11490))
    (tmp_path / 'cnndm' / 'all_test.txt').write_text(addresses)
    fails(read_stories, tmp_path, command='cnndm', reason='cnn_stories.tgz .* bytes instead of 158')
    reason = f'lack 11,490 stories, such as {"[0-9a-f]" * 40}.story'
    fails(read, tmp_path, command='cnndm', reason=reason)


def test_an_extract_of_one_archive_needs_no_other_and_a_story_counts_once(tmp_path):
    small.write_cnndm(tmp_path)
    (tmp_path / 'cnndm' / 'dailymail_stories.tgz').unlink()
    (tmp_path / 'cnndm' / 'all_test.txt').write_text(f'{small.ADDRESSES[0]}\n' * 2)
    assert [s.id for s in read(tmp_path)] == small.NAMES[:1]


def test_what_is_no_plain_file_is_no_story(tmp_path):
    link = tarfile.TarInfo(f'cnn/stories/{small.NAMES[0]}.story')
    link.type, link.linkname = tarfile.SYMTYPE, '/etc/passwd'
    archives(tmp_path, tarred({}, [(link, None)]))
    assert [s.id for s in read(tmp_path)] == small.NAMES[1:]


WHOLE = tarred({f'cnn/stories/{small.NAMES[0]}.story': bytes(range(1, 127)) * 99})


@pytest.mark.parametrize(
    'content, reason',
    [
        (WHOLE[: len(WHOLE) // 2], 'damaged'),
        (WHOLE[:-200] + bytes(200), 'damaged'),
        (gzip.compress(b'no archive' * 100, mtime=0), 'damaged'),
        (b'<html>not found</html>', 'damaged'),
        (b'', 'damaged'),
        (tarred({f'{small.NAMES[0]}.story': b'caf\xe9'}), 'byte 3 is not UTF-8'),
    ],
)
def test_damaged_archives(tmp_path, content, reason):
    archives(tmp_path, content)
    fails(read, tmp_path, command='cnndm', reason=reason)


@pytest.mark.parametrize('name', ['all_test.txt', 'cnn_stories.tgz', 'dailymail_stories.tgz'])
def test_a_file_that_is_not_there(tmp_path, name):
    small.write_cnndm(tmp_path)
    (tmp_path / 'cnndm' / name).unlink()
    fails(read, tmp_path, command='cnndm', reason=f'there is no .*{name}')


def test_an_empty_list(tmp_path):
    small.write_cnndm(tmp_path)
    (tmp_path / 'cnndm' / 'all_test.txt').write_text('\n')
    fails(read, tmp_path, command='cnndm', reason='it is empty')
