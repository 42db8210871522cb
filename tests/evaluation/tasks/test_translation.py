"""Translation: files that are like XML and are none, prompts, and figures of BLEU."""

import random
import subprocess
import sys

import numpy as np
import pytest
import sacrebleu

from encoder import END_OF_TEXT as END
from encoder import get_encoder
from evaluation.generating import Generated
from evaluation.metric import figures
from evaluation.open_choices import choices_of
from evaluation.pairs import drawn
from evaluation.tasks.translation import TASKS, Segment, read_newstest, read_pairs
from helpers import small_texts as small
from helpers.data_files import fails
from helpers.small_evaluation import Evaluation
from helpers.texts import byte_encoder

ENCODER = byte_encoder()
FR_EN, EN_FR = TASKS['wmt14_fr_en'], TASKS['wmt14_en_fr']


@pytest.fixture
def folder(tmp_path):
    return small.write_wmt14(tmp_path)


def read(folder, task=FR_EN):
    return task.read(folder, complete=False)


def pairs(folder, task=FR_EN):
    return task.pairs(folder, complete=False)


# Files


def test_each_direction_reads_its_own_files(folder):
    (folder / 'wmt14' / 'newstest2014-fren-src.en.sgm').unlink()
    expected = zip('1234', small.FRENCH, small.ENGLISH, strict=True)
    assert read(folder) == [Segment(*texts) for texts in expected]
    small.write_wmt14(folder)
    (folder / 'wmt14' / 'newstest2014-fren-src.fr.sgm').unlink()
    expected = zip('1234', small.ENGLISH, small.FRENCH, strict=True)
    assert read(folder, EN_FR) == [Segment(*texts) for texts in expected]


def test_example_pairs_have_their_sides_in_the_order_of_the_task(folder):
    assert pairs(folder) == small.PAIRS
    assert pairs(folder, EN_FR) == [(english, french) for french, english in small.PAIRS]


@pytest.mark.parametrize(
    'line, text',
    [
        ('<seg id="1">A &amp; B &amp;amp; C</seg>', 'A & B &amp; C'),
        ('<seg id="2">AT&T, 3 < 4 &lt;b&gt;&#8217;&#x2019;</seg>', 'AT&T, 3 < 4 <b>\u2019\u2019'),
        ('<seg id="3"> A\u00a0 B\t</seg> \r', 'A B'),
        ('<SEG id=4 >x</SEG>', 'x'),
        ('<seg id="5">&copy 2 &para; &nosuch;</seg>', '&copy 2 \u00b6 &nosuch;'),
        ('<seg id="6"></seg>', ''),
    ],
)
def test_a_line_of_an_sgm_file(folder, line, text):
    for name in ('src.fr', 'ref.en'):
        (folder / 'wmt14' / f'newstest2014-fren-{name}.sgm').write_text(f'<doc>\n{line}\n</doc>')
    assert read(folder) == [Segment('1', text, text)]


def test_the_entities_are_those_that_sacrebleu_s_tokens_undo(folder):
    """So figures are those of its own copy of the test set, where they are as in the file."""
    raw = 'He said &quot;A &amp; B&quot; &lt; C.'
    path = folder / 'wmt14' / 'newstest2014-fren-src.fr.sgm'
    path.write_text(f'<seg id="1">{raw}</seg>\n' * 4)
    text = read(folder)[0].source
    assert text == 'He said "A & B" < C.'
    assert sacrebleu.corpus_bleu([text], [[raw]]).score == pytest.approx(100)


@pytest.mark.parametrize(
    'content, reason',
    [
        ('<seg id="1">a</seg>\n<seg id="2">b\n</seg>', 'line 2 is no whole segment'),
        ('<doc>\n</doc>', 'no segments'),
        ('', 'empty'),
        ('<seg id="1">a</seg>', 'it has 4 segments, and .*src.fr.sgm 1'),
    ],
)
def test_a_file_that_lost_something(folder, content, reason):
    (folder / 'wmt14' / 'newstest2014-fren-src.fr.sgm').write_text(content)
    fails(read_newstest, folder, command='wmt14', reason=reason, complete=False)


def test_the_published_sets_are_known_by_their_length(folder):
    reason = '4 segments instead of 3,003'
    fails(read_newstest, folder, command='wmt14', reason=reason)
    fails(read_pairs, folder, command='wmt14', reason='5 segments instead of 3,000')
    (folder / 'wmt14' / 'newstest2013.en').unlink()
    fails(read_pairs, folder, command='wmt14', reason='there is no', complete=False)


def test_an_empty_line_is_no_example(folder):
    (folder / 'wmt14' / 'newstest2013.en').write_text('Good day.\n\n\n\nNo.\n')
    assert pairs(folder) == [small.PAIRS[0], small.PAIRS[4]]


# Prompts


def prompts(folder, task=FR_EN, encoder=ENCODER, n_ctx=1024, **choices):
    choices = task.choices | {'pairs': 3} | choices
    return task.prompts(read(folder, task), encoder, n_ctx, choices, pairs(folder, task))


