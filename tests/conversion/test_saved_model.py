"""A SavedModel in a process that knows nothing of this project, and in a program in C."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from export import export
from generation.engine import Engine
from helpers import numpy_gpt2
from helpers.paths import ROOT, TESTDATA
from support.settings import Settings

READER = """
import json, sys
import numpy as np, tensorflow as tf
signatures = tf.saved_model.load(sys.argv[1]).signatures
numbers = dict(temperature=1., top_p=1., min_p=0., typical_p=1., repetition_penalty=1.)
inputs = {name: tf.constant(value, tf.float32) for name, value in numbers.items()}
inputs |= {name: tf.constant(value) for name, value in dict(
    context=[[1, 2, 3], [0, 0, 9]], prompt_lengths=[3, 1], length=8, top_k=40, end_token=-1
).items()}
inputs |= {name: tf.constant(value, tf.int64) for name, value in
           dict(seed=5, first_sample=0).items()}
tokens = tf.constant([[7, 8, 9, 10]])
print(json.dumps({
    'logits': signatures['serving_default'](tokens=tokens)['logits'][0].numpy().tolist(),
    'logprobs': signatures['logprobs'](tokens=tokens)['logprobs'][0].numpy().tolist(),
    'generated': signatures['generate'](**inputs)['all_tokens'].numpy().tolist(),
}))
"""


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """The demo model as a SavedModel."""
    folder = tmp_path_factory.mktemp('exported') / 'demo'
    export('demo', str(folder), str(ROOT / 'models'))
    return folder


@pytest.fixture(scope='module')
def generated():
    """What the engine continues the prompts of READER with."""
    settings = Settings(length=8, top_k=40, seed=5)
    with Engine('demo', str(ROOT / 'models')) as engine:
        return engine.generate([[1, 2, 3], [9]], settings)


def test_another_process_computes_and_generates_the_same(exported, generated):
    command = [sys.executable, '-c', READER, str(exported / '1')]
    done = subprocess.run(command, capture_output=True, encoding='utf-8', timeout=120)
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout.splitlines()[-1])
    weights = numpy_gpt2.load_weights(ROOT / 'models' / 'demo' / 'model.ckpt')
    logits = numpy_gpt2.logits(weights, [7, 8, 9, 10], 6)
    np.testing.assert_allclose(theirs['logits'], logits, atol=1e-3)
    p = numpy_gpt2.softmax(logits.astype(np.float64))
    logprobs = np.log(p[[0, 1, 2], [8, 9, 10]])
    np.testing.assert_allclose(theirs['logprobs'], logprobs, atol=1e-3)
    assert theirs['generated'] == [[1, 2, 3, *generated[0]], [0, 0, 9, *generated[1]]]


def test_its_readme_names_every_tensor(exported):
    text = (exported / 'README.txt').read_text('utf-8')
    assert text.startswith('demo: a GPT-2 as a SavedModel of TensorFlow, in 1/\n')
    for name in ('serving_default', 'logprobs', 'generate'):
        assert f'signature {name}\n' in text
    assert re.search(r'in  prompt_lengths +prompt_lengths:0 +int32 \[\?\]', text)
    assert re.search(r'out logits +\S+:0 +float32 \[\?, \?, 4096\]', text)
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('gcc') is None, reason='there is no gcc')
def test_a_program_in_c_generates_the_same(exported, generated, tmp_path):
    import tensorflow as tf

    include = tf.sysconfig.get_include()
    library = tf.sysconfig.get_lib()
    program = str(tmp_path / 'program')
    command = ['gcc', str(TESTDATA / 'saved_model.c'), '-o', program, f'-I{include}']
    command += [f'-L{library}', '-l:libtensorflow_cc.so.2', '-l:libtensorflow_framework.so.2']
    subprocess.run([*command, f'-Wl,-rpath,{library}'], check=True)
    text = (exported / 'README.txt').read_text('utf-8')
    output = re.search(r'out all_tokens +(\S+):0', text)[1]
    done = subprocess.run(
        [program, str(exported / '1'), output], capture_output=True, encoding='utf-8', timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(map(int, done.stdout.split())) == [1, 2, 3, *generated[0]]
