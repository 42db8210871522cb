"""The page: one HTML file for a browser that loads nothing else. No TensorFlow.

It is page.html with page.css, page.js (theme, tabs, asking the server), page_writing.js (the tab
that writes), page_rivals.js (what else a token could be), and the parts of pages of scoring and
detection.
"""

import base64
import hashlib
import html
import json
import os
import re

from detection import findings_page, rank_page
from scoring import pasted_text, surprisal_page
from scoring.surprisal_page import LEVELS, Look, constants, filled, own_file
from support import settings
from support.files import shown

PARTS = ('page', 'page_writing', 'page_rivals')
LENGTH = 100  # new tokens of a text, unless the reader says otherwise
MOST_SEED = 2**53 - 1  # the largest whole number that scripts of pages tell from the next one
FIRST = ('temperature', 'top_k', 'top_p')  # the others are folded away
# How far a press of an arrow key goes, and the limits of the numbers, by their check.
TINY = 1 / settings.LARGEST
LIMITS = {
    settings.whole_number: {'min': 0, 'step': 1},
    settings.from_0: {'min': 0, 'max': settings.LARGEST, 'step': 0.1},
    settings.positive: {'min': TINY, 'max': settings.LARGEST, 'step': 0.1},
    settings.from_0_to_1: {'min': 0, 'max': 1, 'step': 0.01},
    settings.above_0_to_1: {'min': TINY, 'max': 1, 'step': 0.01},
}


def shares(levels):
    """Names of levels of surprisal by probability, in percent."""
    percent = [f'{100 * 2**-bits:.2g}' for bits in levels[1:]]
    between = [f'{low}–{high} %' for high, low in zip(percent, percent[1:], strict=False)]
    return (f'{percent[0]} % or more', *between, f'under {percent[-1]} %')


PROBABILITY = Look('', '', 'bits', LEVELS, shares(LEVELS), 'probability')


def page(model_name, n_ctx, end_of_text, with_detector=False):
    """The page, in UTF-8.

    n_ctx: tokens of the model's context.  end_of_text: its token.  with_detector: whether the
      server has a detector; without one it tells scores of a text only.
    """
    parameters = {name: sampling_field(name) for name in settings.SAMPLING}
    first = [parameters.pop(name) for name in FIRST] + [length_field(n_ctx)]
    values = {
        'MODEL': html.escape(shown(model_name)),
        'STYLE': own_file(surprisal_page.__file__, 'css')
        + pasted_text.CSS
        + findings_page.CSS
        + own_file(__file__, 'css'),
        'SCRIPT': script(model_name, n_ctx, end_of_text),
        'FIRST': '\n'.join(first),
        'OTHERS': '\n'.join(parameters.values()),
        'SEED': number_input(
            'seed', '', 'the same seed, prompt and parameters give the same text',
            {'min': 0, 'max': MOST_SEED, 'step': 1},
        ),
        'LEGEND': surprisal_page.legend(PROBABILITY),
        'SURPRISAL': pasted_text.part('surprisal', surprisal_page.SURPRISAL),
        'LEAD': surprisal_page.SURPRISAL.lead,
        'FINDINGS': findings_page.lead(model_name, with_detector),
        'DETECTOR': findings_page.part('detector'),
        'RANKS': rank_page.RANKS,
        'CARD': surprisal_page.CARD,
    }  # fmt: skip
    return filled(own_file(__file__, 'html'), values).encode()


def script(model_name, n_ctx, end_of_text):
    """All that the page runs, the values of this server first."""
    known = {
        'MODEL': model_name,
        'N_CTX': n_ctx,
        'END_OF_TEXT': end_of_text,
        'NUMBERS': [*settings.SAMPLING, 'length'],
    }
    # No '<' of a name may end the script element.
    lines = [f'const {name} = {json.dumps(value)};\n' for name, value in known.items()]
    lines += [constants(surprisal_page.SURPRISAL, 'BITS'), '\n']
    lines += [constants(PROBABILITY, 'PROBABILITY'), '\n']
    folder = os.path.dirname(__file__)
    own = [own_file(os.path.join(folder, name), 'js') for name in PARTS]
    return (
        ''.join(lines).replace('<', '\\u003c')
        + own_file(surprisal_page.__file__, 'js')
        + pasted_text.JS
        + findings_page.JS
        + ''.join(own)
    )


def sampling_field(name):
    """The HTML of a sampling parameter, as it is declared in support/settings.py."""
    parameter = settings.SAMPLING[name]
    text, check = parameter.metadata['help'], parameter.metadata['check']
    return field(name, parameter.default, text, LIMITS[check])


def length_field(n_ctx):
    text = f'new tokens, as far as the context of {n_ctx:,} tokens has room for them'
    limits = {'min': 1, 'max': n_ctx, 'step': 1}
    return field('length', min(LENGTH, n_ctx), text, limits)


def field(name, default, text, limits):
    """A number with its label."""
    label = f'<label for="field-{name}">{name}</label>'
    return f'<div class="field">{label}{number_input(name, default, text, limits)}</div>'


def number_input(name, default, text, limits):
    attributes = {'value': default, **limits, 'title': text, 'autocomplete': 'off'}
    written = ' '.join(f'{key}="{html.escape(str(value))}"' for key, value in attributes.items())
    return f'<input type="number" id="field-{name}" {written}>'


def policy_of(page):
    """The Content-Security-Policy of a page: it runs and shows itself, and asks its server."""
    hashes = {
        tag: ' '.join(f"'sha256-{digest(found)}'" for found in elements(page, tag))
        for tag in ('script', 'style')
    }
    return (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


def elements(page, tag):
    """The contents of the elements of a page by name, bytes."""
    return re.findall(f'<{tag}>(.*?)</{tag}>'.encode(), page, re.DOTALL)


def digest(data):
    return base64.b64encode(hashlib.sha256(data).digest()).decode()
