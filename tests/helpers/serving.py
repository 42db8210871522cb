"""Servers for tests: of a model that is made up, in this process, and of the bundled one."""

import contextlib
import os
import re
import subprocess
import sys
import time

from starlette.testclient import TestClient

from generation.continuous import Batch
from helpers.paths import ROOT
from helpers.scripted_rows import ScriptedEngine, ScriptedRows
from helpers.texts import byte_encoder
from serving.app import make_app
from serving.running import answering, listening
from serving.scheduler import Scheduler
from serving.service import Service

END = 256  # the id of <|endoftext|>


class Answers(dict):
    """{prompt: tokens of its text}, all bytes, of {prompt: text}; '*' is a function of prompts.

    A list of tokens may be in the place of a text.
    """

    def __missing__(self, prompt):
        text = bytes(b for b in prompt if b != END).decode('utf-8', 'replace')
        answer = self['*'](text) if '*' in self else self[text]
        return list(answer.encode() if isinstance(answer, str) else answer)


class ByteRows(ScriptedRows):
    """Rows whose tokens are bytes: byte b has log-probability -b / 100, the one after it less."""

    seconds = 0  # that a step takes

    def step(self):
        time.sleep(self.seconds)
        return super().step()

    def _say(self, number):
        left = self.said[number]
        token = left.pop(0) if left else self.end
        top = [((token + i) % 257, -token / 100 - i) for i in range(self.requests[number].n_top)]
        return token, -token / 100, top


class ByteEngine(ScriptedEngine):
    """An engine of ByteRows.  requests: those that joined, in order."""

    def __init__(self, answers, seconds=0, n_ctx=256):
        answers = {'*': answers} if callable(answers) else answers
        super().__init__(byte_encoder(), Answers(answers), n_ctx=n_ctx)
        self.seconds = seconds

    def rows(self, n, patiently=False):
        self.made.append(ByteRows(n, self.texts, END))
        self.made[-1].seconds = self.seconds
        return self.made[-1]

    @property
    def requests(self):
        return [one for rows in self.made for _, one in sorted(rows.requests.items())]


@contextlib.contextmanager
def small_service(answers, *, rows=4, seconds=0, n_ctx=256, most_waiting=256, **more):
    """A Service named `demo` whose model says given texts.

    answers: {prompt: text}, or a function of prompts.  seconds: that a token takes.
    The engine is its attribute `engine`.
    """
    engine = ByteEngine(answers, seconds, n_ctx)
    scheduler = Scheduler(Batch(engine, rows), most_waiting)
    scheduler.start()
    more = {'most_waiting': most_waiting} | more
    service = Service('demo', engine.encoder, n_ctx, scheduler, **more)
    service.engine = engine
    try:
        yield service
    finally:
        scheduler.close(0)
        service.scoring.shutdown()


def client(service):
    """How to ask a Service in this process."""
    return TestClient(make_app(service), base_url='http://127.0.0.1')


@contextlib.contextmanager
def in_thread(service):
    """(host, port) of a Service that answers in a thread of this process."""
    with listening('127.0.0.1', 0) as listener, answering(make_app(service), listener):
        yield listener.getsockname()


class Program:
    """src/serve.py in a process of its own.  address: http://127.0.0.1:PORT.  process: Popen."""

    def __init__(self, *flags):
        command = [sys.executable, ROOT / 'src' / 'serve.py', '--port', '0', *map(str, flags)]
        if '--model_name' not in flags:
            command += ['--model_name', 'demo', '--models_dir', ROOT / 'models']
        environment = {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdout=pipe, stderr=pipe, encoding='utf-8', env=environment
        )
        self.line = self.process.stdout.readline()
        found = re.match(r'open (http://127\.0\.0\.1:\d+)/ ', self.line)
        if not found:
            raise AssertionError((self.line, *self.end()))
        self.address = found[1]

    def end(self):
        """(output, errors) of the process, once it is not there any more."""
        self.process.kill()
        return self.process.communicate()


@contextlib.contextmanager
def running_server(*flags):
    """A Program that answers, by default with the bundled model; ended with the block."""
    program = Program(*flags)
    try:
        yield program
    finally:
        program.end()
