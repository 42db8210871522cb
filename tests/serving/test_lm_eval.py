"""The lm-evaluation-harness by the server finds what it finds by lm_eval_model.py.

Skipped where lm-eval, or what its client needs (`pip install 'lm-eval[api]'`), is missing.
"""

import pytest

from helpers.harness_tasks import DATA, OFFLINE, evaluate, written_tasks
from helpers.paths import ROOT
from helpers.serving import running_server

# The client keeps one token of the context for itself, and the last new token is never read.
MAX_LENGTH = 257
SHORT = slice(1, None)  # Documents of local_rolling that fit into one window.


@pytest.fixture(scope='module')
def found(tmp_path_factory):
    """Results with samples, by the server and by the model class."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in OFFLINE.items():
            patch.setenv(name, value)
        for name in ('lm_eval', 'tenacity', 'aiohttp'):
            pytest.importorskip(name, reason="needs 'lm-eval[api]'")
        import lm_eval_model

        tasks = written_tasks(tmp_path_factory.mktemp('tasks'))
        with running_server() as server:
            arguments = {
                'model': 'demo',
                'base_url': f'{server.address}/v1/completions',
                'tokenizer_backend': 'remote',
                'max_length': MAX_LENGTH,
            }
            served = evaluate('local-completions', tasks, model_args=arguments, log_samples=True)
        model = lm_eval_model.TensorFlowGPT2('demo', ROOT / 'models')
        own = evaluate(model, tasks, log_samples=True)
        model.close()
        yield served, own


def responses(found, task):
    """What each model answered to the requests of a task, in their order."""
    return [
        [each['resps'] for each in sorted(results['samples'][task], key=lambda s: s['doc_id'])]
        for results in found
    ]


@pytest.mark.parametrize('task', ['local_choice', 'local_greedy', 'local_generation'])
def test_the_results_are_the_same_to_the_digit(found, task):
    served, own = (
        {k: v for k, v in results['results'][task].items() if isinstance(v, float)}
        for results in found
    )
    assert served == pytest.approx(own, rel=1e-5) and served
    shown = [{name: f'{value:.5g}' for name, value in each.items()} for each in (served, own)]
    assert shown[0] == shown[1]


@pytest.mark.parametrize('task', ['local_choice', 'local_greedy'])
def test_log_probabilities_agree_and_greedy_is_greedy(found, task):
    greedy = []
    for served, own in zip(*responses(found, task), strict=True):
        for ((one, its),), ((other, expected),) in zip(served, own, strict=True):
            assert float(one) == pytest.approx(float(other), abs=1e-4)
            assert its == expected
            greedy.append(its)
    assert task != 'local_greedy' or len(set(map(str, greedy))) == 2, 'some are, some are not'


def test_texts_are_the_same(found):
    served, own = responses(found, 'local_generation')
    assert served == own and len(served) == len(DATA['local_generation'])
    assert sum(bool(text) for ((text,),) in served) > 1


def test_documents_of_one_window_have_the_same_log_probability(found):
    served, own = responses(found, 'local_rolling')
    for ((one,),), ((other,),) in zip(served[SHORT], own[SHORT], strict=True):
        assert float(one) == pytest.approx(float(other), abs=1e-4)
