"""Round trips: text -> the set's own tokenization, imitated here -> de-tokenized == text."""

import re
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from evaluation.detokenizers import (
    cbt,
    lambada,
    lambada_plain,
    one_billion,
    ptb,
    wikitext,
)

# The tokenizers

MOSES = re.compile(
    r"""<unk> | \.{2,} | --
    | (?<=[\w>])'[^\W\d_]+              # the 's of John's, the 'Brien of O'Brien
    | \d+(?:[.,]\d+)*(?![\w-])          # 1,250.50
    | (?:\w\.){2,} | (?:No|Dr|[A-Z])\.  # abbreviations keep their full stop
    | \w+(?:-\w+)*
    | \S""",
    re.VERBOSE,
)
PENN = re.compile(
    r"""<unk> | \.{3} | --
    | \b(?:gon|wan)(?=na\b) | \bgot(?=ta\b) | (?<!\w)'t(?=is\b|was\b)
    | \w+?(?=n't\b) | n't\b
    | (?<=[\w.>])'(?:s|d|m|ll|re|ve)\b
    | \d+(?:[.,:]\d+)*(?![\w-]) | (?:\w\.){2,}
    | \w+(?:[-/&]\w+)*
    | \S""",
    re.VERBOSE | re.IGNORECASE,
)
SPELLED = {'(': '-LRB-', ')': '-RRB-', '[': '-LSB-', ']': '-RSB-', '{': '-LCB-', '}': '-RCB-'}


def moses(text):
    """As the Moses scripts tokenize English: a word is parted before its apostrophe."""
    return ' '.join(MOSES.findall(text))


def wikitext_tokens(page):
    """WikiText: tokens of Moses with hyphens and the signs in numbers between at signs.

    Headings have their equals signs one by one; a space is at either end of every line.
    """
    lines = []
    for line in page.split('\n'):
        heading = re.fullmatch('(=+) (.*) =+', line)
        marks = f' {" ".join(heading[1])} ' if heading else ' '
        tokens = moses(heading[2] if heading else line)
        tokens = re.sub(r'(?<=\w)-(?=\w)', ' @-@ ', tokens)
        tokens = re.sub(r'(?<=\d)([,.])(?=\d)', r' @\1@ ', tokens)
        lines.append(marks + tokens + marks if tokens else ' ')
    return '\n'.join(lines)


def penn(text):
    """As the Penn Treebank's tokenizer does: `` and '' for quotes, n't and 's apart, -LRB-."""
    tokens = []
    for match in PENN.finditer(text):
        token, before = match[0], text[: match.start()][-1:]
        opens = before in ('', *' ([{"')
        if token == '"':
            token = '``' if opens else "''"
        elif token == "'" and opens and before != '"':
            token = '`'
        tokens.append(SPELLED.get(token, token))
    return ' '.join(tokens)


def mikolov(text):
    """As Mikolov prepared the Penn Treebank: lower-case, without punctuation, N for numbers."""
    tokens = [t for t in penn(text.lower()).split() if re.search(r"\w|^[$#]$|^'$", t)]
    return ' '.join(re.sub(r'^\d[\d.,]*(?=$|-)', 'N', t).replace('/', '\\/') for t in tokens)


# WikiText

PAGE = """
= Robert Boulter =

Robert Boulter is an English film, television and theatre actor. He had a guest-starring role.

== Career ==

=== 2000–2005 ===

In 2000, he was "Craig" in the episode "Teddy's Story", a part that didn't pay $1,250.50 (or £900).
The players' union wasn't asked; "why?" said O'Brien: it's 3:30, they've won 21–13, or 5–0!
It rose 12.5% to 30 °C at 48°N, 1,000,000 people (half [sic] under-25s) left... US$4.5 million.
The so-called 'new wave' came – he said – in the mid-1990s: "'new' became 'old'," she wrote.
<unk> <unk> and <unk>'s co-star, No. 5, #1, A.D. 70 & J. R. R. Tolkien's café in Łódź {sic}.
==== E = mc2 ====
"""


def test_wikitext_page():
    tokens = wikitext_tokens(PAGE)
    assert ' In 2000 , he was " Craig " in the episode " Teddy \'s Story " , ' in tokens
    assert ' $ 1 @,@ 250 @.@ 50 ( or £ 900 ) . \n' in tokens
    assert ' = = = 2000 – 2005 = = = \n' in tokens
    assert wikitext(tokens) == PAGE


