#!/usr/bin/env python3
"""What a GPU gives: the scripts as they are, right numbers, and speeds against PyTorch on it.

In ten minutes at most, each part for itself: a part that fails says so, and the others go on.
Without a GPU it runs on the processor, to see that it runs.

    python benchmarks/gpu.py                         # 124M shapes
    python benchmarks/gpu.py --models_dir models --model_name demo --repeats 1
"""

import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'src'))
sys.path.insert(0, str(ROOT / 'benchmarks'))

from side_by_side import make_model  # noqa: E402

from support import command_line  # noqa: E402
from support.checks import check_whole  # noqa: E402

REFERENCE = ROOT / 'tests' / 'testdata' / 'reference'  # computed by the code of 2019
SAMPLES = ['--model_name', 'demo', '--nsamples', '2', '--length', '60', '--top_k', '40']
WAYS = {
    'float32': ['--noxla'],
    'float32, XLA': ['--xla'],
    'bfloat16': ['--dtype', 'bfloat16', '--noxla'],
    'bfloat16, XLA': ['--dtype', 'bfloat16', '--xla'],
}
WORKLOADS = '1x1+128', '8x1+128', '64x1+64', '1x1000+1'  # as benchmarks/decode.py names them
OURS = 'ours', 'ours.xla', 'ours-bfloat16', 'ours.xla-bfloat16'
PEERS = 'transformers', 'transformers-bfloat16'
SECONDS = 200  # that a part may take


def gpu_benchmark(models_dir: str = None, model_name: str = '124M', repeats: int = 2):
    """Print what there is, whether it is right, and how fast it is.

    Args:
        models_dir: where the model is; None makes one of the 124M's shape with random weights
        model_name: its name
        repeats: counted rounds of each measurement
    """
    check_whole('repeats', repeats, least=1)
    start = time.monotonic()
    with_torch = all(map(importlib.util.find_spec, ('torch', 'transformers')))
    with tempfile.TemporaryDirectory() as folder:
        if models_dir is None:
            models_dir = os.path.join(folder, 'models')
            make_model(models_dir, model_name)
        model = ['--models_dir', models_dir, '--model_name', model_name]
        again = ['--repeats', str(repeats)]
        peers = ',transformers' if with_torch else ''
        part('device and reference values', __file__, '--reference')
        compare_samples()
        engines = ','.join(OURS + PEERS * with_torch)
        for workload in WORKLOADS:
            flags = ['--workloads', workload, '--engines', engines, '--starts', '0']
            part(f'decoding {workload}', ROOT / 'benchmarks' / 'decode.py', *model, *again, *flags)
        flags = ['--workloads', '8x1024', '--dtypes', 'float32,bfloat16', '--engines']
        script = ROOT / 'benchmarks' / 'score.py'
        part('scoring', script, *model, *again, *flags, f'ours{peers}')
        flags = ['--shapes', '124M' if model_name == '124M' else 'small', '--workloads', 'train']
        script = ROOT / 'benchmarks' / 'train.py'
        part('training', script, *again, *flags, '--engines', f'ours{peers}')
    print(f'\nall in {time.monotonic() - start:.0f} s')


def part(title, *command):
    """Run a script and print what it prints, or how it failed."""
    print(f'\n# {title}', flush=True)
    try:
        ended = run(*command)
    except subprocess.TimeoutExpired:
        print(f'took more than {SECONDS} s', flush=True)
        return
    print(ended.stdout.strip(), flush=True)
    if ended.returncode:
        print(f'status {ended.returncode}: {ended.stderr.strip()[-500:]}', flush=True)


def run(*command, **environment):
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | environment,
        timeout=SECONDS,
    )


def compare_samples():
    """Print whether the script gives the processor's samples on the GPU, in each way."""
    print('\n# generate_unconditional_samples.py', flush=True)
    command = ['src/generate_unconditional_samples.py', *SAMPLES, '--seed', '0']
    plain = run(*command, CUDA_VISIBLE_DEVICES='').stdout
    for way, flags in WAYS.items():
        start = time.monotonic()
        ended = run(*command, *flags)
        equal = 'the same text as' if ended.stdout == plain else 'another text than'
        told = f'{equal} float32 on the processor, {time.monotonic() - start:.1f} s'
        if ended.returncode:
            told = f'status {ended.returncode}: {ended.stderr.strip()[-300:]}'
        print(f'{way:14} {told}', flush=True)


def check_reference():
    """Print the device, and how far logits and greedy text are from those of the 2019 code."""
    import numpy as np
    import tensorflow.compat.v1 as tf

    import model
    import sample
    from hparams import read_hparams
    from loading import checkpoint

    for gpu in tf.config.list_physical_devices('GPU') or ['no GPU']:
        details = gpu if gpu == 'no GPU' else tf.config.experimental.get_device_details(gpu)
        print(details)
    print(f'TensorFlow {tf.__version__}, XLA {"built in" if tf.test.is_built_with_xla() else "no"}')
    for folder in sorted(path for path in REFERENCE.iterdir() if path.is_dir()):
        golden = np.load(folder / 'golden.npz')
        hparams = read_hparams(str(folder / 'hparams.json'))
        with tf.Graph().as_default(), tf.Session() as session:
            tokens, n = tf.constant(golden['tokens']), int(golden['P'])
            logits = model.model(hparams, tokens)['logits']
            length = golden['greedy'].shape[1] - n
            greedy = sample.sample_sequence(
                hparams=hparams, length=length, context=tokens[:, :n], temperature=0
            )
            checkpoint.restore(session, str(folder / 'model.ckpt'), tf.trainable_variables())
            logits, greedy = session.run([logits, greedy])
        expected = golden['logits_last' if 'logits_last' in golden else 'logits']
        error = np.abs(logits[:, -expected.shape[1] :] - expected).max()
        same = 'the same' if (greedy == golden['greedy']).all() else 'another'
        print(f'{folder.name}: logits within {error:.1e} of those of 2019, {same} greedy text')


if __name__ == '__main__':
    if sys.argv[1:2] == ['--reference']:
        check_reference()
    else:
        command_line.run(gpu_benchmark)
