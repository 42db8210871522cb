"""A page that colours each token of texts by its rank, with the histogram of u. No TensorFlow.

It is the page of scoring/surprisal_page.py in another Look: GLTR's buckets and colours. What is in
rank_page.css and rank_page.js becomes part of it.
"""

import html

from detection.features import BUCKETS
from detection.findings import CAUTION, rows_of
from scoring import surprisal_page
from scoring.surprisal_page import KEYS, Look, own_file

LEVELS = (1, *(bucket + 1 for bucket in BUCKETS))
RANKS = f"""Each token is coloured and underlined by its rank among all tokens that the model
could have chosen: 1 is the most likely one. {KEYS.format(far=f'a rank above {BUCKETS[-2]}')}"""
LOOK = Look(
    title='Token ranks',
    lead=f'{RANKS}</p>\n<p>{html.escape(CAUTION)}',
    measure='rank',
    levels=LEVELS,
    names=(
        *(f'{low}–{high:,}' for low, high in zip(LEVELS, BUCKETS, strict=False)),
        f'above {BUCKETS[-1]:,}',
    ),
    label='rank',
    css=own_file(__file__, 'css'),
    js=own_file(__file__, 'js'),
)
HISTOGRAM = '<figure class="histogram"></figure>\n'


def head(model_name):
    """The page up to the first document."""
    return surprisal_page.head(model_name, LOOK)


def section(name, record, tokens):
    """A document of the page.

    record: of findings.record_of.  tokens: of scoring.outputs.token_records, a list.
    """
    return surprisal_page.section(name, rows_of(record), tokens, HISTOGRAM, u=record['u'])


def foot():
    """The page from the last document on."""
    return surprisal_page.foot(LOOK)