@pytest.mark.parametrize(
    'tokens, text',
    [
        (' = Robert <unk> = ', '= Robert <unk> ='),
        (' = = = = A = = = = ', '==== A ===='),
        (' = A = = ', '= A = ='),  # not a heading, as its sides differ
        (' = ', '='),
        (' = = ', '= ='),
        (' = = = ', '= = ='),
        (' = a b ', '= a b'),
        (' = a = b ', '= a = b'),
        (' score : 5 , 5 – x ', 'score: 5, 5 – x'),
        (' a @-@ b @,@ c @.@ d ', 'a-b,c.d'),
        (' @-@ a @-@ ', '-a-'),
        (' the dogs \' " toys " ', 'the dogs\' "toys"'),
        (" ' 90s , o 'clock , rock 'n 'roll ", "'90s, o'clock, rock'n'roll"),
        (' a " b " c " d ', 'a "b" c "d'),
        (' ( [ a ] ) ', '([a])'),
        (' \u00a0a\u3000b ', 'a b'),
        ('', ''),
        (' \n \n', '\n\n'),
    ],
)
def test_wikitext_line_by_line(tokens, text):
    assert wikitext(tokens) == text


@pytest.mark.parametrize(
    'text, instead',
    [
        ("it means 'old'", "it means' old '"),
        ("the '90s and 'new' words", "the '90s and' new 'words"),
        ('6" and "more"', '6 "and" more "'),
        ('and/or', 'and / or'),
        ('AT&T', 'AT & T'),
        ('word–word', 'word – word'),
        ('C# and', 'C #and'),
        ('two  spaces', 'two spaces'),
    ],
)
def test_what_wikitext_cannot_restore(text, instead):
    """The losses that the docstring names: there is no telling from the tokens."""
    assert wikitext(wikitext_tokens(text)) == instead


# The others

NEWS = [
    "The U.S. economy, he said, didn't grow; \"we know it's hard,\" said O'Neill.",
    "Shares rose 3.5% to $1,250.75 (up £2) -- it's the companies' best year, isn't it?",
    '"We let folks know we\'re interested in them," he said: "that\'s all!"',
    'A well-known Wal-Mart spokesman [John] scored 5:30 and 3/4... then #2.',
]


@pytest.mark.parametrize('text', NEWS)
def test_one_billion_words(text):
    tokens = moses(text)
    assert tokens != text
    assert one_billion(tokens) == text


def test_one_billion_words_as_in_the_file():
    line = 'Wal-Mart \'s founder set out his vision : " Folks know we \'re interested , " he said .'
    assert one_billion(line) == (
        'Wal-Mart\'s founder set out his vision: "Folks know we\'re interested," he said.'
    )
    assert one_billion("it is n't , it wasn 't us-- ' cause -- ... ?") == (
        "it isn't, it wasn't us-- 'cause --...?"
    )


@pytest.mark.parametrize(
    'text, tokens',
    [
        ("no it wasn't black monday", "no it was n't black monday"),
        (
            "they've said it'll cost $N million or #N",
            "they 've said it 'll cost $ N million or # N",
        ),
        ("the u.s.'s traders' n/a at&t", "the u.s. 's traders ' n\\/a at&t"),
        ("<unk>'s wonnacott can't gonna", "<unk> 's wonnacott ca n't gon na"),
        ("i'm he'd we're N-year-old s&p", "i 'm he 'd we 're N-year-old s&p"),
    ],
)
def test_ptb(text, tokens):
    assert mikolov(text.replace('N', '17').upper()) == tokens
    assert ptb(f' {tokens} ') == text


def test_dollars_of_other_countries_are_one_token_in_the_treebank():
    assert ptb('about c$ N or us$ N a share') == 'about c$N or us$N a share'


BOOKS = [
    '"I don\'t (really) know," said he; "it\'s the King\'s -- no!"',
    "The ladies' hats weren't [so] {they'd say} cheap, 5% or $3, at 3:30?",
    "\"You're gonna see 'Hamlet' and you've gotta like it,\" she'll say: 'tis so.",
    "He paid 1,000 (one thousand)... I'm sure we couldn't.",
]


@pytest.mark.parametrize('text', BOOKS)
def test_cbt_and_the_original_lambada(text):
    tokens = penn(text)
    assert "n't" in tokens.split() or "'s" in tokens.split() or "''" in tokens.split()
    assert cbt(tokens) == text
    assert lambada_plain(penn(text).lower()) == text.lower()


