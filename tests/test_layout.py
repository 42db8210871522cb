"""The floor plan's rules: who imports whom, and what the readable core does not know."""

import ast
import importlib
import re

import pytest

from helpers.paths import ROOT, SRC

CORE = {'model', 'seam', 'hparams', 'encoder', 'kv_cache', 'sample', 'likelihoods'}
PACKAGES = sorted(path.name for path in SRC.iterdir() if (path / '__init__.py').exists())
SCRIPTS = {path.stem for path in SRC.glob('*.py')} - CORE
LOADED = {'core', 'support', 'fast', 'loading'}
# What each may import; scripts may import everything but scripts.
MAY_IMPORT = {
    'core': {'core', 'support'},
    'support': {'support'},
    'downloads': {'downloads', 'support'},
    'fast': {'fast', 'core', 'support'},
    'loading': LOADED,
    'generation': LOADED | {'generation', 'cluster'},
    'scoring': LOADED | {'scoring', 'cluster'},
    'cluster': {'cluster', 'core', 'support'},
    'training': LOADED | {'training', 'generation', 'cluster'},
    'evaluation': LOADED | {'evaluation', 'generation', 'scoring', 'cluster'},
    'ngrams': {'ngrams', 'core', 'support', 'loading', 'evaluation', 'cluster'},
    'conversion': LOADED | {'conversion'},
    'detection': LOADED | {'detection', 'generation', 'scoring', 'cluster'},
    'serving': LOADED | {'serving', 'generation', 'scoring', 'detection'},
}
# The tokenizer's notion of a word and name of the end, by which support/documents.py cuts texts.
OF_TOKENIZER = ('BOUNDARY', 'END_OF_TEXT', 'check_surrogates', 'chunks')
EXCEPTIONS = {('support', f'encoder.{name}') for name in OF_TOKENIZER}
WITHOUT_TENSORFLOW = {'support', 'downloads', 'ngrams'}
FORBIDDEN_WORDS = {  # of what is no business of the forward pass and its loop
    'model.py': r'is_tensor|shard|kernel|XLA|oneDNN|bfloat16|int8|get_collection',
    'kv_cache.py': r'is_tensor|shard|kernel|XLA|oneDNN|bfloat16|int8',
    'sample.py': r'is_tensor|shard|kernel|XLA|oneDNN|bfloat16|int8',
}
FILES = sorted(SRC.rglob('*.py'))
OTHER_SCRIPTS = [ROOT / 'download_model.py', *sorted((ROOT / 'benchmarks').glob('*.py'))]
THREADS = r'(intra|inter)_op_parallelism|use_per_session_threads|TF_NUM_INT|THREADPOOL'
INSIDE = ('tensorflow.python', 'tensorflow.compiler')


def place_of(module):
    """The package of a module, `core`, or `scripts`; None if it is not ours."""
    first = module.split('.')[0]
    if first in CORE:
        return 'core'
    return first if first in PACKAGES else 'scripts' if first in SCRIPTS else None


def imports_of(path):
    """The modules that a file imports, those inside of functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield f'{node.module}.{alias.name}'


def name_of(path):
    return '.'.join(path.relative_to(SRC).with_suffix('').parts)


@pytest.mark.parametrize('path', FILES, ids=name_of)
def test_a_module_imports_only_what_its_place_may(path):
    own = place_of(name_of(path))
    for module in imports_of(path):
        its = place_of(module)
        assert own not in WITHOUT_TENSORFLOW or module.split('.')[0] != 'tensorflow'
        if its is None or (own, module) in EXCEPTIONS:
            continue
        assert its != 'scripts', f'{module} is a script'
        assert own == 'scripts' or its in MAY_IMPORT[own], module


@pytest.mark.parametrize('path', OTHER_SCRIPTS, ids=lambda path: path.stem)
def test_nothing_else_imports_a_script(path):
    assert not [module for module in imports_of(path) if place_of(module) == 'scripts']


@pytest.mark.parametrize('path', FILES, ids=name_of)
def test_others_enter_fast_by_its_door(path):
    if place_of(name_of(path)) == 'fast':
        return
    text = path.read_text(encoding='utf-8')
    assert not re.search(
        r'\bfast\.[a-z_0-9]+[.(]|import_module\(.fast|^import fast', text, re.MULTILINE
    )
    for module in imports_of(path):
        if place_of(module) == 'fast':
            assert module.removeprefix('fast.') in importlib.import_module('fast').__all__, module


def test_packages_have_no_import_circle():
    graph = {own: {x for x in its if x != own} for own, its in MAY_IMPORT.items()}
    assert set(graph) == {'core', *PACKAGES}
    while graph:
        free = [own for own, its in graph.items() if not its & set(graph)]
        assert free, sorted(graph)
        for own in free:
            del graph[own]


@pytest.mark.parametrize('path', FILES, ids=name_of)
def test_only_fast_knows_tensorflow_s_inside_and_sets_its_threads(path):
    if place_of(name_of(path)) == 'fast':
        return
    text = path.read_text(encoding='utf-8')
    assert not [module for module in imports_of(path) if module.startswith(INSIDE)]
    assert not re.search(rf'{THREADS}|\btf\.python\b', text)


@pytest.mark.parametrize('name', FORBIDDEN_WORDS)
def test_the_readable_core_knows_nothing_of_speed(name):
    assert not re.findall(FORBIDDEN_WORDS[name], (SRC / name).read_text(encoding='utf-8'))


def test_the_forward_pass_reads_in_one_sitting():
    """230 lines as it comes; the rest is room for an edit."""
    assert (SRC / 'model.py').read_text(encoding='utf-8').count('\n') <= 250


@pytest.mark.parametrize('package', PACKAGES)
def test_a_package_says_what_it_is(package):
    assert (SRC / package / 'README.md').exists()
    assert ast.get_docstring(ast.parse((SRC / package / '__init__.py').read_text('utf-8')))
