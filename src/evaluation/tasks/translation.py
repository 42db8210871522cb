"""Translation between French and English: WMT-14 (Radford et al. 2019, section 3.7).

No TensorFlow.
"""

import functools
import html
import re
from typing import NamedTuple

from evaluation.bleu import COLUMNS, REQUIRES, bleu_metrics, bleu_rows
from evaluation.data_files import DataFile
from evaluation.generating import Generated, GeneratingTask
from evaluation.pairs import drawn
from evaluation.prompts import fitted, room_for, start_of
from evaluation.sentences import SPLITTER, check_splitter, first_sentences
from support.checks import check_whole

SEGMENT = re.compile(r'<seg\b[^>]*>(.*)</seg>', re.IGNORECASE)
ENTITY = re.compile(r'&(#\d+|#x[0-9a-f]+|[a-z]\w*);', re.IGNORECASE)
CHOICES = {
    'length': 100,
    'temperature': 0.0,
    'seed': 0,
    'stops': ['\n'],
    'pairs': 5,
    'pairs_seed': 0,
    'end_of_text_first': False,
    'sentences': 1,
    'splitter': SPLITTER,
}


class Segment(NamedTuple):
    """A sentence, or what the editors of the test set took for one."""

    id: str  # its number in the file, from 1
    source: str
    reference: str


def read_newstest(data_dir='data', source='fr', target='en', complete=True):
    """The test set of WMT-14 between French and English, newstest2014, a list of Segment.

    source, target: 'fr' and 'en' in either order.
    """
    names = [f'newstest2014-fren-{name}.sgm' for name in (f'src.{source}', f'ref.{target}')]
    files = [DataFile(data_dir, 'wmt14', name, complete) for name in names]
    return [
        Segment(str(number), *texts)
        for number, texts in enumerate(parallel(files, segments), start=1)
    ]


def read_pairs(data_dir='data', source='fr', target='en', complete=True):
    """Sentences with their translations, from newstest2013: a list of (source, target)."""
    names = [f'newstest2013.{language}' for language in (source, target)]
    files = [DataFile(data_dir, 'wmt14', name, complete) for name in names]
    pairs = parallel(files, lambda file: map(spaced, file.lines()))
    return [pair for pair in pairs if all(pair)]


def parallel(files, read):
    """The texts of two files side by side, a list of pairs.  read: DataFile -> texts."""
    sides = []
    for file in files:
        with file.complaints():
            sides.append(list(read(file)))
            file.require(len(sides[-1]), 'segments')
    with file.complaints():
        sizes = list(map(len, sides))
        if sizes[0] != sizes[1]:
            raise ValueError(f'it has {sizes[1]:,} segments, and {files[0].path} {sizes[0]:,}')
    return list(zip(*sides, strict=True))


def segments(file):
    """Yield the texts of an SGM file, which is like XML, but none: `<seg id="1">A & B</seg>`.

    White space within is made single spaces, as sacrebleu does.
    """
    for number, line in enumerate(file.lines(), start=1):
        if line.lstrip()[:4].lower() == '<seg':
            found = SEGMENT.fullmatch(line.strip())
            if not found:
                raise ValueError(f'line {number} is no whole segment')
            yield spaced(ENTITY.sub(lambda entity: html.unescape(entity[0]), found[1]))


def spaced(text):
    return ' '.join(text.split())


def prompts(segments, encoder, n_ctx, choices, pairs):
    """Example pairs, `source = translation` a line, then the source to translate and ` =`.

    A prompt that is too long loses tokens on its left.
    """
    shown = drawn(pairs, choices['pairs'], choices['pairs_seed'])
    shared = start_of(choices, encoder)
    shared += encoder.encode(''.join(f'{source} = {target}\n' for source, target in shown))
    room = room_for(choices, n_ctx)
    made = []
    for segment in segments:
        prompt = fitted(segment.id, shared + encoder.encode(f'{segment.source} ='), room)
        made.append(prompt._replace(shared=0 if prompt.lost else len(shared)))
    return made


def check_choices(choices):
    check_whole('sentences', choices['sentences'], least=1)
    check_splitter(choices['splitter'])


def translations(segments, generated, choices, language):
    """The sentences that are compared with the references, a list of str."""
    n = choices['sentences']
    return [
        ' '.join(first_sentences(generated[segment.id].text, n, language)) for segment in segments
    ]


def copies(segments, _generated, _choices, _language):
    return [segment.source for segment in segments]


def rows(segments, generated, choices, language, found=translations):
    """The statistics of BLEU of each segment, float64 [segments, COLUMNS].

    language: of the translations.  found: -> translations, see there.
    """
    references = [segment.reference for segment in segments]
    return bleu_rows(found(segments, generated, choices, language), references, language)


def export(segments, generated, choices, language, found=translations):
    """Translations and references for sacrebleu's command, one a line."""
    return {
        f'translations.{language}': one_a_line(found(segments, generated, choices, language)),
        f'references.{language}': one_a_line(segment.reference for segment in segments),
    }


def one_a_line(texts):
    return ''.join(f'{spaced(text)}\n' for text in texts)


def copy(segments, _choices):
    """The sources in place of translations: what names, numbers and punctuation alone are worth."""
    return [Generated(segment.id, segment.source, [], 0.0) for segment in segments]


def translation(source, target):
    column = f'wmt14_{source}_{target}_bleu'
    return GeneratingTask(
        functools.partial(read_newstest, source=source, target=target),
        split=f'test (newstest2014-fren-src.{source}.sgm)',
        detokenizer='none',
        prompts=prompts,
        rows=functools.partial(rows, language=target),
        columns=COLUMNS,
        resampled='sentences',
        metrics=bleu_metrics(column, 'the first sentence of the first line generated'),
        choices=CHOICES,
        check=check_choices,
        pairs=functools.partial(read_pairs, source=source, target=target),
        export=functools.partial(export, language=target),
        requires=(*REQUIRES, 'pysbd'),
    )


def copying(source, target):
    column = f'wmt14_{source}_{target}_bleu'
    return translation(source, target)._replace(
        prompts=None,
        baseline=copy,
        pairs=None,
        rows=functools.partial(rows, language=target, found=copies),
        export=functools.partial(export, language=target, found=copies),
        metrics=bleu_metrics(column, 'the source itself'),
        choices={},
        check=None,
        requires=REQUIRES,
    )


TASKS = {
    'wmt14_fr_en': translation('fr', 'en'),
    'wmt14_en_fr': translation('en', 'fr'),
    'wmt14_fr_en_copy': copying('fr', 'en'),
    'wmt14_en_fr_copy': copying('en', 'fr'),
}