def test_the_brackets_of_the_treebank():
    tokens = "-LRB- a -RRB- -LSB- b -RSB- -LCB- c -RCB- 1\\/2 \\* ` d ' -lrb- e -rrb-"
    assert cbt(tokens) == "(a) [b] {c} 1/2 * 'd' (e)"


def test_words_that_begin_like_an_ending_stay_apart():
    assert cbt("go 'mid 'dear 'sblood 'em , n'ts") == "go 'mid 'dear 'sblood 'em, n'ts"


@pytest.mark.parametrize(
    'text, expected',
    [
        ('“Go,” she said.\n\n‘No,’ he said to Ann', '\n"Go," she said.\n\n\'No,\' he said to Ann'),
        ('  \n one  two \t', '\none  two'),
        ("`` no '' — “ ", "\n`` no '' — \""),
    ],
)
def test_lambada_of_openai(text, expected):
    assert lambada(text) == expected


# All of them

PLAIN_WORDS = st.from_regex(r'[a-z]{1,8}', fullmatch=True)
WORDS = st.one_of(
    PLAIN_WORDS,
    st.sampled_from(["don't", "it's", "we'll", "O'Neill", 'well-known', 'U.S.', 'café', '<unk>']),
    st.integers(0, 10**9).map('{:,}'.format),
    st.floats(0, 999).map('{:.2f}%'.format),
    st.integers(1, 99).map('${}'.format),
)
PHRASES = st.lists(WORDS, min_size=1, max_size=6).map(' '.join)
CLAUSES = st.one_of(
    PHRASES, PHRASES.map('({})'.format), PHRASES.map('"{}"'.format), PHRASES.map('[{}]'.format)
)
SIGNS = st.sampled_from([', ', '; ', ': ', ' ', ' -- '])
SENTENCES = st.builds(
    lambda clauses, end: ''.join(map(''.join, clauses)) + end,
    st.lists(st.tuples(CLAUSES, SIGNS), min_size=1, max_size=5),
    st.sampled_from(['end.', 'end!', 'end?']),
)


@settings(max_examples=100, deadline=None)
@given(SENTENCES)
def test_any_sentence_of_these_parts_comes_back(sentence):
    assume(not re.search(r'\d: \d', sentence))  # has the tokens of a time of day
    assert wikitext(wikitext_tokens(sentence)) == sentence
    assert one_billion(moses(sentence)) == sentence
    treebank = sentence.replace("O'Neill", 'Neill')
    assert cbt(penn(treebank)) == treebank


TOKENS = st.lists(
    st.one_of(
        PLAIN_WORDS,
        st.text(min_size=1, max_size=3),
        st.sampled_from(
            [*'.,;:!?%()[]{}$£#"\'=', '``', "''", "n't", "'s", '@-@', '--', '<unk>', 'N']
        ),
    ),
    max_size=20,
)
ALL = [wikitext, one_billion, ptb, lambada_plain, cbt]
UNDONE = [('@-@', '-'), ('@,@', ','), ('@.@', '.'), ('\\/', '/'), ('\\*', '*'), ('``', '"')]
UNDONE += [("''", '"'), ('`', "'"), *((spelled, sign) for sign, spelled in SPELLED.items())]


def letters(text):
    return ''.join(re.sub(r'\s', '', text))


@settings(max_examples=100, deadline=None)
@given(TOKENS)
def test_only_spaces_and_marks_change(tokens):
    plain = [token for token in tokens if not any(mark in token for mark, _ in UNDONE)]
    for detokenize in ALL:
        line = ' '.join(plain)
        text = detokenize(line)
        assert letters(text) == letters(line)
        assert detokenize(f' {line} ') == text  # whatever is around the line


def test_what_a_line_holds_does_not_reach_the_next():
    assert wikitext('a " b\na " b') == 'a "b\na "b'


@pytest.mark.parametrize(
    'unit',
    ['" ', "' ", '= ', '= a ', "s ' ", '( ', '@-@ ', 'word ', "'s ", '`` ', 'a', '\n', '$ 1 '],
)
@pytest.mark.parametrize('detokenize', [wikitext, cbt, lambada], ids=lambda f: f.__name__)
def test_the_time_is_linear_whatever_is_repeated(detokenize, unit):
    text = unit * (200_000 // len(unit))
    start = time.process_time()
    detokenize(text)
    assert time.process_time() - start < 2  # a hundred times as long if it were quadratic


def test_every_detokenizer_says_what_is_lost():
    for function in [*ALL, lambada]:
        assert re.search(r'^ *Lost: ', function.__doc__, re.MULTILINE)
