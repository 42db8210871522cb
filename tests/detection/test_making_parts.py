"""Jobs of records. That their files are those of one process is tested with the script."""

import os

from detection.making_parts import job_of
from detection.samplers import samplers_named
from helpers.paths import ROOT
from support.settings import Settings

ORIGIN = {'model': 'demo', 'weights': 'abc', 'dtype': 'float32'}


def job(name='nucleus', tokens=False, models_dir=ROOT / 'models', **resources):
    (sampler,) = samplers_named(name, (0.8, 1))
    settings = Settings(length=9, seed=3, stop_at_end=True)
    resources = {'models_dir': models_dir, 'batch_size': 4, 'shards': None} | resources
    return job_of(ORIGIN, sampler, settings, tokens, resources)


def test_what_decides_the_records_is_in_the_settings_and_nothing_else(models_dir):
    assert job().settings == job(batch_size=7, models_dir=models_dir).settings
    assert {'hparams.json', 'encoder.json', 'vocab.bpe'} <= job().settings.keys()
    assert job().settings != job(tokens=True).settings != job('k40', tokens=True).settings
    assert job().settings.items() >= (ORIGIN | {'length': 9, 'seed': 3}).items()
    assert tuple(job().settings['top_p']) == (0.8, 1)


def test_workers_find_the_models_wherever_they_were_started(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert job(models_dir='models').resources['models_dir'] == os.path.abspath('models')
