"""The part of pages that tells what is found of a text that is entered."""

from detection import findings_page
from detection.findings import CAUTION, SHORT


def test_the_model_s_name_is_no_html():
    lead = findings_page.lead('<b>&', with_detector=True)
    assert '<b>&lt;b&gt;&amp;</b>' in lead and f'about {SHORT} tokens' in lead
    assert CAUTION.split("'")[0] in lead


def test_it_is_said_where_there_is_no_detector():
    assert findings_page.NO_DETECTOR in findings_page.lead('demo', with_detector=False)
    assert findings_page.NO_DETECTOR not in findings_page.lead('demo', with_detector=True)


def test_the_script_knows_from_how_many_tokens_on_numbers_mean_something():
    assert findings_page.JS.startswith(f'const SHORT = {SHORT};\n')
