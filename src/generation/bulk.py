"""Many samples from nothing but the start token, into a sink: a terminal or a file. No TensorFlow.

A sink has `written` and `tokens`, how many samples and tokens it holds, and `write`, as
sample_file.SampleFile has them.
"""

import sys

from tqdm import tqdm


def header(number):
    """The line above a sample, in the format of 2019."""
    return '=' * 40 + f' SAMPLE {number} ' + '=' * 40


class Terminal:
    """Prints samples in the format of 2019."""

    written = tokens = 0

    def write(self, text, tokens, ended):
        self.written += 1
        tqdm.write(header(self.written))  # print, above a bar if any
        tqdm.write(text)
        sys.stdout.flush()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


def write_samples(engine, sink, settings, nsamples, batch_size):
    """Write the samples that the sink lacks, with a progress bar if a terminal looks on.

    nsamples: samples that the sink is to hold; 0 goes on without end.
    """
    start = engine.encoder.end_of_text
    done = sink.tokens
    total = done + (nsamples - sink.written) * settings.length if nsamples else None
    with tqdm(total=total, initial=done, unit=' tokens', unit_scale=True, disable=None) as bar:
        while nsamples == 0 or sink.written < nsamples:
            rows = batch_size if nsamples == 0 else min(batch_size, nsamples - sink.written)
            prompts = [[start]] * rows
            for tokens in engine.generate(prompts, settings, sink.written, bar.update):
                sink.write(
                    engine.encoder.decode(tokens), tokens, has_ended(tokens, settings, start)
                )
                if total:  # a sample that ended early makes the whole shorter
                    bar.total -= settings.length - len(tokens)


def has_ended(tokens, settings, end):
    """Whether the model has ended a text, of whose tokens those from the end on may be cut off."""
    return len(tokens) < settings.length or end in tokens


def choose_steps(engine, xla, rows, steps):
    """Have an engine's steps compiled if xla says so or, where it is None, if that pays."""
    engine.compiled = engine.compiling_pays(rows, steps) if xla is None else xla
