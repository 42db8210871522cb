"""What is told of a text: its scores, and what a detector makes of it. No TensorFlow.

These are rates among texts like those that a detector was made from, no verdicts on a text.
"""

import itertools
import math

from detection import features
from scoring.outputs import rounded

SHORT = 50  # tokens; texts below it are too short to tell, as the demo of 2019 said
SHOWN = ('mean_logprob', 'mean_log_rank', 'lrr', 'z', 'mean_entropy')
SHOWN += tuple(name for name in features.NAMES if name.startswith('outside_'))
CAUTION = (
    'These are rates, not verdicts. They hold for texts like those that a detector was made from. '
    'Text of another model is out of scope; template, list and legal text raises false alarms; '
    'only English was measured.'
)


def find(scorer, detector, documents, progress=None):
    """Yield (Scores, record) of documents, in their order, from one pass of the scorer.

    detector: detection.detector.Detector, or None.
    documents: iterable of (text, its tokens), read as it goes.
    progress: called with the number of tokens that have been scored.
    Scores are None where there are no tokens; the record is that of `record_of`.
    """
    to_score, to_tell = itertools.tee(documents)
    scored = features.score_tokens(scorer, (tokens for _, tokens in to_score), progress)
    for (text, _), (n, scores) in zip(to_tell, scored, strict=True):
        yield scores, record_of(text, n, scores, detector)


def record_of(text, n, scores, detector):
    """All that is told of a text of n tokens, a dict for JSON; what is not known is None.

    all_tokens, used_tokens, real_probability and fake_probability are those of the server of 2019:
    used are the tokens that the probabilities rest on.
    """
    record = {
        'all_tokens': n,
        'used_tokens': n,
        'real_probability': None,
        'fake_probability': None,
        'too_short': n < SHORT,
    }
    values = None if scores is None else features.features_of(scores)
    named = {} if values is None else dict(zip(features.NAMES, values, strict=True))
    record |= {name: value_of(named.get(name)) for name in SHOWN}
    record['gltr'] = features.gltr_counts(scores).tolist() if scores else None
    record['u'] = features.u_counts(scores).tolist() if scores else None
    if detector is not None:
        record['used_tokens'] = min(n, detector.most_tokens or n)
        record['humans'] = len(detector.human_scores)
        nothing = dict.fromkeys(('log_odds', 'humans_above'))
        record |= nothing if scores is None else judged(detector, text, values)
    return record


def judged(detector, text, values):
    """What a detector says of a text, by its features if it rests on these."""
    score = (
        detector.log_odds(values[None]) if detector.kind == 'scores' else detector.scores([text])
    )
    machine = detector.probabilities(score)[0]
    return {
        'real_probability': value_of(1 - machine),
        'fake_probability': value_of(machine),
        'log_odds': value_of(score[0]),
        'humans_above': value_of(detector.share_of_humans_above(score)[0]),
    }


def value_of(number):
    """A number as JSON has it, with the digits of a float32; None for none."""
    return None if number is None or math.isnan(number) else rounded(number)


def rows_of(record):
    """(label, value) of what is told of a text with tokens, both str."""
    rows = [
        ('tokens', f'{record["all_tokens"]}'),
        ('log-probability', f'{record["mean_logprob"]:.3f}'),
        ('log-rank', f'{record["mean_log_rank"]:.3f}'),
        ('LRR', f'{record["lrr"]:.3f}'),
        ('z', f'{record["z"]:.2f}'),
        (f'rank > {features.TOP_K}', percent(record[f'outside_top_{features.TOP_K}'])),
        (
            f'outside nucleus {features.NUCLEUS}',
            percent(record[f'outside_nucleus_{features.NUCLEUS}']),
        ),
        ('GLTR', ' '.join(map(str, record['gltr']))),
    ]
    if record['too_short']:
        return [*rows, ('too short', f'under {SHORT} tokens')]
    if record['fake_probability'] is not None:
        rows.append(('machine', f'{100 * record["fake_probability"]:.2f} %'))
        rows.append(('human texts that score higher', of_thousand(record)))
        if record['used_tokens'] < record['all_tokens']:
            rows.append(('both of', f'the first {record["used_tokens"]} tokens'))
    return rows


def percent(share):
    return f'{100 * share:.1f} %'


def of_thousand(record):
    """How many of 1,000 human texts score higher: no finer than the texts that were counted."""
    share, n = record['humans_above'], record['humans']
    if share == 0:
        return f'fewer than {math.ceil(1000 / n):,} of 1,000'
    return f'{1000 * share:,.0f} of 1,000'
