"""The results of an evaluation as a table: in Markdown, and for a terminal. No TensorFlow."""

import textwrap

from support.files import shown

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
    """The results as Markdown.  content: of the JSON file, see zero_shot.py."""
    settings = ', '.join(f'{name} {value}' for name, value in content['settings'].items())
    lines = [
        f'# {shown(content["model"])}',
        '',
        f'{content["parameters"]:,} parameters, weights {content["model_fingerprint"]}, '
        f'{content["dtype"]}; code {content["code_version"]}; {settings}.',
        '',
        *(f'{remark}\n' for remark in remarks(content)),
        row(COLUMNS),
        row(['---'] * len(COLUMNS)),
    ]
    for task, figures in content['tasks'].items():
        for name, figure in figures.items():
            lines.append(row(cells(task, name, figure)))
    lines += [f'\n{task}: {warning}' for task, warning in content.get('warnings', {}).items()]
    notes = [f'- {task}: {note}' for task, note in notes_on_texts(content).items()]
    if notes:
        lines += ['', '## How texts were generated', '', *notes]
    for task, markdown in content.get('tables', {}).items():
        lines += ['', f'## {task}', '', markdown.strip()]
    return '\n'.join(lines) + '\n'


def notes_on_texts(content):
    """Of each task that generates: its choices, and what became of its prompts, {task: str}."""
    notes = {}
    for task, figures in content['tasks'].items():
        figure = next(iter(figures.values()), {})
        if 'choices' in figure:
            choices = [f'{name} {value!r}' for name, value in figure['choices'].items()]
            notes[task] = '; '.join(
                [', '.join(choices) or 'nothing to choose', *made(figure, content)]
            )
    return notes


def made(figure, content):
    """How the texts of a figure came about, list of str."""
    if figure['baseline']:
        return []
    cut = 'no prompt lost tokens'
    if figure['prompts_cut']:
        of_all = f'{figure["prompts_cut"]:,} of {figure["prompts"]:,} prompts'
        cut = f'{of_all} lost {figure["tokens_cut"]:,} tokens to fit the context'
    code = figure['texts_code_version']
    return [cut, *[f'texts by code {code}'] * (code != content['code_version'])]


def remarks(content):
    """What must be known of results that are not of the whole published sets, list of str."""
    texts = {
        'limit': 'A quick look, not a result: of each task only the first {} units.',
        'any_size': 'Data files of any size were accepted: these may not be the published sets.',
    }
    return [text.format(content[name]) for name, text in texts.items() if content[name]]


def cells(task, name, figure):
    value, interval, published, difference = numbers(figure, ' – ')
    return [
        task,
        f'{name} (%)' if figure['measure'] == 'accuracy' else name,
        value,
        interval,
        published,
        difference,
        f'{figure["units"]:,} {figure["unit"]}',
        figure['split'],
        figure['detokenizer'],
        figure['context'],
        '' if figure['stride'] is None else figure['stride'],
        figure['normalisation'],
        f'{figure["n_resampled"]:,} {figure["resampled"]}',
        f'{figure["seconds"]:.0f}',
    ]


def numbers(figure, to):
    """The value, its interval, the paper's and the difference from it, str; '' if there is none."""
    digits = 4 if figure['measure'].startswith('bits') else 2
    interval, published, difference = (
        figure[name] for name in ('interval', 'published', 'difference')
    )
    if figure['value'] is None:
        log_value = figure['log_value']
        value = '–' if log_value is None else f'e^{log_value:.1f}'
    else:
        value = f'{figure["value"]:.{digits}f}'
    approximately = '≈ ' if figure.get('published_from_figure') else ''
    return [
        value,
        to.join(f'{end:.{digits}f}' for end in interval) if interval else '',
        '' if published is None else f'{approximately}{published:g}',
        '' if difference is None else f'{"+" * (difference > 0)}{difference:.{digits}f}',
    ]


def row(values):
    return '| ' + ' | '.join(str(value).replace('|', r'\|') for value in values) + ' |'


SHORT_COLUMNS = ('task', 'metric', 'value', '95 %', 'paper', 'diff.')
# These give way, in this order, where a terminal is too narrow for all.
LEFT_OUT = ('95 %', 'diff.', 'paper')


def short_table(content, width):
    """The results in lines of at most `width` characters, for reading in a terminal.

    Task, metric and value are always there: 50 characters for the paper's tasks.
    """
    rows = [SHORT_COLUMNS]
    for task, figures in content['tasks'].items():
        for name, figure in figures.items():
            value, *others = numbers(figure, '–')
            unit = ' %' if figure['measure'] == 'accuracy' else '  '  # decimal points are aligned
            rows.append((task, name, value + unit, *others))
    columns = list(zip(*rows, strict=True))
    for name in LEFT_OUT:
        if sum(map(width_of, columns)) + 2 * (len(columns) - 1) > width:
            columns = [column for column in columns if column[0] != name]
    aligned = [
        [cell.ljust(width_of(column)) if n < 2 else cell.rjust(width_of(column)) for cell in column]
        for n, column in enumerate(columns)
    ]
    lines = [f'{shown(content["model"])}, {content["dtype"]}', *remarks(content)]
    lines = [part for line in lines for part in textwrap.wrap(line, width)] + ['']
    lines += ['  '.join(row).rstrip() for row in zip(*aligned, strict=True)]
    for notes in (content.get('warnings', {}), notes_on_texts(content)):
        lines += [''] * bool(notes)
        for task, note in notes.items():
            lines += textwrap.wrap(f'{task}: {note}', width)
    return '\n'.join(lines) + '\n'


def fitted(markdown, width):
    """A table of a task for reading in a terminal: each line is cut where it is too long."""
    lines = markdown.split('\n')
    return '\n'.join(x if len(x) <= width else x[: width - 1] + '…' for x in lines)


def width_of(column):
    return max(map(len, column))
