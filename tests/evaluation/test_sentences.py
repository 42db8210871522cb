import pytest

from evaluation.sentences import SPLITTER, check_splitter, first_sentences, sentences


def test_a_sentence_ends_where_a_reader_would_say():
    text = 'Mr. Poe paid $3.5 million. "Is it true?" he asked the U.S. Senate. It was.'
    assert list(sentences(text)) == [
        'Mr. Poe paid $3.5 million.',
        '"Is it true?" he asked the U.S. Senate.',
        'It was.',
    ]


def test_no_sentence_goes_over_a_line_end_and_none_is_empty():
    assert list(sentences('A boat\n\n \t\nIt sank. No one\r\nwas hurt')) == [
        *('A boat', 'It sank.', 'No one', 'was hurt'),
    ]
    assert list(sentences('')) == list(sentences(' \n\n')) == []


def test_the_first_ones_are_found_without_reading_on(monkeypatch):
    read = []
    monkeypatch.setattr('evaluation.sentences.segmenter', lambda language: Reader(read))
    assert first_sentences('one\ntwo\nthree\nfour', 2) == ['one', 'two']
    assert read == ['one', 'two']


class Reader:
    def __init__(self, read):
        self.read = read

    def segment(self, line):
        self.read.append(line)
        return [line]


def test_french_has_rules_of_its_own():
    text = 'M. Poe habite ici. Il dort.'
    assert first_sentences(text, 1, 'fr') == ['M. Poe habite ici.']


@pytest.mark.parametrize(
    'text',
    ['(' * 300, '"' * 300, '.' * 300, 'a.' * 200, '1. 2. ' * 100, '((a) [b' * 60, '\\(*+?[' * 60]
    + ['\x00\x01' * 100, '?!' * 200, '\ufffd' * 300, 'no end ' * 100, '&&∯ȸ☏' * 30],
)
@pytest.mark.parametrize('language', ['en', 'fr'])
def test_what_a_model_without_sense_writes_can_be_split(text, language):
    found = first_sentences(text, 3, language)
    assert len(found) <= 3 and all(found)


def test_another_splitter_is_refused():
    check_splitter(SPLITTER)
    with pytest.raises(ValueError, match="there is only 'pysbd 0"):
        check_splitter('spacy')
