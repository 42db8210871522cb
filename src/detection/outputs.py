"""What detect.py prints and writes of texts: lines, records, a page. No TensorFlow."""

import json

from detection import rank_page
from detection.findings import rows_of
from scoring.outputs import PageFile, Sink, token_records


def report(found, sinks, encoder):
    """Yield a line for each document, once it is written.

    found: pairs of a Document and what findings.find yields of it.
    sinks: context managers that `open_sinks` made.
    """
    for document, (scores, record) in found:
        for sink in sinks:
            sink.write(document, record, encoder, scores)
        yield line_of(document.name, record)


def line_of(name, record):
    return f'{name}: ' + ', '.join(f'{label} {value}' for label, value in rows_of(record))


def open_sinks(output, html, model_name):
    """Where documents go: context managers with a `write`."""
    if output is not None:
        yield RecordFile(output)
    if html is not None:
        yield RankPageFile(html, model_name)


class RecordFile(Sink):
    """A JSON record a line for each document: its name, and what findings.record_of tells."""

    def write(self, document, record, encoder, scores):
        record = {'document': document.name} | record
        self.file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + '\n')


class RankPageFile(PageFile):
    """The page of rank_page.py."""

    page = rank_page

    def write(self, document, record, encoder, scores):
        tokens = list(token_records(encoder, document.tokens, scores))
        self.file.write(rank_page.section(document.name, record, tokens))
