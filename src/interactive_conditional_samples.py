#!/usr/bin/env python3
"""Continue prompts that are typed, given as a flag or a file, or piped in."""

from fast import check_dtype, number_of_shards, takes_dtype, takes_shards
from generation.bulk import header
from generation.prompts import given_prompt, request
from generation.start import start_engine
from generation.text_stream import TextStream
from hparams import read_hparams
from loading.model_files import find_model, load_encoder
from support import command_line, stopping
from support.checks import check_batch_size, check_switch, check_whole
from support.files import expand
from support.settings import (
    Settings,
    check_fits,
    check_xla,
    takes_sampling_parameters,
)

PROMPT = 'Model prompt >>> '
QUOTES = '"""'


@takes_sampling_parameters
@takes_dtype
@takes_shards
def interact_model(
    model_name: str = '124M',
    seed: int = None,
    nsamples: int = 1,
    batch_size: int = 1,
    length: int = None,
    temperature: float = 1,
    top_k: int = 0,
    top_p: float = 1,
    models_dir: str = 'models',
    prompt: str = None,
    prompt_file: str = None,
    keep_end: bool = False,
    stop_at_end: bool = False,
    dtype: str = 'float32',
    xla: bool = False,
    shards: int = None,
    **more,
):
    """Continue a prompt with a GPT-2 model.

    Asks for prompts until end of input (Ctrl-D) or Ctrl-C; Ctrl-C during a sample stops that
    sample only. A prompt of several lines starts and ends with three double quotes. Without a
    terminal, all of standard input is one prompt. One final newline of piped or filed prompts is
    dropped.

    Args:
        model_name: which model to use, a folder of models_dir
        seed: a whole number for reproducible samples; None draws one
        nsamples: samples for each prompt
        batch_size: samples computed at a time; changes speed, never the samples
        length: tokens in each sample; None is half the model's context, or the room left
        <sampling parameters>
        models_dir: the folder of all models
        prompt: continue this text instead of asking
        prompt_file: continue the text of this file instead of asking
        keep_end: take the end of a prompt that is too long: as many of its last tokens as leave
            room for the length, or for half the context
        stop_at_end: end a sample where the model ends the text
        <dtype>
        xla: compile each step, which takes seconds at first; pays for many long samples at a time
        <shards>
    """
    check_whole('nsamples', nsamples, least=1)
    check_batch_size(batch_size)
    check_dtype(dtype)
    check_xla(xla)
    shards = number_of_shards(shards, xla)
    check_switch('keep_end', keep_end)
    if prompt is not None and prompt_file is not None:
        raise ValueError('give --prompt or --prompt_file, not both')
    settings = Settings(
        length=1 if length is None else length,  # until a prompt says how much room there is
        seed=seed,
        stop_at_end=stop_at_end,
        **dict(temperature=temperature, top_k=top_k, top_p=top_p, **more),
    )
    models_dir = expand(models_dir)
    folder = find_model(model_name, models_dir)
    n_ctx = read_hparams(f'{folder}/hparams.json').n_ctx
    check_fits(1, settings.length, n_ctx)
    encoder = load_encoder(model_name, models_dir)

    def request_of(text):
        return request(text, encoder, n_ctx, settings, any_length=length is None, keep_end=keep_end)

    text = given_prompt(prompt, prompt_file)
    given = text if text is None else request_of(text)  # what is bad, before TensorFlow is loaded
    model = dict(encoder=encoder, dtype=dtype, n_shards=shards)
    with start_engine(model_name, models_dir, **model) as engine:
        engine.compiled = xla
        if given is not None:
            show_samples(engine, *given, nsamples, batch_size)
        else:
            converse(engine, request_of, nsamples, batch_size)


def converse(engine, request_of, nsamples, batch_size):
    """Ask for prompts and continue each, until the user has had enough."""
    edit_lines()
    first_sample = 0
    while True:
        try:
            tokens, settings = request_of(ask())
        except ValueError as error:
            print(error)
            continue
        except (EOFError, KeyboardInterrupt):
            print()
            return
        try:
            show_samples(engine, tokens, settings, nsamples, batch_size, first_sample)
        except (ValueError, MemoryError) as error:  # it takes more memory than there is
            print(error or 'there is not enough memory for that')
        except KeyboardInterrupt:
            print()
        first_sample += nsamples  # so that the same prompt again gives other samples


def edit_lines():
    """Give input() line editing and history."""
    try:
        import readline
    except ImportError:
        return  # Windows has it built into the console
    for setting in ('input-meta on', 'convert-meta off', 'output-meta on'):
        readline.parse_and_bind(f'set {setting}')  # else LC_ALL=C loses what is not ASCII


def ask():
    """One prompt: a line, or the lines between triple quotes."""
    line = input(PROMPT)
    if not line.startswith(QUOTES):
        return line
    lines = [line[len(QUOTES) :]]
    while not lines[-1].endswith(QUOTES):
        lines.append(input('... '))
    return '\n'.join(lines)[: -len(QUOTES)]


def show_samples(engine, tokens, settings, nsamples, batch_size, first_sample=0):
    """Print nsamples continuations in the format of 2019; a single one as it is produced."""
    with stopping.deferred_interrupts() as pressed:

        def check(*_):
            if pressed.is_set():
                raise pressed.error

        if nsamples == 1:
            print(header(1), flush=True)
            show_stream(engine, tokens, settings, first_sample, check)
        else:
            for done in range(0, nsamples, batch_size):
                prompts = [tokens] * min(batch_size, nsamples - done)
                samples = engine.generate(prompts, settings, first_sample + done, check)
                for number, sample in enumerate(samples, start=done + 1):
                    print(header(number), flush=True)
                    print(engine.encoder.decode(sample), flush=True)
        print('=' * 80, flush=True)


def show_stream(engine, tokens, settings, sample_number, check):
    """Print one sample while it grows; a character appears when all of its bytes are there."""
    text = TextStream(engine.encoder, stop_at_end=settings.stop_at_end)
    for chunk in engine.stream([tokens], settings, sample_number):
        check()
        print(text.add(chunk[0].tolist()), end='', flush=True)
    print(text.finish(), flush=True)


if __name__ == '__main__':
    command_line.run(interact_model)
