"""Files of results as zero_shot.py writes them, as far as report.py reads them."""

import itertools
import json

from helpers.paths import ROOT

PUBLISHED = json.loads((ROOT / 'src' / 'evaluation' / 'published_results.json').read_text('utf-8'))
SIZES = {name: model['parameters'] for name, model in PUBLISHED['models'].items()}
MEASURES = {'cbt_cn': 'accuracy', 'lambada_accuracy': 'accuracy', 'enwik8': 'bits per byte'}


class ResultsFiles:
    """Writes files of results below a folder: (model, tasks, ...) -> the path of the next one."""

    def __init__(self, folder):
        self.folder, self.numbers = folder, itertools.count()

    def __call__(self, model, tasks, parameters=None, limit=None, any_size=False):
        content = {'model': model, 'parameters': parameters or SIZES[model], 'tasks': tasks}
        path = self.folder / f'{next(self.numbers)}.json'
        path.write_text(json.dumps(content | {'limit': limit, 'any_size': any_size}), 'utf-8')
        return str(path)


def figure_of(column, value, context=1024, stride=None, interval=True):
    return {
        'value': value,
        'measure': MEASURES.get(column, 'perplexity'),
        'interval': [value * 0.97, value * 1.04] if interval else None,
        'column': column,
        'unit': 'words',
        'units': 1000,
        'context': context,
        'stride': stride,
    }


def some_tasks(factor=1.0):
    return {
        'ptb': {
            'perplexity': figure_of('ptb', 60 * factor, stride=512),
            'token_perplexity': figure_of(None, 30 * factor, stride=512),
        },
        'ptb@1024': {'perplexity': figure_of('ptb', 61 * factor, stride=1024)},
        'enwik8': {'bits_per_byte': figure_of('enwik8', 1.1 * factor, stride=512)},
        'cbt_cn': {'accuracy': figure_of('cbt_cn', 80 / factor)},
        'lambada': {
            'accuracy_filtered': figure_of('lambada_accuracy', 44 / factor),
            'last_token_accuracy': figure_of('lambada_accuracy', 47 / factor),
        },
        'lambada_plain': {'accuracy_filtered': figure_of('lambada_accuracy', 30 / factor)},
    }
