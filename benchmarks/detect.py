#!/usr/bin/env python3
"""What the features of a detector cost: their speed beside that of plain scoring.

One scorer scores the same random documents in turns, for log-probabilities alone (what score.py
prints), with ranks, and for all features. So a busy machine slows all alike; the first round warms
up and is not counted. Speeds are medians of tokens per second. The last line compares the work,
too: seconds of all cores, which a busy machine hardly changes.

    python benchmarks/detect.py                         # 124M shapes, 1,000 documents
    python benchmarks/detect.py --documents 40          # two minutes
    python benchmarks/detect.py --model_name demo --models_dir models
"""

import pathlib
import statistics
import sys
import tempfile
import time

import numpy as np
from side_by_side import make_model, report

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'src'))

from detection import features  # noqa: E402
from loading.startup import quiet  # noqa: E402
from scoring.start import start_scorer  # noqa: E402
from support import command_line  # noqa: E402


def detect_benchmark(
    models_dir: str = None,
    model_name: str = '124M',
    documents=1000,
    tokens=250,
    repeats=3,
):
    """Measure tokens per second of plain scoring and of features.

    Args:
        models_dir: where the model is; None makes one of the 124M's shape with random weights
        model_name: its name
        documents: how many
        tokens: of each
        repeats: counted rounds
    """
    with tempfile.TemporaryDirectory() as scratch:
        if models_dir is None:
            models_dir = scratch
            make_model(scratch, model_name)
        with start_scorer(model_name, models_dir) as scorer, quiet():
            n_vocab = scorer.hparams.n_vocab
            texts = np.random.default_rng(0).integers(n_vocab, size=[documents, tokens])
            ways = {
                'plain': lambda: list(scorer.score_documents(texts, ranks=False)),
                'with ranks': lambda: list(scorer.score_documents(texts)),
                'features': lambda: [
                    features.features_of(scores)
                    for _, scores in features.score_tokens(scorer, texts)
                ],
            }
            answers = {name: [] for name in ways}
            for _ in range(repeats + 1):
                for name, score in ways.items():
                    begin, work = time.perf_counter(), time.process_time()
                    score()
                    seconds = {'seconds': time.perf_counter() - begin}
                    answers[name].append(seconds | {'work': time.process_time() - work})
    medians = report(documents * tokens, answers)
    work = {name: statistics.median(a['work'] for a in each[1:]) for name, each in answers.items()}
    print(
        f'features run at {medians["features"] / medians["plain"]:.3f} of the plain speed; '
        f'plain scoring takes {work["plain"] / work["features"]:.3f} of their work'
    )


if __name__ == '__main__':
    command_line.run(detect_benchmark)
