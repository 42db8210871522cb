"""A box for a text and what is told of it when typing stops: a part of pages. No TensorFlow.

Its style and script are pasted_text.css and pasted_text.js, which need those of surprisal_page.py.
"""

from scoring.surprisal_page import filled, legend, own_file

CSS, JS = own_file(__file__, 'css'), own_file(__file__, 'js')


def part(name, look, above='', below=''):
    """The HTML of the part.

    name: by which its elements' ids begin.  look: scoring.surprisal_page.Look of the tokens.
    above, below: HTML of the answer that stands above and below the list of its numbers.
    """
    values = {
        'NAME': name,
        'LABEL': look.label,
        'LEGEND': legend(look),
        'ABOVE': above,
        'BELOW': below,
    }
    return filled(own_file(__file__, 'html'), values)
