"""A page that colours each token of texts by its surprisal. No TensorFlow.

It is one HTML file that loads nothing else: `head`, then a `section` for each document, then
`foot`. The tokens are in it as JSON; a script shows their text, and turns only what is near the
window into elements, so that texts of megabytes can be scrolled and searched. What is in
surprisal_page.css and surprisal_page.js becomes part of the page. Other pages colour tokens by
another Look.
"""

import html
import json
import os
import re
import typing

from support.files import shown

# Lower bounds of the levels in bits: the same factor of probability for each two.
LEVELS = (0, 1, 2, 4, 6, 8, 12)


class Look(typing.NamedTuple):
    """By what a page colours tokens.

    title: of the page, before the model's name.
    lead: HTML of the paragraph at its top.
    measure: what a token is coloured by, `bits` of surprisal or `rank`.
    levels: lower bounds of the measure, one a colour.
    names: of the levels, in the legend.
    label: of the legend.
    css, js: more of these, after those of every page.
    """

    title: str
    lead: str
    measure: str
    levels: tuple
    names: tuple
    label: str
    css: str = ''
    js: str = ''


# How one reads the numbers of a token; the arrows up and down lead to `far`.
KEYS = """Point at a token for its numbers, or go to the text with <kbd>Tab</kbd> and from token to
token with <kbd>←</kbd> <kbd>→</kbd>; <kbd>↑</kbd> <kbd>↓</kbd> lead to the next one of {far}, and
<kbd>Esc</kbd> hides the numbers."""
SURPRISAL = Look(
    title='Surprisal',
    lead=f"""Each token is coloured and underlined by its surprisal, −log<sub>2</sub> of the
probability that the model gave to it: the more bits, the stronger the colour and the thicker the
line. {KEYS.format(far=f'at least {LEVELS[-2]} bits')}""",
    measure='bits',
    levels=LEVELS,
    names=(*(f'{low}–{high}' for low, high in zip(LEVELS, LEVELS[1:], strict=False)), '12 or more'),
    label='bits',
)


def head(model_name, look=SURPRISAL):
    """The page up to the first document."""
    title = html.escape(f'{look.title} of {shown(model_name)}')
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{own_file(__file__, 'css')}{look.css}</style>
</head>
<body class="{look.measure}">
<header>
<h1>{title}</h1>
<p>{look.lead}</p>
{legend(look)}
<noscript><p>The texts are shown by a script, which this browser does not run.</p></noscript>
</header>
<main>
"""


def legend(look):
    """The colours and what they mean."""
    items = [f'<li><span class="s{n}">{name}</span></li>' for n, name in enumerate(look.names)]
    return f'<ul class="legend" aria-label="{look.label}">{"".join(items)}</ul>'


def section(name, rows, records, before='', **more):
    """A document of the page.

    rows: (label, value) of what is to be said of all of it.
    records: a dict for each token with id, text, logprob, rank, entropy and maybe bytes.
    before: HTML that stands above the text.  more: JSON for the script, beside the tokens.
    """
    facts = ''.join(
        f'<div><dt>{html.escape(label)}</dt><dd>{html.escape(value)}</dd></div>'
        for label, value in rows
    )
    # No '<' may end the script element early.
    data = json.dumps(
        columns_of(records) | more, ensure_ascii=False, allow_nan=False, separators=(',', ':')
    )
    data = data.replace('<', '\\u003c')
    return f"""<section>
<h2>{html.escape(name)}</h2>
<dl>{facts}</dl>
{before}<div class="text" role="group" aria-label="Text of {html.escape(name)}"></div>
<script type="application/json">{data}</script>
</section>
"""


def columns_of(records):
    """What the script reads of tokens: a dict of lists, and of the bytes that some tokens have."""
    keys = ('text', 'id', 'logprob', 'rank', 'entropy')
    columns = {key: [record[key] for record in records] for key in keys}
    return columns | {'bytes': {n: r['bytes'] for n, r in enumerate(records) if 'bytes' in r}}


def own_file(module, ending):
    """The text of the file beside a module, named by its __file__, with another ending."""
    with open(f'{os.path.splitext(module)[0]}.{ending}', encoding='utf-8') as file:
        return file.read()


def filled(template, values):
    """A template with the values, a dict, in the place of their {{NAMES}}."""
    return re.sub(r'\{\{([A-Z]+)\}\}', lambda match: values[match[1]], template)


def foot(look=SURPRISAL):
    """The page from the last document on."""
    return f"""</main>
{CARD}
<script>
{constants(look)}
{own_file(__file__, 'js')}{look.js}</script>
</body>
</html>
"""


def constants(look, name='LOOK'):
    """What the script knows of a look, in a constant of this name."""
    return f'const {name} = {json.dumps({"measure": look.measure, "levels": look.levels})};'


CARD = '<div id="card" role="status" hidden></div>'
