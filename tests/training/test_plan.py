import math

import pytest

from training.plan import TrainingPlan


@pytest.mark.parametrize(
    'wrong, message',
    [
        ({'steps': 0}, 'steps must be a whole number of at least 1, not 0'),
        ({'steps': 1e3}, 'steps must be a whole number of at least 1, not 1000.0'),
        ({'batch_size': 0}, 'batch_size must be a whole number of at least 1, not 0'),
        ({'batch_size': 10**9}, 'batch_size must be at most 1000000, for lack of memory'),
        ({'accumulate': True}, 'accumulate must be a whole number of at least 1, not True'),
        ({'window': None}, 'window must be a whole number of at least 1, not None'),
        ({'learning_rate': 0}, 'learning_rate must be a number above 0, not 0'),
        ({'learning_rate': -1e-4}, 'learning_rate must be a number above 0, not -0.0001'),
        ({'learning_rate': math.nan}, 'learning_rate must be a number above 0, not nan'),
        ({'learning_rate': math.inf}, 'learning_rate must be a number above 0, not inf'),
        ({'learning_rate': 'fast'}, "learning_rate must be a number above 0, not 'fast'"),
        ({'learning_rate': True}, 'learning_rate must be a number above 0, not True'),
        ({'warmup': -1}, 'warmup must be a whole number of at least 0, not -1'),
        ({'warmup': 10}, 'a warm-up of 10 leaves nothing of 10 steps'),
        ({'schedule': 'linear'}, "schedule must be cosine or constant, not 'linear'"),
        ({'optimizer': 'sgd'}, 'optimizer must be adamw'),
        ({'optimizer': []}, 'optimizer must be adamw'),
        ({'weight_decay': -0.1}, 'weight_decay must be a number at least 0, not -0.1'),
        ({'beta1': 1}, 'beta1 must be a number at least 0 and below 1, not 1'),
        ({'beta2': -0.5}, 'beta2 must be a number at least 0 and below 1, not -0.5'),
        ({'clip': math.nan}, 'clip must be a number at least 0, not nan'),
        ({'dropout': 1.0}, 'dropout must be a number at least 0 and below 1, not 1.0'),
        ({'noise': -0.1}, 'noise must be a number at least 0 and below 1, not -0.1'),
        ({'dtype': 'float16'}, "dtype must be float32 or bfloat16, not 'float16'"),
        ({'recompute': 'yes'}, "recompute must be True or False, not 'yes'"),
        ({'train_only': 'h[0'}, 'train_only is not a regular expression: unterminated character'),
        ({'seed': -1}, 'seed must be a whole number of at least 0 and below 2147483648, not -1'),
        ({'seed': 2**31}, 'seed must be a whole number of at least 0 and below 2147483648'),
    ],
)
def test_what_cannot_be_meant_is_refused(wrong, message):
    with pytest.raises(ValueError) as caught:
        TrainingPlan(**({'steps': 10} | wrong))
    assert str(caught.value).startswith(message)


def test_the_limits_themselves_are_allowed():
    zero = dict.fromkeys(['warmup', 'weight_decay', 'beta1', 'clip', 'dropout', 'noise', 'seed'], 0)
    assert zero.items() <= TrainingPlan(steps=1, **zero).values().items()
    assert TrainingPlan(steps=10, warmup=9, seed=2**31 - 1).rate(10) > 0


def test_the_learning_rate_warms_up_and_follows_a_cosine():
    """By the half-angle formula, and at the angles whose cosines are known."""
    plan = TrainingPlan(steps=12, warmup=4, learning_rate=8.0)
    root = math.sqrt(2)
    known = {1: 2, 2: 4, 3: 6, 4: 8, 5: 8, 7: 4 + 2 * root, 9: 4, 11: 4 - 2 * root}
    for step, rate in known.items():
        assert plan.rate(step) == pytest.approx(rate, rel=1e-12), step
    for step in range(5, 13):
        expected = 8 * math.cos(math.pi / 2 * (step - 5) / 8) ** 2
        assert plan.rate(step) == pytest.approx(expected, rel=1e-12), step


def test_the_cosine_reaches_0_after_the_last_step_and_stays_there():
    plan = TrainingPlan(steps=100, learning_rate=1.0)
    assert plan.rate(1) == 1 and 0 < plan.rate(100) < 1e-3
    assert plan.rate(101) == plan.rate(500) == 0
    rates = list(map(plan.rate, range(1, 102)))
    assert rates == sorted(rates, reverse=True)


def test_a_constant_rate_stays_after_its_warm_up():
    plan = TrainingPlan(steps=10, warmup=2, learning_rate=0.5, schedule='constant')
    assert [plan.rate(step) for step in (1, 2, 3, 10)] == [0.25, 0.5, 0.5, 0.5]


def test_a_pattern_chooses_what_is_trained():
    everything = TrainingPlan(steps=1)
    some = TrainingPlan(steps=1, train_only=r'/h1/|ln_f')
    names = ['model/wte', 'model/h1/attn/c_attn/w', 'model/h11/mlp/c_fc/w', 'model/ln_f/g']
    assert all(map(everything.trains, names))
    assert [some.trains(name) for name in names] == [False, True, False, True]


def test_what_is_usual_for_a_model_fills_what_is_not_said():
    old, new = (TrainingPlan.usual(64, scratch, steps=500) for scratch in (False, True))
    assert (old.learning_rate, old.window, old.warmup) == (1e-4, 64, 50)
    assert (new.learning_rate, TrainingPlan.usual(64, True, steps=5000).warmup) == (6e-4, 100)
    assert (old.weight_decay, old.beta1, old.beta2, old.optimizer) == (0.01, 0.9, 0.999, 'adamw')
    said = TrainingPlan.usual(64, True, steps=500, learning_rate=1, window=8, warmup=0, clip=2)
    assert (said.learning_rate, said.window, said.warmup, said.clip) == (1, 8, 0, 2)
    with pytest.raises(ValueError, match='a window of 65 tokens exceeds the context of 64'):
        TrainingPlan.usual(64, False, steps=1, window=65)


def test_a_classifier_reads_each_text_once_in_an_epoch_and_its_last_batch_too():
    made = dict(epochs=2, batch_size=24, learning_rate=2e-5, seed=0)
    plan = TrainingPlan.classifying(49, 1024, **made)
    assert (plan.steps, plan.window) == (2 * 3, 129)  # 128 tokens after the one that starts a text
    assert TrainingPlan.classifying(48, 64, **made).window == 64
    assert {plan.rate(step) for step in range(1, 7)} == {2e-5}
