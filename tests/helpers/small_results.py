"""Results of an evaluation as it writes them, with figures that are easy to recognise."""

ORIGIN = {
    'model': '124M',
    'model_fingerprint': '0123456789abcdef',
    'parameters': 124439808,
    'dtype': 'float32',
    'limit': None,
    'any_size': False,
    'settings': {'context': 1024, 'stride': None},
    'sources': 'fedcba9876543210',
}


def figure(**changes):
    """A figure before it is compared with the paper's."""
    return {
        'value': 70.125,
        'measure': 'perplexity',
        'interval': [69.0, 71.5],
        'units': 82430,
        'unit': 'words and line ends',
        'normalisation': 'of words',
        'resampled': 'pieces',
        'n_resampled': 1234,
        'split': 'test',
        'detokenizer': 'ptb',
        'context': 1024,
        'stride': 512,
        'column': 'ptb',
        'data': '0' * 16,
        'seconds': 12.6,
    } | changes


def content(tasks, **changes):
    """What NAME.json holds."""
    return ORIGIN | {'code_version': 'v1', 'tasks': tasks} | changes
