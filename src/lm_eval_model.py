#!/usr/bin/env python3
"""A model of this project in EleutherAI's lm-evaluation-harness, under the name gpt2-tf.

Run as a script, this is the harness's own command, lm_eval, with one more model:

    python src/lm_eval_model.py --model gpt2-tf --model_args model_name=demo --tasks ...

In Python an instance of TensorFlowGPT2 goes to lm_eval.simple_evaluate. Conventions are those of
the harness, as its class HFLM has them, so that numbers compare: what is joined where, which
windows a long document is cut into, what is dropped of a prompt that is too long.
"""

import itertools
import logging
import threading

from tqdm import tqdm

from support import command_line

try:
    from lm_eval.api.model import TemplateLM
    from lm_eval.api.registry import register_model
    from lm_eval.models.utils import (
        handle_stop_sequences,
        normalize_gen_kwargs,
        postprocess_generated_text,
    )
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
except ImportError as error:
    if __name__ != '__main__' or not str(error.name).startswith('lm_eval'):
        raise
    command_line.fail("this needs the lm-evaluation-harness: pip install 'lm-eval>=0.4.10'")

from encoder import END_OF_TEXT
from generation.continuous import Request
from generation.start import start_engine
from hparams import read_hparams
from loading.model_files import find_model, fingerprint, load_encoder_with_end
from scoring.start import start_scorer
from support.checks import check_batch_size
from support.files import expand
from support.settings import SAMPLING, Settings

AUTOMATIC = 8  # prompts at a time for `--batch_size auto`
MAX_GEN_TOKS = 256  # where a task does not say, as for HFLM
# What tasks ask of other models, in so far as it changes nothing.
NEUTRAL = {'num_beams': 1, 'num_return_sequences': 1, 'use_cache': True}


