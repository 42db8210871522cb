"""The page as it is sent; a browser reads it in test_page_in_browser.py."""

import base64
import hashlib
import html.parser
import json
import re

import pytest

from helpers.colours import contrast
from serving import page as module
from serving.page import own_file, page, policy_of
from support.settings import SAMPLING, Settings

HOSTILE = 'a</script><b>"\'{{STYLE}}'


class Elements(html.parser.HTMLParser):
    """The elements of a page, (tag, attributes) in order, and the text in its scripts."""

    def __init__(self, data):
        super().__init__()
        self.found, self.script, self.inside = [], '', None
        self.feed(data.decode())
        self.close()

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        self.inside = tag

    def handle_data(self, data):
        if self.inside == 'script':
            self.script += data

    def by_id(self, name):
        (found,) = [attributes for _, attributes in self.found if attributes.get('id') == name]
        return found


@pytest.fixture(scope='module')
def elements():
    return Elements(page('demo', 256, 4095))


def test_the_page_loads_nothing_else_and_has_no_code_in_attributes(elements):
    text = page('demo', 256, 4095).decode().replace('http://www.w3.org/2000/svg', '')
    assert not re.search(r'https?:|src=|url\(|@import|import\(', text)
    names = [name for _, attributes in elements.found for name in attributes]
    assert not [name for name in names if name.startswith('on') or name == 'style']
    (link,) = [attributes['href'] for tag, attributes in elements.found if 'href' in attributes]
    assert link == 'data:,'
    assert '{{' not in text


def test_what_comes_as_text_is_never_read_as_html(elements):
    ways = r'innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|Function\('
    assert not re.search(ways, elements.script)


def test_the_policy_allows_the_page_itself_alone():
    data = page('demo', 256, 4095)
    policy = policy_of(data)
    assert policy.startswith("default-src 'none'; ") and 'unsafe' not in policy
    for tag in ('script', 'style'):
        (content,) = re.findall(f'<{tag}>(.*?)</{tag}>'.encode(), data, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in policy
    assert policy_of(data.replace(b'BLOCK = 400', b'BLOCK = 401')) != policy


def test_a_name_can_do_no_harm():
    data = page(HOSTILE, 256, 4095)
    assert data.count(b'</script>') == 1 and b'<b>"' not in data
    known = re.search(r'const MODEL = (.*);', Elements(data).script)[1]
    assert json.loads(known) == HOSTILE


def test_every_sampling_parameter_has_a_field_with_its_default_and_its_help(elements):
    for name, parameter in SAMPLING.items():
        field = elements.by_id(f'field-{name}')
        assert float(field['value']) == parameter.default
        assert field['title'] == parameter.metadata['help']
    numbers = json.loads(re.search(r'const NUMBERS = (.*);', elements.script)[1])
    assert numbers == [*SAMPLING, 'length']


@pytest.mark.parametrize('name', [*SAMPLING, 'length', 'seed'])
def test_the_limits_of_a_field_are_those_of_the_settings(elements, name):
    field = elements.by_id(f'field-{name}')
    number = int if field['step'] == '1' else float
    for limit in {'min', 'max'} & set(field):
        Settings(**({'length': 5} | {name: number(field[limit])}))
    below = number(field['min']) - 1
    with pytest.raises(ValueError, match=name):
        Settings(**({'length': 5} | {name: below}))
    if name in SAMPLING and 'max' in field:
        with pytest.raises(ValueError, match=name):
            Settings(**({'length': 5} | {name: 2 * float(field['max'])}))


def test_the_length_is_within_the_context():
    for n_ctx, default in ((8, '8'), (1024, '100')):
        field = Elements(page('demo', n_ctx, 4095)).by_id('field-length')
        assert (field['value'], field['max']) == (default, str(n_ctx))


def test_all_that_can_be_entered_has_a_label_and_ids_are_unique(elements):
    ids = [attributes['id'] for _, attributes in elements.found if 'id' in attributes]
    assert len(ids) == len(set(ids))
    named = {attributes.get('for') for tag, attributes in elements.found if tag == 'label'}
    fields = [a['id'] for tag, a in elements.found if tag in ('input', 'textarea')]
    assert set(fields) - named == {'fresh'}  # it stands in its label
    for _, attributes in elements.found:
        for reference in ('aria-controls', 'aria-labelledby', 'aria-describedby'):
            assert attributes.get(reference, ids[0]) in ids


def test_it_says_when_there_is_no_detector():
    assert b'There is no detector here' in page('demo', 256, 4095)
    assert b'There is no detector here' not in page('demo', 256, 4095, with_detector=True)


def test_its_own_colours_are_legible_in_light_and_dark():
    light, dark = own_file(module.__file__, 'css').split('prefers-color-scheme: dark')
    base = own_file(module.surprisal_page.__file__, 'css').split('prefers-color-scheme: dark')
    for own, other in ((light, base[0]), (dark, base[1])):
        colours = dict(re.findall(r'--([\w-]+): (#\w+)', other.split('}')[0] + own.split('}')[0]))
        assert contrast(colours['button'], colours['on-button']) >= 4.5
        assert contrast(colours['button'], colours['page']) >= 3  # bars
        assert contrast(colours['focus'], colours['page']) >= 3


def test_the_legend_names_probabilities():
    assert module.shares((0, 1, 2, 4)) == ('50 % or more', '25–50 %', '6.2–25 %', 'under 6.2 %')
    assert len(module.PROBABILITY.names) == len(module.PROBABILITY.levels)
