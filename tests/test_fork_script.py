"""Code that was written for the forks of 2019 runs on our modules, and we load what it saves."""

import os
import shutil

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from generate_unconditional_samples import sample_model
from helpers import fork_script, numpy_gpt2
from scoring.scorer import Scorer

TEXT = 'The whale swam in the sea, and was seen by men. ' * 20
FILES = ('encoder.json', 'vocab.bpe', 'hparams.json')


@pytest.mark.parametrize('save_optimizer', [False, True])
def test_a_training_script_of_a_fork_runs_and_its_model_is_ours(
    byte_models, tmp_path, monkeypatch, call, fast_start, save_optimizer
):
    shutil.copytree(byte_models / 'bytes', tmp_path / 'models' / '117M')
    monkeypatch.chdir(tmp_path)
    run = 'with_slots' if save_optimizer else 'model_alone'
    losses, texts, weights = fork_script.main(
        TEXT, run_name=run, steps=8, learning_rate=1e-2, save_optimizer=save_optimizer
    )
    assert losses[0] == pytest.approx(np.log(257), rel=0.02) and losses[-1] < losses[0] - 0.5
    assert len(texts) == 2 and all(texts)

    folder = tmp_path / 'checkpoint' / run
    saved = tf.train.load_checkpoint(str(folder / 'model-8')).get_variable_to_shape_map()
    assert ('model/wte/Adam_1' in saved) == save_optimizer
    for name in FILES:
        shutil.copy(tmp_path / 'models' / '117M' / name, folder)
    flags = ('--model_name', run, '--models_dir', 'checkpoint')
    status, output, errors = call(sample_model, *flags, '--nsamples', 1, '--length', 4)
    assert (status, errors) == (0, '') and 'SAMPLE 1' in output
    tokens = list(range(10, 30))
    with Scorer(run, 'checkpoint') as scorer:
        scores = scorer.score_document(tokens, start=False)
    logits = numpy_gpt2.logits(weights, tokens, n_head=2)
    logprobs = np.log(numpy_gpt2.softmax(logits))[range(19), tokens[1:]]
    np.testing.assert_allclose(scores.logprobs, logprobs, rtol=1e-4)
    assert os.listdir(tmp_path / 'models') == ['117M']
