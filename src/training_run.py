"""The folder of a training run: a model in the released layout that grows, and how to go on.

    checkpoint, hparams.json, encoder.json, vocab.bpe      what every script reads
    model-N.*, optimizer-N.*                               weights and optimizer behind step N
    best/                                                  a model of its own: the best so far
    training.json                                          how the run was started
    metrics.jsonl, events/                                 losses and more; events/ for TensorBoard
    corpus/                                                the text as tokens
    lock                                                   held by the process that writes here

`checkpoint` names the step that scripts use and that a run goes on from. It is replaced at once,
when all that it names is there, so a run may be killed at any time.
"""

import contextlib
import glob
import json
import math
import os
import re
import shutil

import tensorflow.compat.v1 as tf

import checkpoint
from whole_file import replacing

KINDS = ('model', 'optimizer')
SHARED = ('hparams.json', 'encoder.json', 'vocab.bpe')  # of a run and of its best model


class TrainingRun:
    """Reads and writes the folder of a run; use it in a `with` block.

    folder: it must hold hparams.json, encoder.json and vocab.bpe.
    keep: how many checkpoints stay.
    step: the one that the run goes on from, 0 for a new one; later that of the last checkpoint.
    """

    def __init__(self, folder, keep, step):
        self.folder, self.keep, self.step = folder, keep, step
        self.first = step + 1 if step else 0  # the first step to note: a new run begins with 0
        self.metrics = os.path.join(folder, 'metrics.jsonl')
        self.best = self._rewind()
        self._tidy()
        self.events = None

    def path(self, kind, step):
        return os.path.join(self.folder, f'{kind}-{step}')

    def _rewind(self):
        """Drop what was noted behind the step that the run goes on from; return the best loss."""
        best = math.inf
        if os.path.exists(self.metrics):
            with open(self.metrics, encoding='utf-8', errors='replace') as file:
                records = [r for r in map(parsed, file) if r and r['step'] < self.first]
            with replacing(self.metrics) as file:
                file.writelines(json.dumps(record) + '\n' for record in records)
            best = min((r['validation'] for r in records if 'validation' in r), default=best)
        return best

    def _tidy(self):
        """Remove checkpoints that are not named and what a killed run left half-written."""
        kept = set(self.steps()[-self.keep :]) | {self.step}
        for path in glob.glob(os.path.join(glob.escape(self.folder), '*')):
            found = re.fullmatch(r'(?:model|optimizer)-(\d+)\..*', os.path.basename(path))
            if found and int(found[1]) not in kept:
                os.remove(path)
        best = os.path.join(self.folder, 'best')
        if os.path.isdir(best + '.old') and not os.path.isdir(best):
            os.rename(best + '.old', best)
        for path in (best + '.old', best + '.new', *([] if self.step else [best])):
            shutil.rmtree(path, ignore_errors=True)

    def steps(self):
        """The numbers of the complete checkpoints up to the present one, in order."""
        found = []
        for path in glob.glob(os.path.join(glob.escape(self.folder), 'optimizer-*.index')):
            number = int(re.search(r'-(\d+)\.index$', path)[1])
            if number <= self.step and os.path.exists(self.path('model', number) + '.index'):
                found.append(number)
        return sorted(found)

    def save(self, trainer, step):
        """Save weights and optimizer, name them in `checkpoint`, and remove the oldest.

        Raises OSError if the disk does not take them; what was saved before then stays in use.
        """
        if self.events is not None:
            with disk_errors():
                self.events.flush()  # or a killed run would leave a gap
        try:
            trainer.save_weights(self.path('model', step))
            trainer.save_slots(self.path('optimizer', step))
            checkpoint.name_weights(self.folder, f'model-{step}')
        except OSError:
            for kind in KINDS:
                checkpoint.remove(self.path(kind, step))
            raise
        self.step = step
        for old in self.steps()[: -self.keep]:
            for kind in KINDS:
                checkpoint.remove(self.path(kind, old))

    def save_if_best(self, trainer, loss):
        """Keep the weights in best/ if no validation before had so low a loss."""
        if not loss < self.best:
            return
        self.best = loss
        new, best = os.path.join(self.folder, 'best.new'), os.path.join(self.folder, 'best')
        shutil.rmtree(new, ignore_errors=True)
        os.mkdir(new)
        try:
            trainer.save_weights(os.path.join(new, checkpoint.BUNDLE))
            checkpoint.name_weights(new, checkpoint.BUNDLE)
            for name in SHARED:
                shutil.copyfile(os.path.join(self.folder, name), os.path.join(new, name))
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        if os.path.isdir(best):
            os.rename(best, best + '.old')
        os.rename(new, best)
        shutil.rmtree(best + '.old', ignore_errors=True)

    def record(self, step, **values):
        """Note numbers of a step in metrics.jsonl, and for TensorBoard."""
        with open(self.metrics, 'a', encoding='utf-8') as file:
            file.write(json.dumps({'step': step, **values}) + '\n')
        if self.events is None:
            self.events = event_writer(self.folder, self.first)
        summary = tf.Summary(
            value=[tf.Summary.Value(tag=tag, simple_value=v) for tag, v in values.items()]
        )
        with disk_errors():
            self.events.add_summary(summary, step)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.events is not None:
            with disk_errors():
                self.events.close()


@contextlib.contextmanager
def disk_errors():
    """Raise what TensorFlow's writer of events says of the disk as OSError."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(f'cannot write events: {checkpoint.reason(error)}') from error


def parsed(line):
    """The record in a line of metrics.jsonl, or None for what a killed run leaves of one."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and 'step' in record else None


def event_writer(folder, step):
    """A writer for TensorBoard, which then forgets what a killed run noted from a step on."""
    with tf.Graph().as_default():
        writer = tf.summary.FileWriter(os.path.join(folder, 'events'))
    writer.add_session_log(tf.SessionLog(status=tf.SessionLog.START), global_step=step)
    return writer
