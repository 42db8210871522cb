"""The files of the zero-shot tasks, read into examples. No TensorFlow.

Where they lie below the data folder and how much they hold is in evaluation_files.json;
download_data.py brings them. Texts come as the files have them: see detokenizers.py for the rest.

Every reader takes
data_dir: the folder with a folder for each set; `~` and environment variables are expanded.
complete: whether a file that holds less or more than was published is an error; False is for
    extracts of these files.
and raises ValueError, with the command that fetches the file, if it is missing or not right.
"""

import contextlib
import json
import os
import re
from typing import NamedTuple
from xml.etree import ElementTree

from model_files import expand, shell_word
from text_files import decode, texts_of

with open(os.path.join(os.path.dirname(__file__), 'evaluation_files.json'), encoding='utf-8') as f:
    MANIFEST = json.load(f)
LAMBADA_FILES = {  # version: set, file
    'openai': ('lambada', 'lambada_test.jsonl'),
    'plain': ('lambada_plain', 'lambada_test_plain_text.txt'),
}
CBT_KINDS = ('CN', 'NE')  # common nouns, named entities
SENTENCES = 20  # before the one with the blank
BLANK = 'XXXXX'
CANDIDATES = 10
WIKITEXTS = (2, 103)
PTB_SPLITS = ('test', 'valid')
TEXT8_ALPHABET = b' abcdefghijklmnopqrstuvwxyz'
TEST_SHARE = 20  # enwik8 and text8: the last twentieth is the test split
SCHEMAS = 273  # of Winograd's; what follows in the file was added later
LARGEST_XML = 1_000_000  # bytes; the published file has a ninth of that
NEAR = re.compile(r'[,.;:!?\')\]-]')  # a text that begins so stands close to the word before it


class ClozeQuestion(NamedTuple):
    """A question of the Children's Book Test, all of it as the file has it: tokens and spaces."""

    context: list  # 20 sentences, str
    query: str  # the sentence behind them, with XXXXX in place of a word
    answer: str
    candidates: list  # 10 words, str, the answer among them


class Schema(NamedTuple):
    """A Winograd schema: before + pronoun + after is its text, white space made single spaces."""

    before: str  # ends with a space, or is empty
    pronoun: str
    after: str  # begins with a space or with punctuation
    candidates: list  # 2 phrases, str
    answer: int  # index into candidates


def read_lambada(data_dir='data', version='openai', complete=True):
    """The passages of LAMBADA's test split, a list of str; the last word of each is the question.

    version: 'openai' for the file that came with GPT-2, of texts as in the books; 'plain' for the
        one of the authors of LAMBADA, of lower-case tokens with spaces between.
    """
    file = DataFile(data_dir, *choice('version', version, LAMBADA_FILES), complete)
    with file.complaints():
        passages = list(texts_of(file.path)) if version == 'openai' else file.lines()
        file.require(len(passages), 'passages')
        for number, passage in enumerate(passages, start=1):
            if len(passage.split()) < 2:
                raise ValueError(f'passage {number} has no word to predict and words before it')
    return passages


def read_cbt(data_dir='data', kind='CN', complete=True):
    """The validation questions of the Children's Book Test, a list of ClozeQuestion.

    kind: 'CN' for common nouns, 'NE' for named entities.
    A question is 21 numbered lines; the last one has the query, the answer, nothing, and the
    candidates with | between, separated by tabs. Blank lines stand between questions.
    """
    choice('kind', kind, dict.fromkeys(CBT_KINDS))
    file = DataFile(data_dir, 'cbt', f'cbtest_{kind}_valid_2000ex.txt', complete)
    with file.complaints():
        lines = [(n, line) for n, line in enumerate(file.lines(), start=1) if line.strip()]
        questions = [
            cloze_question(lines[start : start + SENTENCES + 1])
            for start in range(0, len(lines), SENTENCES + 1)
        ]
        file.require(len(questions), 'questions')
    return questions


