"""Two programs that speak OpenAI's API use the server: `llm` and `litellm`."""

import importlib.util
import json
import os
import subprocess
import sys
import urllib.request

import pytest

from helpers.serving import running_server

pytestmark = pytest.mark.peers
PROMPT = 'The people of the United'
OFFLINE = {'LITELLM_LOCAL_MODEL_COST_MAP': 'True', 'LITELLM_TELEMETRY': 'False'}
BY_LITELLM = """
import sys, litellm
address, stream = sys.argv[1], sys.argv[2] == 'stream'
answer = litellm.text_completion(
    model='text-completion-openai/demo', api_base=address + '/v1', api_key='none', stream=stream,
    prompt=%r, max_tokens=20, temperature=0, seed=1,
)
chunks = list(answer) if stream else [answer]
print(''.join(chunk.choices[0].text or '' for chunk in chunks), end='')
print(len(chunks), file=sys.stderr)
"""


@pytest.fixture(scope='module')
def address():
    with running_server() as server:
        yield server.address


@pytest.fixture(scope='module')
def expected(address):
    body = {'prompt': PROMPT, 'max_tokens': 20, 'temperature': 0, 'seed': 1}
    request = urllib.request.Request(f'{address}/v1/completions', json.dumps(body).encode())
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)['choices'][0]['text']


def run(*arguments, **environment):
    command = [sys.executable, *map(str, arguments)]
    environment = {**os.environ, **OFFLINE, **environment}
    result = subprocess.run(
        command, env=environment, capture_output=True, encoding='utf-8', timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result


def needs(package):
    return pytest.mark.skipif(
        importlib.util.find_spec(package) is None, reason=f'{package} is not installed'
    )


@needs('llm')
@pytest.mark.parametrize('flags', [[], ['--no-stream']], ids=['streamed', 'whole'])
def test_llm(address, expected, tmp_path, flags):
    entry = ['- model_id: mine', 'model_name: demo', f'api_base: {address}/v1', 'completion: true']
    models = tmp_path / 'extra-openai-models.yaml'
    models.write_text('\n  '.join(entry) + '\n', encoding='utf-8')
    options = ['-o', 'max_tokens', 20, '-o', 'temperature', 0, '-o', 'seed', 1, '--no-log']
    result = run('-m', 'llm', '-m', 'mine', *options, *flags, PROMPT, LLM_USER_PATH=str(tmp_path))
    assert result.stdout.rstrip('\n') == expected.rstrip('\n')


@needs('litellm')
@pytest.mark.parametrize('kind', ['streamed', 'whole'])
def test_litellm(address, expected, kind):
    stream = 'stream' if kind == 'streamed' else ''
    result = run('-c', BY_LITELLM % PROMPT, address, stream)
    assert result.stdout == expected
    assert (int(result.stderr.split()[-1]) > 10) == (kind == 'streamed')
