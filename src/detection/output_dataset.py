"""OpenAI's gpt-2-output-dataset: its files, and what is known of them. No TensorFlow."""

import difflib
import json
import os
import typing

from detection.records import SPLITS

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'output_dataset.json')
MODELS = {'124M': 'small-117M', '355M': 'medium-345M', '774M': 'large-762M', '1558M': 'xl-1542M'}


class PublishedFile(typing.NamedTuple):
    """A file of the data set.

    collection: its folder.  addresses: where it is.  predicted_size: about so many bytes.
    size, sha256: published; None of most files.  what: of which kind its texts are.
    """

    name: str
    source: str
    collection: str
    addresses: tuple
    predicted_size: int
    size: int | None
    sha256: str | None
    what: str

    @property
    def place(self):
        return f'{self.collection}/{self.name}'


def published_files(sources, splits):
    """The files of these sources and splits, a list of PublishedFile, each once.

    sources: names with commas between; the name of a collection stands for all of its sources, all
        for those of v1; models may be named as they are called now (124M-k40).
    splits: some of SPLITS with commas between.
    Raises ValueError for a name that is none.
    """
    with open(FILE, encoding='utf-8') as f:
        manifest = json.load(f)
    collections = manifest['collections']
    known = {name: [(c, name)] for c, names in collections.items() for name in names}
    for collection, names in collections.items():
        known[collection] = [(collection, name) for name in names]
    known['all'] = known['v1']
    for new, old in MODELS.items():
        suffixed = [name for name in collections['v1'] if name.startswith(old)]
        known |= {name.replace(old, new): known[name] for name in suffixed}
    found = {}
    for source in chosen(sources, known, 'source', ['all', *collections, *known_sources(manifest)]):
        found |= dict.fromkeys(known[source])
    wanted = chosen(splits, SPLITS, 'split', SPLITS)
    return [published(manifest, *source, split) for source in found for split in wanted]


def known_sources(manifest):
    return [name for names in manifest['collections'].values() for name in names]


def chosen(text, known, kind, menu):
    """The names in a text; ValueError, with what there is, for none and for one that is unknown."""
    names = [name.strip() for name in (text or '').split(',') if name.strip()]
    if not names:
        raise ValueError(f'name at least one {kind} with --{kind}s: {", ".join(menu)}')
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f', did you mean {near[0]}?' if near else ''
            raise ValueError(f'unknown {kind} {name!r}{hint} (there are: {", ".join(menu)})')
    return names


def published(manifest, collection, source, split):
    name = f'{source}.{split}.jsonl'
    known = manifest['known'].get(name, {})
    return PublishedFile(
        name=name,
        source=source,
        collection=collection,
        addresses=tuple(f'{base}/{collection}/{name}' for base in manifest['bases']),
        predicted_size=manifest['splits'][split]['predicted_size'],
        size=known.get('size'),
        sha256=known.get('sha256'),
        what=manifest['collections'][collection][source],
    )


def check_records(path):
    """Raise ValueError unless a file begins and ends with a record, as no page of a server does."""
    with open(path, 'rb') as f:
        lines = [f.readline()]
        f.seek(max(os.path.getsize(path) - 2**20, 0))  # a record has at most some thousand bytes
        lines.append(f.read().rstrip(b'\n').rsplit(b'\n', 1)[-1])
    for line in lines:
        try:
            record = json.loads(line)
            whole = isinstance(record['text'], str) and isinstance(record['id'], int)
        except (ValueError, KeyError, TypeError, RecursionError):
            whole = False
        if not whole:
            raise ValueError('it holds no records of the data set')