def cloze_question(lines):
    """A ClozeQuestion from its lines, a list of (number in the file, text)."""
    texts = []
    for expected, (number, line) in enumerate(lines, start=1):
        found = re.match(r'(\d+) ', line)
        if not found or int(found[1]) != expected:
            raise ValueError(f'line {number} does not begin with {expected} and a space')
        texts.append(line[found.end() :])
    if len(texts) <= SENTENCES:
        raise ValueError(f'the last question ends after {len(texts)} of {SENTENCES + 1} lines')
    fields = texts.pop().split('\t')
    place = f'line {lines[-1][0]}'
    if len(fields) < 3:
        raise ValueError(f'{place} has no query, answer and candidates with tabs between')
    query, answer, candidates = fields[0].strip(), fields[1].strip(), fields[-1].split('|')
    candidates = [candidate.strip() for candidate in candidates]
    if BLANK not in query:
        raise ValueError(f'{place} has no {BLANK} in its query')
    if len(candidates) != CANDIDATES or answer not in candidates:
        raise ValueError(
            f'{place} has {len(candidates)} candidates'
            + f', and its answer {answer!r} is none of them' * (answer not in candidates)
        )
    return ClozeQuestion([text.strip() for text in texts], query, answer, candidates)


def read_wikitext(data_dir='data', size=2, raw=True, complete=True):
    """The test split of WikiText, a str: lines that begin and end with a space, and ` \\n` between.

    size: 2 or 103. raw: with all words (wiki.test.raw), or with <unk> for rare ones
    (wiki.test.tokens).
    """
    choice('size', size, dict.fromkeys(WIKITEXTS))
    name = 'wiki.test.raw' if raw else 'wiki.test.tokens'
    file = DataFile(data_dir, f'wikitext{size}', name, complete)
    with file.complaints():
        text = file.text()
        file.require(text.count('\n') + (not text.endswith('\n')), 'lines')
        if not re.search(r'^ = .+ = $', text, re.MULTILINE):
            raise ValueError('it has no heading of the form " = Title = "')
    return text


def read_ptb(data_dir='data', split='test', complete=True):
    """The sentences of the Penn Treebank as Mikolov prepared it, a list of str.

    split: 'test' or 'valid'. The spaces at either end of a line are left out.
    """
    choice('split', split, dict.fromkeys(PTB_SPLITS))
    file = DataFile(data_dir, 'ptb', f'ptb.{split}.txt', complete)
    with file.complaints():
        lines = [line.strip() for line in file.lines()]
        file.require(len(lines), 'lines')
        if not all(lines):
            raise ValueError(f'line {lines.index("") + 1} is empty')
    return lines


def read_one_billion(data_dir='data', complete=True):
    """The sentences of the One Billion Word Benchmark's first held-out shard, a list of str."""
    file = DataFile(data_dir, '1bw', 'news.en.heldout-00000-of-00050', complete)
    with file.complaints():
        text = file.text()
        if complete and not text.endswith('\n'):
            raise ValueError('its last line is cut off')
        return [line for line in map(str.strip, text.split('\n')) if line]


def read_enwik8(data_dir='data', complete=True):
    """The test split of enwik8, bytes: the last 5,000,000 of 100,000,000."""
    file = DataFile(data_dir, 'enwik8', 'enwik8', complete)
    with file.complaints():
        return last_part(file)


def read_text8(data_dir='data', complete=True):
    """The test split of text8, a str of a-z and spaces: the last 5,000,000 of 100,000,000."""
    file = DataFile(data_dir, 'text8', 'text8', complete)
    with file.complaints():
        data = last_part(file)
        strange = data.translate(None, TEXT8_ALPHABET)
        if strange:
            raise ValueError(f'it has the byte {strange[:1]!r}, which is neither a-z nor a space')
    return data.decode('ascii')


