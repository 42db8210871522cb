"""The stories of CNN and the Daily Mail (Hermann et al. 2015): news articles with their highlights.

No TensorFlow.
"""

import gzip
import hashlib
import os
import tarfile
import zlib
from typing import NamedTuple

from tqdm import tqdm

from evaluation.data_files import DataFile
from support.documents import decode

ARCHIVES = ('cnn_stories.tgz', 'dailymail_stories.tgz')
DAMAGED = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError)
HIGHLIGHT = '@highlight'
# What a highlight may end with; any other gets a full stop.
ENDS = ('.', '!', '?', "'", '"', '\u2019', '\u201d', ')', '`')


class Story(NamedTuple):
    """An article and what its editors wrote as its summary."""

    id: str  # the SHA-1 of its address
    paragraphs: list  # str; headings and captions are some, too
    highlights: list  # str, sentences


def read_stories(data_dir='data', complete=True):
    """The test split of CNN/Daily Mail, a list of Story, in the order of all_test.txt.

    A line of that file is an address; its SHA-1 names a file of one of the two archives, which are
    read in one pass each and never unpacked. A story without article or without highlights is left
    out: there is nothing to summarize, or nothing to compare with.
    """
    file = DataFile(data_dir, 'cnndm', 'all_test.txt', complete)
    with file.complaints():
        addresses = list(filter(None, map(str.strip, file.lines())))
        file.require(len(addresses), 'stories')
    names = [hashlib.sha1(address.encode('utf-8')).hexdigest() for address in addresses]
    names = list(dict.fromkeys(names))
    texts = {}
    for archive in ARCHIVES:
        if not set(names) - texts.keys():
            break  # as of an extract of one of the two
        file = DataFile(data_dir, 'cnndm', archive, complete)
        with file.complaints():
            if complete:
                file.require(os.path.getsize(file.path), 'size')
            texts |= members(file.path, set(names) - texts.keys())
    with file.complaints():
        missing = [name for name in names if name not in texts]
        if missing and (complete or not texts):
            both = ' and '.join(ARCHIVES)
            raise ValueError(f'{both} lack {len(missing):,} stories, such as {missing[0]}.story')
    stories = [story(name, texts[name]) for name in names if name in texts]
    return [s for s in stories if s.paragraphs and s.highlights]


def members(path, wanted):
    """The texts of some stories, {name: str}.

    path: of a .tgz file with members FOLDERS/NAME.story.  wanted: a set of names.
    """
    texts = {}
    size = os.path.getsize(path)
    bar = tqdm(total=size, desc=f'reading {path}', unit='B', unit_scale=True, disable=None)
    try:
        # tarfile's own 'r|gz' ends in an AttributeError for some damage before Python 3.12.
        with bar, open(path, 'rb') as f, gzip.open(f) as unzipped:
            with tarfile.open(fileobj=unzipped, mode='r|') as tar:
                while len(texts) < len(wanted) and (member := tar.next()):
                    tar.members.clear()  # else it holds on to 200,000 of them
                    name = member.name.rpartition('/')[2].removesuffix('.story')
                    if name in wanted and member.isfile():
                        texts[name] = decode(tar.extractfile(member).read(), member.name)
                    bar.update(f.tell() - bar.n)
    except DAMAGED as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f'it is damaged ({reason})') from error
    return texts


def story(name, text):
    """The Story in a .story file: paragraphs, then highlights, each after a line @highlight.

    Blank lines are between all of them.
    """
    paragraphs, highlights = [], []
    found = paragraphs
    for line in map(str.strip, text.split('\n')):
        if line.startswith(HIGHLIGHT):
            found, line = highlights, line.removeprefix(HIGHLIGHT).strip()
        if line:
            found.append(line)
    return Story(name, paragraphs, list(map(ended, highlights)))


def ended(highlight):
    return highlight if highlight.endswith(ENDS) else highlight + '.'
