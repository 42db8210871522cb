"""The files of WikiText, the Penn Treebank, One Billion Words, enwik8 and text8."""

import pytest

from evaluation.tasks.language_modeling import (
    read_enwik8,
    read_one_billion,
    read_ptb,
    read_text8,
    read_wikitext,
)
from helpers.data_files import fails, put

TITLES = (
    b' \n'
    b' = Robert <unk> = \n'
    b' \n'
    b' Robert <unk> is an English film , television and theatre actor . \n'
    b' \n'
    b' = = Career = = \n'
    b' \n'
    b' = = = 2000 \xe2\x80\x93 2005 = = = \n'
    b' \n'
    b' In 2006 , a guest @-@ starring role earned 1 @,@ 000 @.@ 5 " Teddy \'s " caf\xc3\xa9s . \n'
    b' \n'
)


def test_wikitext_is_the_whole_file(tmp_path):
    for size in (2, 103):
        for name in ('raw', 'tokens'):
            content = TITLES + f' {size} {name} \n'.encode()
            put(tmp_path, f'wikitext{size}/wiki.test.{name}', content)
            text = read_wikitext(tmp_path, size, raw=name == 'raw', complete=False)
            assert text == content.decode()


@pytest.mark.parametrize('cut', [0, 1])
def test_wikitext_is_4358_lines(tmp_path, cut):
    content = TITLES + b' \n' * (4358 - 11)
    path = put(tmp_path, 'wikitext2/wiki.test.tokens', content[: len(content) - cut])
    assert read_wikitext(tmp_path, raw=False).count('\n') == 4358 - cut
    path.write_bytes(content[:-2])
    fails(
        read_wikitext,
        tmp_path,
        raw=False,
        command='wikitext2',
        reason='4,357 lines instead of 4,358',
    )


def test_other_line_ends_are_part_of_wikitexts_lines(tmp_path):
    content = ' = A = \n one\x0btwo\x85three\u2028four \n'
    put(tmp_path, 'wikitext2/wiki.test.raw', content.encode())
    assert read_wikitext(tmp_path, complete=False) == content


def test_ptb_lines_without_their_outer_spaces(tmp_path):
    content = (
        b" no it was n't black monday \n"
        b" <unk> corp. said it 's $ N million N\\/N a n.v. & co. # N \n"
    )
    put(tmp_path, 'ptb/ptb.test.txt', content)
    assert read_ptb(tmp_path, complete=False) == [
        "no it was n't black monday",
        "<unk> corp. said it 's $ N million N\\/N a n.v. & co. # N",
    ]


@pytest.mark.parametrize('split, number', [('test', 3761), ('valid', 3370)])
def test_ptb_is_so_many_lines(tmp_path, split, number):
    path = put(tmp_path, f'ptb/ptb.{split}.txt', b' a \n' * number)
    assert len(read_ptb(tmp_path, split)) == number
    path.write_bytes(b' a \n' * (number - 1))
    reason = f'{number - 1:,} lines instead of {number:,}'
    fails(read_ptb, tmp_path, split, command='ptb', reason=reason)
    path.write_bytes(b' a \n' * (number - 1) + b'  \n')
    fails(read_ptb, tmp_path, split, command='ptb', reason=f'line {number} is empty')


def test_one_billion_words(tmp_path):
    path = '1bw/news.en.heldout-00000-of-00050'
    content = 'The U.S. " We let folks know , " he said .\n\n £ 5 – isn \'t it ?\n'.encode()
    put(tmp_path, path, content)
    sentences = ['The U.S. " We let folks know , " he said .', "£ 5 – isn 't it ?"]
    assert read_one_billion(tmp_path) == sentences
    put(tmp_path, path, content[:-4])
    reason = 'last line is cut off'
    fails(read_one_billion, tmp_path, command='1bw', reason=reason)
    sentences[1] = "£ 5 – isn 't i"
    assert read_one_billion(tmp_path, complete=False) == sentences


def test_enwik8_is_the_last_twentieth(tmp_path):
    content = bytes(range(256)) * 10
    put(tmp_path, 'enwik8/enwik8', content)
    assert read_enwik8(tmp_path, complete=False) == content[-128:]
    reason = '2,560 bytes instead of 100,000,000'
    fails(read_enwik8, tmp_path, command='enwik8', reason=reason)


def test_the_test_split_of_the_whole_file_is_5_million_bytes(tmp_path):
    path = put(tmp_path, 'text8/text8', b'')
    with open(path, 'r+b') as f:  # a hole takes no room on the disk
        f.seek(95_000_000 - 1)
        f.write(b'|' + b'abcd ' * 1_000_000)
    assert read_text8(tmp_path) == 'abcd ' * 1_000_000


@pytest.mark.parametrize('byte', [b'A', b'\n', b'\0', b'\xe9', b'7'])
def test_text8_is_letters_and_spaces(tmp_path, byte):
    put(tmp_path, 'text8/text8', b' anarchism ' * 100)
    assert set(read_text8(tmp_path, complete=False)) <= set(' anarchism')
    put(tmp_path, 'text8/text8', b' anarchism ' * 100 + byte)
    reason = r'neither a-z nor a space'
    fails(read_text8, tmp_path, command='text8', reason=reason, complete=False)
