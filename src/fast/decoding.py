"""How an engine decodes fast: which execution, which cache, which attention, which threads."""

import copy
import functools

import kv_cache as kv
from fast import shards, trial
from fast.attention import attention_in_parts, attention_of_steps
from fast.getters import Stored, Variables
from fast.session import options_beside, prefer_wide_vectors, session_config
from fast.sharded_weights import shares


class Decoding:
    """The fast way to decode with a model; generation/plain.py has the plain one.

    n_shards: how many cores share each layer; None takes as many as are fastest.
    trained: whether the weights are variables of a session that trains them.
    Whether all this computes what model.py says is tried by `verified`, which takes a while.
    Raises ValueError for a number of shards that cannot be.
    """

    def __init__(self, hparams, dtype='float32', n_shards=None, trained=False):
        self.hparams = hparams
        n = n_shards or shards.best_number(hparams, dtype)
        if n > hparams.n_head:
            raise ValueError(f'{hparams.n_head} heads do not make {n} shards')
        self.dtype, self.n_shards, self.trained = dtype, n_shards, trained
        self._decide(shares(hparams.n_head, n), attention_of_steps)

    def _decide(self, heads, attention):
        self.heads, self.attention = heads, attention
        self.in_shards = len(heads) > 1
        if self.trained:
            self.execution = Variables()
        else:
            if self.in_shards and self.dtype == 'int8':
                prefer_wide_vectors()
            in_shards = self.in_shards and shards.TensorParallel(heads, self.dtype)
            self.execution = in_shards or Stored(self.dtype)

    @functools.cache  # noqa: B019 (an engine has one)
    def verified(self):
        """This object, or one that is slower where only that computes what model.py says.

        Raises ValueError if the number of shards was given and cannot be.
        """
        whole = [self.hparams.n_head]
        for heads in (self.heads, whole):
            for attention in (attention_of_steps, kv.plain_attention):
                plain = heads == whole and attention is kv.plain_attention
                if plain or trial.agrees(tuple(heads), attention):
                    if self.n_shards and len(heads) < self.n_shards:
                        raise ValueError('heads of model.py that depend on each other: one shard')
                    if (heads, attention) == (self.heads, self.attention):
                        return self
                    other = copy.copy(self)
                    other._decide(heads, attention)
                    return other

    @property
    def stored(self):
        """What sets the weights that are not in float32 variables."""
        return self.execution

    @property
    def config(self):
        return session_config(n_shards=len(self.heads))

    @property
    def one_row_apart(self):
        """Whether a step of one row is worth operations of its own.

        oneDNN packs int8 weights for each operation that multiplies by them. With two for each
        matrix they would take twice the memory, and without shards one row is not faster for it.
        """
        return self.in_shards or self.dtype != 'int8'

    def empty_cache(self, batch, capacity):
        """A KV cache, by shards if the model is tensor-parallel: for `memories`."""
        if self.in_shards:
            return shards.empty_cache(self.hparams, self.heads, batch, capacity)
        return kv.empty_cache(self.hparams, batch, capacity)

    def memories(self, cache, slots, padding, **how):
        """A Memory for each layer, as kv_cache.memories."""
        return self._memories(cache, slots, padding, attention=self.attention, **how)

    @property
    def prefill_execution(self):
        return self.execution.for_many_rows()

    def prefill_memories(self, n, before):
        """As `memories`, to prefill n new positions (a scalar tensor) after `before` others."""
        attention = functools.partial(attention_in_parts, n, before=before)
        return functools.partial(self._memories, attention=attention)

    attention_of_rows = staticmethod(attention_in_parts)  # of texts that are read whole

    def memory_of_rows(self, memory):
        """A layer's memory that holds nothing itself, a model.Memory: the same for all shards."""
        return shards.Parts((memory,) * len(self.heads)) if self.in_shards else memory

    @property
    def run_options(self):
        """How other threads run the session while one decodes."""
        return options_beside(len(self.heads))

    @property
    def _memories(self):
        return shards.memories if self.in_shards else kv.memories
