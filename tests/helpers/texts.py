"""Texts and a tokenizer whose ids can be spelled out."""

import json

from encoder import END_OF_TEXT, Encoder, bytes_to_unicode


def byte_encoder(end=256):
    """An encoder whose ids are the bytes of the text, so that expected files can be spelled out."""
    ids = {char: byte for byte, char in bytes_to_unicode().items()}
    return Encoder(ids | ({} if end is None else {END_OF_TEXT: end}), [])


def write_lines(path, documents):
    lines = [json.dumps({'text': document}) + '\n' for document in documents]
    path.write_text(''.join(lines), encoding='utf-8')
    return path
