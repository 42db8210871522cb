import dataclasses
import subprocess
import sys

import pytest
import tensorflow.compat.v1 as tf

from helpers.paths import SRC
from training.optimizers import DEFAULT, OPTIMIZERS, optimizer_for
from training.optimizers.adamw import AdamW
from training.optimizers.base import Optimizer
from training.plan import HYPERPARAMETERS, TrainingPlan


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_each_optimizer_of_the_table_updates_and_decays_and_can_be_saved(name):
    plan = TrainingPlan(steps=1, optimizer=name, weight_decay=0.5)
    with tf.Graph().as_default(), tf.Session() as session:
        variables = [tf.get_variable(n, initializer=tf.ones([2, 3])) for n in ('a/w', 'b/w')]
        optimizer = optimizer_for(plan, variables)
        gradients = [tf.ones([2, 3]), tf.zeros([2, 3])]
        update = optimizer.apply(gradients, tf.constant(1.0), tf.constant(0.1))
        session.run([v.initializer for v in variables])
        session.run([v.initializer for v in optimizer.slots])
        session.run(update)
        updated, decayed = session.run(variables)
        assert tf.trainable_variables() == tf.global_variables() == variables
    assert isinstance(optimizer, Optimizer)
    assert (updated < 0.95).all() and decayed == pytest.approx(0.95)
    slots = [v.op.name for v in optimizer.slots]
    expected = [f'optimizer/{n}/w/{slot}' for n in 'ab' for slot in optimizer.slot_names]
    assert slots == expected and len(set(slots)) == len(slots)


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_the_hyperparameters_of_the_table_are_settings_of_the_plan(name):
    own = OPTIMIZERS[name].hyperparameters
    assert own.keys() <= HYPERPARAMETERS.keys()
    assert own.items() <= TrainingPlan(steps=1, optimizer=name).values().items()


def test_an_optimizer_is_made_with_the_hyperparameters_of_the_plan():
    plan = TrainingPlan(steps=1, beta1=0.5, beta2=0.25, weight_decay=0.125)
    with tf.Graph().as_default():
        adam = optimizer_for(plan, [tf.get_variable('x', [2, 3])])
    assert type(adam) is AdamW
    assert (adam.beta1, adam.beta2, adam.weight_decay) == (0.5, 0.25, 0.125)


def test_what_is_usual_for_an_optimizer_is_what_the_plan_takes(monkeypatch):
    entry = OPTIMIZERS[DEFAULT]._replace(
        fine_tuning=1e-5, from_scratch=3e-5, hyperparameters={'weight_decay': 0.3, 'beta1': 0.7}
    )
    monkeypatch.setitem(OPTIMIZERS, 'another', entry)
    plan = TrainingPlan(steps=1, optimizer='another')
    assert (plan.learning_rate, plan.weight_decay, plan.beta1, plan.beta2) == (1e-5, 0.3, 0.7, None)
    assert TrainingPlan.usual(8, True, steps=1, optimizer='another').learning_rate == 3e-5
    with pytest.raises(ValueError, match='the optimizer another has no beta2'):
        TrainingPlan(steps=1, optimizer='another', beta2=0.9)
    assert dataclasses.replace(plan, beta1=0).beta1 == 0


def test_the_table_needs_no_tensorflow():
    code = 'import sys; sys.path.insert(0, sys.argv[1]); import training.plan; '
    code += "sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code, str(SRC)], timeout=60).returncode == 0
