"""What the server tells of texts that are there already: their scores. No TensorFlow.

One thread calls these, one call after another. gone: () -> whether nobody waits for the answer any
more; it is asked between batches of tokens, and then the work ends by Gone.
"""

from detection.oracle import Gone
from scoring.documents import Document
from scoring.outputs import Sums, token_records
from scoring.surprisal_page import columns_of
from scoring.windows import Window


def stopper(gone):
    """What a scorer calls as it goes on; raises Gone where nobody waits."""

    def go_on(_=None):
        if gone():
            raise Gone

    go_on()
    return go_on


def prompt_logprobs(scorer, tokens, n_top, gone=lambda: False):
    """The log-probability of each token of a prompt, and the most likely ones in its place.

    tokens: ids, at least one and at most n_ctx + 1.
    Returns a list of nats and a list of [(id, nats)], n_top of them, best first. The first of both
    is None: nothing is before it. Raises ValueError for a prompt that cannot be scored.
    """
    if not tokens:
        raise ValueError('the prompt has no tokens')
    go_on = stopper(gone)
    if len(tokens) == 1:
        return [None], [None]
    windows = [Window(tokens, 1)]
    (scores,) = scorer.score_windows(windows, progress=go_on, ranks=False, n_top=n_top)
    logprobs = scores.logprobs.tolist()
    if not n_top:
        return [None, *logprobs], [None, *([] for _ in logprobs)]
    tops = [
        list(zip(ids, values, strict=True))
        for ids, values in zip(*(array.tolist() for array in scores.top), strict=True)
    ]
    return [None, *logprobs], [None, *tops]


def surprisal(scorer, text, gone=lambda: False):
    """What the page shows of a text, as score.py counts: a dict for JSON.

    The text may be longer than the context: it is scored by windows. <|endoftext|> in it is scored
    as these letters. tokens: `surprisal_page.columns_of`.  rows: [label, value] of the whole text.
    Raises ValueError for a text without tokens, and one that is not text.
    """
    tokens = scorer.encoder.encode(text)
    if not tokens:
        raise ValueError('there is no text to score')
    go_on = stopper(gone)
    (scores,) = scorer.score_documents([tokens], details=True, progress=go_on)
    rows = Sums.of(Document('', 0, text, tokens), scores).rows()[1:]
    columns = columns_of(list(token_records(scorer.encoder, tokens, scores)))
    return {'tokens': columns, 'rows': [list(row) for row in rows]}


def detect(oracle, text, gone=lambda: False):
    """What detection.oracle.Oracle tells of a text, with its tokens: a dict for JSON.

    Raises ValueError for an empty text.
    """
    if not text:
        raise ValueError('there is no text to tell of')
    record = oracle.tell(text, with_tokens=True, gone=gone)
    return record | {'rows': [list(row) for row in record['rows']]}
