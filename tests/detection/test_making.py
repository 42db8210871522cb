import random

import pytest

from detection.dataset_file import Splits
from detection.making import provenance, write_samples
from detection.samplers import samplers_named
from generation.continuous import Completion
from helpers.texts import byte_encoder

(NUCLEUS,) = samplers_named('nucleus', (0.8, 1.0))
SETTINGS = NUCLEUS.settings(length=12, seed=3, stop_at_end=True)
ORIGIN = {'model': 'demo', 'weights': '1a', 'dtype': 'float32'}
SIZES = 30, 5, 5


class Engine:
    """Gives each request a text of its own and ends them in any order.

    stop: after so many texts Ctrl-C comes.
    """

    encoder = byte_encoder(end=256)

    def __init__(self, stop=None):
        self.stop, self.asked, self.most = stop, [], 0

    def complete(self, requests, settings, *, rows, progress):
        self.asked += requests
        running, waiting, done = [], list(enumerate(requests)), 0
        order = random.Random(0)
        while running or waiting:
            while waiting and len(running) < rows:
                running.append(waiting.pop(0))
            number, request = running.pop(order.randrange(len(running)))
            if done == self.stop:
                raise KeyboardInterrupt
            done += 1
            tokens = list(f'{request.sample} {request.settings.top_p}'.encode())[: settings.length]
            progress(len(tokens))
            yield number, Completion(tokens, [], len(tokens) < settings.length, False)


def make(folder, engine, rows=4, sizes=SIZES):
    made_by = provenance(ORIGIN, NUCLEUS, SETTINGS)
    with Splits(f'{folder}/demo-nucleus', sizes, made_by) as splits:
        write_samples(engine, splits, NUCLEUS, SETTINGS, rows)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_texts_are_written_by_id_in_whatever_order_they_end(tmp_path):
    engine = Engine()
    files = make(tmp_path, engine)
    lines = b''.join(files[f'demo-nucleus.{split}.jsonl'] for split in ('train', 'valid', 'test'))
    for number, line in enumerate(lines.splitlines()):
        p = NUCLEUS.p_of(3, number)
        assert line.startswith(b'{"id": %d, ' % number)
        assert b'"text": "%s"' % f'{number} {p}'[:12].encode() in line
        assert b'"top_p": %s' % str(p).encode() in line
    assert number == 39
    assert all(request.prompt == [256] for request in engine.asked)


def test_an_interrupted_run_goes_on_to_the_same_files(tmp_path):
    (tmp_path / 'whole').mkdir()
    (tmp_path / 'part').mkdir()
    whole = make(tmp_path / 'whole', Engine(), rows=7)
    asked = lines = 0
    for stop in (0, 3, 17, None):
        engine = Engine(stop)
        if stop is None:
            assert make(tmp_path / 'part', engine) == whole
            assert len(engine.asked) == 40 - lines  # none is made twice that was written
        else:
            with pytest.raises(KeyboardInterrupt):
                make(tmp_path / 'part', engine)
            contents = [path.read_bytes() for path in (tmp_path / 'part').iterdir()]
            lines = sum(content.count(b'\n') for content in contents)
            assert asked <= lines <= asked + stop
            asked = lines
    assert lines > 10


def test_a_split_may_be_made_later(tmp_path):
    make(tmp_path, Engine(), sizes=(30, 0, 0))
    engine = Engine()
    make(tmp_path, engine)
    assert [request.sample for request in engine.asked] == list(range(30, 40))
