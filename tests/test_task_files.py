import json
import re
import types

import pytest

import task_files

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


def put(tmp_path, place, content):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def fails(read, *arguments, command, reason, **options):
    with pytest.raises(ValueError) as caught:
        read(*arguments, **options)
    message = str(caught.value)
    assert '\n' not in message
    assert re.search(reason, message), message
    assert f'python3 download_data.py {command}' in message


# Every reader


EVERY = [  # reader, arguments, file, command
    (task_files.read_lambada, ('openai',), 'lambada/lambada_test.jsonl', 'lambada'),
    (
        task_files.read_lambada,
        ('plain',),
        'lambada_plain/lambada_test_plain_text.txt',
        'lambada_plain',
    ),
    (task_files.read_cbt, ('CN',), 'cbt/cbtest_CN_valid_2000ex.txt', 'cbt'),
    (task_files.read_cbt, ('NE',), 'cbt/cbtest_NE_valid_2000ex.txt', 'cbt'),
    (task_files.read_wikitext, (2, True), 'wikitext2/wiki.test.raw', 'wikitext2'),
    (task_files.read_wikitext, (2, False), 'wikitext2/wiki.test.tokens', 'wikitext2'),
    (task_files.read_wikitext, (103, True), 'wikitext103/wiki.test.raw', 'wikitext103'),
    (task_files.read_wikitext, (103, False), 'wikitext103/wiki.test.tokens', 'wikitext103'),
    (task_files.read_ptb, ('test',), 'ptb/ptb.test.txt', 'ptb'),
    (task_files.read_ptb, ('valid',), 'ptb/ptb.valid.txt', 'ptb'),
    (task_files.read_one_billion, (), '1bw/news.en.heldout-00000-of-00050', '1bw'),
    (task_files.read_enwik8, (), 'enwik8/enwik8', 'enwik8'),
    (task_files.read_text8, (), 'text8/text8', 'text8'),
    (task_files.read_winograd, (), 'winograd/WSCollection.xml', 'winograd'),
]


@pytest.fixture(params=EVERY, ids=lambda case: case[2])
def case(request):
    return types.SimpleNamespace(
        **dict(zip(('read', 'arguments', 'file', 'command'), request.param, strict=True))
    )


@pytest.mark.parametrize('complete', [True, False])
def test_a_missing_file_names_the_command(case, tmp_path, complete):
    command = f'{case.command} --data_dir {tmp_path}$'
    with pytest.raises(ValueError, match=f'there is no .*; .*download_data.py {command}') as caught:
        case.read(tmp_path, *case.arguments, complete=complete)
    assert str(tmp_path / case.file) in str(caught.value)


def test_the_default_folder_needs_no_flag(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f'there is no .*download_data.py {case.command}$'):
        case.read('data', *case.arguments)


def acceptable(command, content, complete):
    """Whether nothing in the format, nor in what was published, speaks against such a file."""
    if command == '1bw':  # neither its lines nor its bytes were published
        return content.startswith(b'<')
    if command in ('ptb', 'lambada_plain'):
        return content.startswith(b'<') and not complete
    return command == 'enwik8' and content.startswith(b'<') and not complete


@pytest.mark.parametrize('complete', [True, False])
@pytest.mark.parametrize('content', [b'', b'<html>Not Found</html>\n', b'\xff\xfe\x00<\x80 \n'])
def test_no_reader_takes_an_empty_file_or_an_error_page(case, tmp_path, content, complete):
    put(tmp_path, case.file, content)
    if acceptable(case.command, content, complete):
        assert case.read(tmp_path, *case.arguments, complete=complete)
        return
    fails(
        case.read,
        tmp_path,
        *case.arguments,
        complete=complete,
        command=case.command,
        reason='is not right: ',
    )


def test_a_folder_in_place_of_a_file(case, tmp_path):
    (tmp_path / case.file).mkdir(parents=True)
    fails(case.read, tmp_path, *case.arguments, command=case.command, reason='.')


