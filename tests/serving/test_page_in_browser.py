"""The page in a browser, on a model that is made up."""

import json
import math
import re
import time
import urllib.parse

import pytest

from helpers.browser import Browser, needs_browser
from helpers.page_server import page_server

pytestmark = [pytest.mark.slow, needs_browser]

TEXT = ' a tale:\n\n"Wait" é 日, </script> & more <b>' + ' on and on' * 4
STATUS = 'return document.querySelector("#actions .status").textContent'
WRITTEN = 'return document.querySelector("#paper .text").textContent'
BUTTON = 'return document.getElementById("generate").textContent'
READY = f'{BUTTON} === "Generate"'
SAID = 'return document.getElementById("said").textContent'
CARD = (
    'return document.getElementById("card").hidden ? "" : document.getElementById("card").innerText'
)
TOKEN = 'document.querySelectorAll("#paper .block span")[{}]'
RIVAL = 'document.querySelectorAll("#card .rivals button")[{}]'
TABLE = 'return [...document.querySelectorAll("[role=tab]")].map(e => [e.ariaSelected, e.tabIndex])'
ENTER = """
const box = document.getElementById('{tab}-text');
box.value = {text};
box.dispatchEvent(new Event('input'));
"""


@pytest.fixture
def browse(tmp_path):
    """Open a browser at an address: (address, width, dark) -> Browser."""
    browsers = []

    def opened(address, width=1200, dark=False):
        browser = Browser(tmp_path / f'profile{len(browsers)}', (1200, 900), dark)
        browsers.append(browser)
        browser.resize(width, 900)
        browser.open(address)
        return browser

    yield opened
    for browser in browsers:
        browser.close()


def write(browser, prompt, **fields):
    """Type a prompt, set fields, generate, and wait until it is done."""
    set_fields(browser, **fields)
    browser.click('document.getElementById("field-prompt")')
    browser.press(*prompt)
    browser.press_with_control('Enter')
    done(browser)


def set_fields(browser, **fields):
    for name, value in fields.items():
        browser.run(
            f'const e = document.getElementById("field-{name}"); e.value = "{value}";'
            'e.dispatchEvent(new Event("input"))'
        )


def done(browser):
    browser.until(f'{READY} && /a second/.test(({STATUS.removeprefix("return ")}))')


def state_of(browser):
    """The address's fragment as a dict."""
    fragment = browser.run('return location.hash').removeprefix('#')
    return dict(urllib.parse.parse_qsl(fragment, keep_blank_values=True))


def check_quiet(browser, address):
    """No error nor warning, nothing asked of other hosts."""
    assert browser.messages() == []
    loaded = browser.run('return performance.getEntriesByType("resource").map(e => e.name)')
    assert loaded and all(name.startswith(address) for name in loaded), loaded


def tokens(text):
    return list(text.encode())


@pytest.mark.parametrize('width, dark', [(1200, False), (1200, True), (320, False), (320, True)])
def test_a_text_streams_with_the_rivals_of_each_token(browse, width, dark):
    with page_server({'Hi': TEXT}, seconds=0.02) as (address, service):
        browser = browse(address, width, dark)
        assert browser.run('return document.activeElement.id') == 'field-prompt'
        assert browser.run('return matchMedia("(prefers-color-scheme: dark)").matches') == dark
        browser.press('H', 'i')
        browser.press_with_control('Enter')
        first = browser.until(WRITTEN)
        assert browser.run(BUTTON) == 'Stop' and TEXT.startswith(first)
        browser.until(f'{WRITTEN}.length > {len(first) + 10}')
        assert browser.run(BUTTON) == 'Stop'
        assert browser.run(SAID) == 'Writing'  # and no token
        done(browser)
        (request,) = service.engine.requests
        assert browser.run(WRITTEN) == browser.run(SAID) == TEXT
        assert request.prompt == tokens('Hi') and request.settings.length == 100
        assert request.settings.seed == int(state_of(browser)['seed'])
        assert browser.run('return document.getElementById("given").textContent') == 'Hi'
        assert browser.run('return document.documentElement.scrollWidth <= innerWidth')

        at = TEXT.index('W')
        browser.point_at(TOKEN.format(at))
        card = browser.until(CARD)
        share = 100 * math.exp(-ord('W') / 100)
        assert f'{share:.1f} %' in card and f'{ord("W")}, number {at + 1}' in card
        rivals = browser.run(
            'return [...document.querySelectorAll(".rivals .token")].map('
            'e => JSON.parse(e.innerText))'
        )
        assert rivals == list('XYZ[\\')
        assert browser.run(
            'const b = document.getElementById("card").getBoundingClientRect();'
            'return b.left >= 0 && b.top >= 0 && b.right <= innerWidth && b.bottom <= innerHeight'
        )
        browser.press('Escape')
        assert browser.run(CARD) == ''
        check_quiet(browser, address)


