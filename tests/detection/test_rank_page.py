"""The page of ranks: its colours, and what a browser shows."""

import re

import pytest

from detection import findings_page, rank_page
from detection.findings import record_of
from detection.rank_page import LOOK
from helpers.browser import Browser, needs_browser
from helpers.colours import contrast
from helpers.stub_scorer import StubScorer
from scoring import pasted_text, surprisal_page
from scoring.outputs import token_records

TEXT = 'A text </script> with all ranks: \t\n é 日本'


def schemes(css):
    """The colours of the light and of the dark scheme: two dicts."""
    light, dark = css.split('prefers-color-scheme: dark')
    return [dict(re.findall(r'--([\w-]+): (#\w+)', each.split('}')[0])) for each in (light, dark)]


def test_text_is_legible_on_every_colour_in_light_and_dark():
    base = schemes(surprisal_page.own_file(surprisal_page.__file__, 'css'))
    findings = schemes(findings_page.OWN_CSS)
    pasted = schemes(pasted_text.CSS)
    for page, ranks, shares, box in zip(base, schemes(LOOK.css), findings, pasted, strict=True):
        assert contrast(box['wrong'], page['page']) >= 4.5
        assert len(LOOK.levels) == len(LOOK.names) == 4
        for level in range(4):
            assert contrast(page['ink'], ranks[f's{level}']) >= 4.5
        assert contrast(ranks['bar'], page['page']) >= 3
        for share in ('human', 'machine'):
            assert contrast(shares[share], page['page']) >= 4.5


def test_the_colours_are_those_of_the_buckets_of_gltr():
    assert LOOK.levels == (1, 11, 101, 1001)
    assert LOOK.names == ('1–10', '11–100', '101–1,000', 'above 1,000')


def page_of(text):
    scorer = StubScorer()
    tokens = scorer.encoder.encode(text)
    (scores,) = scorer.score_documents([tokens], True, lambda n: None, ())
    record = record_of(text, len(tokens), scores, None)
    tokens = list(token_records(scorer.encoder, tokens, scores))
    section = rank_page.section('a <name>', record, tokens)
    return rank_page.head('demo') + section + rank_page.foot(), record


def test_the_page_loads_nothing_else():
    page, _ = page_of(TEXT)
    page = page.replace('http://www.w3.org/2000/svg', '')  # the name of SVG, which nobody asks for
    assert not re.search(r'https?:|src=|href=|url\(|@import|fetch\(|import\(', page)


@pytest.mark.slow
@needs_browser
def test_a_browser_colours_tokens_by_rank_and_draws_the_histogram(tmp_path):
    page, record = page_of(TEXT)
    (tmp_path / 'page.html').write_text(page, encoding='utf-8')
    browser = Browser(tmp_path / 'profile', (500, 900), False)
    try:
        browser.open((tmp_path / 'page.html').as_uri())
        browser.until('return document.querySelector(".block span")')
        assert browser.run('return document.querySelector(".text").textContent') == TEXT
        classes = browser.run(
            'return [...document.querySelectorAll(".block span")].map(e => e.className)'
        )
        ranks = [1 + byte for byte in TEXT.encode()]
        assert classes == ['s0' if r <= 10 else 's1' if r <= 100 else 's2' for r in ranks]
        assert len(set(classes)) == 3
        label = browser.run('return document.querySelector(".histogram svg").ariaLabel')
        assert label.endswith(', '.join(map(str, record['u'])))
        assert browser.run('return document.documentElement.scrollWidth <= innerWidth')
        browser.press('Tab', 'Down')  # to the next rank above 100
        place = next(i for i, rank in enumerate(ranks) if i and rank > 100)
        card = browser.run('return document.getElementById("card").innerText')
        assert f'number {place + 1}' in card
        assert browser.messages() == []
    finally:
        browser.close()