def test_the_data_folder_may_have_a_tilde(tmp_path, monkeypatch):
    for name in ('HOME', 'USERPROFILE'):
        monkeypatch.setenv(name, str(tmp_path))
    put(tmp_path, 'd/ptb/ptb.test.txt', b' a b \n')
    assert task_files.read_ptb('~/d', complete=False) == ['a b']


@pytest.mark.parametrize(
    'read, value',
    [
        (task_files.read_lambada, 'raw'),
        (task_files.read_cbt, 'V'),
        (task_files.read_wikitext, 3),
        (task_files.read_ptb, 'train'),
    ],
)
def test_an_unknown_choice_lists_the_known(tmp_path, read, value):
    with pytest.raises(ValueError, match=rf'is {value!r}, not one of \w+, \w+$'):
        read(tmp_path, value)


# LAMBADA


def test_lambada_of_openai_keeps_texts_as_they_are(tmp_path):
    content = (
        b'{"text": "\\u201cGo,\\u201d she said.\\n\\n\\u2018No,\\u2019 he said to Ann"}\n'
        b'{"text": "  In my palm is stone.\\u00a0 `` Caf\xc3\xa9 \\ud83d\\ude00 \\" signs\\n"}\n'
    )
    put(tmp_path, 'lambada/lambada_test.jsonl', content)
    assert task_files.read_lambada(tmp_path, 'openai', complete=False) == [
        '“Go,” she said.\n\n‘No,’ he said to Ann',
        '  In my palm is stone.\xa0 `` Café 😀 " signs\n',
    ]


def test_lambada_is_5153_passages(tmp_path):
    path = put(tmp_path, 'lambada/lambada_test.jsonl', b'{"text": "one two"}\n' * 5153)
    assert task_files.read_lambada(tmp_path) == ['one two'] * 5153
    path.write_bytes(path.read_bytes()[:-21])
    assert len(task_files.read_lambada(tmp_path, complete=False)) == 5152
    reason = 'has 5,152 passages instead of 5,153'
    fails(task_files.read_lambada, tmp_path, command='lambada', reason=reason)
    path.write_bytes(b'{"text": "one two"}\n' * 5153 + b'{"text": "one')
    reason = 'line 5154 is not JSON'
    fails(task_files.read_lambada, tmp_path, command='lambada', reason=reason)


@pytest.mark.parametrize(
    'line, reason',
    [
        (b'{"text": 3}', 'line 2 holds no text'),
        (b'["a b"]', 'line 2 holds no text'),
        (b'{"text": "word"}', 'passage 2 has no word'),
        (b'{"text": "a \xe9"}', 'byte 32 is not UTF-8'),
    ],
)
def test_lambada_names_the_bad_line(tmp_path, line, reason):
    put(tmp_path, 'lambada/lambada_test.jsonl', b'{"text": "one two"}\n' + line + b'\n')
    fails(task_files.read_lambada, tmp_path, command='lambada', reason=reason, complete=False)


def test_the_original_lambada_is_a_passage_a_line(tmp_path):
    content = (
        b"in my palm is a clear stone . `` figure , '' i look at him . do n't care about signs\n"
        b'"  caf\xc3\xa9  " \xe2\x80\x94 he said\x0b\xc2\x85 to ann \n'
    )
    put(tmp_path, 'lambada_plain/lambada_test_plain_text.txt', content)
    assert task_files.read_lambada(tmp_path, 'plain', complete=False) == [
        "in my palm is a clear stone . `` figure , '' i look at him . do n't care about signs",
        '"  café  " — he said\x0b\x85 to ann ',
    ]
    fails(
        task_files.read_lambada,
        tmp_path,
        'plain',
        command='lambada_plain',
        reason='2 passages instead of 5,153',
    )


# Children's Book Test


CANDIDATES = "King|queen|-LRB-|'s|cat-o'-nine-tails|œuf|U.S.|1,000|N'Importe|Sir."


def question_lines(query="At last the XXXXX 's men said : `` no ! ''\tqueen\t\t" + CANDIDATES):
    sentences = [f'{n} With almost everything , -LRB- no {n} -RRB- .' for n in range(1, 19)]
    sentences += ['19 12 21 years .', '20   two  spaces and\tonetab .']
    return [*sentences, f'21 {query}']


