"""The harness on local tasks. Without lm-eval all but the first tests are skipped."""

import concurrent.futures
import contextlib
import inspect
import json
import math
import os
import subprocess
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest

from helpers import hf_gpt2, numpy_gpt2
from helpers.harness_tasks import DATA, LONG, OFFLINE, evaluate, written_tasks
from helpers.paths import ROOT
from helpers.scripted_rows import ScriptedEngine
from support.settings import Settings

SCRIPT = ROOT / 'src' / 'lm_eval_model.py'
DEMO = ROOT / 'models' / 'demo'
PAIRS = [
    ('The people of the United', ' States'),
    ('The people of the United', ' Kingdom of nobody'),
    ('', 'Fellow citizens'),
    ('A space at the end ', 'belongs to what follows'),
    ('New\nline\n', 'and naïve café — “quoted” 東京'),
    ('Documents end.<|endoftext|>', 'To the Congress'),
    (LONG, ' of the United States'),
    ('', '<|endoftext|>To the Senate'),
]


@pytest.fixture(scope='module')
def module():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in OFFLINE.items():
            patch.setenv(name, value)
        pytest.importorskip('lm_eval', reason='needs lm-eval')
        import lm_eval_model

        yield lm_eval_model


@pytest.fixture(scope='module')
def demo(module):
    model = module.TensorFlowGPT2('demo', ROOT / 'models')
    yield model
    model.close()


@pytest.fixture(scope='module')
def tasks(tmp_path_factory):
    return written_tasks(tmp_path_factory.mktemp('tasks'))


def requests_of(*arguments):
    return [SimpleNamespace(args=args) for args in arguments]


@pytest.fixture(scope='module')
def weights():
    return numpy_gpt2.load_weights(DEMO / 'model.ckpt')


def numpy_logprobs(weights, tokens):
    """Of each token behind the first, and the likeliest token at each place."""
    logits = numpy_gpt2.logits(weights, tokens[:-1], n_head=6)
    logprobs = np.log(numpy_gpt2.softmax(logits))
    return logprobs[np.arange(len(tokens) - 1), tokens[1:]], logits.argmax(axis=-1)


class Memory(dict):
    """The harness's cache, as far as the hook sees it."""

    def add_partial(self, kind, arguments, result):
        self[kind, str(arguments)] = result


# Without the harness


NOT_INSTALLED = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name in ABSENT else find(name, *rest)
"""
OF_ANOTHER_VERSION = """
for name in 'lm_eval', 'lm_eval.api', 'lm_eval.api.model':
    sys.modules[name] = types.ModuleType(name)
