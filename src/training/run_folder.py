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
import json
import math
import os
import socket
import sys
import time

import tensorflow.compat.v1 as tf

from loading import checkpoint
from support.files import sync, sync_folder
from training import metrics
from training.origin import copy_whole
from training.saved import BEST, KINDS, SIZES, VOCABULARY, checkpoint_files, complete_steps

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
        self.metrics = os.path.join(folder, metrics.NAME)
        self.best_folder = os.path.join(folder, BEST)
        records = metrics.read(folder)
        noted = metrics.noted(records)
        self.saved = self._saved(noted)
        self._tidy(noted)
        # The best step as of the last checkpoint, 0 or more, and that of now; None without one.
        self.best_saved = self.best_step = self._rewind_best(noted)
        best = self._rewind(records)  # not before: what is not noted is not the run's to remove
        self.best = math.inf if self.best_step is None else best
        self.events = Events(folder, self.first)

    def path(self, kind, step):
        return os.path.join(self.folder, f'{kind}-{step}')

    def _saved(self, noted):
        """The steps of the run's own complete checkpoints up to the present one, in order."""
        complete = set.intersection(*(complete_steps(self.folder, kind) for kind in KINDS))
        own = noted | {self.step}
        return sorted(step for step in complete & own if step <= self.step)

    def _rewind(self, records):
        """Drop what was noted after the step that the run goes on from; return the best loss."""
        kept = [record for record in records if record['step'] < self.first]
        if os.path.exists(self.metrics):
            metrics.write(self.folder, kept)
        return min((r['validation'] for r in kept if 'validation' in r), default=math.inf)

    def _tidy(self, noted):
        """Remove old checkpoints and what a killed run left half-written; noted: its steps."""
        remove(self.folder, noted - {self.step, *self.saved[-self.keep :]})

    def _rewind_best(self, noted):
        """Go back to the best as of the step that the run goes on from; return its step.

        What was better after that step may not come again: the settings may be others now.
        noted: the steps of the run.
        """
        there = complete_steps(self.best_folder, 'model')
        steps = [step for step in there if step <= self.step] if self.step else []
        if not steps:
            for name in ('checkpoint', *SHARED):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    os.remove(os.path.join(self.best_folder, name))
            remove(self.best_folder, noted | {0})
            with contextlib.suppress(OSError):  # it holds what somebody else has put there
                os.rmdir(self.best_folder)
            return None
        checkpoint.name_weights(self.best_folder, f'model-{max(steps)}')
        remove(self.best_folder, (noted | {0}) - {max(steps)})
        return max(steps)

    def save(self, trainer, step):
        """Save weights and optimizer, name them in `checkpoint`, and remove the oldest.

        Raises OSError if the disk does not take them; what was saved before then stays in use.
        """
        self._sync_metrics()
        try:
            # Weights come last: where they are, all is. `checkpoint` may not name them yet.
            trainer.save_slots(self.path('optimizer', step))
            trainer.save_weights(self.path('model', step))
            checkpoint.name_weights(self.folder, f'model-{step}')
        except OSError:
            remove(self.folder, {step})
            raise
        remove(self.best_folder, {self.best_saved} - {self.best_step})
        self.step, self.best_saved = step, self.best_step
        self.saved.append(step)
        remove(self.folder, self.saved[: -self.keep])
        del self.saved[: -self.keep]

    def save_if_best(self, trainer, loss, step):
        """Keep the weights of a step in best/ if no validation before had so low a loss."""
        if not loss < self.best:
            return
        os.makedirs(self.best_folder, exist_ok=True)
        if self.best_step is None:
            for name in SHARED:
                copy_whole(name, self.folder, self.best_folder)
        self._sync_metrics()
        try:
            trainer.save_weights(os.path.join(self.best_folder, f'model-{step}'))
            checkpoint.name_weights(self.best_folder, f'model-{step}')
        except OSError:
            remove(self.best_folder, {step})
            raise
        remove(self.best_folder, {self.best_step} - {step, self.best_saved})
        self.best, self.best_step = loss, step

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

    def _sync_metrics(self):
        """Have on the disk what is noted, before the weights that it says are the run's own."""
        if os.path.exists(self.metrics):
            with open(self.metrics, 'rb+') as file:
                sync(file)
            sync_folder(self.folder)

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
        with checkpoint.as_it_stands(os.path.join(self.folder, name)) as path:
            self.file = tf.io.TFRecordWriter(path)
        self._write(file_version='brain.Event:2')
        self._write(step=self.step, session_log=tf.SessionLog(status=tf.SessionLog.START))

    def _write(self, **event):
        self.file.write(tf.Event(wall_time=time.time(), **event).SerializeToString())

    def close(self):
        if self.file is not None:
            with contextlib.suppress(tf.errors.OpError):  # all is written, or has failed
                self.file.close()


def remove(folder, steps):
    """Remove the files of checkpoints of some steps, those that are half-written too."""
    for path, step in checkpoint_files(folder):
        if step in steps:
            with contextlib.suppress(FileNotFoundError):  # any cache may be deleted at any time
                os.remove(path)
