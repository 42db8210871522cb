"""The page on the bundled model, in a browser."""

import urllib.parse

import pytest

from helpers.browser import Browser, needs_browser
from helpers.serving import running_server

STATUS = 'return document.querySelector("#actions .status").textContent'
WRITTEN = 'return document.querySelector("#paper .text").textContent'


@pytest.mark.slow
@needs_browser
def test_a_text_of_the_model_its_rival_and_the_scores_of_it(tmp_path):
    with running_server() as program:
        browser = Browser(tmp_path / 'profile', (1200, 900), False)
        try:
            browser.open(program.address)
            browser.run('document.getElementById("field-length").value = 30')
            browser.press(*'Fellow citizens')
            browser.press_with_control('Enter')
            text = finished(browser)
            link = browser.run('return location.href')
            choose_rival(browser, 5)
            longer, kept = finished(browser), kept_of(browser)
            assert len(kept) == 6 and longer != text
            branch = browser.run('return location.href')
        finally:
            browser.close()
        # Another browser, another order: the addresses alone give the texts.
        other = Browser(tmp_path / 'other', (1200, 900), True)
        try:
            for address, expected in ((branch, longer), (link, text)):
                other.open('about:blank')
                other.open(address)
                assert finished(other) == expected
            tell(other, 'surprisal', text)
            tell(other, 'detector', text)
            assert other.messages() == []
        finally:
            other.close()


def finished(browser):
    """The text of the page once it is finished."""
    browser.until(f'{STATUS}.includes("a second")')
    return browser.run(WRITTEN)


def choose_rival(browser, i):
    """Focus token i and choose its first rival."""
    browser.run(f'document.querySelectorAll("#paper .block span")[{i}].focus()')
    browser.run('document.querySelector("#actions .status").textContent = ""')
    browser.press('1')


def kept_of(browser):
    fragment = browser.run('return location.hash').removeprefix('#')
    return dict(urllib.parse.parse_qsl(fragment))['kept'].split('.')


def tell(browser, tab, text):
    """Type a text into a tab and see its tokens."""
    browser.click(f'document.getElementById("{tab}-tab")')
    browser.click(f'document.getElementById("{tab}-text")')
    browser.press(*text)
    browser.until(f'return !document.querySelector("#{tab} .result").hidden')
    assert browser.run(f'return document.querySelector("#{tab} .text").textContent') == text
