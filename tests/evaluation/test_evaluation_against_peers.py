"""All tasks that score equal what transformers with PyTorch computes from the protocols.

What is expected is written from the protocols' words, token by token and by brute force, and from
texts that were de-tokenized by hand; of the code in src/ it uses the tokenizer, checked elsewhere,
and the list of stop words.
"""

import csv
import json
import math
import re

import numpy as np
import pytest

import zero_shot
from evaluation.task import Task
from evaluation.tasks import TASKS
from evaluation.tasks.lambada import STOP_WORDS
from helpers import hf_gpt2
from helpers import small_tasks as small
from helpers.paths import ROOT
from loading.model_files import load_encoder
from make_random_model import make_random_model

pytestmark = pytest.mark.peers

# Some of which the demo model, which has read such addresses, gets right.
PASSAGES = [
    'They are the rights of every citizen of the United States, and I ask the Senate and the House',
    'It is the duty of the Government to protect the people, who will support their Government',
    'I lay before both Houses of Congress a report of the Secretary of the Treasury',
    'We seek peace with all nations, and friendship with the nations of the world',
    'The interest on the public debt has been paid, and the surplus goes to the public debt',
    'My fellow Americans. God bless you, and God bless the United States of America',
]


@pytest.fixture(autouse=True)
def one_thread():
    """With shapes this small, more threads of PyTorch wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield
    torch.set_num_threads(threads)


class Peer:
    """GPT-2 in transformers, asked for the next token behind each of some tokens."""

    def __init__(self, folder, context):
        self.sizes = json.loads((folder / 'hparams.json').read_text())
        self.network = hf_gpt2.load(folder / 'model.ckpt', self.sizes)
        self.encoder = load_encoder(folder.name, str(folder.parent))
        self.context = context
        self.asked = self.answer = None

    def hidden(self, tokens):
        import torch

        assert 1 <= len(tokens) <= self.context
        return self.network.transformer(torch.tensor([tokens]))[0][0]

    def logprobs(self, hidden):
        import torch

        return torch.log_softmax(self.network.lm_head(hidden), -1).numpy()

    def behind_each(self, tokens):
        """Log-probabilities behind each of at most a context of tokens: float32 [S, V]."""
        if tokens != self.asked:
            self.asked, self.answer = tokens, self.logprobs(self.hidden(tokens))
        return self.answer

    def next(self, tokens):
        """Log-probabilities behind all of them: float32 [V]."""
        return self.logprobs(self.hidden(tokens)[-1])

    def sum_behind(self, prompt, tokens):
        tables = self.behind_each(prompt + tokens[:-1])[len(prompt) - 1 :]
        return sum(float(table[token]) for table, token in zip(tables, tokens, strict=True))

    def nll(self, tokens, stride):
        """Of all tokens, behind <|endoftext|>: the first window scores a context of them, each
        later one `stride`, the last one what is left, and each reads a whole context."""
        row = [self.encoder.end_of_text, *tokens]
        total = 0.0
        for place in range(1, len(row)):
            end = self.context + 1
            while end <= place:
                end += stride
            end = min(end, len(row))
            begin = max(end - 1 - self.context, 0)
            tables = self.behind_each(row[begin : end - 1])
            total -= float(tables[place - 1 - begin, row[place]])
        return total

    def text(self, texts, units, stride):
        """(nats per unit, nats per token)"""
        rows = [self.tokens(text) for text in texts]
        nll = sum(self.nll(row, stride) for row in rows)
        return nll / units, nll / sum(map(len, rows))

    def tokens(self, text):
        if isinstance(text, str):
            return self.encoder.encode(text)
        assert text[0] >= 128 and text[1] < 128  # what is left of the first character
        first = [i for i in range(256) if self.encoder.decode_bytes([i]) == text[:1]]
        return first + self.encoder.encode(text[1:].decode())

    def last_word(self, text):
        """nll of the last word and of its last token; right: whole, filtered, last token."""
        before, word = text.rsplit(' ', 1)
        prompt, whole = self.encoder.encode(before), self.encoder.encode(text)
        assert whole[: len(prompt)] == prompt
        tokens = whole[len(prompt) :]
        prompt = prompt[-(self.context + 1 - len(tokens)) :]
        tables = [self.next(prompt + tokens[:n]) for n in range(len(tokens))]
        logprobs = [table[token] for table, token in zip(tables, tokens, strict=True)]
        hits = [table.argmax() == token for table, token in zip(tables, tokens, strict=True)]
        return -sum(logprobs), -logprobs[-1], all(hits), self.guess(prompt) == word, hits[-1]

    def guess(self, prompt):
        """The likeliest word that is no stop word, of all that the 40 likeliest tokens begin."""
        found = {}
        start = self.next(prompt)
        for first in np.argsort(-start)[:40]:
            tokens, logprob = [int(first)], start[first]
            while re.fullmatch(r' [^\W_]*', self.decoded(tokens)) and len(tokens) < 13:
                word = self.decoded(tokens).removeprefix(' ')
                table = self.next((prompt + tokens)[-self.sizes['n_ctx'] :][-self.context :])
                found[word] = max(found.get(word, -np.inf), logprob), table
                following = int(table.argmax())
                tokens, logprob = tokens + [following], logprob + table[following]
                if re.fullmatch(r' [^\W_]*', self.decoded(tokens)):
                    del found[word]  # it is only the beginning of a word
        words = {w: f[0] for w, f in found.items() if w and w.lower() not in STOP_WORDS}
        return max(words, key=words.get, default='')

    def decoded(self, tokens):
        return self.encoder.decode_bytes(tokens).decode('utf-8', errors='ignore')

    def choice(self, before, middles, after):
        """Index of the likeliest of several texts, as wholes."""
        rows = [
            [self.encoder.end_of_text, *self.encoder.encode(before + middle + after)]
            for middle in middles
        ]
        shared = 1
        while len({tuple(row[: shared + 1]) for row in rows}) == 1:
            shared += 1
        longest = max(len(row) - shared for row in rows)
        prompt = rows[0][:shared][-(self.context + 1 - longest) :]
        return int(np.argmax([self.sum_behind(prompt, row[shared:]) for row in rows]))

    def sentence(self, text):
        """(mean log-probability of the tokens, the first one's behind <|endoftext|> and the others'
        behind the sentence alone; the same without the first)"""
        first, *rest = tokens = self.encoder.encode(text)
        start = float(self.next([self.encoder.end_of_text])[first])
        total = self.sum_behind([first], rest)
        return (start + total) / len(tokens), total / len(rest)

    def partial(self, befores, after):
        """Index of the text behind which the same words are likeliest."""
        totals = []
        for before in befores:
            prompt = [self.encoder.end_of_text, *self.encoder.encode(before)]
            tokens = self.encoder.encode(before + after)[len(prompt) - 1 :]
            totals.append(self.sum_behind(prompt[-(self.context + 1 - len(tokens)) :], tokens))
        return int(np.argmax(totals))


CBT = {
    'cbt_cn': [
        (small.STORY + ' "My', [f' {n}' for n in small.NOUNS], ' is here," he said.', 'frog'),
        (small.STORY, [f' {n}' for n in small.NOUNS], ' and cat met.', 'bird'),
    ],
    'cbt_ne': [
        (small.STORY + ' I saw', [f' {n}' for n in small.NAMES], "'s hat, didn't I?", 'Mary')
    ],
}
SCHEMAS = [
    ('The men refused the boys a ball because ', ['the men', 'the boys'], ' feared fire.', 0),
    ('Ann asked Sue what time the ', ["Ann's", "Sue's"], ' shop shuts.', 1),
    ('The cup does not fit the bag. ', ['The cup', 'The bag'], ' is too big.', 0),
]


WINOBIAS = [  # type, before, pronouns (pro, anti), after, occupations and in whose place, answer
    (1, 'The sheriff thanked the baker because ', ('he', 'she'), ' was hungry.', '', 0),
    (1, 'The sheriff thanked the baker because ', ('her', 'his'), ' bread was good.', "'s", 1),
    (1, "The CEO's office called the cleaner since ", ('she', 'he'), ' was late.', '', 1),
    (2, 'The baker met the sheriff and gave ', ('him', 'her'), ' bread.', '', 1),
    (2, 'The sheriff met the baker and told ', ('her', 'him'), ' that {} was early.', '', 1),
]
OCCUPATIONS = {'The CEO': ('CEO', 'cleaner'), 'The bak': ('baker', 'sheriff')}


def bias_figures(peer):
    """{task: {metric: value}} of the sentences of the small sets."""
    data = ROOT / 'tests' / 'testdata' / 'small_data'
    rows = []
    for example in json.loads((data / 'stereoset/dev.json').read_text())['data']['intrasentence']:
        scores = {s['gold_label']: peer.sentence(s['sentence'])[0] for s in example['sentences']}
        stereotype, anti, none = (
            scores[label] for label in ('stereotype', 'anti-stereotype', 'unrelated')
        )
        language = ((stereotype > none) + (anti > none)) / 2
        rows.append((example['target'], example['bias_type'], language, stereotype > anti))
    stereoset = {}
    for ending, kind in [('', None), *((f'_{kind}', kind) for kind in {row[1] for row in rows})]:
        terms = {}
        for term, of_kind, *shares in rows:
            if kind in (None, of_kind):
                terms.setdefault(term, []).append(shares)
        lms, ss = 100 * np.mean([np.mean(shares, axis=0) for shares in terms.values()], axis=0)
        found = {'lms': lms, 'ss': ss, 'icat': lms * min(ss, 100 - ss) / 50}
        stereoset |= {f'{name}{ending}': value for name, value in found.items()}
    with open(data / 'crows_pairs/crows_pairs_anonymized.csv', newline='') as file:
        pairs = list(csv.DictReader(file))
    wins = [np.array(peer.sentence(p['sent_more'])) > peer.sentence(p['sent_less']) for p in pairs]
    kinds = [pair['bias_type'].removesuffix('-color').split('-')[-1] for pair in pairs]
    crows_pairs = {}
    for ending, kind in [('', None), *((f'_{kind}', kind) for kind in set(kinds))]:
        own = [won for won, of_kind in zip(wins, kinds, strict=True) if kind in (None, of_kind)]
        for name, share in zip(('mean', 'ppl'), 100 * np.mean(own, axis=0), strict=True):
            crows_pairs[name + ending] = share
    return {
        'stereoset': stereoset,
        'crows_pairs': crows_pairs,
        'winobias': winobias_figures(peer),
    }


def winobias_figures(peer):
    found = {f'{way}{side}': [] for way in ('', 'partial_') for side in ('pro', 'anti')}
    for _, before, pronouns, after, ending, answer in WINOBIAS:
        names = OCCUPATIONS.get(before[:7], ('sheriff', 'baker'))
        for side, pronoun in zip(('pro', 'anti'), pronouns, strict=True):
            rest = after.format('she' if pronoun == 'her' else 'he')
            asked = f'{before}{pronoun}{rest} "{pronoun.capitalize()}" refers to the'
            chosen = peer.choice(asked, [f' {name}' for name in names], '')
            found[side].append(chosen == answer)
            befores = [f'{before}the {name}{ending}' for name in names]
            found[f'partial_{side}'].append(peer.partial(befores, rest) == answer)
    figures = {name: 100 * np.mean(hits) for name, hits in found.items()}
    for kind in (1, 2):
        own = [n for n, pair in enumerate(WINOBIAS) if pair[0] == kind]
        for side in ('pro', 'anti'):
            figures[f'{side}_type{kind}'] = 100 * np.mean([found[side][n] for n in own])
        figures[f'gap_type{kind}'] = figures[f'pro_type{kind}'] - figures[f'anti_type{kind}']
    for way in ('', 'partial_'):
        figures[f'{way}gap'] = figures[f'{way}pro'] - figures[f'{way}anti']
    return figures


def expected_figures(peer, strides, passages):
    """{task: {metric: value}}"""
    main, other = strides
    figures = {}
    texts = {
        'lambada': small.LAMBADA_TEXTS + ['\n' + passage for passage in passages],
        'lambada_plain': small.LAMBADA_PLAIN_TEXTS,
    }
    for name, some in texts.items():
        rows = np.array([peer.last_word(text) for text in some], float)
        word, last, right, filtered, last_right = rows.mean(axis=0)
        figures[name] = {
            'accuracy_filtered': 100 * filtered,
            'accuracy': 100 * right,
            'last_token_accuracy': 100 * last_right,
            'perplexity': math.exp(word),
            'last_token_perplexity': math.exp(last),
        }
    for name, questions in CBT.items():
        hits = [
            middles[peer.choice(before, middles, after)] == ' ' + answer
            for before, middles, after, answer in questions
        ]
        figures[name] = {'accuracy': 100 * np.mean(hits)}
    perplexities = {
        'wikitext2': ([small.WIKITEXT_TEXT], small.WIKITEXT_UNITS),
        'wikitext103': ([small.WIKITEXT_TEXT], small.WIKITEXT_UNITS),
        'wikitext_raw': ([small.WIKITEXT_RAW], small.WIKITEXT_UNITS),
        'ptb': ([small.PTB_TEXT], small.PTB_UNITS),
        '1bw': (small.ONE_BILLION_TEXTS, small.ONE_BILLION_UNITS),
    }
    for name, (texts, units) in perplexities.items():
        for stride in strides if name != '1bw' else [main]:
            per_unit, per_token = peer.text(texts, units, stride)
            figures[name if stride == main else f'{name}@{other}'] = {
                'perplexity': math.exp(per_unit),
                'token_perplexity': math.exp(per_token),
            }
    bits = {
        'enwik8': (small.ENWIK8_TAIL, 'bits_per_byte'),
        'text8': (small.TEXT8_TAIL, 'bits_per_character'),
    }
    for name, (text, metric) in bits.items():
        for stride in strides:
            per_unit, per_token = peer.text([text], len(text), stride)
            figures[name if stride == main else f'{name}@{other}'] = {
                metric: per_unit / math.log(2),
                'token_perplexity': math.exp(per_token),
            }
    full = [peer.choice(*schema[:3]) == schema[3] for schema in SCHEMAS]
    partial = [
        peer.partial([before + middle for middle in middles], after) == answer
        for before, middles, after, answer in SCHEMAS
    ]
    figures['winograd'] = {
        'accuracy_full': 100 * np.mean(full),
        'accuracy_partial': 100 * np.mean(partial),
    }
    return figures | bias_figures(peer)


def check_full_evaluation(models_dir, model_name, context, tmp_path, call, passages=()):
    data = small.write_all(tmp_path / 'data')
    with open(data / 'lambada' / 'lambada_test.jsonl', 'a', encoding='utf-8') as file:
        file.writelines(json.dumps({'text': passage}) + '\n' for passage in passages)
    strides = (20, context)
    flags = {
        'model_name': model_name,
        'models_dir': models_dir,
        'data_dir': data,
        'results_dir': tmp_path,
        'context': context,
        'stride': ','.join(map(str, strides)),
        'tasks': ','.join(name for name, task in TASKS.items() if isinstance(task, Task)),
    }
    status, _, errors = call(
        zero_shot.evaluate, '--any_size', *(f'--{flag}={value}' for flag, value in flags.items())
    )
    assert status == 0, errors
    results = json.loads((tmp_path / f'{model_name}.json').read_text())['tasks']
    found = {
        task: {name: figure['value'] for name, figure in figures.items()}
        for task, figures in results.items()
    }
    expected = expected_figures(Peer(models_dir / model_name, context), strides, passages)
    assert set(found) == set(expected)
    for task, figures in expected.items():
        assert found[task] == pytest.approx(figures, rel=1e-3), task
    return found


def test_the_demo_model_has_the_figures_of_transformers(tmp_path, call):
    found = check_full_evaluation(ROOT / 'models', 'demo', 48, tmp_path, call, PASSAGES)
    assert 0 < found['lambada']['accuracy'] < 100  # or equal accuracies would say little
    assert 0 < found['lambada']['accuracy_filtered'] < 100


def test_a_random_model_has_the_figures_of_transformers(tmp_path, call, gpt2_vocabulary):
    sizes = dict(n_merges=2000, n_ctx=256, n_embd=32, n_head=2, n_layer=2)
    make_random_model('random', str(gpt2_vocabulary), str(tmp_path), **sizes)
    check_full_evaluation(tmp_path, 'random', 40, tmp_path, call)


@pytest.mark.slow
def test_a_random_model_of_124m_has_the_figures_of_transformers(tmp_path, call, gpt2_vocabulary):
    make_random_model('random', str(gpt2_vocabulary), str(tmp_path))
    check_full_evaluation(tmp_path, 'random', 1024, tmp_path, call)
