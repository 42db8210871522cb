"""The documents name what is there."""

import importlib
import inspect
import re

import pytest
from conftest import ROOT

DOCUMENTS = ['README.md', 'DEVELOPERS.md', 'model_card.md']
SCRIPTS = {
    'interactive_conditional_samples': 'interact_model',
    'generate_unconditional_samples': 'sample_model',
    'make_random_model': 'make_random_model',
    'download_model': 'download_model',
    'train': 'train',
    'train_encoder': 'train_encoder',
    'encode_corpus': 'encode_corpus',
    'fetch_text': 'fetch_text',
    'score': 'score',
    'evaluate': 'evaluate',
    'report': 'report',
    'download_data': 'download_data',
}


@pytest.mark.parametrize('script', SCRIPTS)
def test_every_flag_is_documented(script):
    text = (ROOT / 'DEVELOPERS.md').read_text(encoding='utf-8')
    function = getattr(importlib.import_module(script), SCRIPTS[script])
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not parameter.VAR_POSITIONAL and parameter.name != 'name':
            assert f'--{parameter.name}' in text, parameter.name


@pytest.mark.parametrize('document', DOCUMENTS)
def test_links_and_files_in_documents_exist(document):
    text = (ROOT / document).read_text(encoding='utf-8')
    headings = {
        re.sub(r'[^\w\- ]', '', heading).strip().lower().replace(' ', '-')
        for name in DOCUMENTS
        for heading in re.findall(r'^#+ (.+)$', (ROOT / name).read_text('utf-8'), re.MULTILINE)
    }
    for target in re.findall(r'\]\(([^)\s]+)\)', text):
        path, _, anchor = target.partition('#')
        if path.startswith('http'):
            continue
        assert not path or (ROOT / path).exists(), target
        assert not anchor or anchor in headings, target
    for path in re.findall(r'\b(?:src|tests|benchmarks)/[\w/]+\.\w+\b', text):
        assert (ROOT / path).exists(), path
