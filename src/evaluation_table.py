"""The results of an evaluation as a table in Markdown. No TensorFlow."""

COLUMNS = (
    'task',
    'figure',
    'value',
    '95 % interval',
    'published',
    'difference',
    'units',
    'split',
    'de-tokenizer',
    'context',
    'stride',
    'normalisation',
    'interval from',
    'seconds',
)


def table(content):
    """The results as Markdown.  content: of the JSON file, see evaluate.py."""
    settings = ', '.join(f'{name} {value}' for name, value in content['settings'].items())
    remarks = {
        'limit': 'A quick look, not a result: of each task only the first {} units.',
        'any_size': 'Data files of any size were accepted: these may not be the published sets.',
    }
    lines = [
        f'# {content["model"]}',
        '',
        f'{content["parameters"]:,} parameters, weights {content["model_fingerprint"]}, '
        f'{content["dtype"]}; code {content["code_version"]}; {settings}.',
        '',
        *(text.format(content[name]) + '\n' for name, text in remarks.items() if content[name]),
        row(COLUMNS),
        row(['---'] * len(COLUMNS)),
    ]
    for task, figures in content['tasks'].items():
        for name, figure in figures.items():
            lines.append(row(cells(task, name, figure)))
    return '\n'.join(lines) + '\n'


def cells(task, name, figure):
    def number(value):
        return '' if value is None else f'{value:.{2 if figure["measure"] in COARSE else 4}f}'

    interval, difference = figure['interval'], figure['difference']
    return [
        task,
        f'{name} (%)' if figure['measure'] == 'accuracy' else name,
        number(figure['value']),
        ' – '.join(map(number, interval)) if interval else '',
        '' if figure['published'] is None else f'{figure["published"]:g}',
        '' if difference is None else f'{"+" * (difference > 0)}{number(difference)}',
        f'{figure["units"]:,} {figure["unit"]}',
        figure['split'],
        figure['detokenizer'],
        figure['context'],
        '' if figure['stride'] is None else figure['stride'],
        figure['normalisation'],
        f'{figure["n_resampled"]:,} {figure["resampled"]}',
        f'{figure["seconds"]:.0f}',
    ]


COARSE = ('perplexity', 'accuracy')


def row(values):
    return '| ' + ' | '.join(str(value).replace('|', r'\|') for value in values) + ' |'
