"""What a detector makes of the test set, by source of machine texts. No TensorFlow."""

import numpy as np

from detection import metrics

FALSE_POSITIVE_RATES = {'true_positives_1': 0.01, 'true_positives_0.1': 0.001}
HEADINGS = {
    'accuracy': 'accuracy',
    'auroc': 'AUROC',
    'true_positives_1': 'TPR at 1 % FPR',
    'true_positives_0.1': 'at 0.1 %',
    'machine_above': 'above the threshold: machine',
    'human_above': 'human',
}


def measure(detector, pairs, threshold, progress=None):
    """A row for each of the labelled.Pairs of the test set: a list of dicts.

    Texts without tokens are left out. `human` and `machine` are the texts that are left; a human
    text that stands beside several sources counts for each.
    accuracy: at log-odds 0, both classes counting equally.
    true_positives_1, _0.1: the share of machine texts above a threshold that 1 % (0.1 %) of these
        human texts are above.
    machine_above, human_above: the shares above the detector's own `threshold`.
    """
    rows = []
    for source, *texts in pairs:
        human, machine = (without_nan(detector.scores(some, progress)) for some in texts)
        rates = {
            name: metrics.true_positives(machine, metrics.threshold_at(human, rate))
            for name, rate in FALSE_POSITIVE_RATES.items()
        }
        rows.append(
            {
                'source': source,
                'human': len(human),
                'machine': len(machine),
                'accuracy': metrics.accuracy(human, machine, 0),
                'auroc': metrics.auroc(human, machine),
                **rates,
                'machine_above': metrics.true_positives(machine, threshold),
                'human_above': metrics.true_positives(human, threshold),
            }
        )
    return rows


def without_nan(scores):
    return scores[~np.isnan(scores)]


def lines_of(rows):
    """The rows as a table in Markdown, a list of lines."""
    lines = [
        '| test set | texts | ' + ' | '.join(HEADINGS.values()) + ' |',
        '|---|---|' + '---|' * len(HEADINGS),
    ]
    for row in rows:
        shares = [shown(name, row[name]) for name in HEADINGS]
        texts = f'{row["human"]} + {row["machine"]}'
        lines.append(f'| {row["source"]} | {texts} | ' + ' | '.join(shares) + ' |')
    return lines


def shown(name, value):
    return f'{value:.3f}' if name == 'auroc' else f'{100 * value:.1f} %'