def test_a_prompt_is_pairs_a_line_each_then_the_source_and_an_equals_sign(folder):
    (first, second, third) = drawn(small.PAIRS, 3, 0)
    shown = ''.join(f'{french} = {english}\n' for french, english in (first, second, third))
    for prompt, number, source in zip(prompts(folder), '1234', small.FRENCH, strict=True):
        assert bytes(prompt.tokens).decode() == f'{shown}{source} ='
        assert (prompt.id, prompt.shared, prompt.lost) == (number, len(shown.encode()), 0)


def test_english_is_on_the_left_where_french_is_asked_for(folder):
    shown = ''.join(f'{english} = {french}\n' for french, english in drawn(small.PAIRS, 3, 0))
    texts = [bytes(prompt.tokens).decode() for prompt in prompts(folder, EN_FR)]
    assert texts == [f'{shown}{source} =' for source in small.ENGLISH]


def test_other_pairs_by_their_number_and_seed(folder):
    made = prompts(folder, pairs=0)[0]
    assert bytes(made.tokens).decode() == 'Le chat dort. =' and made.shared == 0
    one = {bytes(prompts(folder, pairs=1, pairs_seed=n)[0].tokens).decode() for n in range(40)}
    assert one == {f'{french} = {english}\nLe chat dort. =' for french, english in small.PAIRS}
    made = prompts(folder, pairs=1, end_of_text_first=True)[0]
    assert made.tokens[0] == ENCODER.end_of_text and ENCODER.end_of_text not in made.tokens[1:]
    assert made.shared == made.tokens.index(10) + 1


def test_the_tokens_of_the_released_vocabulary(gpt2_vocabulary, folder):
    """Encoded in two parts they are those of the whole: the shared part ends where a word does."""
    encoder = get_encoder('', str(gpt2_vocabulary))
    for prompt in prompts(folder, encoder=encoder):
        assert prompt.tokens[-1] == 796
        assert prompt.tokens == encoder.encode(encoder.decode(prompt.tokens))
        assert prompt.tokens[prompt.shared - 1] == 198


def test_a_prompt_that_is_too_long_loses_its_left(folder):
    (whole, *_), (cut, *_) = prompts(folder), prompts(folder, n_ctx=130)
    assert cut.tokens == whole.tokens[-30:]
    assert (cut.shared, cut.lost) == (0, len(whole.tokens) - 30)
    (last, *_) = prompts(folder, n_ctx=101)
    assert bytes(last.tokens) == b'='


@pytest.mark.parametrize(
    'choices, reason',
    [
        ({'pairs': 6}, 'pairs must be a whole number of at least 0 and below 6, not 6'),
        ({'pairs_seed': -1}, 'pairs_seed'),
        ({'length': 1024}, 'length=1024 leaves no room for a prompt in a context of 1024 tokens'),
    ],
)
def test_choices_that_cannot_be_meant(folder, choices, reason):
    with pytest.raises(ValueError, match=reason):
        prompts(folder, **choices)


@pytest.mark.parametrize(
    'choices, reason',
    [
        ('wmt14_fr_en.sentences=0', 'wmt14_fr_en: sentences must be'),
        ('wmt14_en_fr.splitter=none', "wmt14_en_fr: splitter is 'none'"),
    ],
)
def test_choices_that_cannot_be_meant_are_refused_whatever_the_data(choices, reason):
    with pytest.raises(ValueError, match=reason):
        choices_of(list(TASKS), choices)


def test_decoding_is_greedy_to_the_end_of_the_line():
    assert {name: FR_EN.choices[name] for name in ('temperature', 'stops', 'length', 'pairs')} == {
        'temperature': 0,
        'stops': ['\n'],
        'length': 100,
        'pairs': 5,
    }


# Figures


def generated(*texts):
    made = [Generated(str(n), text, [], -1.0) for n, text in enumerate(texts, start=1)]
    return {g.id: g for g in made}


def values(segments, texts, task='wmt14_fr_en', **choices):
    task = TASKS[task]
    rows = task.rows(segments, texts, task.choices | choices)
    made = figures(task.metrics, dict(zip(task.columns, rows.T, strict=True)))
    return {name: figure['value'] for name, figure in made.items()}, made


TRANSLATIONS = (
    ' The cat sleeps. It rains.',  # the second sentence is no part of the translation
    ' Jean & Co. has cats.',
    '',
    ' She says "yes"',
)


