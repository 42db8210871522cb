"""lm-evaluation-harness's own coqa, nq_open and wmt14-fr-en on local data, and its texts and ours.

Figures differ, since the protocols do; the same prompt has the same continuation.
"""

import importlib.util
import json
import pathlib
import sys
import types

import pytest

from evaluation import answers, generating
from evaluation.tasks.coqa import TASKS as COQA
from evaluation.tasks.coqa import Conversation, Turn
from evaluation.tasks.natural_questions import TASKS as NQ
from evaluation.tasks.natural_questions import Question
from generation.continuous import Request
from helpers.paths import ROOT
from support.settings import Settings

pytestmark = pytest.mark.peers

STORIES = [
    ('The Congress met in May. It had a hundred members.', ['When did it meet?', 'how many met']),
    ('The President wrote a letter to the people.\n\nIt was long.', ['Who wrote?', 'to whom?']),
]
ANSWERS = [['In May', 'in the month of May', 'May', 'may'], ['one', 'two', 'Two', 'three']]
QUESTIONS = [Question('who is the president', ['Nobody']), Question('where is peace', ['Here'])]
PHRASES = [('Le peuple.', 'The people.'), ('La paix.', 'Peace.')]
DATA = {
    'coqa': [
        {
            'id': str(number),
            'source': 'cnn',
            'story': story,
            'questions': {'input_text': questions, 'turn_id': [1, 2]},
            'answers': {'input_text': [some[0] for some in ANSWERS], 'turn_id': [1, 2]},
            'additional_answers': {
                str(n - 1): {'input_text': [some[n] for some in ANSWERS], 'turn_id': [1, 2]}
                for n in (1, 2, 3)
            },
        }
        for number, (story, questions) in enumerate(STORIES)
    ],
    'nq_open': [{'question': text, 'answer': answers} for text, answers in QUESTIONS],
    'wmt14-fr-en': [{'translation': {'fr': fr, 'en': en}} for fr, en in PHRASES],
}
RECIPES = {
    'coqa': 'coqa/default.yaml',
    'nq_open': 'nq_open/nq_open.yaml',
    'wmt14-fr-en': 'translation/wmt14_fr-en.yaml',
}


def stand_in(name, **content):
    """A module in place of one that is not installed, with the modules that it is in."""
    parent, _, last = name.rpartition('.')
    if name not in sys.modules:
        sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(content)
    if parent:
        stand_in(parent, **{last: sys.modules[name]})


@pytest.fixture(scope='module')
def samples(tmp_path_factory):
    """{task: [(prompt, keywords of its generation, text)]} of the harness's own recipes."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ('HF_HUB_OFFLINE', 'HF_DATASETS_OFFLINE'):
            patch.setenv(name, '1')
        pytest.importorskip('lm_eval', reason='needs lm-eval')
        squad = 'transformers.data.metrics.squad_metrics'  # of transformers before 5
        try:
            importlib.import_module(squad)
        except ModuleNotFoundError:
            stand_in(squad, compute_f1=answers.f1, compute_exact=answers.exact_match)
        yield harness_samples(tmp_path_factory.mktemp('tasks'))


def harness_samples(folder):
    import lm_eval
    from lm_eval.tasks import TaskManager

    import lm_eval_model

    recipes = pathlib.Path(lm_eval.__file__).parent / 'tasks'
    for name, records in DATA.items():
        data = folder / f'{name}.jsonl'
        data.write_text(''.join(json.dumps(record) + '\n' for record in records), 'utf-8')
        files = {'data_files': {'validation': str(data), 'train': str(data), 'test': str(data)}}
        local = {
            'include': str(recipes / RECIPES[name]),
            'task': f'local_{name}',
            'dataset_path': 'json',
            'dataset_name': None,
            'dataset_kwargs': files | {'cache_dir': str(folder / 'cache')},
        }
        (folder / f'local_{name}.yaml').write_text(json.dumps(local), 'utf-8')
    model = lm_eval_model.TensorFlowGPT2('demo', ROOT / 'models')
    try:
        results = lm_eval.simple_evaluate(
            model,
            tasks=[f'local_{name}' for name in DATA],
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
            bootstrap_iters=0,
            log_samples=True,
        )
    finally:
        model.close()
    return {
        name: [
            (*sample['arguments'][0], sample['resps'][0][0])
            for sample in results['samples'][f'local_{name}']
        ]
        for name in DATA
    }


@pytest.mark.parametrize('name', DATA)
def test_the_same_prompt_is_continued_as_the_harness_has_it(samples, demo_engine, name):
    encoder, own = demo_engine.encoder, samples[name]
    assert len(own) == 2
    (stops,) = {tuple(keywords['until']) for _, keywords, _ in own}
    settings = Settings(length=128, temperature=0, stop_at_end=True)
    prompts = [generating.Prompt(prompt, encoder.encode(prompt)) for prompt, _, _ in own]
    requests = [Request(prompt.tokens) for prompt in prompts]
    found = {
        n: generating.generated(prompts[n], completion, encoder, stops).text
        for n, completion in demo_engine.complete(requests, settings, stops=stops)
    }
    assert [found[n] for n in range(len(own))] == [text for _, _, text in own]
    assert all(text.strip() for _, _, text in own) and len({text for *_, text in own}) == 2


def test_prompts_of_coqa_differ_by_a_blank_line(samples, demo_engine):
    task = COQA['coqa']
    stories = [
        Conversation(
            story[:3],
            'cnn',
            story,
            [Turn(f'{n}', question, ANSWERS[n]) for n, question in enumerate(questions)],
        )
        for story, questions in STORIES
    ]
    prompts = task.prompts(stories, demo_engine.encoder, 256, task.choices)
    ours = [demo_engine.encoder.decode(prompt.tokens) for prompt in prompts]
    theirs = [prompt for prompt, _, _ in samples['coqa']]
    assert ours[1::2] == [prompt.replace('\n\nA:', '\nA:') for prompt in theirs]


def test_prompts_of_natural_questions_differ_by_example_pairs(samples, demo_engine):
    task = NQ['nq']
    choices = task.choices | {'pairs': 0}
    prompts = task.prompts(QUESTIONS, demo_engine.encoder, 256, choices, QUESTIONS)
    ours = [demo_engine.encoder.decode(prompt.tokens) for prompt in prompts]
    theirs = [prompt for prompt, _, _ in samples['nq_open']]
    assert theirs == [
        f'Answer these questions:\n\nQ: {question.text}?\nA:' for question in QUESTIONS
    ]
    assert [text.lower() for text in ours] == [
        text.removeprefix('Answer these questions:\n\n').lower() for text in theirs
    ]
