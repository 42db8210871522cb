"""Evaluations in the test's process, with models in Python in the place of TensorFlow's."""

import json

import zero_shot
from helpers.scripted_engine import ScriptedEngine
from helpers.table_scorer import TableScorer, uniform


class Evaluation:
    """Evaluates as zero_shot.py does: (*flags, model='small') -> (status, output, errors).

    folders: of models, data and results.  call: the fixture.
    What scores is a uniform model; what generates continues any prompt by ` a` and a line end,
    unless `answers` says something else, see ScriptedEngine.
    scorers, engines: those that were started.
    """

    def __init__(self, models, data, results, call, monkeypatch):
        folders = f'--models_dir={models} --data_dir={data} --results_dir={results}'
        self.always, self.results_dir, self.call = folders.split(), results, call
        self.scorers, self.engines = [], []
        self.answers, self.after = lambda prompt: ' a\n', None
        monkeypatch.setattr(zero_shot, 'start_scorer', self.start_scorer)
        monkeypatch.setattr(zero_shot, 'start_engine', self.start_engine)

    def start_scorer(self, model_name, models_dir, encoder, dtype):
        model = uniform(encoder.n_vocab)
        self.scorers.append(TableScorer(encoder, lambda context: model(context)))
        return self.scorers[-1]

    def start_engine(self, model_name, models_dir, n_shards, encoder, dtype):
        self.engines.append(ScriptedEngine(encoder, self.answers, after=self.after))
        self.engines[-1].n_shards = n_shards
        return self.engines[-1]

    def __call__(self, *flags, model='small'):
        always = [f'--model_name={model}', *self.always, '--any_size']
        return self.call(zero_shot.evaluate, *always, *flags)

    def results(self, name='small'):
        """The content of a results file."""
        return json.loads((self.results_dir / f'{name}.json').read_text('utf-8'))


def without_seconds(results):
    for figures in results['tasks'].values():
        for figure in figures.values():
            del figure['seconds']
    return results


def check_refused(result, *words):
    status, output, errors = result
    assert status == 2 and output == ''
    assert errors.startswith('error: ') and errors.count('\n') == 1
    for word in words:
        assert word in errors
