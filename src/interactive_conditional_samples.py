#!/usr/bin/env python3
"""Continue prompts that are typed, given as a flag or a file, or piped in."""

import codecs
import sys

import command_line
from hparams import read_hparams
from model_files import expand, find_model, load_encoder
from settings import Settings, check_dtype, check_fits, check_whole, check_xla, default_length

PROMPT = 'Model prompt >>> '
QUOTES = '"""'


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
    stop_at_end: bool = False,
    dtype: str = 'float32',
    xla: bool = False,
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
        temperature: divides the logits: lower is less random, 0 always takes the likeliest token
        top_k: sample among the k likeliest tokens only; 0 does not restrict, 40 is a good value
        top_p: sample from the fewest tokens that hold this probability; 1 does not restrict
        models_dir: the folder of all models
        prompt: continue this text instead of asking
        prompt_file: continue the text of this file instead of asking
        stop_at_end: end a sample where the model ends the text
        dtype: of the weights: float32 is exact; int8 takes half the memory and is about twice as
            fast on x86 processors with VNNI (Intel since 2019, AMD since Zen 4), slower on others;
            bfloat16 is for processors with instructions for it
        xla: compile each step, which takes seconds at first; pays for many long samples at a time
    """
    check_whole('nsamples', nsamples, least=1)
    check_whole('batch_size', batch_size, least=1)
    check_dtype(dtype)
    check_xla(xla)
    if prompt is not None and prompt_file is not None:
        raise ValueError('give --prompt or --prompt_file, not both')
    knobs = dict(temperature=temperature, top_k=top_k, top_p=top_p, stop_at_end=stop_at_end)
    settings = Settings(length=1 if length is None else length, seed=seed, **knobs)
    models_dir = expand(models_dir)
    folder = find_model(model_name, models_dir)
    hparams = read_hparams(f'{folder}/hparams.json')
    if length is not None:
        check_fits(1, length, hparams.n_ctx)
    encoder = load_encoder(model_name, models_dir)

    def request(text):
        """The tokens of a prompt and the settings for it; ValueError if it does not fit."""
        tokens = encoder.encode(text)
        if not tokens:
            raise ValueError('Prompt should not be empty!')
        room = default_length(len(tokens), hparams.n_ctx) if length is None else length
        check_fits(len(tokens), room, hparams.n_ctx)
        return tokens, Settings(length=room, seed=settings.seed, **knobs)

    text = given_prompt(prompt, prompt_file)
    if text is not None:
        request(text)  # refuse a bad prompt before TensorFlow is loaded

    shards = 1 if xla else None  # XLA shares its programs among cores itself
    model = model_name, models_dir, encoder, dtype
    with command_line.start_engine(*model, n_shards=shards) as engine:
        engine.compiled = xla
        if text is not None:
            show_samples(engine, *request(text), nsamples, batch_size)
        else:
            converse(engine, request, nsamples, batch_size)


def given_prompt(prompt, prompt_file):
    """The prompt that flags or a pipe give, or None if there is a terminal to ask at."""
    if prompt is not None:
        return prompt
    if prompt_file is None and sys.stdin.isatty():
        return None
    try:
        if prompt_file is None:
            text = sys.stdin.read().removeprefix('\ufeff')  # as of files
        else:
            with open(prompt_file, encoding='utf-8-sig') as f:  # Windows editors add a mark
                text = f.read()
    except UnicodeDecodeError as error:
        source = 'standard input' if prompt_file is None else prompt_file
        raise ValueError(f'{source} is not UTF-8 text: {error}') from error
    return text.removesuffix('\n')


def converse(engine, request, nsamples, batch_size):
    """Ask for prompts and continue each, until the user has had enough."""
    edit_lines()
    first_sample = 0
    while True:
        try:
            tokens, settings = request(ask())
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
    with command_line.deferred_interrupts() as pressed:

        def check(*_):
            if pressed.is_set():
                raise KeyboardInterrupt

        if nsamples == 1:
            print_header(1)
            show_stream(engine, tokens, settings, first_sample, check)
        else:
            for done in range(0, nsamples, batch_size):
                prompts = [tokens] * min(batch_size, nsamples - done)
                samples = engine.generate(prompts, settings, first_sample + done, check)
                for number, sample in enumerate(samples, start=done + 1):
                    print_header(number)
                    print(engine.encoder.decode(sample), flush=True)
        print('=' * 80, flush=True)


def print_header(number):
    print('=' * 40 + f' SAMPLE {number} ' + '=' * 40, flush=True)


def show_stream(engine, tokens, settings, sample_number, check):
    """Print one sample while it grows; a character appears when all of its bytes are there."""
    utf8 = codecs.getincrementaldecoder('utf-8')(errors='replace')
    for chunk in engine.stream([tokens], settings, sample_number):
        check()
        new = engine.before_end(chunk[0].tolist(), settings)
        print(utf8.decode(engine.encoder.decode_bytes(new)), end='', flush=True)
    print(utf8.decode(b'', final=True), flush=True)


if __name__ == '__main__':
    command_line.run(interact_model)