def cbt_file(tmp_path, *questions, end='\n\n'):
    content = '\n\n'.join('\n'.join(lines) for lines in questions) + end
    return put(tmp_path, 'cbt/cbtest_CN_valid_2000ex.txt', content.encode())


def test_a_cbt_question(tmp_path):
    cbt_file(tmp_path, question_lines(), question_lines('XXXXX ran .\tSir.\t\t' + CANDIDATES))
    first, second = task_files.read_cbt(tmp_path, 'CN', complete=False)
    assert first.context[0] == 'With almost everything , -LRB- no 1 -RRB- .'
    assert first.context[17:] == [
        'With almost everything , -LRB- no 18 -RRB- .',
        '12 21 years .',
        'two  spaces and\tonetab .',
    ]
    assert first.query == "At last the XXXXX 's men said : `` no ! ''"
    assert first.answer == 'queen'
    assert first.candidates == [
        *('King', 'queen', '-LRB-', "'s", "cat-o'-nine-tails", 'œuf', 'U.S.', '1,000'),
        *("N'Importe", 'Sir.'),
    ]
    assert (second.query, second.answer) == ('XXXXX ran .', 'Sir.')


@pytest.mark.parametrize('query', ['XXXXX or XXXXX .', 'A XXXXX-like queen .'])
def test_a_blank_may_stand_twice_or_in_a_word(tmp_path, query):
    """A file with the right digest must not be refused for how it writes one of 2,000 questions."""
    cbt_file(tmp_path, question_lines(f'{query}\tqueen\t\t{CANDIDATES}'))
    assert task_files.read_cbt(tmp_path, 'CN', complete=False)[0].query == query


@pytest.mark.parametrize('end', ['', '\n', '\n\n\n'])
def test_cbt_is_2000_questions_with_any_end(tmp_path, end):
    cbt_file(tmp_path, *[question_lines()] * 2000, end=end)
    assert len(task_files.read_cbt(tmp_path, 'CN')) == 2000


def test_the_original_lambada_with_line_ends_of_windows(tmp_path):
    put(tmp_path, 'lambada_plain/lambada_test_plain_text.txt', b'a b\r\nc d\r\n')
    assert task_files.read_lambada(tmp_path, 'plain', complete=False) == ['a b', 'c d']


def test_cbt_with_line_ends_of_windows(tmp_path):
    path = cbt_file(tmp_path, question_lines(), question_lines())
    expected = task_files.read_cbt(tmp_path, 'CN', complete=False)
    path.write_bytes(path.read_bytes().replace(b'\n', b'\r\n'))
    assert task_files.read_cbt(tmp_path, 'CN', complete=False) == expected


TEN = 'a|b|c|d|e|f|g|h|i|j'


@pytest.mark.parametrize(
    'query, reason',
    [
        ('The XXXXX .\tz\t\t' + TEN, "line 21 .* answer 'z' is none of them"),
        ('The XXXXX .\ta\t\ta|b|c', 'line 21 has 3 candidates'),
        ('The XXXXX .\ta\t\t' + TEN + '|k', 'line 21 has 11 candidates'),
        ('The XXXXX .\t\t\t' + TEN, "line 21 .* answer '' is none of them"),
        ('The a .\ta\t\t' + TEN, 'line 21 has no XXXXX in its query'),
        ('The XXXXX .', 'line 21 has no query, answer and candidates'),
    ],
)
def test_cbt_names_the_bad_line(tmp_path, query, reason):
    cbt_file(tmp_path, question_lines(query))
    fails(task_files.read_cbt, tmp_path, 'CN', command='cbt', reason=reason, complete=False)


def test_a_cbt_file_that_lost_lines(tmp_path):
    read = task_files.read_cbt
    cbt_file(tmp_path, question_lines(), question_lines()[:7])
    reason = 'last question ends after 7 of 21 lines'
    fails(read, tmp_path, command='cbt', reason=reason, complete=False)
    lines = question_lines()
    cbt_file(tmp_path, lines[:4] + lines[5:], question_lines())
    fails(read, tmp_path, command='cbt', reason='line 5 .* 5 and a space', complete=False)
    cbt_file(tmp_path, question_lines())
    reason = '1 questions instead of 2,000'
    fails(read, tmp_path, command='cbt', reason=reason)