def test_bytes_and_line_breaks_are_marked(browse):
    with page_server({'Hi': 'é\n日'}) as (address, _):
        browser = browse(address)
        write(browser, 'Hi')
        marks = browser.run(
            'return [...document.querySelectorAll("#paper .block span")].map('
            'e => [e.textContent, e.dataset.mark ?? null])'
        )
        assert marks == [
            ['', '\\xc3'], ['é', None], ['\n', '↵'], ['', '\\xe6'], ['', '\\x97'], ['日', None]
        ]  # fmt: skip
        assert 'the model ended the text' in browser.run(STATUS)
        assert '∎' in browser.run('return document.getElementById("tail").textContent')
        browser.run('navigator.clipboard.writeText = async (text) => { window.copied = text; }')
        browser.click('document.getElementById("copy")')
        assert browser.until('return window.copied') == 'Hié\n日'


def test_a_rival_is_chosen_by_mouse_and_by_keyboard_and_the_text_goes_on(browse):
    answers = {'Hi': ' there', 'Hi ti': 'me', 'Hi u': 'p'}
    with page_server(answers) as (address, service):
        browser = browse(address)
        write(browser, 'Hi')
        assert browser.run(WRITTEN) == ' there'
        browser.point_at(TOKEN.format(2))  # h: i is the first rival
        browser.until(CARD)
        browser.point_at(TOKEN.format(4), RIVAL.format(0))  # past another token
        time.sleep(0.3)
        assert '"i"' in browser.run(CARD)
        browser.click(RIVAL.format(0))
        browser.until(f'{WRITTEN} === " time"')
        done(browser)
        assert service.engine.requests[-1].prompt == tokens('Hi ti')
        assert state_of(browser)['kept'] == '.'.join(map(str, tokens(' ti')))
        browser.until(f'return {TOKEN.format(4)}')
        # Its rivals are those of the token in whose place it stands.
        browser.point_at(TOKEN.format(2))
        card = browser.until(CARD)
        assert '"h"' in card and '"j"' in card and 'rank\n2' in card
        browser.press('Escape')

        # By keyboard: past the buttons to the text, to its second token, and to its first rival.
        browser.run('document.getElementById("field-prompt").focus()')
        browser.press('Tab', 'Tab', 'Tab', 'Tab', 'Right')
        assert 'number 2' in browser.run(CARD)
        browser.press('1')
        browser.until(f'{WRITTEN} === " up"')
        done(browser)
        assert service.engine.requests[-1].prompt == tokens('Hi u')
        # The focus is on the token that was put in.
        focused = 'return document.activeElement.dataset.i'
        assert browser.run(focused) == '1'

        # Into the list of rivals and back.
        browser.press('Right')
        browser.press('Enter', 'Down', 'Down', 'Up')
        assert browser.run('return document.activeElement.innerText').startswith('2')
        browser.press('Escape')
        assert browser.run(focused) == '2' and browser.run(CARD) == ''
        check_quiet(browser, address)


