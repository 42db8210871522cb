"""Engines in processes of their own, measured in turn, so that a busy machine slows all alike."""

import json
import statistics
import subprocess
import sys

FLAG = '--worker'


class Worker:
    """A process that answers requests, by `serve` in a script that it starts with FLAG."""

    def __init__(self, script, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, script, FLAG, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding='utf-8',
        )

    def measure(self, request):
        """The answer to a request, dicts both. Raises ValueError if the process has ended."""
        print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise ValueError(f'the process of an engine ended with status {self.process.wait()}')
        return json.loads(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def serve(answer):
    """Answer requests, whose items are the keywords of `answer`, until standard input ends."""
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), flush=True)


def measure(workers, request, repeats):
    """The answers of workers by name, a list each; the first round warms up and is left out."""
    rounds = [{name: w.measure(request) for name, w in workers.items()} for _ in range(repeats + 1)]
    return {name: [answers[name] for answers in rounds[1:]] for name in workers}


def report(tokens, answers, note=lambda answer: ''):
    """Print a line for each engine: the median of its speeds, and how that of `ours` compares.

    tokens: that a request is for.  answers: from `measure`, with 'seconds' in each.
    note: what to say of an engine's last answer.
    """
    seconds = {name: [answer['seconds'] for answer in each] for name, each in answers.items()}
    for name, values in seconds.items():
        speeds = sorted(tokens / s for s in values)
        line = (
            f'  {name:13} {statistics.median(speeds):7.1f} tok/s ({speeds[0]:.1f}-{speeds[-1]:.1f})'
        )
        line += note(answers[name][-1])
        if 'ours' in seconds and name != 'ours':
            ratio = statistics.median(values) / statistics.median(seconds['ours'])
            line += f'   ours is {ratio:.2f} x as fast'
        print(line, flush=True)
