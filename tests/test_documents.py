"""The documents name what is there."""

import ast
import functools
import importlib
import inspect
import os
import re

import pytest

from helpers.paths import ROOT

PACKAGES = sorted(path.parent.name for path in (ROOT / 'src').glob('*/__init__.py'))
DOCUMENTS = [
    'README.md',
    'DEVELOPERS.md',
    'model_card.md',
    'benchmarks/README.md',
    *(f'src/{package}/README.md' for package in PACKAGES),
]
HARNESS = 'src/lm_eval_model.py'  # has the flags of lm-evaluation-harness, not flags of its own
COMMAND = re.compile(r'python3? ((?:src/|benchmarks/)?\w+\.py)([^#&;|]*)')


@functools.cache
def text_of(document):
    return (ROOT / document).read_text(encoding='utf-8')


@functools.cache
def anchors_of(document):
    """The anchors that GitHub gives to the headings of a document."""
    prose = re.sub(r'^```.*?^```', '', text_of(document), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r'^#+ (.+)$', prose, re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', h).strip().lower().replace(' ', '-') for h in headings}


@functools.cache
def code_of(document):
    """The lines of code blocks, continued ones joined, and the code in sentences."""
    prose, *blocks = re.split(r'^```.*\n', text_of(document), flags=re.MULTILINE)
    code, prose = ''.join(blocks[::2]), ' '.join([prose, *blocks[1::2]]).replace('\n', ' ')
    spans = re.findall(r'(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)', prose)
    return code.replace('\\\n', ' ').splitlines() + [span for _, span in spans]


@functools.cache
def parameters_of(script):
    """The parameters of the function that a script runs with its flags; None if it runs none."""
    tree = ast.parse((ROOT / script).read_text(encoding='utf-8'))
    calls = [(ast.unparse(c.func), c.args) for c in ast.walk(tree) if isinstance(c, ast.Call)]
    runs = [arguments[0].id for name, arguments in calls if name == 'command_line.run']
    if runs and not script.startswith('benchmarks/'):
        module = importlib.import_module(os.path.basename(script).removesuffix('.py'))
        return list(inspect.signature(getattr(module, runs[0])).parameters.values())
    # Modules of benchmarks have names that scripts of src have too, so they are not imported.
    functions = {f.name: f.args for f in tree.body if isinstance(f, ast.FunctionDef)}
    flags = [a.arg for name in runs for a in [*functions[name].args, *functions[name].kwonlyargs]]
    flags += [a[0].value.removeprefix('--') for name, a in calls if name.endswith('.add_argument')]
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [inspect.Parameter(flag, keyword, default=None) for flag in flags] or None


def all_scripts():
    files = ['download_model.py', *(ROOT / 'src').glob('*.py'), *(ROOT / 'benchmarks').glob('*.py')]
    names = sorted((ROOT / file).relative_to(ROOT).as_posix() for file in files)
    return [name for name in names if parameters_of(name) is not None]


def is_documented(parameter, text):
    if parameter.kind is parameter.VAR_POSITIONAL:
        return True
    flag = rf'--{parameter.name}\b'
    if parameter.default is parameter.empty:  # may be given by its position
        flag += rf'|\b{parameter.name.upper()}\b'
    return re.search(flag, text) is not None


@pytest.mark.parametrize('script', all_scripts())
def test_one_document_has_every_flag_of_a_script(script):
    missing = [
        [p.name for p in parameters_of(script) if not is_documented(p, text_of(document))]
        for document in DOCUMENTS
        if os.path.basename(script) in text_of(document)
    ]
    assert min(missing, key=len) == []


@pytest.mark.parametrize('document', DOCUMENTS)
def test_commands_name_scripts_and_flags_that_exist(document):
    for script, rest in COMMAND.findall('\n#'.join(code_of(document))):
        assert (ROOT / script).exists(), script
        if script != HARNESS:
            known = [p.name for p in parameters_of(script)]
            for flag in re.findall(r'(?<!\S)--(\w+)', rest):
                assert flag in known or flag == 'help', f'{script} --{flag}'


@pytest.mark.parametrize('document', DOCUMENTS)
def test_make_targets_exist(document):
    targets = re.findall(r'^([\w-]+):', text_of('Makefile'), re.MULTILINE)
    for line in code_of(document):
        target = re.match(r'make ([a-z-]+)', line)
        assert not target or target[1] in targets, line


@pytest.mark.parametrize('document', DOCUMENTS)
def test_links_lead_somewhere(document):
    folder = os.path.dirname(document)
    for target in re.findall(r'\]\(([^)\s]+)\)', text_of(document)):
        path, _, anchor = target.partition('#')
        if path.startswith('http'):
            continue
        path = os.path.normpath(os.path.join(folder, path)) if path else document
        assert (ROOT / path).exists(), target
        assert not anchor or anchor in anchors_of(path), target


@pytest.mark.parametrize('document', DOCUMENTS)
def test_paths_exist(document):
    for path in re.findall(r'\b(?:src|tests|benchmarks)/[\w/.]*\w', text_of(document)):
        assert (ROOT / path).exists(), path


def test_the_guide_is_short_enough_to_read():
    assert len(text_of('DEVELOPERS.md').splitlines()) <= 350


@pytest.mark.parametrize('package', PACKAGES)
def test_the_readme_of_a_package_names_its_modules(package):
    for module in (ROOT / 'src' / package).glob('[a-z]*.py'):
        assert module.name in text_of(f'src/{package}/README.md'), module.name