@pytest.mark.parametrize('how', ['button', 'Escape'])
def test_stopping_ends_the_request(browse, how):
    with page_server(lambda prompt: 'x' * 200, seconds=0.02) as (address, service):
        browser = browse(address)
        set_fields(browser, length=200)
        browser.click('document.getElementById("generate")')
        browser.until(f'{WRITTEN}.length > 5')
        if how == 'button':
            browser.click('document.getElementById("generate")')
        else:
            browser.point_at(TOKEN.format(0))
            browser.until(CARD)
            browser.press('Escape')
            assert browser.run(CARD) == '' and browser.run(BUTTON) == 'Stop'
            browser.press('Escape')
        n = len(browser.until(f'return {READY.removeprefix("return ")} && ({WRITTEN[7:]})'))
        assert browser.run(STATUS) == 'Stopped'
        deadline = time.monotonic() + 2
        (rows,) = service.engine.made
        while not rows.left and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(rows.left) == 1 and rows.n_steps < 150
        assert browser.run(f'{WRITTEN}.length') == n
        check_quiet(browser, address)


def test_a_link_gives_the_same_text_and_the_way_back_too(browse):
    answers = {'Hi & é': ' there', 'Hi & é there': '!', 'No': 'thing'}
    with page_server(answers) as (address, service):
        browser = browse(address)
        write(browser, 'Hi & é', temperature=0.7, top_k=40, seed=12345678901, length=50, min_p=0.05)
        link = browser.run('return location.href')
        first = service.engine.requests[0]
        assert first.settings.values() == dict(first.settings.values()) | {
            'temperature': 0.7, 'top_k': 40, 'seed': 12345678901, 'length': 50, 'min_p': 0.05
        }  # fmt: skip
        browser.click('document.getElementById("more")')
        browser.until(f'{WRITTEN} === " there!"')
        done(browser)
        longer = browser.run('return location.href')
        assert state_of(browser)['kept'] == '.'.join(map(str, tokens(' there')))
        n = len(service.engine.requests)
        browser.back()
        browser.until(f'{WRITTEN} === " there"')
        assert len(service.engine.requests) == n  # it was kept

        again = browse(link)
        again.until(f'{WRITTEN} === " there"')
        done(again)
        assert service.engine.requests[-1] == first
        values = 'return ["prompt", "temperature", "min_p"].map(' + (
            'name => document.getElementById(`field-${name}`).value)'
        )
        assert again.run(values) == ['Hi & é', '0.7', '0.05']
        check_quiet(again, address)

        kept = browse(longer)
        kept.until(f'{WRITTEN} === " there!"')
        done(kept)
        assert service.engine.requests[-1] == service.engine.requests[1]
        # What was kept has its probabilities again.
        kept.point_at(TOKEN.format(1))
        assert '"u"' in kept.until(CARD)
        check_quiet(kept, address)


def test_the_seed_is_new_for_each_text_until_one_is_entered(browse):
    with page_server(lambda prompt: 'x') as (address, service):
        browser = browse(address)
        for _ in range(2):
            browser.press_with_control('Enter')
            done(browser)
            browser.run('document.querySelector("#actions .status").textContent = ""')
        browser.click('document.getElementById("field-seed")')
        browser.press_with_control('a')
        browser.press('7')
        for _ in range(2):
            browser.press_with_control('Enter')
            done(browser)
            browser.run('document.querySelector("#actions .status").textContent = ""')
        seeds = [request.settings.seed for request in service.engine.requests]
        assert len(set(seeds)) == 3 and seeds[2:] == [7, 7]


