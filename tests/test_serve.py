import socket
import sys

import pytest

import serve as script


@pytest.mark.parametrize(
    'flags, message',
    [
        (['--port', '70000'], 'port must be a whole number of at least 0 and below 65536'),
        (['--port', 'PORT'], 'another program listens at port PORT of 127.0.0.1'),
        (['--rows', '0'], 'rows must be a whole number of at least 1'),
        (['--most_bytes', '0'], 'most_bytes must be'),
        (['--most_waiting', '0'], 'most_waiting must be'),
        (['--most_seconds', '0'], 'most_seconds must be a number'),
        (['--most_seconds', 'soon'], 'most_seconds must be a number'),
        (['--dtype', 'half'], 'dtype must be one of'),
        (['--api_key', ''], 'the API key'),
        (['--api_key', 'two words'], 'the API key'),
        (['--api_key', 'clé'], 'the API key'),
        (['--detector', 'nowhere'], 'nowhere is no detector'),
        (['--model_name', 'nothing'], "there is no model 'nothing'"),
        (['--host', 'no.such.host.invalid'], 'there is no address no.such.host.invalid here'),
    ],
)
def test_bad_input_is_one_line_before_tensorflow_is_loaded(
    call, models_dir, no_tensorflow, monkeypatch, flags, message
):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = str(taken.getsockname()[1])
        flags = [flag.replace('PORT', port) for flag in flags]
        if '--model_name' not in flags:
            flags += ['--model_name', 'demo']
        status, out, err = call(script.serve, *flags, '--models_dir', models_dir)
    assert (status, out) == (2, '')
    assert message.replace('PORT', port) in err and err.count('\n') == 1


@pytest.mark.parametrize('name', ['starlette', 'uvicorn', 'prometheus_client'])
def test_a_library_that_is_missing_is_one_line(call, models_dir, no_tensorflow, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    flags = ['--model_name', 'demo', '--models_dir', models_dir]
    status, out, err = call(script.serve, *flags)
    assert (status, out) == (2, '') and err.count('\n') == 1
    assert f'the server needs {name}' in err and 'requirements-serve.txt' in err


def test_a_key_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv('GPT2_API_KEY', 'secret')
    assert script.key_of(None) == 'secret'
    assert script.key_of('other') == 'other'
    monkeypatch.setenv('GPT2_API_KEY', '')
    assert script.key_of(None) is None