# WikiText


def test_wikitext_is_the_whole_file(tmp_path):
    for size in (2, 103):
        for name in ('raw', 'tokens'):
            content = TITLES + f' {size} {name} \n'.encode()
            put(tmp_path, f'wikitext{size}/wiki.test.{name}', content)
            text = task_files.read_wikitext(tmp_path, size, raw=name == 'raw', complete=False)
            assert text == content.decode()


@pytest.mark.parametrize('cut', [0, 1])
def test_wikitext_is_4358_lines(tmp_path, cut):
    content = TITLES + b' \n' * (4358 - 11)
    path = put(tmp_path, 'wikitext2/wiki.test.tokens', content[: len(content) - cut])
    assert task_files.read_wikitext(tmp_path, raw=False).count('\n') == 4358 - cut
    path.write_bytes(content[:-2])
    fails(
        task_files.read_wikitext,
        tmp_path,
        raw=False,
        command='wikitext2',
        reason='4,357 lines instead of 4,358',
    )


def test_other_line_ends_are_part_of_wikitexts_lines(tmp_path):
    content = ' = A = \n one\x0btwo\x85three\u2028four \n'
    put(tmp_path, 'wikitext2/wiki.test.raw', content.encode())
    assert task_files.read_wikitext(tmp_path, complete=False) == content


# Penn Treebank and One Billion Words


def test_ptb_lines_without_their_outer_spaces(tmp_path):
    content = (
        b" no it was n't black monday \n"
        b" <unk> corp. said it 's $ N million N\\/N a n.v. & co. # N \n"
    )
    put(tmp_path, 'ptb/ptb.test.txt', content)
    assert task_files.read_ptb(tmp_path, complete=False) == [
        "no it was n't black monday",
        "<unk> corp. said it 's $ N million N\\/N a n.v. & co. # N",
    ]


@pytest.mark.parametrize('split, number', [('test', 3761), ('valid', 3370)])
def test_ptb_is_so_many_lines(tmp_path, split, number):
    path = put(tmp_path, f'ptb/ptb.{split}.txt', b' a \n' * number)
    assert len(task_files.read_ptb(tmp_path, split)) == number
    path.write_bytes(b' a \n' * (number - 1))
    reason = f'{number - 1:,} lines instead of {number:,}'
    fails(task_files.read_ptb, tmp_path, split, command='ptb', reason=reason)
    path.write_bytes(b' a \n' * (number - 1) + b'  \n')
    fails(task_files.read_ptb, tmp_path, split, command='ptb', reason=f'line {number} is empty')


def test_one_billion_words(tmp_path):
    path = '1bw/news.en.heldout-00000-of-00050'
    content = 'The U.S. " We let folks know , " he said .\n\n £ 5 – isn \'t it ?\n'.encode()
    put(tmp_path, path, content)
    sentences = ['The U.S. " We let folks know , " he said .', "£ 5 – isn 't it ?"]
    assert task_files.read_one_billion(tmp_path) == sentences
    put(tmp_path, path, content[:-4])
    reason = 'last line is cut off'
    fails(task_files.read_one_billion, tmp_path, command='1bw', reason=reason)
    sentences[1] = "£ 5 – isn 't i"
    assert task_files.read_one_billion(tmp_path, complete=False) == sentences


# enwik8 and text8


def test_enwik8_is_the_last_twentieth(tmp_path):
    content = bytes(range(256)) * 10
    put(tmp_path, 'enwik8/enwik8', content)
    assert task_files.read_enwik8(tmp_path, complete=False) == content[-128:]
    reason = '2,560 bytes instead of 100,000,000'
    fails(task_files.read_enwik8, tmp_path, command='enwik8', reason=reason)


