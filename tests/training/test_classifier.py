import contextlib
import threading

import numpy as np
import pytest

from detection.network import log_odds
from hparams import HParams
from training.classifier import Classifier, batches_of, padded, window_of
from training.plan import LONGEST, SHORTEST, TrainingPlan
from training.windows import random_state

HPARAMS = HParams(n_vocab=257, n_ctx=64, n_embd=16, n_head=2, n_layer=2)
START = 256


class Shown:
    """A progress bar that keeps what it was told."""

    def __init__(self):
        self.n, self.remarks = 0, []

    def update(self):
        self.n += 1

    def set_postfix_str(self, remark, refresh):
        self.remarks.append(remark)


def stop(error=None):
    stop = threading.Event()
    stop.error = error
    if error:
        stop.set()
    return stop


@pytest.fixture
def new_classifier(byte_models):
    with contextlib.ExitStack() as stack:

        def make(n_texts=40, epochs=3, fast=True, **choices):
            choices = {'batch_size': 8, 'learning_rate': 3e-3, 'seed': 0} | choices
            plan = TrainingPlan.classifying(n_texts, HPARAMS.n_ctx, epochs=epochs, **choices)
            weights = str(byte_models / 'bytes' / 'model.ckpt')
            return stack.enter_context(Classifier(HPARAMS, plan, log_odds, weights, fast=fast))

        yield make


def texts(n=40, seed=0):
    """Two kinds of text of the same length: one has the token 7 in four places of ten."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    tokens = random.integers(20, 60, [n, 41])
    tokens[(random.random([n, 41]) < 0.4) & (labels[:, None] == 1)] = 7
    tokens[:, 0] = START
    return list(tokens.astype(np.int32)), labels


def accuracy_of(classifier, rows, labels):
    return float(((classifier.log_odds(*padded(rows, 41)) > 0) == labels).mean())


def test_a_classifier_learns_to_tell_two_kinds(new_classifier, tmp_path):
    classifier, (rows, labels) = new_classifier(epochs=8), texts()
    others = texts(seed=1)
    shown = Shown()
    assert accuracy_of(classifier, *others) == 0.5  # the head says nothing before
    course = classifier.train(
        rows,
        labels,
        8,
        lambda: accuracy_of(classifier, *others),
        str(tmp_path / 'best'),
        shown,
        stop(),
    )
    assert course[0]['loss'] > 0.5 > 0.2 > course[-1]['loss']
    assert accuracy_of(classifier, *others) == max(e['valid_accuracy'] for e in course) > 0.9
    assert shown.n == 8 * 5 == len(shown.remarks) == classifier.plan.steps


def test_the_best_epoch_is_kept_the_first_of_equals(new_classifier, tmp_path):
    classifier, (rows, labels) = new_classifier(), texts()
    accuracies, seen = iter([0.5, 0.9, 0.9]), []

    def validate():
        seen.append(classifier.log_odds(*padded(rows, 41)))
        return next(accuracies)

    course = classifier.train(rows, labels, 3, validate, str(tmp_path / 'b'), Shown(), stop())
    assert [record['epoch'] for record in course] == [1, 2, 3]
    now = classifier.log_odds(*padded(rows, 41))
    assert list(now) == list(seen[1]) and list(now) != list(seen[2])


def losses_of(classifier, rows, labels):
    return list(classifier._steps(rows, labels, 1))


def test_the_same_seed_takes_the_same_course_and_the_readable_core_too(new_classifier):
    rows, labels = texts()
    first = losses_of(new_classifier(), rows, labels)
    assert losses_of(new_classifier(), rows, labels) == first
    assert losses_of(new_classifier(seed=1), rows, labels) != pytest.approx(first, abs=1e-3)
    plain = losses_of(new_classifier(fast=False), rows, labels)
    assert plain == pytest.approx(first, abs=1e-4)


def test_what_was_asked_to_stop_does_so_after_a_step(new_classifier, tmp_path):
    classifier, shown = new_classifier(), Shown()
    with pytest.raises(KeyboardInterrupt):
        classifier.train(
            *texts(), 3, lambda: 0, str(tmp_path / 'best'), shown, stop(KeyboardInterrupt())
        )
    assert shown.n == 1


def test_a_loss_that_is_not_finite_ends_training(new_classifier):
    classifier = new_classifier(learning_rate=1e30)
    with pytest.raises(ValueError, match=r'step \d ended with a loss of .*: lower --learning_rate'):
        losses_of(classifier, *texts())


def test_weights_of_other_sizes_are_refused(byte_models):
    plan = TrainingPlan.classifying(4, 64, epochs=1, batch_size=2, learning_rate=1e-3, seed=0)
    hparams = HParams(n_vocab=257, n_ctx=64, n_embd=16, n_head=2, n_layer=3)
    with pytest.raises(ValueError, match='has 2 layers where the hyperparameters ask for 3'):
        Classifier(hparams, plan, log_odds, str(byte_models / 'bytes' / 'model.ckpt'))


def test_windows_have_all_lengths_and_places():
    text = np.array([START, *range(200)])
    drawn = [window_of(text, LONGEST, random_state(0, 3, n)) for n in range(3000)]
    assert all(window[0] == START for window in drawn)
    assert {len(window) - 1 for window in drawn} == set(range(SHORTEST, LONGEST + 1))
    assert all(list(np.diff(window[1:])) == [1] * (len(window) - 2) for window in drawn)
    assert min(window[1] for window in drawn) == 0 and max(w[-1] for w in drawn) == 199


@pytest.mark.parametrize('text', [[START], [START, 1], [START, *range(5)]])
def test_a_short_text_is_its_own_window(text):
    assert list(window_of(np.array(text), LONGEST, random_state(0, 3, 1))) == text


def test_an_epoch_has_every_text_and_an_order_of_its_own():
    batches = batches_of(10, 4, seed=0, epoch=1)
    assert batches.shape == (3, 4)
    assert sorted(batches.ravel()[:10]) == list(range(10))
    assert list(batches.ravel()[10:]) == list(batches.ravel()[:2])
    assert batches.tolist() != batches_of(10, 4, seed=0, epoch=2).tolist()
    assert batches_of(3, 8, seed=0, epoch=1).shape == (1, 8)