@register_model('gpt2-tf')
class TensorFlowGPT2(TemplateLM):
    """A model of models_dir for the harness.

    model_name, models_dir: as the scripts take them.
    dtype: what weights are stored in and multiplied as, one of fast.DTYPES.
    batch_size: prompts that are continued at a time. Scoring makes its batches by tokens.
    seed: of what tasks sample; request i of a task is sample i, whatever the batch size.
    max_batch_size, device: the harness passes them to every model; TensorFlow takes the GPU if
        there is one.
    Raises ValueError, with what would help, if the model is not there or damaged.
    """

    def __init__(
        self,
        model_name='124M',
        models_dir='models',
        dtype='float32',
        batch_size=1,
        seed=0,
        max_batch_size=None,
        device=None,
        **unknown,
    ):
        if unknown:
            raise ValueError(f'gpt2-tf takes no model argument {", ".join(map(repr, unknown))}')
        super().__init__()
        self.batch_size = AUTOMATIC if str(batch_size).startswith('auto') else int(batch_size)
        check_batch_size(self.batch_size)
        self.model_name, self.models_dir = str(model_name), expand(str(models_dir))
        self.dtype, self.seed = dtype, seed
        self.folder = find_model(self.model_name, self.models_dir)
        self.encoder = load_encoder_with_end(self.model_name, self.models_dir)
        self.hparams = read_hparams(f'{self.folder}/hparams.json')
        self.scorer = self.engine = None
        self.turn = threading.RLock()  # whose holder's scorer or engine is not closed by the other

    def _scorer(self):
        if self.scorer is None:
            self.close()
            self.scorer = self._started(start_scorer)
        return self.scorer

    def _engine(self):
        if self.engine is None:
            self.close()
            self.engine = self._started(start_engine)
        return self.engine

    def _started(self, start):
        return start(self.model_name, self.models_dir, encoder=self.encoder, dtype=self.dtype)

    def close(self):
        """Give the memory back. The harness scores first, then generates: one serves at a time."""
        for worker in (self.scorer, self.engine):
            if worker is not None:
                worker.close()
        self.scorer = self.engine = None

    # The model's properties, under the harness's names

    @property
    def eot_token_id(self):
        return self.encoder.end_of_text

    @property
    def max_length(self):
        return self.hparams.n_ctx

    @property
    def max_gen_toks(self):
        return min(MAX_GEN_TOKS, self.max_length // 2)

    @property
    def tokenizer_name(self):
        return self.model_name

    def get_model_info(self):
        """What the harness writes into its results about the model."""
        return {'model_sha': fingerprint(self.folder), 'model_dtype': self.dtype}

    def tok_encode(self, string, add_special_tokens=None, **kwargs):
        """The tokens of a text, with <|endoftext|> in it as that token. Nothing is added."""
        try:
            return self.encoder.encode(string, allowed_special={END_OF_TEXT})
        except ValueError as error:
            raise ValueError(f'{excerpt(string)} cannot be encoded: {error}') from error

    # Log-probabilities

    def loglikelihood(self, requests, disable_tqdm=False):
        """As the harness does it, which fails on a question of nothing."""
        for number, request in enumerate(requests, start=1):
            if not any(request.args):
                raise ValueError(f'question {number} has neither a context nor a continuation')
        return super().loglikelihood(requests, disable_tqdm=disable_tqdm)

    def _loglikelihood_tokens(self, requests, disable_tqdm=False):
        """Score continuations.

        requests: list of ((context, continuation) as texts or None, context tokens, continuation
            tokens); the tokens of a context that is too long are dropped from its left.
        Returns a list of (log-probability in nats, whether greedy decoding gives the continuation).
        Raises ValueError, before it scores, for a continuation that is empty or too long.
        """
        requests = self._unfolded(requests)
        sizes = [len(prompt) + len(continuation) for _, prompt, continuation in requests]
        note_dropped(sum(size > self.max_length + 1 for size in sizes), len(sizes))
        answers = []
        with self.turn, progress_bar(len(requests), 'loglikelihood', disable_tqdm) as bar:
            scored = self._scorer().score_continuations(tokens for _, *tokens in requests)
            for (texts, _, _), scores in zip(requests, scored, strict=True):
                answers.append((scores.total, scores.greedy))
                if texts is not None:
                    self.cache_hook.add_partial('loglikelihood', texts, answers[-1])
                bar.update()
        return answers

    def _unfolded(self, requests):
        """Requests with continuations that have tokens and fit, or a ValueError that names one.

        The harness cuts the tokens of context + continuation where those of the context end. That
        leaves none of 'Ans' + 'wer', which is one token: then the continuation is encoded alone.
        """
        folded, scorable = [], []
        for texts, prompt, continuation in requests:
            if texts and not continuation:
                folded.append(texts)
                continuation = self.tok_encode(texts[1])
            if not 0 < len(continuation) <= self.max_length:
                raise ValueError(
                    f'the continuation {excerpt(texts[1])} of {excerpt(texts[0])} has '
                    f'{len(continuation)} tokens, not 1 to {self.max_length}, the context'
                )
            scorable.append((texts, prompt, continuation))
        if folded:
            logging.getLogger(__name__).warning(
                '%d of %d continuations are part of the last token of their context, and are '
                'encoded without it; the first is %s after %s',
                len(folded),
                len(requests),
                excerpt(folded[0][1]),
                excerpt(folded[0][0]),
            )
        return scorable

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        """The log-probability in nats of each text as a whole, after <|endoftext|>.

        requests: list of the harness's Instance with args (text,). Windows are those of HFLM: one
        after the other, as wide as the context, the last one moved back to be as wide.
        """
        windows = [self._rolling_windows(request.args[0]) for request in requests]
        scored = iter(self._loglikelihood_tokens(list(itertools.chain(*windows)), disable_tqdm))
        totals = []
        for request, own in zip(requests, windows, strict=True):
            totals.append(sum(total for total, _ in itertools.islice(scored, len(own))))
            self.cache_hook.add_partial('loglikelihood_rolling', request.args, totals[-1])
        return totals

    def _rolling_windows(self, text):
        """Requests for `_loglikelihood_tokens` that score each token of a text once."""
        windows = get_rolling_token_windows(
            self.tok_encode(text), self.prefix_token_id, self.max_length, context_len=1
        )
        return [(None, *make_disjoint_window(window)) for window in windows]

    # Generation

    def generate_until(self, requests, disable_tqdm=False):
        """Continue each prompt until a stop sequence or <|endoftext|> appears; the text before it.

        requests: list of the harness's Instance with args (prompt, keywords). The keywords: until,
            max_gen_toks or one of its other names, do_sample, and all sampling parameters. Of a
            prompt that leaves no room for max_gen_toks the left is dropped.
        Raises ValueError before the first token for keywords that are not known here.
        """
        runs = [
            list(run) for _, run in itertools.groupby(requests, lambda request: request.args[1])
        ]
        plans = [self._plan(run[0].args[1]) for run in runs]
        texts = []
        with self.turn, progress_bar(len(requests), 'generate_until', disable_tqdm) as bar:
            for run, plan in zip(runs, plans, strict=True):
                texts += self._continue(run, *plan, first_sample=len(texts), bar=bar)
        return texts

    def _plan(self, keywords):
        """The settings and the stop sequences that a task's keywords ask for."""
        wanted = dict(normalize_gen_kwargs(keywords, self.max_gen_toks))
        stops = handle_stop_sequences(wanted.pop('until'), END_OF_TEXT)
        length = wanted.pop('max_gen_toks')
        del wanted['do_sample']  # by now the temperature says so
        sampling = {name: wanted.pop(name) for name in SAMPLING if wanted.get(name) is not None}
        unknown = [name for name in wanted if wanted[name] != NEUTRAL.get(name)]
        if unknown:
            raise ValueError(f'generation with {", ".join(sorted(unknown))} is not supported')
        if length >= self.max_length:
            raise ValueError(
                f'max_gen_toks={length} leaves no room for a prompt in the context of '
                f'{self.max_length} tokens'
            )
        sampling = {'temperature': 0.0} | sampling
        return Settings(length=length, seed=self.seed, stop_at_end=True, **sampling), stops

    def _continue(self, requests, settings, stops, first_sample, bar):
        """The texts after prompts that share their settings, each up to its stop sequence."""
        room = self.max_length - settings.length  # HFLM's: the context would hold one more
        prompts = [self.tok_encode(each.args[0]) or [self.prefix_token_id] for each in requests]
        note_dropped(sum(len(prompt) > room for prompt in prompts), len(prompts))
        completed = self._engine().complete(
            [Request(prompt[-room:], first_sample + i) for i, prompt in enumerate(prompts)],
            settings,
            stops=stops,
            rows=self.batch_size,
        )
        texts = [None] * len(requests)
        for number, completion in completed:
            text = self.encoder.decode(completion.tokens)
            texts[number] = postprocess_generated_text(text, stops, think_end_token=None)
            self.cache_hook.add_partial('generate_until', requests[number].args, texts[number])
            bar.update()
        return texts


def excerpt(text):
    """The end of a text, as messages name it."""
    return repr(text) if len(text) <= 60 else f'…{text[-60:]!r}'


def progress_bar(total, what, disable):
    """The harness's bar; where no terminal looks on there is none."""
    return tqdm(total=total, desc=f'Running {what} requests', disable=disable or None)


def note_dropped(n, total):
    """Say in the harness's log that prompts were cut."""
    if n:
        logging.getLogger(__name__).warning(
            '%d of %d prompts are longer than the context and lose their beginning', n, total
        )


def main():
    """The harness's own command line. Its ValueErrors are the user's to mend, as ours are."""
    from lm_eval.__main__ import cli_evaluate

    command_line.use_utf8()
    try:
        cli_evaluate()
    except ValueError as error:
        command_line.fail(error)


if __name__ == '__main__':
    main()
