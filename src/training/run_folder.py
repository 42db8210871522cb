"""The folder of a training run: a model in the released layout that grows, and how to go on.

    checkpoint, hparams.json, encoder.json, vocab.bpe      what every script reads
    model-N.*, optimizer-N.*                               weights and optimizer after step N
    best/                                                  a model of its own: the best so far, with
                                                           the best as of the last checkpoint
    training.json                                          how the run was started
    metrics.jsonl, events/                                 losses and more; events/ for TensorBoard
    corpus/                                                the text as tokens
    lock                                                   held by the process that writes here

`checkpoint` names the step that scripts use and that a run goes on from. It is replaced in one go,
when all that it names is there, so a run may be killed at any time.
"""

import contextlib
import glob
import json
import math
import os
import re
import shutil
import socket
import sys
import time

import tensorflow.compat.v1 as tf

from loading import checkpoint
from support.files import replacing
from training.origin import SIZES, VOCABULARY

KINDS = ('model', 'optimizer')
SHARED = (SIZES, *VOCABULARY)  # the files that a run and its best model have in common


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
        self.best_folder = os.path.join(folder, 'best')
        best = self._rewind()
        self._tidy()
        # The best step as of the last checkpoint, 0 or more, and that of now; None without one.
        self.best_saved = self.best_step = self._rewind_best()
        self.best = math.inf if self.best_step is None else best
        self.events = Events(folder, self.first)

    def path(self, kind, step):
        return os.path.join(self.folder, f'{kind}-{step}')

    def _rewind(self):
        """Drop what was noted after the step that the run goes on from; return the best loss."""
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

    def _rewind_best(self):
        """Go back to the best as of the step that the run goes on from; return its step.

        What was better after that step may not come again: the settings may be others now.
        """
        steps = [step for step in numbers(self.best_folder, 'model') if step <= self.step]
        if not self.step or not steps:
            shutil.rmtree(self.best_folder, ignore_errors=True)
            return None
        checkpoint.name_weights(self.best_folder, f'model-{max(steps)}')
        self._tidy_best(max(steps))
        return max(steps)

    def _tidy_best(self, *kept):
        """Remove weights of other steps than these from best/."""
        for path in glob.glob(os.path.join(glob.escape(self.best_folder), 'model-*')):
            found = re.match(r'model-(\d+)\.', os.path.basename(path))
            if found and int(found[1]) not in kept:
                os.remove(path)

    def steps(self):
        """The numbers of the complete checkpoints up to the present one, in order."""
        complete = set.intersection(*(numbers(self.folder, kind) for kind in KINDS))
        return sorted(step for step in complete if step <= self.step)

    def save(self, trainer, step):
        """Save weights and optimizer, name them in `checkpoint`, and remove the oldest.

        Raises OSError if the disk does not take them; what was saved before then stays in use.
        """
        try:
            trainer.save_weights(self.path('model', step))
            trainer.save_slots(self.path('optimizer', step))
            checkpoint.name_weights(self.folder, f'model-{step}')
        except OSError:
            for kind in KINDS:
                checkpoint.remove(self.path(kind, step))
            raise
        self.step, self.best_saved = step, self.best_step
        self._tidy_best(self.best_step)
        for old in self.steps()[: -self.keep]:
            for kind in KINDS:
                checkpoint.remove(self.path(kind, old))

    def save_if_best(self, trainer, loss, step):
        """Keep the weights of a step in best/ if no validation before had so low a loss."""
        if not loss < self.best:
            return
        os.makedirs(self.best_folder, exist_ok=True)
        if self.best_step is None:
            for name in SHARED:
                shutil.copyfile(
                    os.path.join(self.folder, name), os.path.join(self.best_folder, name)
                )
        trainer.save_weights(os.path.join(self.best_folder, f'model-{step}'))
        checkpoint.name_weights(self.best_folder, f'model-{step}')
        self.best, self.best_step = loss, step
        self._tidy_best(step, self.best_saved)

    def record(self, step, **values):
        """Note numbers of a step in metrics.jsonl, and for TensorBoard.

        Raises OSError if metrics.jsonl cannot be written: the next checkpoint will not fit either.
        """
        try:
            with open(self.metrics, 'a', encoding='utf-8') as file:
                file.write(json.dumps({'step': step, **values}) + '\n')
        except OSError as error:
            kept = f'; {self.folder} keeps the weights of step {self.step}' if self.step else ''
            raise OSError(f'cannot write {self.metrics}: {error.strerror}{kept}') from error
        self.events.add(step, values)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.events.close()


class Events:
    """Writes losses for TensorBoard, a record a step; where that fails, says so once and stops.

    The same numbers are in metrics.jsonl, so training need not end with it. TensorFlow's own
    FileWriter writes in a thread, whose errors come late and with a traceback.

    step: from this one on TensorBoard forgets what a killed run has noted.
    """

    def __init__(self, folder, step):
        self.folder, self.step = os.path.join(folder, 'events'), step
        self.file, self.failed = None, False

    def add(self, step, values):
        """Write numbers, a dict; the file is begun by the first ones."""
        if self.failed:
            return
        values = [tf.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        try:
            if self.file is None:
                self._begin()
            self._write(step=step, summary=tf.Summary(value=values))
            self.file.flush()  # a killed run leaves no gap
        except (OSError, tf.errors.OpError) as error:
            self.failed = True
            why = checkpoint.reason(error) if isinstance(error, tf.errors.OpError) else error
            print(
                f'note: TensorBoard gets nothing from here on, {self.folder} cannot be written '
                f'({why}); metrics.jsonl has the same numbers',
                file=sys.stderr,
            )

    def _begin(self):
        os.makedirs(self.folder, exist_ok=True)
        # TensorBoard reads the files in the order of their names.
        name = f'events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}'
        self.file = tf.io.TFRecordWriter(os.path.join(self.folder, name))
        self._write(file_version='brain.Event:2')
        self._write(step=self.step, session_log=tf.SessionLog(status=tf.SessionLog.START))

    def _write(self, **event):
        self.file.write(tf.Event(wall_time=time.time(), **event).SerializeToString())

    def close(self):
        if self.file is not None:
            with contextlib.suppress(tf.errors.OpError):  # all is written, or has failed
                self.file.close()


def parsed(line):
    """The record in a line of metrics.jsonl, or None for what a killed run leaves of one."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and 'step' in record else None


def numbers(folder, kind):
    """The steps of which a folder holds complete files of a kind, a set."""
    paths = glob.glob(os.path.join(glob.escape(folder), f'{kind}-*.index'))
    found = (re.fullmatch(rf'{kind}-(\d+)\.index', os.path.basename(path)) for path in paths)
    return {int(match[1]) for match in found if match}
