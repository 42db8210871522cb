"""What /metrics counts, read by the parser of Prometheus."""

import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from helpers.serving import client, small_service
from serving import completions


@pytest.fixture
def service():
    with small_service(lambda prompt: 'abc', most_waiting=2) as service:
        yield service


def values_of(service):
    """{(name, labels): value} of all samples."""
    answer = client(service).get('/metrics')
    assert answer.headers['content-type'].startswith('text/plain')
    families = list(text_string_to_metric_families(answer.text))
    assert len({family.name for family in families}) == len(families)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_requests_tokens_and_texts_are_counted(service):
    asks = client(service)
    asks.post('/v1/completions', json={'prompt': [[1, 2], [3]], 'max_tokens': 2})
    asks.post('/v1/completions', json={'prompt': 'a', 'stream': True})
    asks.post('/v1/completions', json={'prompt': 'a', 'n': 0})
    asks.post('/v1/completions', json={'prompt': 'ab', 'max_tokens': 0, 'echo': True})
    asks.get('/secret/of/a/client')
    asks.get('/health')
    values = values_of(service)
    paths = {
        key[1]: value for key, value in values.items() if key[0] == 'gpt2_request_seconds_count'
    }
    assert paths == {'/v1/completions': 4, 'other': 1, '/health': 1}
    assert values['gpt2_requests_total', '/v1/completions', '200'] == 3
    assert values['gpt2_requests_total', '/v1/completions', '400'] == 1
    assert values['gpt2_requests_total', 'other', '404'] == 1
    assert values['gpt2_prompt_tokens_total',] == 6
    assert values['gpt2_generated_tokens_total',] == 2 * 2 + 4  # the end token is one, too
    assert values['gpt2_choices_total', 'length'] == 2
    assert values['gpt2_choices_total', 'stop'] == 1
    assert values['gpt2_first_token_seconds_count',] == 3
    assert values['gpt2_token_seconds_count',] == 2 * 1 + 3
    assert values['gpt2_running',] == values['gpt2_waiting',] == values['gpt2_scoring',] == 0


def test_what_runs_and_waits_is_told(service):
    service.scheduler.running, service.scheduler.waiting, service.n_scoring = 3, 4, 5
    values = values_of(service)
    found = [values[f'gpt2_{name}',] for name in ('running', 'waiting', 'scoring')]
    service.n_scoring = 0
    assert found == [3, 4, 5]


def test_the_first_token_waits_for_the_scores_of_an_echo(service, monkeypatch):
    def prompt_logprobs(scorer, tokens, n_top, gone):
        time.sleep(0.3)
        return [None], [None]

    monkeypatch.setattr(completions, 'prompt_logprobs', prompt_logprobs)
    client(service).post('/v1/completions', json={'prompt': 'a', 'echo': True, 'logprobs': 0})
    assert values_of(service)['gpt2_first_token_seconds_sum',] > 0.3


def test_the_prompts_of_refused_requests_are_not_read(service):
    service.scheduler.waiting = 2
    asks = client(service)
    assert asks.post('/v1/completions', json={'prompt': 'abc'}).status_code == 429
    assert values_of(service)['gpt2_prompt_tokens_total',] == 0


def test_two_servers_count_for_themselves(service):
    with small_service(lambda prompt: '') as other:
        client(service).get('/health')
        assert ('gpt2_requests_total', '/health', '200') not in values_of(other)
