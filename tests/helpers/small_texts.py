"""Two stories and four sentences in the original formats of CNN/Daily Mail and WMT-14."""

import hashlib

from helpers.small_archives import tarred

ADDRESSES = ['http://web.example/www.cnn.com/flood', 'http://web.example/www.dailymail.co.uk/ring']
NAMES = [hashlib.sha1(address.encode()).hexdigest() for address in ADDRESSES]
# A caption without full stop, a byline, no line end at the end; line ends of Windows, two spaces.
STORY_FILES = [
    'The river rose on Monday. Two bridges were closed. Nobody was hurt.\n\n'
    'A boat on Main Street\n\n'
    'Mr. Poe said: "It will fall by Friday."\n\n'
    '@highlight\n\nThe river closes two bridges\n\n@highlight\n\nNobody was hurt.',
    'By Ann Lee\r\n\r\n  A dog found a gold ring. It ate it.\r\n\r\n'
    '@highlight\r\n\r\nA dog found a ring\r\n\r\n@highlight\r\n\r\nAnn Lee was glad!\r\n\r\n',
]
ARTICLES = [
    'The river rose on Monday. Two bridges were closed. Nobody was hurt.\n'
    'A boat on Main Street\nMr. Poe said: "It will fall by Friday."',
    'By Ann Lee\nA dog found a gold ring. It ate it.',
]
HIGHLIGHTS = [
    ['The river closes two bridges.', 'Nobody was hurt.'],
    ['A dog found a ring.', 'Ann Lee was glad!'],
]

FRENCH = ['Le chat dort.', 'Jean & Co. a 3 < 5 chats.', 'Il pleut. Je lis.', 'Elle dit « oui ».']
ENGLISH = ['The cat sleeps.', 'Jean & Co. has 3 < 5 cats.', 'It rains. I read.', 'She says "yes".']
PAIRS = [
    ('Bonjour.', 'Good day.'),
    ('Merci !', 'Thank you!'),
    ('Où ?', 'Where?'),
    ('Il neige.', 'It snows.'),
    ('Non.', 'No.'),
]


def write_cnndm(folder):
    """The test split's list and both archives, with stories beside that are not wanted."""
    cnn, daily_mail = STORY_FILES
    other = f'cnn/stories/{"0" * 40}.story'
    return write(
        folder / 'cnndm',
        {
            'all_test.txt': '\n'.join([*ADDRESSES, '']),
            'cnn_stories.tgz': tarred(
                {other: b'Another story.', f'cnn/stories/{NAMES[0]}.story': cnn.encode()}
            ),
            'dailymail_stories.tgz': tarred(
                {f'dailymail/stories/{NAMES[1]}.story': daily_mail.encode()}
            ),
        },
    )


def write_wmt14(folder):
    """The test set's four files and both of the example pairs'."""
    files = {}
    for language, texts in {'fr': FRENCH, 'en': ENGLISH}.items():
        for kind in ('src', 'ref'):
            files[f'newstest2014-fren-{kind}.{language}.sgm'] = sgm(kind, language, texts)
    for number, language in enumerate(['fr', 'en']):
        files[f'newstest2013.{language}'] = ''.join(pair[number] + '\n' for pair in PAIRS)
    return write(folder / 'wmt14', files)


def sgm(kind, language, texts):
    """Two documents, with what real files have, too: no XML header, entities, an & by itself."""
    escaped = [text.replace('<', '&lt;').replace('"', '&quot;') for text in texts]
    lines = [f'<seg id="{n % 2 + 1}">{text}</seg>' for n, text in enumerate(escaped)]
    lines[3] = '  ' + lines[3].replace('<seg', '<SEG').replace('dit «', 'dit \u00a0 &#171;')
    name = f'{kind}set setid="newstest2014" srclang="any" trglang="{language}"'
    document = '<doc sysid="ref" docid="{}" genre="news" origlang="fr">\n<p>'
    return '\n'.join(
        [f'<{name}>', document.format('a'), *lines[:2], '</p>', '</doc>']
        + [document.format('b'), *lines[2:], '</p>', '</doc>', f'</{kind}set>', '']
    )


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode('utf-8')
        (folder / name).write_bytes(data)
    return folder.parent
