import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

import serve_detector as script
from helpers.paths import ROOT


def test_the_program_answers_until_it_is_told_to_end():
    command = [sys.executable, ROOT / 'src' / 'serve_detector.py', '--model_name', 'demo']
    environment = {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}
    process = subprocess.Popen(
        [*command, '--models_dir', ROOT / 'models', '--port', '0'],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding='utf-8',
        env=environment,
    )
    try:
        line = process.stdout.readline()
        address = re.match(r'open (http://127\.0\.0\.1:\d+/) ', line)[1]
        text = 'Fellow citizens # of the\n\nSenate'
        with urllib.request.urlopen(f'{address}detect?tokens', text.encode(), timeout=30) as answer:
            record = json.load(answer)
        assert ''.join(record['tokens']['text']) == text
        assert record['mean_logprob'] < 0 and record['too_short']
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=30)
        assert (process.returncode, out, errors) == (143, '', 'stopped by SIGTERM\n')
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    'flags, message',
    [
        (['--port', '70000'], 'port must be a whole number of at least 0 and below 65536'),
        (['--port', 'PORT'], 'another program listens at port PORT of 127.0.0.1'),
        (['--most_bytes', '0'], 'most_bytes must be'),
        (['--dtype', 'half'], 'dtype must be one of'),
        (['--detector', 'nowhere'], 'nowhere is no detector'),
        (['--model_name', 'nothing'], "there is no model 'nothing'"),
        (['--host', 'no.such.host.invalid'], 'there is no address no.such.host.invalid here'),
    ],
)
def test_bad_input_is_one_line_before_tensorflow_is_loaded(
    call, models_dir, no_tensorflow, monkeypatch, flags, message
):
    monkeypatch.setitem(sys.modules, 'scoring.scorer', None)
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = str(taken.getsockname()[1])
        flags = [flag.replace('PORT', port) for flag in flags]
        if '--model_name' not in flags:
            flags += ['--model_name', 'demo']
        status, out, err = call(script.serve_detector, *flags, '--models_dir', models_dir)
    assert (status, out) == (2, '')
    assert message.replace('PORT', port) in err and err.count('\n') == 1
