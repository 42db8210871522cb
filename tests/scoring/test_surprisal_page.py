import html.parser
import json
import math
import re
import time

import pytest

from helpers.browser import Browser, needs_browser
from helpers.colours import contrast
from scoring import surprisal_page


def record(text, bits, **more):
    return {
        'id': len(text), 'text': text, 'logprob': -bits * math.log(2), 'rank': 2, 'entropy': 1.5
    } | more  # fmt: skip


# Everything that HTML or scripts could read otherwise, and a character of two tokens.
RECORDS = [
    record('</script><b>&amp;"', 0.5),
    record('\r\n', 1.5),
    record('\0 \u2028\ufeff<!--', 3),
    record('', 5, bytes='c3'),
    record('é', 7, bytes='a9'),
    record(' x', 9),
    record('\n\n', 13),
    record('end', 0),
]
TEXT = ''.join(each['text'] for each in RECORDS)
ROWS = [('tokens', '8'), ('bits & bytes', '<3>')]


def page(*records, model='demo'):
    names = [f'file {n}.txt <i>' for n in range(1, len(records) + 1)]
    sections = [surprisal_page.section(n, ROWS, r) for n, r in zip(names, records, strict=True)]
    return ''.join([surprisal_page.head(model), *sections, surprisal_page.foot()])


class Reader(html.parser.HTMLParser):
    """The elements of a page: a list of (tag, attributes, text)."""

    VOID = ('meta',)

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append([tag, dict(attributes), ''])
        if tag not in self.VOID:
            self.open.append(self.elements[-1])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open:
            self.open[-1][2] += data

    def texts(self, tag):
        return [text for name, _, text in self.elements if name == tag]


def test_the_page_holds_the_exact_document_and_every_number():
    reader = Reader(page(RECORDS, RECORDS[:3]))
    data = [json.loads(e[2]) for e in reader.elements if e[1].get('type') == 'application/json']
    assert [''.join(each['text']) for each in data] == [TEXT, TEXT[: TEXT.index('é')]]
    for key in ('id', 'text', 'logprob', 'rank', 'entropy'):
        assert data[0][key] == [each[key] for each in RECORDS]
    assert data[0]['bytes'] == {'3': 'c3', '4': 'a9'}
    assert reader.texts('h2') == ['file 1.txt <i>', 'file 2.txt <i>']
    assert reader.texts('dt') == ['tokens', 'bits & bytes'] * 2
    assert reader.texts('dd') == ['8', '<3>'] * 2
    assert 'i' not in [e[0] for e in reader.elements]


def test_the_page_loads_nothing_else():
    text = page(RECORDS)
    assert not re.search(r'https?:|src=|href=|url\(|@import|fetch\(|import\(', text)


def test_the_model_is_named():
    assert Reader(page([], model='a<b')).texts('title') == ['Surprisal of a<b']


def test_text_is_legible_on_every_colour_in_light_and_dark():
    css = surprisal_page.own_file(surprisal_page.__file__, 'css')
    light, dark = css.split('prefers-color-scheme: dark')
    for scheme in (light.split('}')[0], dark.split('}')[0]):
        colours = dict(re.findall(r'--(\w+): (#\w+)', scheme))
        grounds = [colours[f's{n}'] for n in range(1, len(surprisal_page.LEVELS))]
        for ground in [colours['page'], colours['panel'], *grounds]:
            assert contrast(colours['ink'], ground) >= 4.5, ground
        for quiet_on in ('page', 'panel'):
            assert contrast(colours['quiet'], colours[quiet_on]) >= 4.5
        assert contrast(colours['line'], colours['page']) >= 3


def test_colour_is_not_the_only_sign_of_a_level():
    css = surprisal_page.own_file(surprisal_page.__file__, 'css')
    lines = [
        ''.join(re.findall(rf'\.s{n} \{{.*?(border[^;]*);', css))
        for n in range(1, len(surprisal_page.LEVELS))
    ]
    assert all(lines) and len(set(lines)) == len(lines)


CARD = (
    'return document.getElementById("card").hidden ? "" : document.getElementById("card").innerText'
)
TOKEN = 'document.querySelectorAll(".block span")[{}]'


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize('dark', [False, True])
@pytest.mark.parametrize('size', [(1200, 900), (500, 900)])
def test_a_browser_shows_the_numbers_to_the_pointer_and_the_keyboard(tmp_path, size, dark):
    many = RECORDS + [record(f' word{n}', 3) for n in range(20000)] + [record(' last', 9)]
    (tmp_path / 'page.html').write_text(page(many, RECORDS), encoding='utf-8')
    browser = Browser(tmp_path / 'profile', size, dark)
    try:
        browser.open((tmp_path / 'page.html').as_uri())
        browser.until(f'return {TOKEN.format(7)}')
        texts = browser.run(
            'return [...document.querySelectorAll(".text")].map(e => e.textContent)'
        )
        assert texts == [''.join(each['text'] for each in many), TEXT]
        assert browser.run('return document.documentElement.scrollWidth <= innerWidth')
        assert browser.run('return matchMedia("(prefers-color-scheme: dark)").matches') == dark
        classes = browser.run(
            'return [...document.querySelectorAll(".block span")].slice(0, 8).map(e => e.className)'
        )
        assert classes == ['s0', 's1', 's2', 's3', 's4', 's5', 's6', 's0']

        browser.point_at(TOKEN.format(5))
        shown = browser.until(CARD)
        for number in (f'{-9 * math.log(2)} nats', '9.000 bits', '0.001953', '1.5 nats', '2'):
            assert number in shown
        assert browser.run(
            'const b = document.getElementById("card").getBoundingClientRect();'
            'return b.left >= 0 && b.top >= 0 && b.right <= innerWidth && b.bottom <= innerHeight'
        )
        browser.press('Escape')
        assert browser.run(CARD) == ''
        browser.point_at(TOKEN.format(3))
        assert 'bytes c3, inside a character' in browser.until(CARD)
        browser.press('Escape')

        browser.press('Tab')
        assert '0.500 bits' in browser.run(CARD)
        browser.press('Right', 'Right', 'Left')
        assert '1.500 bits' in browser.run(CARD)
        browser.press('Down', 'Down')
        assert '13.000 bits' in browser.run(CARD)
        browser.press('Up')
        assert '9.000 bits' in browser.run(CARD)
        browser.press('End')
        assert '" last"' in browser.run(CARD)
        assert browser.run('return scrollY') > 5000
        time.sleep(0.5)
        # Only what is near the window consists of elements.
        assert browser.run('return document.querySelectorAll(".block span").length') < 10000
        browser.press('Home')
        assert '0.500 bits' in browser.run(CARD)
        browser.press('Tab')
        assert 'number 1' in browser.run(CARD)
        assert (
            browser.run(
                'return document.activeElement.closest("section").querySelector("h2").innerText'
            )
            == 'file 2.txt <i>'
        )
        assert browser.messages() == []
    finally:
        browser.close()