def test_bleu_of_the_first_sentences_by_hand(folder):
    """13a has as tokens The cat sleeps . | Jean & Co . has cats . | | She says " yes ".

    The references have 4, 10, 6 and 6; n-grams that are right: 4 3 2 1 | 7 5 3 2 | 5 4 3 2.
    """
    found, made = values(read(folder), generated(*TRANSLATIONS))
    matches, totals = (16, 12, 8, 5), (16, 13, 10, 7)
    precisions = np.divide(matches, totals)
    assert found['bleu'] == pytest.approx(
        100 * np.exp(1 - 26 / 16) * np.prod(precisions) ** 0.25, rel=1e-9
    )
    assert [figure['column'] for figure in made.values()] == ['wmt14_fr_en_bleu'] * 2
    assert made['bleu']['units'] == 4 and made['bleu']['unit'] == 'sentences'
    assert 'tok:13a|smooth:exp|version:' in made['bleu']['normalisation']
    assert 'tok:none' in made['multi_bleu']['normalisation']
    assert 'Moses' in made['multi_bleu']['normalisation']
    low, high = made['bleu']['interval']
    assert low < found['bleu'] < high


def test_more_sentences_may_count(folder):
    one, _ = values(read(folder), generated(*TRANSLATIONS))
    both, _ = values(read(folder), generated(*TRANSLATIONS), sentences=2)
    assert one['bleu'] != both['bleu']


@pytest.mark.parametrize('task', ['wmt14_fr_en', 'wmt14_en_fr'])
def test_the_references_themselves_are_perfect(folder, task):
    segments = read(folder, TASKS[task])
    texts = generated(*(f' {segment.reference}' for segment in segments))
    found, _ = values(segments, texts, task, sentences=9)
    assert found == pytest.approx({'bleu': 100, 'multi_bleu': 100})


@pytest.mark.parametrize('text', ['', ' ', '= = = = ' * 25, 'Le chat dort. =', '\ufffd' * 50, 'a'])
def test_models_without_sense_have_figures_too(folder, text):
    found, made = values(read(folder), generated(*[text] * 4))
    assert all(0 <= value <= 100 for value in found.values())
    assert made['bleu']['units'] == 4


def test_copying_the_source_is_a_translation_that_needs_no_model(folder):
    copy = TASKS['wmt14_fr_en_copy']
    segments = read(folder, copy)
    texts = {made.id: made for made in copy.baseline(segments, copy.choices)}
    found, _ = values(segments, texts, 'wmt14_fr_en_copy')
    expected = sacrebleu.corpus_bleu(small.FRENCH, [small.ENGLISH], force=True)
    assert found['bleu'] == expected.score > 0
    assert 'sacrebleu' in copy.requires and 'pysbd' not in copy.requires


# The official command


def test_sacrebleu_s_command_prints_the_same_from_the_export(folder, tmp_path):
    draw = random.Random(0)
    words = ' '.join(small.ENGLISH).split()
    segments = [Segment(str(n), '', ' '.join(draw.choices(words, k=12))) for n in range(1, 31)]
    texts = generated(*(s.reference.replace('cat', 'dog') + '\nMore.' for s in segments))
    files = FR_EN.export(segments, texts, FR_EN.choices)
    assert sorted(files) == ['references.en', 'translations.en']
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding='utf-8')
        assert text.count('\n') == 30
    command = [sys.executable, '-m', 'sacrebleu', 'references.en', '-i', 'translations.en']
    printed = subprocess.run(
        [*command, '--score-only', '--width', '6'],
        cwd=tmp_path,
        capture_output=True,
        encoding='utf-8',
        check=True,
    )
    found, _ = values(segments, texts)
    assert float(printed.stdout) == pytest.approx(found['bleu'], abs=1e-5)


# All of it


def test_from_the_files_to_the_printed_table(byte_models, folder, tmp_path, call, monkeypatch):
    folders = byte_models, folder, tmp_path / 'results'
    evaluate = Evaluation(*folders, call, monkeypatch)
    shown = ''.join(f'{french} = {english}\n' for french, english in drawn(small.PAIRS, 2, 7))
    lines = [text + '\nLe chat = the cat' for text in TRANSLATIONS[:3]] + [TRANSLATIONS[3] + END]
    prompts = [f'{shown}{source} =' for source in small.FRENCH]
    evaluate.answers = dict(zip(prompts, lines, strict=True))
    status, output, errors = evaluate(
        '--tasks=wmt14_fr_en,wmt14_fr_en_copy,wmt14_en_fr_copy',
        '--choices=wmt14_fr_en.pairs=2,wmt14_fr_en.pairs_seed=7',
        f'--export={tmp_path / "export"}',
        model='long',
    )
    assert (status, errors) == (0, '')
    (engine,) = evaluate.engines
    assert (engine.settings.temperature, engine.stops) == (0, ('\n',))
    assert '| wmt14_fr_en | bleu | 45.62 |' in output  # by hand, see above
    assert '| wmt14_fr_en_copy | bleu |' in output and 'tok:13a' in output
    assert 'pairs 2' in output and 'pairs_seed 7' in output
    exported = (tmp_path / 'export' / 'wmt14_fr_en' / 'translations.en').read_text()
    assert exported == 'The cat sleeps.\nJean & Co. has cats.\n\nShe says "yes"\n'
