import pytest

from evaluation.generated_texts import GeneratedTexts
from evaluation.generating import Generated, Prompt

PROMPTS = [Prompt('a', [1, 2]), Prompt('b', [3])]
ORIGIN = {'model': 'x', 'sources': 's', 'code_version': 'v', 'choices': {'seed': 7}}
TEXT = Generated('b', 'said', [5, 6], -1.5, 2)


def kept(path, prompts=PROMPTS, **more):
    return GeneratedTexts(str(path / 'x.jsonl'), ORIGIN | more, prompts)


def test_a_text_is_there_again_with_all_that_it_is(tmp_path):
    with kept(tmp_path) as texts:
        texts.start()
        texts.add(TEXT)
        assert not texts.complete
    with kept(tmp_path) as texts:
        assert texts.texts == {'b': TEXT}
        texts.add(TEXT._replace(id='a'))
        assert texts.complete
    with kept(tmp_path) as texts:
        assert list(texts.texts) == ['b', 'a']


@pytest.mark.parametrize(
    'more', [{'model': 'y'}, {'sources': 't'}, {'choices': {'seed': 8}}], ids=str
)
def test_texts_that_were_made_otherwise_are_refused(tmp_path, more):
    with kept(tmp_path) as texts:
        texts.add(TEXT)
    with pytest.raises(ValueError, match='x.jsonl'):
        kept(tmp_path, **more)


def test_the_text_of_another_prompt_is_refused(tmp_path):
    with kept(tmp_path) as texts:
        texts.add(TEXT)
    with pytest.raises(ValueError, match='has a text of another prompt b'):
        kept(tmp_path, [PROMPTS[0], Prompt('b', [4])])