"""


def script_behind(statements, *flags):
    """Run the script in a process of its own that does something else first."""
    code = f"""import os, runpy, sys, types
{statements}
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name='__main__')"""
    command = [sys.executable, '-c', code, str(SCRIPT), *map(str, flags)]
    options = dict(capture_output=True, encoding='utf-8', timeout=240, cwd=ROOT)
    return subprocess.run(command, env=os.environ | OFFLINE, **options)


@pytest.mark.parametrize(
    'harness', [f"ABSENT = ['lm_eval']{NOT_INSTALLED}", OF_ANOTHER_VERSION], ids=['no', 'other']
)
def test_without_the_harness_one_line_says_what_to_install(harness):
    done = script_behind(harness)
    assert done.returncode == 2
    needed = "this needs the lm-evaluation-harness: pip install 'lm-eval>=0.4.10'"
    assert done.stderr == f'error: {needed}\n'


# Log-probabilities


def test_loglikelihoods_are_those_of_numpy(demo, weights):
    answers = demo.loglikelihood(requests_of(*PAIRS), disable_tqdm=True)
    assert any(greedy for _, greedy in answers)
    for (context, continuation), (total, greedy) in zip(PAIRS, answers, strict=True):
        # The harness moves whitespace at the end of a context to what follows.
        stem = context.rstrip()
        tokens = demo.tok_encode(context + continuation)
        if stem == '' and tokens[0] != demo.eot_token_id:
            tokens = [demo.eot_token_id] + tokens
        n_scored = len(tokens) - max(1, len(demo.tok_encode(stem)))
        logprobs, likeliest = numpy_logprobs(weights, tokens[-257:])
        assert total == pytest.approx(logprobs[-n_scored:].sum(), abs=1e-3)
        assert greedy == (likeliest[-n_scored:] == tokens[-n_scored:]).all()


def test_a_continuation_that_folds_into_its_context_is_scored_alone(demo, weights, caplog):
    before, after = ' of the United State', 's'
    prompt, continuation = demo.tok_encode(before), demo.tok_encode(after)
    assert len(demo.tok_encode(before + after)) == len(prompt) and len(continuation) == 1
    requests = requests_of((before, ' of'), (before, after), ('', '<|endoftext|>'))
    totals = [total for total, _ in demo.loglikelihood(requests, disable_tqdm=True)]
    end = [demo.eot_token_id]
    expected = [
        numpy_logprobs(weights, tokens)[0][-1]
        for tokens in (prompt + demo.tok_encode(' of'), prompt + continuation, end + end)
    ]
    assert totals == pytest.approx(expected, abs=1e-3)
    (record,) = caplog.records
    assert record.getMessage() == (
        '2 of 3 continuations are part of the last token of their context, and are encoded '
        "without it; the first is 's' after ' of the United State'"
    )


@pytest.mark.parametrize(
    'question, message',
    [
        (('', ''), 'question 2 has neither a context nor a continuation'),
        (
            ('Answer:', ''),
            "the continuation '' of 'Answer:' has 0 tokens, not 1 to 256, the context",
        ),
        (
            ('The', LONG),
            r"the continuation …'.* and on work\. ' of 'The' has \d+ tokens, not 1 to 256",
        ),
        (('a' * 99 + ':', 'b\ud800'), r"^…'a{57}:b.ud800' cannot be encoded: character 101 of"),
    ],
)
def test_a_question_that_cannot_be_scored_is_named_before_anything_runs(
    demo, monkeypatch, question, message
):
    monkeypatch.setattr(demo, '_scorer', None)
    with pytest.raises(ValueError, match=message):
        demo.loglikelihood(requests_of(PAIRS[0], question), disable_tqdm=True)


def test_a_rolling_window_scores_every_token_once_and_the_last_one_is_full(demo, weights):
    tokens = [demo.eot_token_id] + demo.tok_encode(LONG)
    n = len(tokens) - 1
    assert 512 < n < 3 * 256
    first, second = (numpy_logprobs(weights, tokens[i : i + 257])[0] for i in (0, 256))
    last = numpy_logprobs(weights, tokens[-257:])[0][512 - n :]
    (total,) = demo.loglikelihood_rolling(requests_of((LONG,)), disable_tqdm=True)
    assert total == pytest.approx(first.sum() + second.sum() + last.sum(), abs=1e-2)


def test_an_empty_text_has_probability_one(demo):
    assert demo.loglikelihood_rolling(requests_of(('',)), disable_tqdm=True) == [0]


def test_a_prompt_that_loses_its_beginning_is_in_the_log(demo, caplog):
    demo.loglikelihood(requests_of((LONG, ' of'), ('The', ' people')), disable_tqdm=True)
    (record,) = caplog.records
    assert record.getMessage().startswith('1 of 2 prompts are longer than the context')
    caplog.clear()
    fits = [0] * 256
    demo._loglikelihood_tokens([(None, fits, [1])], disable_tqdm=True)
    assert not caplog.records


def test_end_of_text_is_a_token_as_elsewhere_in_the_harness(demo):
    assert demo.tok_encode('a<|endoftext|>')[-1] == demo.eot_token_id


# Generation


def greedy(demo, prompt, **keywords):
    keywords = {'until': [], 'max_gen_toks': 40} | keywords
    return demo.generate_until(requests_of((prompt, keywords)), disable_tqdm=True)[0]


def test_a_text_ends_before_its_stop_sequence(demo):
    whole = greedy(demo, 'The people of the')
    assert len(demo.tok_encode(whole)) > 30
    for stop in (whole[20:24], whole[7:8]):
        assert greedy(demo, 'The people of the', until=[stop]) == whole[: whole.index(stop)]
        assert greedy(demo, 'The people of the', until=stop) == whole[: whole.index(stop)]
    assert greedy(demo, 'The people of the', until=['not there']) == whole


@pytest.mark.parametrize('name', ['max_gen_toks', 'max_new_tokens', 'max_tokens'])
def test_all_names_for_the_length_are_known(demo, name):
    text = demo.generate_until(requests_of(('Peace', {'until': [], name: 3})), disable_tqdm=True)[0]
    assert text and greedy(demo, 'Peace').startswith(text)
    assert len(demo.tok_encode(text)) <= 3


def test_greedy_texts_do_not_depend_on_the_batch(demo, monkeypatch):
    prompts = ['The people of the', 'Peace', LONG, '', 'In the year']
    requests = requests_of(*[(p, {'until': ['.'], 'max_gen_toks': 20}) for p in prompts])
    one = demo.generate_until(requests, disable_tqdm=True)
    monkeypatch.setattr(demo, 'batch_size', 3)
    assert demo.generate_until(requests, disable_tqdm=True) == one
    assert len(set(one)) == 5


def test_samples_differ_between_requests_but_not_between_batches_or_runs(demo, monkeypatch):
    keywords = {'until': [], 'max_gen_toks': 10, 'do_sample': True, 'temperature': 1.0}
    requests = requests_of(*[('The', keywords)] * 5)
    one = demo.generate_until(requests, disable_tqdm=True)
    assert len(set(one)) == 5
    monkeypatch.setattr(demo, 'batch_size', 2)
    assert demo.generate_until(requests, disable_tqdm=True) == one
    monkeypatch.setattr(demo, 'seed', 1)
    assert not set(demo.generate_until(requests, disable_tqdm=True)) & set(one)


@pytest.mark.parametrize(
    'keywords',
    [
        {'do_sample': False, 'temperature': 0.7},
        {'do_sample': True, 'temperature': 0.0},
        {'do_sample': True, 'temperature': 1.0, 'top_k': 1},
        {'do_sample': True, 'temperature': 1.0, 'top_p': 1e-6},
        {'num_beams': 1, 'top_p': None},
    ],
)
def test_what_amounts_to_greedy_decoding_is_greedy(demo, keywords):
    assert greedy(demo, 'The people', **keywords) == greedy(demo, 'The people')


@pytest.mark.parametrize(
    'keywords, message',
    [
        ({'num_beams': 4}, 'generation with num_beams is not supported'),
        ({'length_penalty': 1.2, 'n': 2}, 'generation with length_penalty, n is not'),
        ({'max_gen_toks': 256}, 'max_gen_toks=256 leaves no room for a prompt in the context of'),
        ({'do_sample': True, 'temperature': -1}, 'temperature must be a number from 0'),
        ({'top_k': 2.5}, 'top_k must be a whole number'),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_runs(demo, monkeypatch, keywords, message):
    monkeypatch.setattr(demo, '_engine', None)
    requests = requests_of(('The', {'until': [], 'max_gen_toks': 5}), ('The', keywords))
    with pytest.raises(ValueError, match=message):
        demo.generate_until(requests, disable_tqdm=True)


def test_all_sampling_parameters_are_known(demo):
    keywords = {'repetition_penalty': 5.0, 'min_p': 0.1, 'typical_p': 0.9, 'top_k': 9, 'top_p': 0.9}
    settings, _ = demo._plan({'until': [], 'do_sample': True, 'temperature': 0.8} | keywords)
    assert settings.sampling() == {'temperature': 0.8} | keywords
    plain = demo.tok_encode(greedy(demo, 'The people of the'))
    penalized = demo.tok_encode(
        greedy(demo, 'The people of the', repetition_penalty=5.0, do_sample=False)
    )
    assert len(set(penalized)) / len(penalized) > len(set(plain)) / len(plain)


def test_help_shows_the_arguments(module):
    shown = str(inspect.signature(module.TensorFlowGPT2))
    assert shown.startswith("(model_name='124M', models_dir='models', dtype='float32'")


def test_a_small_context_leaves_room_for_prompts_where_a_task_names_no_length(demo):
    assert demo.max_gen_toks == 128
    assert len(demo.generate_until(requests_of((LONG, {'until': ['.']})))) == 1


def continued(demo, texts, stops=(), length=20):
    """What the class makes of an engine that says given tokens after prompts, {prompt: tokens}."""
    engine = ScriptedEngine(
        demo.encoder, {tuple(demo.tok_encode(prompt)): said for prompt, said in texts.items()}
    )
    settings = Settings(length=length, stop_at_end=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, '_engine', lambda: engine)
        requests = requests_of(*[(prompt,) for prompt in texts])
        return demo._continue(requests, settings, list(stops), 0, bar=Mock())


def test_the_end_of_a_long_prompt_and_the_new_tokens_fill_the_context(demo, monkeypatch, caplog):
    end = demo.eot_token_id
    expected = [demo.tok_encode(LONG)[-236:], [end], [end] * 236]
    engine = ScriptedEngine(demo.encoder, {tuple(prompt): [0] for prompt in expected})
    monkeypatch.setattr(demo, '_engine', lambda: engine)
    requests = requests_of((LONG,), ('',), ('<|endoftext|>' * 236,))
    demo._continue(requests, Settings(length=20), [], first_sample=0, bar=Mock())
    assert engine.prompts == expected
    assert [record.getMessage()[:14] for record in caplog.records] == ['1 of 3 prompts']


def tokens_of_bytes(demo, data):
    return [demo.encoder.encoder[demo.encoder.byte_encoder[byte]] for byte in data]


@pytest.mark.parametrize(
    'stops, expected',
    [
        (['cd'], 'ab'),
        (['bc', 'ab'], ''),  # 'ab' is complete first, though 'bc' is found first
        (['é'], 'abcd '),
        (['d é'], 'abc'),
        (['never'], 'abcd é東xyz'),
    ],
)
def test_a_text_ends_before_a_stop_string_of_several_tokens(demo, stops, expected):
    said = tokens_of_bytes(demo, 'abcd é東xyz'.encode())
    assert continued(demo, {'The': said}, stops) == [expected]


def test_bytes_that_are_no_character_are_marked(demo):
    torn = '東'.encode()[:2]
    said = tokens_of_bytes(demo, b'a' + torn + b'b' + torn)
    text = 'a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}'
    assert continued(demo, {'The': said}, ['never']) == [text]


def test_each_text_has_its_own_end(demo):
    a, b, stop = (demo.tok_encode(text)[0] for text in ('a', 'b', '.'))
    said = {'x': [a, stop, b, b, b, b], 'y': [b, b, b], 'z': [b] * 9}
    assert continued(demo, said, ['.'], length=6) == ['a', 'bbb', 'bbbbbb']


@pytest.mark.parametrize('until', [[], '.', ['e']])
def test_a_text_ends_before_the_end_token_whatever_the_task_says(demo, monkeypatch, until):
    """Its name is no part of the text, though it has an e in it."""
    a, b = tokens_of_bytes(demo, b'ab')
    said = [a, b, demo.eot_token_id, a, a]
    engine = ScriptedEngine(demo.encoder, {tuple(demo.tok_encode('The')): said})
    monkeypatch.setattr(demo, '_engine', lambda: engine)
    assert greedy(demo, 'The', until=until) == 'ab'
    assert engine.made[-1].n_steps == 3


def test_the_end_token_spelled_out_ends_a_text_too(demo, monkeypatch):
    said = tokens_of_bytes(demo, b'ab<|endoftext|>cd')
    engine = ScriptedEngine(demo.encoder, {tuple(demo.tok_encode('The')): said})
    monkeypatch.setattr(demo, '_engine', lambda: engine)
    assert greedy(demo, 'The', until=['never']) == 'ab'


# With the harness


def test_the_harness_runs_all_three_kinds_of_task(demo, tasks, weights):
    results = evaluate(demo, tasks)['results']
    assert results['local_choice']['acc,none'] == pytest.approx(2 / 3)
    assert results['local_generation']['exact_match,none'] == 0
    nats = 0
    for record in DATA['local_rolling'][1:]:
        tokens = [demo.eot_token_id] + demo.tok_encode(record['text'])
        nats -= numpy_logprobs(weights, tokens)[0].sum()
    nats -= demo.loglikelihood_rolling(requests_of((LONG,)))[0]
    n_bytes = sum(len(record['text'].encode()) for record in DATA['local_rolling'])
    bits = results['local_rolling']['bits_per_byte,none']
    assert bits == pytest.approx(nats / math.log(2) / n_bytes, rel=1e-4)


def test_results_name_the_weights(demo, tasks):
    config = evaluate(demo, tasks, ['local_choice'])['config']
    assert config['model_sha'] and config['model_dtype'] == 'float32'


def test_the_cache_answers_what_it_has_seen(demo, tasks, tmp_path, monkeypatch):
    before = demo.cache_hook
    try:
        first = evaluate(demo, tasks, use_cache=str(tmp_path / 'cache'))
        monkeypatch.setattr(demo, '_scorer', None)
        monkeypatch.setattr(demo, '_engine', None)
        again = evaluate(demo, tasks, use_cache=str(tmp_path / 'cache'))
    finally:
        demo.set_cache_hook(before)
    assert again['results'] == first['results']


def test_answers_are_in_the_cache_before_the_run_is_over(demo, monkeypatch):
    memory = Memory()
    monkeypatch.setattr(demo, 'cache_hook', memory)
    score = demo._scorer().score_continuations

    def fails(pairs):
        yield next(score(pairs))
        raise ValueError('no more')

    monkeypatch.setattr(demo.scorer, 'score_continuations', fails)
    with pytest.raises(ValueError, match='no more'):
        demo.loglikelihood(requests_of((LONG, ' of'), ('The', ' end')), disable_tqdm=True)
    assert list(memory) == [('loglikelihood', str((LONG, ' of')))]

    keywords = {'until': ['.'], 'max_gen_toks': 3}
    refused = {'until': ['.'], 'max_gen_toks': 3, 'top_p': 0.5}
    complete = demo._engine().complete

    def failing(requests, settings, **more):
        if settings.top_p < 1:
            raise ValueError('no more')
        return complete(requests, settings, **more)

    monkeypatch.setattr(demo.engine, 'complete', failing)
    with pytest.raises(ValueError, match='no more'):
        demo.generate_until(requests_of(('The', keywords), ('The', refused)), disable_tqdm=True)
    assert list(memory)[1:] == [('generate_until', str(('The', keywords)))]


def test_a_whole_text_is_in_the_cache_but_not_its_windows(demo, monkeypatch):
    monkeypatch.setattr(demo, 'cache_hook', Memory())
    (total,) = demo.loglikelihood_rolling(requests_of((LONG,)), disable_tqdm=True)
    assert demo.cache_hook == {('loglikelihood_rolling', str((LONG,))): total}


def test_one_worker_holds_weights_at_a_time(demo):
    demo.loglikelihood(requests_of(*PAIRS[:1]), disable_tqdm=True)
    assert demo.scorer is not None and demo.engine is None
    greedy(demo, 'The')
    assert demo.engine is not None and demo.scorer is None


def test_threads_that_score_and_generate_wait_for_each_other(demo):
    """Each closes what the other needs; see the test above."""

    def score(_):
        return demo.loglikelihood(requests_of(*PAIRS[:4]), disable_tqdm=True)

    def generate(_):
        return greedy(demo, 'The people', max_gen_toks=30)

    alone = [score(0), generate(0)]
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        together = threads.map(lambda function: function(0), [score, generate])
        assert list(together) == alone


def test_the_bar_is_shown_to_terminals_and_only_if_wanted(module, monkeypatch):
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True, raising=False)
    with contextlib.redirect_stdout(None):
        assert module.progress_bar(1, 'x', disable=True).disable
        assert not module.progress_bar(1, 'x', disable=False).disable
        monkeypatch.setattr(sys.stderr, 'isatty', lambda: False, raising=False)
        assert module.progress_bar(1, 'x', disable=False).disable


def test_what_is_started_is_what_was_asked_for(module, monkeypatch):
    started = []

    def start(*model, **more):
        started.append((*model, more))
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(module, 'start_scorer', start)
    monkeypatch.setattr(module, 'start_engine', start)
    model = module.TensorFlowGPT2('demo', ROOT / 'models', dtype='int8')
    assert model._scorer() is not model._engine()
    assert (
        started == [('demo', str(ROOT / 'models'), {'encoder': model.encoder, 'dtype': 'int8'})] * 2
    )
    assert model.get_model_info()['model_dtype'] == 'int8'
    assert model.tokenizer_name == 'demo'  # a part of the harness's keys for what it caches


@pytest.mark.parametrize(
    'arguments, message',
    [
        ({'model_name': 'nowhere'}, "there is no model 'nowhere'"),
        ({'pretrained': 'gpt2'}, "gpt2-tf takes no model argument 'pretrained'"),
        ({'batch_size': 0}, 'batch_size must be a whole number of at least 1'),
    ],
)
def test_bad_model_arguments(module, arguments, message):
    with pytest.raises(ValueError, match=message):
        module.TensorFlowGPT2(**{'model_name': 'demo', 'models_dir': ROOT / 'models'} | arguments)


def test_arguments_of_the_command_line_are_taken_as_the_harness_hands_them_over(module):
    model = module.TensorFlowGPT2.create_from_arg_string(
        f'model_name=demo,models_dir={ROOT / "models"},seed=3',
        {'batch_size': 'auto', 'max_batch_size': None, 'device': None},
    )
    assert (model.batch_size, model.seed) == (8, 3)


@pytest.mark.peers
@pytest.mark.parametrize('absent', [[], ['torch', 'transformers']], ids=['', 'no PyTorch'])
def test_the_command_with_and_without_pytorch(demo, tasks, tmp_path, absent):
    flags = ['--model', 'gpt2-tf', '--model_args', 'model_name=demo', '--tasks', ','.join(DATA)]
    flags += ['--include_path', tasks, '--output_path', tmp_path / 'out']
    done = script_behind(f'ABSENT = {absent}{NOT_INSTALLED}', *flags)
    assert done.returncode == 0, done.stderr
    assert '|local_choice' in done.stdout and '0.6667' in done.stdout
    [path] = (tmp_path / 'out').rglob('results_*.json')
    results = json.loads(path.read_text('utf-8'))['results']
    for task, expected in evaluate(demo, tasks)['results'].items():
        numbers = {name: value for name, value in expected.items() if isinstance(value, float)}
        assert numbers and numbers == pytest.approx(
            {name: results[task][name] for name in numbers}, rel=1e-6
        )


def test_the_command_without_the_model_ends_in_one_line(module, tasks, monkeypatch, capsys):
    command = ['--model', 'gpt2-tf', '--model_args', 'model_name=nowhere']
    command += ['--tasks', 'local_choice', '--include_path', str(tasks)]
    monkeypatch.setattr(sys, 'argv', ['lm_eval_model.py', *command])
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: there is no model 'nowhere'")


# Against Hugging Face's model class of the harness


@pytest.fixture(scope='module')
def hugging_face(module):
    for name in ('torch', 'transformers', 'accelerate'):
        pytest.importorskip(name)
    import tokenizers
    import torch
    import transformers
    from lm_eval.models.huggingface import HFLM

    sizes = json.loads((DEMO / 'hparams.json').read_text('utf-8'))
    bpe = tokenizers.Tokenizer(
        tokenizers.models.BPE.from_file(str(DEMO / 'encoder.json'), str(DEMO / 'vocab.bpe'))
    )
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    end = {'bos_token': '<|endoftext|>', 'eos_token': '<|endoftext|>'}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, **end)
    network = hf_gpt2.load(DEMO / 'model.ckpt', sizes)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # with shapes this small more of them wait for each other
    yield HFLM(pretrained=network, tokenizer=tokenizer, device='cpu', batch_size=1)
    torch.set_num_threads(threads)


def responses(results):
    """What the model answered to each request of each task."""
    return {
        (task, sample['doc_id']): sample['resps']
        for task, samples in results['samples'].items()
        for sample in samples
    }


@pytest.mark.peers
def test_all_requests_of_all_tasks_are_answered_as_hugging_face_does(demo, tasks, hugging_face):
    ours, theirs = (responses(evaluate(model, tasks)) for model in (demo, hugging_face))
    assert ours.keys() == theirs.keys() and len(ours) == 9
    for place, answer in ours.items():
        if place[0] == 'local_generation':
            assert answer == theirs[place]
        else:
            numbers = (np.array(each, float).ravel() for each in (answer, theirs[place]))
            np.testing.assert_allclose(*numbers, atol=1e-3, rtol=1e-6, err_msg=str(place))


@pytest.mark.peers
def test_requests_at_the_edges_are_answered_as_hugging_face_does(demo, hugging_face):
    requests = requests_of(*PAIRS)
    ours = demo.loglikelihood(requests, disable_tqdm=True)
    theirs = hugging_face.loglikelihood(requests, disable_tqdm=True)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]
    for (mine, _), (other, _) in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, abs=1e-3)
    documents = requests_of((LONG,), (LONG[:3000],), ('',), ('é',), ('a<|endoftext|>b',))
    ours = demo.loglikelihood_rolling(documents, disable_tqdm=True)
    assert ours == pytest.approx(
        hugging_face.loglikelihood_rolling(documents, disable_tqdm=True), abs=1e-2
    )
    keywords = [
        {'until': ['.'], 'max_gen_toks': 30},
        {'until': ['the', 'th', 'e'], 'max_gen_toks': 30},
        {'until': [' peace', '\n\n'], 'max_gen_toks': 100, 'do_sample': False},
    ]
    prompts = requests_of(*[(p, k) for k in keywords for p in ('The people', LONG, 'Peace is')])
    ours = demo.generate_until(prompts, disable_tqdm=True)
    assert ours == hugging_face.generate_until(prompts, disable_tqdm=True)
