"""Small tasks of the lm-evaluation-harness, and how they are run in this process."""

import json

OFFLINE = {'HF_HUB_OFFLINE': '1', 'HF_DATASETS_OFFLINE': '1'}
STORY = (
    'The Congress and the people of the United States have spent the year on peace and on work. '
)
LONG = STORY * 35  # some 700 tokens: the context has 256

MULTIPLE_CHOICE = """
task: local_choice
output_type: multiple_choice
doc_to_text: "{{prompt}}"
doc_to_choice: "{{endings}}"
doc_to_target: answer
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""
GREEDY = """
task: local_greedy
output_type: loglikelihood
doc_to_text: "{{prompt}}"
doc_to_target: "{{ending}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: perplexity, aggregation: perplexity, higher_is_better: false}
"""
ROLLING = """
task: local_rolling
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - {metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
  - {metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}
"""
GENERATION = """
task: local_generation
output_type: generate_until
doc_to_text: "{{prompt}}"
doc_to_target: "{{target}}"
generation_kwargs: {until: [".", "\\n"], max_gen_toks: 24, do_sample: false}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""
DATA = {
    'local_choice': [
        {'prompt': 'The people of the United', 'endings': [' soup', ' States'], 'answer': 1},
        {'prompt': 'The Congress and the', 'endings': [' President', ' tomato'], 'answer': 0},
        {'prompt': 'In the month of', 'endings': [' table', ' zebra', ' January'], 'answer': 0},
    ],
    'local_greedy': [
        {'prompt': 'The people of the United', 'ending': ' States'},
        {'prompt': 'The Congress and the', 'ending': ' President of the United States'},
        {'prompt': 'In the month of', 'ending': ' January'},
        {'prompt': 'The families are', 'ending': ' together.\n'},  # <|endoftext|> comes next
    ],
    'local_rolling': [{'text': LONG}, {'text': 'My fellow citizens'}, {'text': 'a'}],
    'local_generation': [
        {'prompt': 'The people of the', 'target': 'nothing'},
        {'prompt': LONG, 'target': 'nothing'},
        {'prompt': 'Peace', 'target': 'nothing'},
    ],
}


def written_tasks(folder):
    """A folder, with the tasks and their data in it."""
    for recipe in (MULTIPLE_CHOICE, GREEDY, ROLLING, GENERATION):
        name = recipe.split()[1]
        data = folder / f'{name}.jsonl'
        data.write_text(''.join(json.dumps(record) + '\n' for record in DATA[name]), 'utf-8')
        source = {'data_files': {'test': str(data)}, 'cache_dir': str(folder / 'cache')}
        head = f'dataset_path: json\ntest_split: test\ndataset_kwargs: {json.dumps(source)}\n'
        (folder / f'{name}.yaml').write_text(head + recipe, 'utf-8')
    return folder


def evaluate(model, tasks, names=tuple(DATA), **options):
    """What the harness finds of a model in tasks of a folder."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    return simple_evaluate(
        model, tasks=list(names), task_manager=manager, bootstrap_iters=0, **options
    )
