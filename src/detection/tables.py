"""The tables of an evaluation, and the published figures beside them. No TensorFlow."""

import json
import os

from detection.trials import ALL, FIGURES

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'published_detectors.json')
TITLES = {
    'auroc': 'AUROC',
    'accuracy': 'accuracy',
    'tpr_1': 'true positives at 1 % false positives',
    'tpr_0.1': 'true positives at 0.1 % false positives',
}


def published_tables():
    with open(FILE, encoding='utf-8') as f:
        return json.load(f)['tables']


def published(cell):
    """The published accuracy, in %, of a detector of this kind, trained and tested so; or None."""
    for table in published_tables():
        if not table['by_source'] or cell['kind'] not in table['kinds'] or cell['length'] != ALL:
            continue
        trained = cell['trained_on'][0] if len(cell['trained_on']) == 1 else None
        row = table['rows'].get(trained)
        if row is None and trained == cell['source']:
            row = table['rows'].get('the same')
        if row and cell['source'] in table['columns']:
            return row[table['columns'].index(cell['source'])]
    return None


def markdown(header, rows):
    """A table in Markdown; the first column is text."""
    lines = [header, ['---', *['---:'] * (len(header) - 1)], *rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def shown(cell, figure):
    """A figure in percent, with its interval, and what was published of it."""
    if cell is None or cell[figure] is None:
        return '–'
    text = f'{100 * cell[figure]:.1f}'
    if interval := cell[f'{figure}_interval']:
        text += ' ({:.1f}–{:.1f})'.format(*(100 * end for end in interval))
    known = cell.get('published') if figure == 'accuracy' else None
    return text if known is None else f'{text}, published {known}'


def across(cells, row_of, column_of, figure, corner):
    """A table of one figure.  row_of, column_of: (cell) -> str."""
    rows, columns = (list(dict.fromkeys(map(of, cells))) for of in (row_of, column_of))
    by_place = {(row_of(cell), column_of(cell)): cell for cell in cells}
    lines = [[row, *(shown(by_place.get((row, c)), figure) for c in columns)] for row in rows]
    return markdown([corner, *columns], lines)


def named(cell):
    """A judge, and what it was trained on."""
    if not cell['trained_on']:
        return f'{cell["judge"]} ({cell["kind"]})'
    return f'{cell["judge"]} ({cell["kind"]}, trained on {" + ".join(cell["trained_on"])})'


def report(cells):
    """All tables of an evaluation, Markdown.  cells: list of dict, from trials.evaluate."""
    parts = []
    last = list(dict.fromkeys(cell['length'] for cell in cells))[-1]
    chosen = [cell for cell in cells if cell['length'] == last]
    for figure in FIGURES:
        if any(cell[figure] is not None for cell in chosen):
            table = across(chosen, named, lambda cell: cell['source'], figure, 'tested on →')
            parts += [f'{TITLES[figure]}, %, {length_of(last)}', table]
    for source in dict.fromkeys(cell['source'] for cell in cells):
        its = [cell for cell in cells if cell['source'] == source]
        table = across(its, named, lambda cell: str(cell['length']), 'auroc', 'tokens →')
        parts += [f'AUROC, %, by length: {source}', table]
    parts += [counts(cells)]
    for table in published_tables():
        if set(table['kinds']) & {cell['kind'] for cell in cells}:
            rows = [[row, *map(str, figures)] for row, figures in table['rows'].items()]
            header = ['', *table['columns']]
            title = f'Published: {table["title"]} ({table["measure"]}, %; {table["source"]})'
            parts += [title, markdown(header, rows)]
    return '\n\n'.join(parts)


def length_of(length):
    if length == ALL:
        return 'texts cut to the length of one of the other class'
    return f'texts cut to {length} tokens'


def counts(cells):
    """How many texts each figure is of."""
    rows = {
        (cell['source'], str(cell['length'])): [
            cell['source'],
            str(cell['length']),
            f'{cell["n_human"]:,} of {cell["n_human_documents"]:,} documents',
            f'{cell["n_machine"]:,}',
        ]
        for cell in cells
    }
    return markdown(['tested on', 'tokens', 'human texts', 'machine texts'], list(rows.values()))