def test_what_cannot_be_done_is_said_in_one_line(browse):
    with page_server(lambda prompt: 'x', n_ctx=20) as (address, service):
        browser = browse(address)
        set_fields(browser, top_p=2)
        browser.press_with_control('Enter')
        assert 'top_p must be a number above 0 and at most 1' in browser.until(STATUS)
        assert browser.run('return document.activeElement.id') == 'field-top_p'
        set_fields(browser, top_p=0.123, typical_p=7)
        browser.press_with_control('Enter')
        assert 'typical_p' in browser.run(STATUS)
        assert browser.run('return document.querySelector("details").open')
        set_fields(browser, typical_p=1, seed=2**53)
        browser.press_with_control('Enter')
        assert 'seed must' in browser.run(STATUS) and str(2**53 - 1) in browser.run(STATUS)
        # An address that cannot be meant stays as it is.
        browser.open('about:blank')
        browser.open(f'{address}#prompt=Hi&seed=')
        assert 'seed must be a whole number' in browser.until(STATUS)
        assert state_of(browser) == {'prompt': 'Hi', 'seed': ''}
        assert service.engine.requests == []


def test_a_prompt_beyond_the_context_is_said_and_a_shorter_text_fits(browse):
    with page_server(lambda prompt: 'x' * 50, n_ctx=20) as (address, service):
        browser = browse(address)
        browser.press(
            *'x' * 30,
        )
        browser.press_with_control('Enter')
        browser.until(f'{STATUS}.includes("The context is full: it has 20 tokens")')
        browser.press_with_control('a')
        browser.press(*'x' * 15)
        browser.press_with_control('Enter')
        done(browser)
        assert service.engine.requests[0].settings.length == 6
        assert '20 of 20 in the context' in browser.run(STATUS)


def test_the_key_of_the_server_is_asked_for_when_it_is_needed(browse):
    with page_server(lambda prompt: 'x', api_key='secret') as (address, _):
        browser = browse(address)
        hidden = 'return document.getElementById("key").hidden'
        assert browser.run(hidden)
        browser.press_with_control('Enter')
        browser.until(f'{hidden} === false')
        browser.press(*'wrong', 'Enter')
        browser.until('return /not the key/.test(document.getElementById("key-why").innerText)')
        browser.press(*'secret', 'Enter')
        done(browser)
        assert browser.run(WRITTEN) == 'x' and browser.run(hidden)
        assert 'secret' not in browser.run('return location.href')


def test_a_server_that_goes_and_comes_back_is_told_of(browse):
    notice = 'return document.getElementById("notice").textContent'
    with page_server(lambda prompt: 'x' * 200, seconds=0.02) as (address, service):
        port = int(re.search(r':(\d+)', address)[1])
        browser = browse(address)
        set_fields(browser, length=200)
        browser.press_with_control('Enter')
        browser.until(f'{WRITTEN}.length > 5')
        service.stopping = True
        service.scheduler.close(0)
    browser.until(READY)
    assert browser.run(STATUS) != '' and browser.run(WRITTEN).startswith('xxxxx')
    browser.press_with_control('Enter')
    browser.until(f'{notice}.includes("does not answer; waiting")')
    browser.run(ENTER.format(tab='surprisal', text='"pasted"'))
    browser.until('return document.querySelector("#surprisal .status.failed")')
    with page_server(lambda prompt: 'back', port=port) as (address, service):
        # What was asked about a pasted text is asked again; the text to write is not.
        browser.until('return document.querySelector("#surprisal .text").innerText === "pasted"')
        assert service.engine.requests == []
        browser.press_with_control('Enter')
        browser.until(f'{WRITTEN} === "back"')
        assert browser.run(notice) == ''


def test_a_server_that_ends_is_waited_for(browse):
    notice = 'return document.getElementById("notice").textContent'
    with page_server(lambda prompt: 'x') as (address, service):
        browser = browse(address)
        service.stopping = True
        browser.press_with_control('Enter')
        browser.until(f'{notice}.includes("waiting for it")')
        service.stopping = False
        browser.until(f'{notice} === "The server answers again."')


