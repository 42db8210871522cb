"""What is written, read by transformers, keras-hub and llama.cpp, each in a process of its own."""

import dataclasses
import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest

from conversion.kinds import write_model
from conversion.model import Tensor
from encoder import get_encoder
from helpers import numpy_gpt2
from helpers.paths import ROOT, TESTDATA

pytestmark = pytest.mark.peers
MOBY_DICK = TESTDATA / 'moby_dick_chapters_1_to_19.txt'
TRANSFORMERS = """
import json, sys
import torch, transformers
folder, text = sys.argv[1:]
model, info = transformers.GPT2LMHeadModel.from_pretrained(
    folder, output_loading_info=True, dtype=torch.float32
)
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
ids = tokenizer(open(text, encoding='utf-8').read())['input_ids']
tokens = torch.tensor([ids[:100]])
greedy = model.generate(tokens[:, :20], do_sample=False, max_new_tokens=40, min_new_tokens=40)
print(json.dumps({
    'wrong': [name for name, keys in info.items() if keys],
    'ids': ids,
    'logits': model(tokens).logits[0].tolist(),
    'greedy': greedy[0, 20:].tolist(),
    'special': tokenizer('a<|pad|>b<|endoftext|>')['input_ids'],
    'end': [model.generation_config.eos_token_id, tokenizer.eos_token_id],
}))
"""
KERAS_HUB = """
import json, sys
import numpy as np, keras_hub
model = keras_hub.models.GPT2Backbone.from_preset(sys.argv[1])
tokens = np.array([json.loads(sys.argv[2])])
states = model({'token_ids': tokens, 'padding_mask': np.ones_like(tokens)})
embedding = np.asarray(model.token_embedding.embeddings)
print(json.dumps((np.asarray(states)[0] @ embedding.T).tolist()))
"""
LLAMA = """
import json, sys
import llama_cpp
path, text = sys.argv[1:]
model = llama_cpp.Llama(path, n_ctx=256, verbose=False)
ids = model.tokenize(open(text, 'rb').read()[:400], add_bos=False)
greedy = []
for token in model.generate(ids[:20], temp=0):
    greedy.append(token)
    if len(greedy) == 40:
        break
print(json.dumps({'ids': ids, 'greedy': greedy}))
"""


def answer(program, *arguments):
    """What a program prints, in a process of its own: two of these libraries may not fit in one."""
    command = [sys.executable, '-c', program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, encoding='utf-8', timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope='module')
def weights():
    weights = numpy_gpt2.load_weights(ROOT / 'models' / 'demo' / 'model.ckpt')
    return {name: array.astype(np.float64) for name, array in weights.items()}


def greedy(weights, tokens, n):
    tokens = list(tokens)
    for _ in range(n):
        tokens.append(int(numpy_gpt2.logits(weights, tokens, 6)[-1].argmax()))
    return tokens[-n:]


@pytest.mark.parametrize(('dtype', 'error'), [('float32', 1e-3), ('bfloat16', 0.5)])
def test_transformers_computes_the_same(demo, weights, tmp_path, dtype, error):
    folder = tmp_path / 'model'
    write_model(demo, 'hugging_face', str(folder), dtype)
    theirs = answer(TRANSFORMERS, folder, MOBY_DICK)
    assert theirs['wrong'] == []
    assert theirs['end'] == [4095, 4095]
    ids = get_encoder('demo', str(ROOT / 'models')).encode(MOBY_DICK.read_text('utf-8'))
    assert theirs['ids'] == ids
    logits = numpy_gpt2.logits(weights, ids[:100], 6)
    np.testing.assert_allclose(theirs['logits'], logits, atol=error)
    if dtype == 'float32':
        assert theirs['greedy'] == greedy(weights, ids[:20], 40)


def test_transformers_knows_added_tokens(demo, tmp_path):
    width = demo.hparams.n_embd

    def rows(start, stop):
        old = demo.tensors['model/wte'].rows(start, min(stop, 4096))
        return np.concatenate([old, np.zeros((stop - start - len(old), width), np.float32)])

    model = dataclasses.replace(
        demo,
        hparams=dataclasses.replace(demo.hparams, n_vocab=4097),
        tensors=demo.tensors | {'model/wte': Tensor((4097, width), rows)},
        vocabulary=demo.vocabulary._replace(encoder=demo.vocabulary.encoder | {'<|pad|>': 4096}),
    )
    write_model(model, 'hugging_face', str(tmp_path / 'model'))
    theirs = answer(TRANSFORMERS, tmp_path / 'model', MOBY_DICK)
    assert theirs['wrong'] == []
    encoder = demo.vocabulary.encoder
    assert theirs['special'] == [encoder['a'], 4096, encoder['b'], 4095]


@pytest.mark.skipif(importlib.util.find_spec('keras_hub') is None, reason='pip install keras-hub')
def test_keras_hub_computes_the_same(demo, weights, tmp_path):
    write_model(demo, 'hugging_face', str(tmp_path / 'model'))
    tokens = list(range(7, 57))
    theirs = answer(KERAS_HUB, tmp_path / 'model', tokens)
    np.testing.assert_allclose(theirs, numpy_gpt2.logits(weights, tokens, 6), atol=1e-3)


def test_llama_cpp_writes_the_same(demo, weights, tmp_path):
    pytest.importorskip('llama_cpp')
    path = tmp_path / 'demo.gguf'
    write_model(demo, 'gguf', str(path))
    theirs = answer(LLAMA, path, MOBY_DICK)
    text = MOBY_DICK.read_bytes()[:400].decode('utf-8')
    assert theirs['ids'] == get_encoder('demo', str(ROOT / 'models')).encode(text)
    assert theirs['greedy'] == greedy(weights, theirs['ids'][:20], 40)