def test_the_test_split_of_the_whole_file_is_5_million_bytes(tmp_path):
    path = put(tmp_path, 'text8/text8', b'')
    with open(path, 'r+b') as f:  # a hole takes no room on the disk
        f.seek(95_000_000 - 1)
        f.write(b'|' + b'abcd ' * 1_000_000)
    assert task_files.read_text8(tmp_path) == 'abcd ' * 1_000_000


@pytest.mark.parametrize('byte', [b'A', b'\n', b'\0', b'\xe9', b'7'])
def test_text8_is_letters_and_spaces(tmp_path, byte):
    put(tmp_path, 'text8/text8', b' anarchism ' * 100)
    assert set(task_files.read_text8(tmp_path, complete=False)) <= set(' anarchism')
    put(tmp_path, 'text8/text8', b' anarchism ' * 100 + byte)
    reason = r'neither a-z nor a space'
    fails(task_files.read_text8, tmp_path, command='text8', reason=reason, complete=False)


# Winograd


HEAD = b'<?xml version="1.0" encoding="ISO-8859-1"?>\n<?xml-stylesheet href="a.xsl"?>\n'


def schema_xml(text, candidates=('the  trophy', ' The\nsuitcase '), letter=' B.  '):
    before, pronoun, after = text
    return (
        f'<schema>\n<text>\n<txt1>{before}</txt1>\n<pron>{pronoun}</pron><txt2>{after}</txt2>\n'
        f'</text>\n<quote>\n<quote1></quote1>\n<pron> them </pron>\n</quote>\n<answers>\n'
        + ''.join(f'<answer>{c}</answer>\n' for c in candidates)
        + f'</answers>\n<correctAnswer>{letter}</correctAnswer>\n<source> A (1972)\n</source>\n'
        '</schema>\n\n'
    ).encode('latin-1')


def winograd_file(tmp_path, *schemas):
    content = HEAD + b'<collection>\n\n' + b''.join(schemas) + b'</collection>\n'
    return put(tmp_path, 'winograd/WSCollection.xml', content)


def only_schema(tmp_path, *arguments, **options):
    winograd_file(tmp_path, schema_xml(*arguments, **options))
    return task_files.read_winograd(tmp_path, complete=False)[0]


@pytest.mark.parametrize(
    'text, expected',
    [
        (
            (
                "\nThe caf\xe9's trophy, in 1765,\n didn't fit because \n",
                ' it  ',
                ' \nis &lt; big.\n',
            ),
            ("The café's trophy, in 1765, didn't fit because ", 'it', ' is < big.'),
        ),
        (('\nso we\nrescued', 'them', '.'), ('so we rescued ', 'them', '.')),
        (('\nMuch better in\n', ' his ', ''), ('Much better in ', 'his', '')),
        (('', '\n They ', ' know.'), ('', 'They', ' know.')),
        (('I saw', 'him', ', but he left'), ('I saw ', 'him', ', but he left')),
        (('He said', 'it', '  was "it".'), ('He said ', 'it', ' was "it".')),
    ],
)
def test_a_schema_is_its_text_with_single_spaces(tmp_path, text, expected):
    schema = only_schema(tmp_path, text)
    assert schema[:3] == expected
    assert schema.candidates == ['the trophy', 'The suitcase']


@pytest.mark.parametrize(
    'letter, answer',
    [('A', 0), ('B', 1), (' A. ', 0), ('B.  ', 1), ('\n A\n', 0), ('b', 1), ('a .', 0)],
)
def test_spellings_of_the_right_answer(tmp_path, letter, answer):
    assert only_schema(tmp_path, ('A', 'it', 'is'), letter=letter).answer == answer


def test_winograd_is_the_first_273_of_285(tmp_path):
    schemas = [schema_xml((f'text {n}', 'it', 'is')) for n in range(285)]
    winograd_file(tmp_path, *schemas)
    found = task_files.read_winograd(tmp_path)
    assert [s.before for s in found] == [f'text {n} ' for n in range(273)]
    winograd_file(tmp_path, *schemas[:284])
    reason = '284 schemas instead of 285'
    fails(task_files.read_winograd, tmp_path, command='winograd', reason=reason)


