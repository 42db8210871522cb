"""Which pictures are drawn of results, and which published columns are in their panels.

No TensorFlow.
"""

import math
from typing import NamedTuple

from evaluation.results import PUBLISHED


class Panel(NamedTuple):
    """columns: of published_results.json.  names: what tells them apart, if there are several."""

    title: str
    columns: tuple[str, ...]
    names: tuple[str, ...] = ('',)

    @property
    def measure(self):
        return self._first['measure']

    @property
    def better(self):
        """What is better, in words."""
        if 'better' in self._first:
            return self._first['better']
        lower = self.measure == 'perplexity' or self.measure.startswith('bits')
        return 'lower is better ↓' if lower else 'higher is better ↑'

    @property
    def source(self):
        """Whom the published values are of, in short, or None if it is the paper."""
        source = self._first.get('source')
        return source and PUBLISHED['sources'][source].split(':')[0].split(',')[0]

    @property
    def _first(self):
        return PUBLISHED['columns'][self.columns[0]]


class Picture(NamedTuple):
    """per_row: panels beside each other.  size: of a panel, in inches; three of the usual ones fill
    a page of print."""

    panels: tuple[Panel, ...]
    per_row: int = 3
    size: tuple[float, float] = (2.45, 2.05)


def panels_with_titles(*columns):
    return tuple(Panel(PUBLISHED['columns'][column]['title'], (column,)) for column in columns)


PICTURES = {  # by the ending of their names
    '': Picture(  # the paper's Table 3
        panels_with_titles(
            'lambada_perplexity',
            'lambada_accuracy',
            'lambada_accuracy_no_filter',
            'cbt_cn',
            'cbt_ne',
            'wikitext2',
            'ptb',
            'enwik8',
            'text8',
            'wikitext103',
            '1bw',
        )
    ),
    '.figure1': Picture(
        (
            Panel('Reading comprehension: CoQA', ('coqa_f1',)),
            Panel(
                'Translation: WMT-14',
                ('wmt14_fr_en_bleu', 'wmt14_en_fr_bleu'),
                ('Fr→En', 'En→Fr'),
            ),
            Panel(
                'Summarization: CNN/Daily Mail',
                ('cnndm_rouge_avg', 'cnndm_no_hint_rouge_avg'),
                ('TL;DR:', 'no hint'),
            ),
            Panel('Question answering: Natural Questions', ('nq_exact_match',)),
        ),
        per_row=2,
        size=(3.5, 2.3),
    ),
    '.figure3': Picture(
        (Panel('Winograd', ('winograd_partial', 'winograd_full'), ('partial', 'full')),),
        size=(3.5, 2.3),
    ),
    '.bias': Picture(
        panels_with_titles('stereoset_lms', 'stereoset_ss', 'stereoset_icat', 'crows_pairs_ppl'),
        per_row=2,
        size=(3.5, 2.05),
    ),
}


def pictures_of(points):
    """{ending of the name: (Picture, {Panel: its points})}, of pictures and panels with points.

    Points that cannot be drawn are left out, and those of a part of a set where the same model has
    the whole.
    """
    finite = [point for point in points if math.isfinite(point.value) and point.parameters > 0]
    whole = {(point.model, point.protocol) for point in finite if not point.part}
    kept = [p for p in finite if not p.part or (p.model, p.protocol) not in whole]
    found = {}
    for ending, picture in PICTURES.items():
        panels = {
            panel: [point for point in kept if point.column in panel.columns]
            for panel in picture.panels
        }
        panels = {panel: own for panel, own in panels.items() if own}
        if panels:
            found[ending] = picture, panels
    return found
