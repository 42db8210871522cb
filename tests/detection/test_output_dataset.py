import json

import pytest

from detection.output_dataset import check_records, published_files

ALL = 'train,valid,test'


def test_all_39_files_are_known_and_the_12_of_the_fine_tuned_model():
    files = published_files('all', ALL)
    assert len(files) == len({file.name for file in files}) == 39
    assert {file.collection for file in files} == {'v1'}
    amazon = published_files('v1-amazonfinetune', ALL)
    assert len(amazon) == 12 and all('mazon' in file.name for file in amazon)
    assert published_files('v1,v1-amazonfinetune,all', ALL) == files + amazon


def test_the_names_are_openai_s_and_both_addresses_are_tried():
    (file,) = published_files('xl-1542M-nucleus', 'valid')
    assert file.name == 'xl-1542M-nucleus.valid.jsonl'
    assert file.addresses == (
        'https://openaipublic.blob.core.windows.net/gpt-2/output-dataset/v1/xl-1542M-nucleus.valid.jsonl',
        'https://openaipublic.azureedge.net/gpt-2/output-dataset/v1/xl-1542M-nucleus.valid.jsonl',
    )
    assert file.size is file.sha256 is None and file.predicted_size == 14_000_000
    (amazon,) = published_files('amazon', 'test')
    assert amazon.addresses[0].endswith('/output-dataset/v1-amazonfinetune/amazon.test.jsonl')


def test_models_may_be_named_as_they_are_called_now():
    for new, old in [('124M', 'small-117M'), ('1558M-k40', 'xl-1542M-k40')]:
        assert published_files(new, 'test') == published_files(old, 'test')


def test_what_was_published_of_webtext_is_known():
    train, valid, test = published_files('webtext', ALL)
    assert (train.size, valid.size, test.size) == (679_129_270, 13_622_302, 13_478_245)
    assert [file.sha256[:8] for file in (train, valid, test)] == [
        'cf6db7bb',
        'e080dcf5',
        '934921a1',
    ]


def test_it_says_which_texts_are_human_and_which_webtext_that_is():
    what = {file.source: file.what for file in published_files('v1,v1-amazonfinetune', 'test')}
    assert [source for source in what if what[source].startswith('human')] == ['webtext', 'amazon']
    assert 'held-out test set, which no model was trained on, in all three' in what['webtext']
    assert 'not WebText' in what['amazon']


@pytest.mark.parametrize(
    'sources, splits, message',
    [
        (None, ALL, 'name at least one source with --sources: all, v1, v1-amazonfinetune, webtext'),
        ('', ALL, 'name at least one source'),
        ('webtxt', ALL, "unknown source 'webtxt', did you mean webtext?"),
        ('webtext', 'validation', "unknown split 'validation', did you mean valid?"),
        ('webtext', ' ,', 'name at least one split'),
    ],
)
def test_what_is_not_there_is_refused(sources, splits, message):
    with pytest.raises(ValueError, match=message.replace('?', r'\?')):
        published_files(sources, splits)


@pytest.mark.parametrize('tail', ['', '\n'])
def test_a_file_of_records_is_told_from_a_page(tmp_path, tail):
    path = tmp_path / 'x.jsonl'
    record = json.dumps({'id': 1, 'ended': True, 'length': 2, 'text': 'é' * 3000})
    path.write_text('\n'.join([record] * 500) + tail)
    check_records(path)
    for content in ('<html>\n</html>', '', '{}', '[1]', f'{record}\n{record[:-9]}', f'x\n{record}'):
        path.write_text(content + tail)
        with pytest.raises(ValueError, match='no records'):
            check_records(path)
