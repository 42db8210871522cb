"""An edited model.py: what it computes is never overruled, nor its speed lost for nothing."""

import ast
import json
import shutil
import subprocess
import sys

import pytest

from fast import trial
from fast.attention import attention_of_steps
from helpers.paths import SRC

# In one process, for each edit: model.py is written, all modules are imported anew, and a small
# model continues a short prompt, plainly and fast; after some edits one that is prefilled, too.
PROGRAM = """
import json, os, sys
source, models_dir, edits = sys.argv[1], sys.argv[2], json.load(open(sys.argv[3]))
sys.path.insert(0, source)
os.sched_getaffinity = lambda _: {0, 1}
answers = {}
for name, text in edits.items():
    with open(source + '/model.py', 'w') as file:
        file.write(text)
    for module, value in list(sys.modules.items()):
        if str(getattr(value, '__file__', '')).startswith(source):
            del sys.modules[module]
    from generation.engine import Engine
    from support.settings import Settings
    prompts, texts = [[5, 6, 7]], []
    if name in ('none', 'normalized heads', 'talking heads'):
        prompts.append([8, 9, 10] * 10)
    for fast in (False, True):
        with Engine('tiny', models_dir, fast=fast) as engine:
            settings = Settings(length=12, temperature=0)
            texts.append([engine.generate([prompt], settings)[0] for prompt in prompts])
    answers[name] = [len(engine.heads), *texts]
print(json.dumps(answers))
"""
MERGED = '        a = merge_states(tf.transpose('
NORMALIZED = '        q, k = (3 * tf.nn.l2_normalize(x, -1) for x in (q, k))\n'
SCORES = 'scores = tf.matmul(q * q.shape[-1].value ** -0.5, k, transpose_b=True)\n'
HARMLESS = {
    'none': lambda text: text,
    'comment': lambda text: text + '\n# A remark.\n',
    'docstring': lambda text: text.replace('"""One layer: ', '"""One layer of several: '),
    'renamed variable': lambda text: text.replace('m = mlp(', 'out = mlp(').replace(
        'seam.dropout(m,', 'seam.dropout(out,'
    ),
    'formatter': lambda text: ast.unparse(ast.parse(text)),
}
INDEPENDENT = {
    'activation': lambda text: text.replace('activation=gelu', 'activation=tf.nn.relu'),
    'gelu': lambda text: text.replace('0.044715', '0.4'),
    'scale of scores': lambda text: text.replace('.value ** -0.5', '.value ** -0.1'),
    'normalized heads': lambda text: text.replace(MERGED, NORMALIZED + MERGED),
}
MIXED = 'memory.attend(q, k, v, positions)'
DEPENDENT = {
    'mean of heads': lambda text: text.replace(
        MIXED, f'(lambda a: a + tf.reduce_mean(a, 1, keepdims=True))({MIXED})'
    ),
    'talking heads': lambda text: text.replace(
        SCORES, SCORES + '    scores += tf.roll(scores, 1, axis=1)\n'
    ),
    'undeclared': lambda text: text.replace('@seam.independent_heads\n', ''),
}


@pytest.fixture(scope='module')
def answers(tmp_path_factory, models_dir):
    """{edit: [shards, plain texts, fast texts]}"""
    folder = tmp_path_factory.mktemp('edited')
    shutil.copytree(SRC, folder / 'src', ignore=shutil.ignore_patterns('__pycache__'))
    text = (SRC / 'model.py').read_text(encoding='utf-8')
    edits = {name: edit(text) for name, edit in (HARMLESS | INDEPENDENT | DEPENDENT).items()}
    assert len(set(edits.values())) == len(edits)
    (folder / 'edits.json').write_text(json.dumps(edits), encoding='utf-8')
    arguments = [folder / 'src', models_dir, folder / 'edits.json']
    command = [sys.executable, '-B', '-c', PROGRAM, *map(str, arguments)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


@pytest.mark.parametrize('edit', HARMLESS | INDEPENDENT | DEPENDENT)
def test_an_edited_model_is_computed_as_it_reads(answers, edit):
    _, plain, fast = answers[edit]
    assert fast == plain
    assert (plain[0] == answers['none'][1][0]) == (edit in HARMLESS or edit == 'undeclared')


@pytest.mark.parametrize('edit', HARMLESS | INDEPENDENT)
def test_an_edit_that_keeps_heads_independent_keeps_its_shards(answers, edit):
    assert answers[edit][0] == 2


@pytest.mark.parametrize('edit', DEPENDENT)
def test_heads_that_may_depend_on_each_other_have_no_shards(answers, edit):
    assert answers[edit][0] == 1


@pytest.mark.parametrize('heads', [(3, 3), (1, 2, 2), (6,)])
def test_the_model_as_it_is_passes(heads):
    assert trial.agrees(heads, attention_of_steps)
