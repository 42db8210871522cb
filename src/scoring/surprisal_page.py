"""A page that colours each token of texts by its surprisal. No TensorFlow.

It is one HTML file that loads nothing else: `head`, then a `section` for each document, then FOOT.
The tokens are in it as JSON; a script shows their text, and turns only what is near the window into
elements, so that texts of megabytes can be scrolled and searched. What is in surprisal_page.css and
surprisal_page.js becomes part of the page.
"""

import html
import json
import os

from support.files import shown

# Lower bounds of the levels in bits: the same factor of probability for each two.
LEVELS = (0, 1, 2, 4, 6, 8, 12)


def head(model_name):
    """The page up to the first document."""
    title = html.escape(f'Surprisal of {shown(model_name)}')
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{own_file('css')}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>Each token is coloured and underlined by its surprisal, −log<sub>2</sub> of the probability that
the model gave to it: the more bits, the stronger the colour and the thicker the line. Point at a
token for its numbers, or go to the text with <kbd>Tab</kbd> and from token to token with
<kbd>←</kbd> <kbd>→</kbd>; <kbd>↑</kbd> <kbd>↓</kbd> lead to the next one of at least {LEVELS[-2]}
bits, and <kbd>Esc</kbd> hides the numbers.</p>
<ul class="legend" aria-label="Bits of surprisal">{legend()}</ul>
<noscript><p>The texts are shown by a script, which this browser does not run.</p></noscript>
</header>
<main>
"""


def legend():
    bounds = zip(LEVELS, [*LEVELS[1:], None], strict=True)
    names = [f'{low}–{high}' if high else f'{low} or more' for low, high in bounds]
    return ''.join(f'<li><span class="s{n}">{name}</span></li>' for n, name in enumerate(names))


def section(name, rows, records):
    """A document of the page.

    rows: (label, value) of what is to be said of all of it.
    records: a dict for each token with id, text, logprob, rank, entropy and maybe bytes.
    """
    facts = ''.join(
        f'<div><dt>{html.escape(label)}</dt><dd>{html.escape(value)}</dd></div>'
        for label, value in rows
    )
    columns = {
        key: [record[key] for record in records]
        for key in ('text', 'id', 'logprob', 'rank', 'entropy')
    }
    columns['bytes'] = {n: r['bytes'] for n, r in enumerate(records) if 'bytes' in r}
    # No '<' may end the script element early.
    data = json.dumps(columns, ensure_ascii=False, allow_nan=False, separators=(',', ':'))
    data = data.replace('<', '\\u003c')
    return f"""<section>
<h2>{html.escape(name)}</h2>
<dl>{facts}</dl>
<div class="text" role="group" aria-label="Text of {html.escape(name)}"></div>
<script type="application/json">{data}</script>
</section>
"""


def own_file(ending):
    """The text of the file beside this one with another ending."""
    with open(f'{os.path.splitext(__file__)[0]}.{ending}', encoding='utf-8') as file:
        return file.read()


FOOT = f"""</main>
<div id="card" role="status" hidden></div>
<script>
const LEVELS = {json.dumps(LEVELS)};
{own_file('js')}</script>
</body>
</html>
"""
