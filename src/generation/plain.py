"""How an engine decodes with the readable core alone: what `fast=False` means.

It is the reference that the fast way (src/fast/decoding.py), which has the same methods, is tested
against.
"""

import kv_cache as kv
import seam
from loading.session import plain_config


class PlainDecoding:
    """model.py, kv_cache.py and sample.py as they read; float32 only."""

    in_shards = False
    stored = None  # weights that are not in float32 variables
    one_row_apart = False  # whether a step of one row has operations of its own
    run_options = None  # of runs from other threads than the one that decodes

    def __init__(self, hparams):
        self.hparams = hparams
        self.heads = [hparams.n_head]
        self.execution = self.prefill_execution = seam.Execution()
        self.config = plain_config()
        self.memories = kv.memories

    def verified(self):
        return self

    def empty_cache(self, batch, capacity):
        return kv.empty_cache(self.hparams, batch, capacity)

    def prefill_memories(self, n, before):
        return kv.memories

    def attention_of_rows(self, n, bias):
        return kv.plain_attention(bias)

    def memory_of_rows(self, memory):
        return memory