@pytest.mark.parametrize(
    'options, reason',
    [
        ({'letter': 'C'}, "schema 1 has the correct answer 'C'"),
        ({'letter': ''}, "schema 1 has the correct answer ''"),
        ({'letter': 'AB'}, "schema 1 has the correct answer 'AB'"),
        ({'candidates': ('one',)}, 'schema 1 has not .* two answers'),
        ({'candidates': ('one', 'two', 'three')}, 'schema 1 has not .* two answers'),
        ({'candidates': ('one', ' ')}, 'schema 1 has not .* two answers'),
        ({'text': ('A', ' ', 'is')}, 'schema 1 has not text, pronoun'),
        ({'text': ('', 'it', '\n')}, 'schema 1 has not text, pronoun'),
    ],
)
def test_winograd_names_the_bad_schema(tmp_path, options, reason):
    winograd_file(tmp_path, schema_xml(**{'text': ('A', 'it', 'is')} | options))
    fails(task_files.read_winograd, tmp_path, command='winograd', reason=reason, complete=False)


def test_winograd_that_is_cut_off_or_a_bomb(tmp_path):
    path = winograd_file(tmp_path, schema_xml(('A', 'it', 'is')))
    whole = path.read_bytes()
    for end in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:end])
        fails(
            task_files.read_winograd, tmp_path, command='winograd', reason='not XML', complete=False
        )
    path.write_bytes(whole + b' ' * 1_000_000)
    fails(
        task_files.read_winograd, tmp_path, command='winograd', reason='more than', complete=False
    )
    entities = b'<!ENTITY a "aaaaaaaaaa">' + b''.join(
        b'<!ENTITY %c "%s">' % (97 + n, b'&%c;' % (96 + n) * 10) for n in range(1, 12)
    )
    bomb = HEAD + b'<!DOCTYPE x [' + entities + b']><collection>&l;</collection>'
    path.write_bytes(bomb)
    fails(task_files.read_winograd, tmp_path, command='winograd', reason='.', complete=False)


# The manifest


def test_the_manifest_is_that_of_the_published_files():
    """Names, sizes and digests as they were published; a slip of the pen would stop every user."""
    published = {
        'lambada_test.jsonl': (1819752, '4aa8d02c', 'fabdb226'),
        'wikitext-2-v1.zip': (4475746, '92675f1d', '7ee817488c'),
        'wikitext-2-raw-v1.zip': (4721645, 'ef7edb56', '615435a11'),
        'wikitext-103-v1.zip': (190229076, '242ba0f2', '31539590'),
        'wikitext-103-raw-v1.zip': (191984949, '91c00ae2', '655a33794'),
        'ptb.test.txt': (449945, 'dd65dff3', 'b033728deee0'),
        'ptb.valid.txt': (399782, 'c9fe6985', '1cc34df1bf2'),
        'CBTest.tgz': (120547669, '932df0ca', '2e4a61e92'),
        'enwik8.zip': (36445475, '547994d9', '4932534bc'),
        'text8.zip': (31344016, 'a6640522', '7a38e5232'),
        '1-billion-word-language-modeling-benchmark-r13output.tar.gz': (
            1792209805,
            '01ba6038',
            'ae9e90a34e',
        ),
        'WSCollection.xml': (113235, '98c845a5', 'c9f58c91'),
        'lambada-dataset.tar.gz': (334527694, '8fbe4990', 'd082f2ad5d7'),
    }
    entries = {n: e for files in task_files.MANIFEST['sets'].values() for n, e in files.items()}
    assert set(entries) == set(published)
    for name, (size, start, end) in published.items():
        assert entries[name]['size'] == size
        sha256 = entries[name]['sha256']
        assert len(sha256) == 64 and sha256.startswith(start) and sha256.endswith(end)
        assert entries[name]['urls'][0].endswith('/' + name)
    assert entries['enwik8.zip']['members']['enwik8']['sha256'].endswith('2d582218c024a8')
    assert entries['text8.zip']['members']['text8']['md5'] == '3bea1919949baf155f99411df5fada7e'
    json.dumps(task_files.MANIFEST, allow_nan=False)