def last_part(file):
    size = os.path.getsize(file.path)
    file.require(size, 'size')
    with open(file.path, 'rb') as f:
        f.seek(size - size // TEST_SHARE)
        data = f.read()
    if not data:
        raise ValueError(f'{size} bytes are too few to hold a test split')
    return data


def read_winograd(data_dir='data', complete=True):
    """The first 273 schemas of the Winograd Schema Challenge, a list of Schema."""
    file = DataFile(data_dir, 'winograd', 'WSCollection.xml', complete)
    with file.complaints():
        if os.path.getsize(file.path) > LARGEST_XML:
            raise ValueError(f'it has more than {LARGEST_XML:,} bytes')
        try:
            elements = ElementTree.parse(file.path).getroot().findall('schema')
        except ElementTree.ParseError as error:
            raise ValueError(f'it is not XML ({error})') from error
        file.require(len(elements), 'schemas')
        return [schema(number, e) for number, e in enumerate(elements[:SCHEMAS], start=1)]


def schema(number, element):
    """The Schema in an element of the file."""
    before, pronoun, after, letter = (
        ' '.join(element.findtext(path, '').split())
        for path in ('text/txt1', 'text/pron', 'text/txt2', 'correctAnswer')
    )
    candidates = [' '.join((e.text or '').split()) for e in element.findall('answers/answer')]
    answer = {'A': 0, 'B': 1}.get(letter.rstrip('. ').upper())
    if not pronoun or not (before or after) or len(candidates) != 2 or not all(candidates):
        raise ValueError(f'schema {number} has not text, pronoun and two answers')
    if answer is None:
        raise ValueError(f'schema {number} has the correct answer {letter!r}, neither A nor B')
    if before:
        before += ' '
    if after and not NEAR.match(after):
        after = ' ' + after
    return Schema(before, pronoun, after, candidates, answer)


def choice(name, value, choices):
    if value not in choices:
        raise ValueError(f'{name} is {value!r}, not one of {", ".join(map(str, choices))}')
    return choices[value]


class DataFile:
    """A file of a set, and what evaluation_files.json says of it."""

    def __init__(self, data_dir, set_name, name, complete):
        self.data_dir, self.set_name, self.complete = data_dir, set_name, complete
        self.path = os.path.join(expand(data_dir), set_name, name)
        self.known = known_files(MANIFEST['sets'][set_name])[name]

    @contextlib.contextmanager
    def complaints(self):
        """Say in an error which file it is about, and how to get the right one."""
        where = '' if self.data_dir == 'data' else f' --data_dir {shell_word(str(self.data_dir))}'
        remedy = f'get it with: python3 download_data.py {self.set_name}{where}'
        try:
            yield
        except FileNotFoundError:
            raise ValueError(f'there is no {self.path}; {remedy}') from None
        except OSError as error:
            raise ValueError(f'{self.path} cannot be read ({error.strerror}); {remedy}') from error
        except ValueError as error:
            reason = str(error).removeprefix(self.path).lstrip(': ')
            raise ValueError(f'{self.path} is not right: {reason}; {remedy}') from error

    def text(self):
        with open(self.path, 'rb') as f:
            text = decode(f.read(), self.path)
        if not text.strip():
            raise ValueError('it is empty')
        return text

    def lines(self):
        r"""The lines, without their ends, which are \n or \r\n."""
        return [line.removesuffix('\r') for line in self.text().removesuffix('\n').split('\n')]

    def require(self, found, unit):
        """Raise ValueError if the file holds nothing, or not as much as was published."""
        published = self.known.get(unit)
        unit = 'bytes' if unit == 'size' else unit
        if not found:
            raise ValueError(f'it has no {unit}')
        if self.complete and published not in (None, found):
            raise ValueError(f'it has {found:,} {unit} instead of {published:,}')


def known_files(downloads):
    """What is known of the files of a set, by name, those unpacked from archives included."""
    known = {}
    for name, download in downloads.items():
        members = download.get('members')
        known |= {m['file']: m for m in members.values()} if members else {name: download}
    return known
