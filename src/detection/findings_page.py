"""A box for a text and what is found of it when typing stops: a part of pages. No TensorFlow.

It is that of scoring/pasted_text.py with a bar of the detector's probabilities, the histogram of u,
and tokens coloured by rank. CSS and JS come after those of surprisal_page.py and pasted_text.py.
"""

import html

from detection import rank_page
from detection.findings import CAUTION, SHORT
from scoring import pasted_text, surprisal_page
from scoring.surprisal_page import own_file
from support.files import shown

OWN_CSS = own_file(__file__, 'css')
CSS = rank_page.LOOK.css + OWN_CSS
JS = (
    f'const SHORT = {SHORT};\n{surprisal_page.constants(rank_page.LOOK, "RANK")}\n'
    + rank_page.LOOK.js
    + own_file(__file__, 'js')
)
NO_DETECTOR = '<p>There is no detector here: scores only.</p>\n'


def lead(model_name, with_detector):
    """The HTML of what is said of it."""
    name = html.escape(shown(model_name))
    return f"""<p>How much does a text look like what the model <b>{name}</b> writes? Enter it
below; the numbers come when you stop typing. They start to be reliable from about {SHORT} tokens
on.</p>
<p>{html.escape(CAUTION)}</p>
{'' if with_detector else NO_DETECTOR}"""


def part(name):
    """The HTML of the part, whose element has the class `rank`."""
    look = rank_page.LOOK
    return pasted_text.part(name, look, own_file(__file__, 'html'), rank_page.HISTOGRAM)