def test_tabs_by_keyboard_and_what_they_tell_of_a_pasted_text(browse):
    with page_server(lambda prompt: 'x') as (address, _):
        browser = browse(address, 500)
        browser.run('document.getElementById("write-tab").focus()')
        assert browser.run(TABLE) == [['true', 0], ['false', -1], ['false', -1]]
        browser.press('Left')
        assert browser.run(TABLE) == [['false', -1], ['false', -1], ['true', 0]]
        browser.press('Right', 'Right')
        assert browser.run(TABLE) == [['false', -1], ['true', 0], ['false', -1]]
        shown = 'return [...document.querySelectorAll("[role=tabpanel]")].map(e => !e.hidden)'
        assert browser.run(shown) == [False, True, False]
        text = 'A pasted text </b> é'
        paste(browser, 'surprisal', text)
        assert 'Scores of 21 tokens' in browser.run(
            'return document.querySelector("#surprisal .status").textContent'
        )
        classes = 'return [...document.querySelectorAll("#{} .block span")].map(e => e.className)'
        bits = [(1 + byte) / 50 / math.log(2) for byte in text.encode()]
        levels = [sum(b >= low for low in (1, 2, 4, 6, 8, 12)) for b in bits]
        assert browser.run(classes.format('surprisal')) == [f's{level}' for level in levels]

        browser.run('document.querySelector("#surprisal .block span").focus()')
        assert 'surprisal' in browser.run(CARD)
        browser.run('document.getElementById("surprisal-tab").focus()')
        assert browser.run(CARD) == ''
        browser.press('End')
        paste(browser, 'detector', text)
        assert browser.run(classes.format('detector')) == [
            's0' if b < 10 else 's1' if b < 100 else 's2' for b in text.encode()
        ]
        assert 'too short to tell' in browser.run(
            'return document.querySelector("#detector .status").textContent'
        )
        assert browser.run('return document.querySelectorAll("#detector rect").length') == 10
        # Colours of ranks are not those of surprisal.
        colour = (
            'return getComputedStyle(document.querySelector("#{} .legend .s1")).backgroundColor'
        )
        assert browser.run(colour.format('detector')) != browser.run(colour.format('surprisal'))
        assert browser.run('return document.documentElement.scrollWidth <= innerWidth')
        check_quiet(browser, address)


def paste(browser, tab, text):
    browser.run(ENTER.format(tab=tab, text=json.dumps(text)))
    browser.until(f'return !document.querySelector("#{tab} .result").hidden')
    shown = browser.run(f'return document.querySelector("#{tab} .text").textContent')
    assert shown == text


def test_the_theme_can_be_chosen_and_is_remembered(browse):
    page = 'return getComputedStyle(document.body).backgroundColor'
    with page_server(lambda prompt: 'x') as (address, _):
        browser = browse(address)
        light, dark = 'rgb(255, 255, 255)', 'rgb(22, 22, 26)'
        assert browser.run(page) == light
        browser.prefer('dark')  # the page goes with the system
        browser.until(f'{page} === "{dark}"')
        browser.prefer('light')
        browser.until(f'{page} === "{light}"')
        browser.click('document.getElementById("theme")')
        assert browser.run(page) == dark
        browser.open(address)
        assert browser.run(page) == dark
        browser.click('document.getElementById("theme")')
        assert browser.run(page) == light
        other = browse(address, dark=True)
        assert other.run(page) == dark
        assert other.run('return document.getElementById("theme").ariaPressed') == 'true'


FRAMES = """
let last = performance.now();
window.gaps = [];
requestAnimationFrame(function frame(now) {
  window.gaps.push(now - last);
  last = now;
  requestAnimationFrame(frame);
});
"""


def test_a_text_as_long_as_the_context_is_shown_whole_and_the_page_stays_smooth(browse):
    text = 'word ' * 300
    with page_server(lambda prompt: text, n_ctx=1024) as (address, service):
        browser = browse(address)
        browser.run(FRAMES)
        write(browser, 'x', length=1024)
        assert browser.run(WRITTEN) == text[:1024]
        assert browser.run('return document.querySelectorAll("#paper .block span").length') == 1024
        assert max(browser.run('return window.gaps')) < 1000  # milliseconds
        # The end of the text stayed in view; 40 pixels are a line.
        bottom = 'return document.getElementById("paper").getBoundingClientRect().bottom'
        assert browser.run(bottom) < 900 + 40
        check_quiet(browser, address)
