"""How much memory a conversion takes, at the largest sizes of the release."""

import json
import math
import os
import struct
import subprocess
import sys

import pytest

from conversion import names
from conversion.model import shapes_of
from conversion.vocabulary import merges_text
from encoder import bytes_to_unicode
from helpers.paths import ROOT
from hparams import HParams

# The 1558M with 4 of its 48 layers: more bytes than may be in memory, of which most are embeddings.
SIZES = HParams(n_vocab=50257, n_ctx=1024, n_embd=1600, n_head=25, n_layer=4)
LARGEST = 4 * SIZES.n_vocab * SIZES.n_embd  # bytes of a tensor
RUNTIME = 100e6  # bytes that Python and the libraries take
CONVERT = """
import re, sys
sys.path.insert(0, 'src')
from convert import convert
convert(*sys.argv[1:3], dtype=sys.argv[3])
print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])
"""


@pytest.fixture
def folder(tmp_path):
    """A folder of Hugging Face with these sizes, whose zeros take no place on the disk."""
    header, end = {}, 0
    for name, shape in shapes_of(SIZES).items():
        start, end = end, end + 4 * math.prod(shape)
        header[names.hugging_face(name)] = {
            'dtype': 'F32', 'shape': shape, 'data_offsets': [start, end]
        }  # fmt: skip
    text = json.dumps(header).encode()
    path = tmp_path / 'model'
    path.mkdir()
    with open(path / 'model.safetensors', 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text)
        file.truncate(8 + len(text) + end)
    sizes = SIZES.values()
    config = {'vocab_size': sizes.pop('n_vocab'), 'n_positions': sizes.pop('n_ctx'), **sizes}
    (path / 'config.json').write_text(json.dumps(config), 'utf-8')
    tokens = [*bytes_to_unicode().values(), *(f'<{n}>' for n in range(SIZES.n_vocab - 256))]
    encoder = {token: i for i, token in enumerate(tokens)}
    (path / 'vocab.json').write_text(json.dumps(encoder), 'utf-8')
    (path / 'merges.txt').write_text(merges_text([]), 'utf-8')
    return path


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists('/proc/self/status'), reason='Linux tells the peak there')
def test_a_conversion_takes_no_more_than_its_largest_tensor(folder, tmp_path):
    pytest.importorskip('gguf')
    source = folder
    for target, dtype in (
        ('released', 'float32'),
        ('hugging_face', 'bfloat16'),
        ('x.gguf', 'float32'),
        ('q.gguf', 'q8_0'),
        ('from_gguf', 'float32'),
    ):
        command = [sys.executable, '-c', CONVERT, source, tmp_path / target, dtype]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding='utf-8', timeout=240)
        assert done.returncode == 0, done.stderr
        peak = 1024 * int(done.stdout.splitlines()[-1])
        assert peak < 1.3 * LARGEST + RUNTIME, (target, peak)
        source = tmp_path / target
