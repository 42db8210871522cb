"""The bundled model as the server loads it, asked in this process."""

import json

import numpy as np
import pytest

from helpers.paths import ROOT
from helpers.serving import client
from loading.model_files import load_encoder_with_end
from serving.service import Service
from serving.start import loaded
from support.settings import Settings

PROMPT = 'Fellow citizens of the Senate'


@pytest.fixture(scope='module')
def service(models_dir):
    encoder = load_encoder_with_end('demo', str(models_dir))
    service = Service('demo', encoder, 256)
    with loaded(service, str(models_dir), rows=3):
        yield service


@pytest.fixture
def ask(service):
    def ask(path='/v1/completions', **body):
        answer = client(service).post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return ask


def test_the_texts_of_a_seed_are_those_of_the_scripts(ask, service, demo_engine):
    prompt = demo_engine.encoder.encode(PROMPT)
    settings = Settings(length=12, seed=5, temperature=0.9, top_k=40, stop_at_end=True)
    wanted = demo_engine.generate([prompt] * 3, settings)
    body = dict(max_tokens=12, seed=5, temperature=0.9, top_k=40)
    choices = ask(prompt=PROMPT, n=3, **body)['choices']
    assert [choice['text'] for choice in choices] == list(map(demo_engine.encoder.decode, wanted))
    streamed = client(service).post(
        '/v1/completions', json=body | {'prompt': [prompt], 'stream': True}
    )
    chunks = [json.loads(line[6:]) for line in streamed.text.split('\n\n')[:-2]]
    text = ''.join(chunk['choices'][0]['text'] for chunk in chunks)
    assert text == choices[0]['text']


def test_log_probabilities_by_decoding_are_those_of_the_scores(ask):
    """And the most likely token has the very same number as itself among the top ones."""
    body = dict(max_tokens=10, temperature=0, logprobs=5, return_token_ids=True)
    choice = ask(prompt=PROMPT, **body)['choices'][0]
    logprobs = choice['logprobs']
    for own, top in zip(logprobs['token_logprobs'], logprobs['top_logprobs'], strict=True):
        assert own == max(top.values()) and len(top) == 5
    tokens = choice['prompt_token_ids'] + choice['token_ids']
    echoed = ask(prompt=tokens, max_tokens=0, echo=True, logprobs=5)['choices'][0]['logprobs']
    n = len(choice['token_ids'])
    assert np.allclose(echoed['token_logprobs'][-n:], logprobs['token_logprobs'], atol=1e-4)
    assert echoed['text_offset'][-n:] == logprobs['text_offset']
    for own, top in zip(echoed['token_logprobs'][-n:], echoed['top_logprobs'][-n:], strict=True):
        assert own == max(top.values())


def test_a_token_can_be_forbidden_and_be_forced(ask, service):
    body = dict(prompt=PROMPT, max_tokens=1, temperature=0, return_token_ids=True)
    (first,) = ask(**body)['choices'][0]['token_ids']
    (second,) = ask(**body, logit_bias={str(first): -100})['choices'][0]['token_ids']
    assert second != first
    (third,) = ask(**body, logit_bias={'5': 100})['choices'][0]['token_ids']
    assert third == 5


def test_generation_and_scores_share_one_session(service):
    engine = service.scheduler._batch.engine
    assert service.scorer.session is engine.session


def test_surprisal_and_the_oracle_answer(ask):
    assert ''.join(ask('/surprisal', text=PROMPT)['tokens']['text']) == PROMPT
    assert ask('/detect', text=PROMPT)['mean_logprob'] < 0


def test_a_model_that_is_damaged_is_one_line(models_dir, tmp_path):
    encoder = load_encoder_with_end('demo', str(models_dir))
    folder = tmp_path / 'demo'
    folder.mkdir()
    for file in (ROOT / 'models' / 'demo').iterdir():
        data = file.read_bytes()
        (folder / file.name).write_bytes(data[:1000] if '.data-' in file.name else data)
    service = Service('demo', encoder, 256)
    with pytest.raises(ValueError, match='demo'), loaded(service, str(tmp_path)):
        pass
    assert service.scheduler is None
