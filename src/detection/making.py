"""From a model to the records of its samples. No TensorFlow: the engine has it."""

import dataclasses

from support.progress import show_progress


def provenance(origin, sampler, settings):
    """(id) -> what a record says of how its sample was made, a dict.

    origin: dict of generation.parts.ORIGIN.
    """
    made = origin | {
        'seed': settings.seed,
        'temperature': settings.temperature,
        'top_k': settings.top_k,
        'limit': settings.length,
    }
    return lambda number: made | {'top_p': sampler.p_of(settings.seed, number)}


def write_samples(engine, splits, sampler, settings, rows, show=show_progress):
    """Write the samples that a source lacks, in the order of their ids.

    A sample depends on its id, the seed and the sampler alone. It is held until those before it are
    written: what a killed run had not written yet, the next one makes again.

    splits: dataset_file.Splits.  settings: Settings, for all samples but their p.
    rows: samples at a time.  show: makes the progress bar.
    """
    from generation.continuous import Request

    missing = splits.missing()
    start = engine.encoder.end_of_text
    requests = []
    for number in missing:
        own = dataclasses.replace(settings, top_p=sampler.p_of(settings.seed, number))
        requests.append(Request([start], number, own))
    options = dict(total=len(missing) * settings.length, unit=' tokens', unit_scale=True)
    held, written = {}, 0
    with show(desc=sampler.name, **options) as bar:
        completions = engine.complete(requests, settings, rows=rows, progress=bar.update)
        for place, sample in completions:
            bar.total -= settings.length - len(sample.tokens)  # one that ended early
            held[place] = sample
            while written in held:
                sample = held.pop(written)
                text = engine.encoder.decode(sample.tokens)
                splits.write(missing[written], text, sample.tokens, sample.ended)
                written += 1
