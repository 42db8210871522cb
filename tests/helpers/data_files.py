"""What the tests of readers share: files that are put in place, and errors that are one line."""

import re

import pytest


def put(tmp_path, place, content):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def fails(read, *arguments, command, reason, **options):
    with pytest.raises(ValueError) as caught:
        read(*arguments, **options)
    message = str(caught.value)
    assert '\n' not in message
    assert re.search(reason, message), message
    assert f'python3 src/download_data.py {command}' in message
