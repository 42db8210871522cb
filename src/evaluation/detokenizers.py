r"""Turn the tokenized texts of the zero-shot tasks back into text as people write it.

Every set was tokenized in its own way, and a model that has read the web is surprised by ` @-@ `
and by a space before each full stop: the paper (section 3.1) gained 2.5 to 5 of perplexity with
"invertible de-tokenizers". Those here move spaces and undo what a tokenizer has put in place of a
sign. No word is changed: <unk>, and N for a number, are scored as they are.

A line is made from left to right in linear time: each token is close to the one before it, or has
a space there. Each docstring says what the tokenizer has lost, so that no rule can restore it.
Nothing is needed for enwik8 and text8, which are scored byte by byte as they are.
"""

import functools
import re

CLOSING = frozenset([*'.,;:!?%)]}', '...', '!!', '??', '?!', '!?', "''"])  # close to what is before
OPENING = frozenset([*'([{$£€#', '``', '`'])  # and to what follows
JOINED = {'@-@': '-', '@,@': ',', '@.@': '.'}
BETWEEN_NUMBERS = frozenset(':–/')
DOLLARS = frozenset(['US', 'NZ', 'HK', 'AU', 'CA'])  # whose $ follows without a space
SPELLED = {
    '-LRB-': '(',
    '-RRB-': ')',
    '-LSB-': '[',
    '-RSB-': ']',
    '-LCB-': '{',
    '-RCB-': '}',
    '\\*': '*',
}
QUOTES = {'``': '"', "''": '"', '`': "'"}
PENN_SUFFIX = re.compile(r"n't|'(?:s|d|m|ll|re|ve)", re.IGNORECASE)
PENN_PAIRS = {  # a word that was the end of one of these
    'na': ('gon', 'wan'),
    'ta': ('got',),
    'me': ('gim', 'lem'),
    'is': ("'t",),
    'was': ("'t",),
}
MOSES_SUFFIX = re.compile(r"'[^\W\d_]|n't$", re.IGNORECASE)
CURLY = str.maketrans('‘’“”', '\'\'""')


def wikitext(text):
    """WikiText, any number of lines: ` = = Career = = ` becomes `== Career ==`, ` @-@ ` a hyphen.

    Lost: on which side of ' and " the space was, where more than one reading is possible (a ' after
    an s is taken for a possessive unless a quotation is open, the rest for quotations; a " opens
    and closes by turns within a line); whether there were spaces around / and dashes (none between
    numbers, else both stay), in I/O or AT&T; the space after a colon between numbers (there is
    none, as in 10:30); a word after <unk>; repeated spaces.
    """
    return '\n'.join(wikitext_line(line.split()) for line in text.split('\n'))


def wikitext_line(tokens):
    level = 0
    while 2 * level + 2 < len(tokens) and tokens[level] == tokens[-1 - level] == '=':
        level += 1
    if not level:
        return ''.join(pieces(tokens))
    marks = '=' * level
    return f'{marks} {"".join(pieces(tokens[level:-level]))} {marks}'


def ptb(line):
    """A line of Mikolov's Penn Treebank: `did n't` becomes `didn't`, `$ N` becomes `$N`.

    Lost: capitals, punctuation and quotation marks, which were taken out; numbers and percent
    signs, which became N; the words after <unk>; whether it was cannot or can not.
    """
    return ''.join(pieces(line.split(), penn=True))


def one_billion(line):
    """A line of the One Billion Word Benchmark, with its punctuation close to the words.

    Lost: what `wikitext` cannot tell either of quotation marks, slashes, dashes, colons.
    """
    return ''.join(pieces(line.split()))


def lambada(text):
    """A passage of OpenAI's file as openai/gpt-2 issue 131 has it: a newline, then straight quotes.

    Lost: which quotes were curly, and the white space around the passage.
    """
    return '\n' + text.translate(CURLY).strip()


def lambada_plain(text):
    """A passage of LAMBADA's own file: `` and '' become ", and `do n't` becomes don't.

    Lost: capitals; paragraphs; what `cbt` cannot tell.
    """
    return ''.join(pieces(text.split(), penn=True))


@functools.lru_cache(maxsize=64)  # ten candidates share the sentences before the question
def cbt(text):
    """A sentence of the Children's Book Test, which Stanford CoreNLP tokenized.

    Lost: repeated spaces and line ends; whether there were spaces around -- (both stay) and
    whether it was cannot or can not; whether '' and `` were curly or straight.
    """
    return ''.join(pieces(text.split(), penn=True))


def pieces(tokens, penn=False):
    """The text of each token with the space that it needs before it; together they are the line.

    penn: whether the tokenizer was that of the Penn Treebank, with `` and '' for quotes and n't
    apart, or that of Moses, which parts a word before each apostrophe.
    """
    result, close, open_quotes = [], True, set()
    for i, token in enumerate(tokens):
        before = tokens[i - 1] if i else ''
        text = token
        if penn:
            text = SPELLED.get(token.upper(), token).replace('\\/', '/')  # -lrb- in LAMBADA
        left, right = sides(text, before, tokens[i + 1 : i + 2], open_quotes, penn)
        text = JOINED.get(text, QUOTES.get(text, text) if penn else text)
        result.append(text if close or left else ' ' + text)
        close = right
    return result


def sides(text, before, after, open_quotes, penn):
    """Whether a token is close to what is on its left, and on its right.

    before: the token before it, or ''. after: a list with the token after it, if there is one.
    open_quotes: the set of the marks that are open in this line, kept up to date here.
    """
    if text in JOINED:
        return True, True
    if text in BETWEEN_NUMBERS and before[-1:].isdigit() and after and after[0][:1].isdigit():
        return True, True
    if text in ('"', "'"):
        closes = text in open_quotes or text == "'" and (penn or before[-1:] in ('s', 'S'))
        (open_quotes.discard if closes else open_quotes.add)(text)
        return closes, not closes
    if text == '°':  # of temperatures, and of latitudes
        return after[:1] not in (['C'], ['F']), True
    if text in OPENING or text.endswith('$'):  # c$ and us$ in PTB
        return text == '$' and before in DOLLARS, True
    suffix = PENN_SUFFIX.fullmatch(text) if penn else MOSES_SUFFIX.match(text)
    pair = penn and before.lower() in PENN_PAIRS.get(text.lower(), ())
    return bool(text in CLOSING or suffix or pair), False
