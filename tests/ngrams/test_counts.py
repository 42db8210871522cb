import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder import get_encoder
from helpers.paths import ROOT
from helpers.texts import byte_encoder, write_lines
from ngrams import text as ngrams_text
from ngrams.counts import (
    CLASSES,
    Counts,
    count_all,
    document_lines,
    histogram,
    histogram_lines,
    table_lines,
    total_of,
    write_results,
)
from ngrams.exact_set import ExactSet
from ngrams.text import ngrams
from support.documents import Separator

ENCODER = byte_encoder()


def counts_of(name, ngrams, found):
    return Counts(name, np.array(ngrams, np.int64), np.array(found, np.int64))


def known_of(*documents):
    known = ExactSet()
    for batch in ngrams(documents, ENCODER):
        known.add(batch.windows)
    return known


def nothing(n_bytes):
    pass


@pytest.mark.parametrize('batch', [1, 2**21])
def test_8_grams_are_counted_for_each_document(tmp_path, monkeypatch, batch):
    monkeypatch.setattr(ngrams_text, 'BATCH_CHARACTERS', batch)
    known = known_of('the quick brown fox', 'jumps over')
    documents = [
        'THE QUICK!',
        '',
        'short',
        'x the  quick: brown',
        'nothing of it',
        'brown fox jumps',
    ]
    path = write_lines(tmp_path / 'a.jsonl', documents)
    (counts,) = count_all([str(path)], known, None, ENCODER, nothing)
    assert counts.name == str(path)
    assert counts.ngrams.tolist() == [2, 0, 0, 10, 6, 8]
    assert counts.found.tolist() == [2, 0, 0, 8, 0, 2]
    assert counts.percent == 100 * 12 / 26


def test_the_definition_is_the_papers_in_plain_python(tmp_path):
    """Whole files as one stream of tokens, occurrences counted."""
    demo = get_encoder('demo', ROOT / 'models')
    train = 'We, the People of the United States. ' * 3
    test = 'The People of the united states! ' * 2
    a = demo.encode(' '.join(['we the people of the united states'] * 3))
    b = demo.encode(' '.join(['the people of the united states'] * 2))
    in_train = {tuple(a[i : i + 8]) for i in range(len(a) - 7)}
    hits = [tuple(b[i : i + 8]) in in_train for i in range(len(b) - 7)]
    known = ExactSet()
    for batch in ngrams([train], demo):
        known.add(batch.windows)
    (tmp_path / 'test.txt').write_text(test)
    (counts,) = count_all([str(tmp_path / 'test.txt')], known, None, demo, nothing)
    assert (counts.ngrams.tolist(), counts.found.tolist()) == ([len(hits)], [sum(hits)])


def test_a_separator_makes_documents(tmp_path):
    (tmp_path / 'a.txt').write_text('12345678\n\n123456789\nx')
    path = str(tmp_path / 'a.txt')
    (counts,) = count_all([path], known_of('12345678'), Separator('\n'), ENCODER, nothing)
    assert counts.ngrams.tolist() == [1, 0, 2, 0]
    with pytest.raises(ValueError, match=r"the separator '\|' is nowhere in .*a.txt"):
        count_all([path], ExactSet(), Separator('|'), ENCODER, nothing)


def test_no_8_gram_at_all_is_refused(tmp_path):
    path = write_lines(tmp_path / 'a.jsonl', ['short', ''])
    with pytest.raises(ValueError, match='there is no text of 8 tokens in .*a.jsonl'):
        count_all([str(path)], ExactSet(), None, ENCODER, nothing)


def test_the_end_token_that_is_spelled_is_noted(tmp_path, capsys):
    path = write_lines(tmp_path / 'a.jsonl', ['12345678<|endoftext|>'])
    count_all([str(path)], ExactSet(), None, ENCODER, nothing)
    errors = capsys.readouterr().err
    assert 'in the text 1 time. ' in errors and "--test_separator '<|endoftext|>' splits" in errors


def test_tables():
    counts = [counts_of('a.txt', [89001], [2375]), counts_of('b.jsonl', [10, 0, 5], [10, 0, 0])]
    assert list(table_lines(counts)) == [
        '  overlap         found        8-grams  documents  file',
        '   2.67 %         2,375         89,001          1  a.txt',
        '  66.67 %            10             15          3  b.jsonl',
        '   2.68 %         2,385         89,016          4  total',
    ]
    assert len(list(table_lines(counts[:1]))) == 2
    assert list(document_lines(counts)) == [
        '   2.67 %         2,375         89,001  a.txt',
        ' 100.00 %            10             10  b.jsonl 1',
        '     none             0              0  b.jsonl 2',
        '   0.00 %             0              5  b.jsonl 3',
    ]


def test_the_histogram():
    counts = counts_of('a', [200] * 9 + [0], [0, 0, 0, 1, 2, 3, 5, 199, 200, 0])
    assert list(histogram_lines(counts)) == [
        '9 documents by their overlap, median 1.00 %; 1 more with fewer than 8 tokens',
        '      none          3    33.3 %  ████████████████████████████████████████',
        ' under 1 %          1    11.1 %  █████████████',
        '     1–2 %          2    22.2 %  ███████████████████████████',
        '     2–5 %          1    11.1 %  █████████████',
        '    5–10 %          0     0.0 %',
        '   10–15 %          0     0.0 %',
        '   15–25 %          0     0.0 %',
        '   25–50 %          0     0.0 %',
        '  50–100 %          2    22.2 %  ███████████████████████████',
    ]


@given(st.lists(st.integers(0, 50), min_size=1))
def test_every_document_is_in_one_class(found):
    percents = np.array(found) * 2.0
    sizes = histogram(percents)
    assert sum(sizes) == len(found) and len(sizes) == len(CLASSES)
    assert sizes[0] == found.count(0) and sizes[-1] == sum(n >= 25 for n in found)


def test_results_are_json_without_nan(tmp_path):
    def refuse(constant):
        raise AssertionError(constant)

    counts = [counts_of('caf\udce9.txt', [4, 0], [1, 0]), counts_of('b', [0], [0])]
    path = tmp_path / 'r.json'
    write_results(str(path), known_of('12345678'), counts, {'train': ['x\udce9']})
    content = json.loads(path.read_text('ascii'), parse_constant=refuse)
    assert content['files'] == [
        {
            'file': 'caf\udce9.txt',
            'ngrams': 4,
            'found': 1,
            'percent': 25.0,
            'documents': [
                {'ngrams': 4, 'found': 1, 'percent': 25.0},
                {'ngrams': 0, 'found': 0, 'percent': None},
            ],
        },
        {
            'file': 'b',
            'ngrams': 0,
            'found': 0,
            'percent': None,
            'documents': [{'ngrams': 0, 'found': 0, 'percent': None}],
        },
    ]
    assert content['exact'] is True and content['train_ngrams'] == content['train_distinct'] == 1
    assert total_of(counts).percent == 25.0
