import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.collective import Group
from evaluation import texts
from evaluation.texts import Text
from fast.session import session_config
from helpers.paths import ROOT, TESTDATA
from helpers.table_scorer import TableScorer, uniform
from helpers.texts import byte_encoder
from hparams import read_hparams
from loading.model_files import load_encoder, weights
from scoring.scorer import Scorer
from scoring.windows import Window
from training.corpus import Sources, encode_corpus
from training.plan import TrainingPlan
from training.trainer import Trainer
from training.windows import open_tokens, sequential

ENCODER = byte_encoder()
DEMO = load_encoder('demo', str(ROOT / 'models'))
SCORER = TableScorer(ENCODER, uniform(257), 1024)


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.binary(max_size=6), st.text(max_size=6).map(str.encode)), max_size=8).map(
        b''.join
    )
)
def test_tokens_of_any_bytes_decode_to_them(content):
    assert DEMO.decode_bytes(texts.tokens_of(content, DEMO).tolist()) == content


def test_bytes_that_are_text_have_the_tokens_of_text():
    text = 'Stra\u00dfe und Caf\u00e9, <|endoftext|> too'
    for content in (text, text.encode()):
        assert texts.tokens_of(content, DEMO).tolist() == DEMO.encode(text)
    cut = texts.tokens_of(text.encode()[5:], DEMO).tolist()
    assert cut[1:] == DEMO.encode('e und Caf\u00e9, <|endoftext|> too')


def test_the_windows_of_a_stream_share_its_units():
    parts = texts.stream([Text('a' * 100, 30)], SCORER, context=32, stride=20)
    assert [part.scored for part in parts] == [32, 20, 20, 20, 8]
    assert [part.units for part in parts] == pytest.approx([9.6, 6, 6, 6, 2.4])
    assert [len(part.windows[0].tokens) for part in parts] == [33] * 5
    assert parts[0].windows[0].tokens[0] == ENCODER.end_of_text


def test_each_document_is_a_unit_of_its_own_however_long():
    some = [Text('a' * 100, 30), Text('b', 1), Text('c' * 32, 5)]
    parts = texts.documents(some, SCORER, context=32, stride=20)
    assert [part.units for part in parts] == [30, 1, 5]
    assert [part.scored for part in parts] == [100, 1, 32]
    assert [len(part.windows) for part in parts] == [5, 1, 1]
    rows = texts.score_parts(SCORER, parts)
    log = np.log(257)
    np.testing.assert_allclose(rows, [[100 * log, 100, 30], [log, 1, 1], [32 * log, 32, 5]])


@pytest.fixture
def held_out(tmp_path):
    """The end of the first chapters of Moby Dick, as training holds it out: (tokens, bytes)."""
    description = encode_corpus(
        Sources([TESTDATA / 'moby_dick_chapters_1_to_19.txt']), DEMO, tmp_path
    )
    return open_tokens(tmp_path / 'validation.npy'), description['validation']['bytes']


def test_the_demo_model_scores_held_out_text_as_training_did(held_out):
    """src/training/README.md has what train.py printed: 5.8428 nats a token, 3.0991 bits a byte."""
    tokens, n_bytes = held_out
    nats = nats_of_windows(tokens)
    assert nats == pytest.approx(5.8428, abs=6e-5)
    assert nats * len(tokens) / n_bytes / np.log(2) == pytest.approx(3.0991, abs=6e-5)


@pytest.mark.slow
def test_training_itself_finds_the_same(held_out):
    folder = ROOT / 'models' / 'demo'
    hparams = read_hparams(folder / 'hparams.json')
    plan = TrainingPlan(steps=1, batch_size=1, window=hparams.n_ctx)
    group = Group(None, 0, session_config())
    with Trainer(hparams, plan, group, None, weights(str(folder))) as trainer:
        trained = trainer.validate(sequential(held_out[0], hparams.n_ctx, 1))
    assert nats_of_windows(held_out[0]) == pytest.approx(trained, rel=1e-6)


def nats_of_windows(tokens):
    """Mean of windows that do not overlap, in which the first token is only read."""
    with Scorer('demo', str(ROOT / 'models')) as scorer:
        width = scorer.hparams.n_ctx
        starts = range(0, len(tokens) - 1, width)
        windows = [Window(tokens[start : start + width + 1], 1) for start in starts]
        parts = [texts.Part([window], 1) for window in windows]
        nll, n, units = texts.score_parts(scorer, parts).sum(axis=0)
    assert n == len(tokens) - 1 and units == len(windows)
    return nll / n
