import pytest

from detection import tables
from detection.trials import ALL, FIGURES


def cell(judge='z', kind='zero-shot', trained_on=(), source='demo-k40', length=ALL, **figures):
    content = {'judge': judge, 'kind': kind, 'trained_on': list(trained_on), 'source': source}
    content |= {'length': length, 'n_human': 1234, 'n_human_documents': 7, 'n_machine': 500}
    for name in FIGURES:
        content |= {name: figures.get(name), f'{name}_interval': figures.get(f'{name}_interval')}
    return content


def test_a_figure_is_in_percent_with_its_interval():
    some = cell(auroc=0.98765, auroc_interval=[0.9, 0.999])
    assert tables.shown(some, 'auroc') == '98.8 (90.0–99.9)'
    assert tables.shown(cell(auroc=0.5), 'auroc') == '50.0'
    assert tables.shown(some, 'tpr_0.1') == tables.shown(None, 'auroc') == '–'


@pytest.mark.parametrize(
    'kind, trained_on, source, expected',
    [
        ('words', ['small-117M'], 'small-117M', 88.29),
        ('words', ['xl-1542M-k40'], 'xl-1542M-k40', 92.69),
        ('words', ['xl-1542M-k40'], 'xl-1542M', None),  # not published
        ('words', ['small-117M', 'small-117M-k40'], 'small-117M', None),
        ('network', ['xl-1542M-nucleus'], 'small-117M-nucleus', 96.9),
        ('network', ['small-117M-nucleus'], 'xl-1542M-nucleus', 79.3),
        ('network', ['xl-1542M-k40'], 'xl-1542M', 49.22),
        ('network', ['demo'], 'demo', None),
        ('zero-shot', [], '124M', None),
    ],
)
def test_what_was_published_of_the_same_training_and_test(kind, trained_on, source, expected):
    its = cell(kind=kind, trained_on=trained_on, source=source)
    assert tables.published(its) == expected
    assert tables.published(its | {'length': 50}) is None


def test_the_published_figure_is_beside_ours():
    its = cell('w', 'words', ['small-117M'], 'small-117M', accuracy=0.875, published=None)
    its |= {'published': tables.published(its)}
    assert tables.shown(its, 'accuracy') == '87.5, published 88.29'
    assert tables.shown(its | {'auroc': 0.9}, 'auroc') == '90.0'


def test_published_tables_are_tables():
    for table in tables.published_tables():
        assert {len(row) for row in table['rows'].values()} == {len(table['columns'])}
        assert all(20 < figure <= 100 for row in table['rows'].values() for figure in row)
        assert set(table['kinds']) <= {'words', 'network', 'scores', 'zero-shot'}


def test_the_report():
    names = ('k40', 'words', ['demo-k40'])
    cells = [
        cell(*names, source='demo-k40', length=25, auroc=0.8, accuracy=0.7),
        cell(*names, source='demo-k40', auroc=0.99, accuracy=0.95, tpr_1=0.9),
        cell(*names, source='demo', auroc=0.5, accuracy=0.501),
        cell(source='demo-k40', auroc=0.97),
    ]
    report = tables.report(cells)
    blocks = report.split('\n\n')
    assert blocks[0] == 'AUROC, %, texts cut to the length of one of the other class'
    assert blocks[1].splitlines() == [
        '| tested on → | demo-k40 | demo |',
        '| --- | ---: | ---: |',
        '| k40 (words, trained on demo-k40) | 99.0 | 50.0 |',
        '| z (zero-shot) | 97.0 | – |',
    ]
    assert '| k40 (words, trained on demo-k40) | 95.0 | 50.1 |' in report
    assert '| k40 (words, trained on demo-k40) | 80.0 | 99.0 |' in report  # by length
    assert 'true positives at 1 %' in report and 'at 0.1 %' not in report
    assert '| demo-k40 | 25 | 1,234 of 7 documents | 500 |' in report
    assert 'Published: TF-IDF' in report and 'Published: fine-tuned RoBERTa' not in report
