"""Small data sets in the original formats, and the texts that people would write for them."""

import json
import shutil

from helpers import small_texts
from helpers.paths import TESTDATA

SENTENCES = [
    'The sun rose over the hill .',
    "`` Come in , '' said the fox .",
    "He did n't see the -LRB- old -RRB- cat .",
    *(f'Then came day {n} .' for n in range(4, 21)),
]
STORY = ' '.join(
    [
        'The sun rose over the hill.',
        '"Come in," said the fox.',
        "He didn't see the (old) cat.",
        *(f'Then came day {n}.' for n in range(4, 21)),
    ]
)
NOUNS = ['bear', 'bird', 'boat', 'book', 'door', 'fish', 'frog', 'king', 'lion', 'tree']
NAMES = ['Adam', 'Anna', 'Emma', 'Finn', 'Hugo', 'Jack', 'Lucy', 'Mary', 'Noah', 'Paul']

LAMBADA = [
    '\u201cI can\u2019t stay,\u201d said Tom. He looked at the old house and left the house',
    ' \nShe had lost her ring . \u2018Where is it ?\u2019 she cried , and found the ring\n\n',
    'The dog ran to the river and the other dog swam in the river',
]
LAMBADA_TEXTS = [
    '\n"I can\'t stay," said Tom. He looked at the old house and left the house',
    "\nShe had lost her ring . 'Where is it ?' she cried , and found the ring",
    '\nThe dog ran to the river and the other dog swam in the river',
]
LAMBADA_PLAIN = [
    "`` i do n't know , '' said the man as he saw the other man",
    'they went to the sea , and at last she saw the sea',
]
LAMBADA_PLAIN_TEXTS = [
    '"i don\'t know," said the man as he saw the other man',
    'they went to the sea, and at last she saw the sea',
]

WIKITEXT = (
    " \n = The <unk> of Robert = \n \n The 1 @,@ 000 men , who did n't know , had a well @-@ known"
    ' song ( 2 @.@ 5 minutes ) . \n \n = = Later life = = \n \n He said " no " in 1990 . \n'
)
WIKITEXT_TEXT = (
    "\n= The <unk> of Robert =\n\nThe 1,000 men, who didn't know, had a well-known"
    ' song (2.5 minutes).\n\n== Later life ==\n\nHe said "no" in 1990.\n'
)
WIKITEXT_RAW = WIKITEXT.replace('<unk>', 'Life')
WIKITEXT_UNITS = 6 + 24 + 6 + 8 + 8  # words and line ends, counted by hand
PTB = [
    " no it was n't black monday \n",
    ' but while the new york stock exchange did <unk> fall apart friday as the dow jones fell N \n',
    " mr. <unk> 's shares rose $ N billion \n",
]
PTB_TEXT = (
    "no it wasn't black monday\n"
    'but while the new york stock exchange did <unk> fall apart friday as the dow jones fell N\n'
    "mr. <unk>'s shares rose $N billion\n"
)
PTB_UNITS = 6 + 18 + 8 + 3  # words and line ends, counted by hand
ONE_BILLION = [
    'Having a little flexibility on that issue would go a long way .',
    'The men , aged 30 and 42 , said " no " .',
    'Bravo !',
]
ONE_BILLION_TEXTS = [
    'Having a little flexibility on that issue would go a long way.',
    'The men, aged 30 and 42, said "no".',
    'Bravo!',
]
ONE_BILLION_UNITS = 13 + 13 + 2
ENWIK8_TAIL = (
    '\u00e9'.encode()[1:]
    + (
        '</text>\n<page>\n  <title>Caf\u00e9</title> &lt;ref&gt; [[Stra\u00dfe]] '
        + ''.join(f'and then {n} more. ' for n in range(20, 40))
    ).encode()
)
TEXT8_TAIL = ' anarchism originated as a term of abuse first used against ' + (
    'early working class radicals including the diggers of the english revolution and the sans '
    'culottes of the french revolution whilst the term is still used in a pejorative way to '
    'describe any act that used violent means to destroy the organization of society '
)

SCHEMAS = [
    # (txt1, pron, txt2, answers, correct)
    (
        'The men refused the boys a ball because',
        'they',
        'feared fire.',
        ('The men', 'The boys'),
        'A',
    ),
    ('Ann asked Sue what time the', 'her', 'shop shuts.', ('Ann', 'Sue'), 'B.'),
    ('The cup does not fit the bag.', 'It', 'is too big.', ('the cup', 'the bag'), 'A.'),
]
SCHEMA_TEXTS = [
    'The men refused the boys a ball because the men feared fire.',
    "Ann asked Sue what time the Sue's shop shuts.",
    'The cup does not fit the bag. The cup is too big.',
]


def cbt_file(blank, candidates, answer):
    context = [f'{n} {sentence}' for n, sentence in enumerate(SENTENCES, start=1)]
    return '\n'.join([*context, f'21 {blank}\t{answer}\t\t{"|".join(candidates)}', '', ''])


def cbt_files():
    """The questions, and what is right: {kind: (content, texts)}."""
    nouns = [
        cbt_file("`` My XXXXX is here , '' he said .", NOUNS, 'frog'),
        cbt_file('XXXXX and cat met .', NOUNS[::-1], 'bird'),
    ]
    names = [cbt_file("I saw XXXXX 's hat , did n't I ?", NAMES, 'Mary')]
    return {
        'CN': (
            ''.join(nouns),
            [STORY + ' "My frog is here," he said.', STORY + ' bird and cat met.'],
        ),
        'NE': (''.join(names), [STORY + " I saw Mary's hat, didn't I?"]),
    }


def write_all(folder):
    """Write a data folder for all tasks, and return it: these sets and those in testdata."""
    xml = ''.join(
        f'<schema>\n<text>\n<txt1>{before}</txt1>\n<pron> {pronoun} </pron>\n<txt2>{after}</txt2>\n'
        '</text>\n<quote><quote1></quote1><pron>x</pron><quote2>y</quote2></quote>\n<answers>'
        + ''.join(f'\n<answer> {answer} </answer>' for answer in answers)
        + f'\n</answers>\n<correctAnswer> {correct} </correctAnswer>\n</schema>\n'
        for before, pronoun, after, answers, correct in SCHEMAS
    )
    contents = {
        'lambada/lambada_test.jsonl': ''.join(json.dumps({'text': t}) + '\n' for t in LAMBADA),
        'lambada_plain/lambada_test_plain_text.txt': '\n'.join([*LAMBADA_PLAIN, '']),
        'cbt/cbtest_CN_valid_2000ex.txt': cbt_files()['CN'][0],
        'cbt/cbtest_NE_valid_2000ex.txt': cbt_files()['NE'][0],
        'wikitext2/wiki.test.tokens': WIKITEXT,
        'wikitext2/wiki.test.raw': WIKITEXT_RAW,
        'wikitext103/wiki.test.tokens': WIKITEXT,
        'ptb/ptb.test.txt': ''.join(PTB),
        '1bw/news.en.heldout-00000-of-00050': '\n'.join([*ONE_BILLION, '']),
        'enwik8/enwik8': b'x' * 19 * len(ENWIK8_TAIL) + ENWIK8_TAIL,
        'text8/text8': 'x' * 19 * len(TEXT8_TAIL) + TEXT8_TAIL,
        'winograd/WSCollection.xml': f'<?xml version="1.0"?>\n<collection>\n{xml}</collection>\n',
    }
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode('utf-8'))
    shutil.copytree(TESTDATA / 'small_data', folder, dirs_exist_ok=True)
    small_texts.write_cnndm(folder)
    small_texts.write_wmt14(folder)
    return folder
