"""Download files over unreliable networks: resumed, verified, and whole or not there at all.

A file is received into PATH.part, verified there, and only then renamed to PATH, so that nothing
half-written ever has the final name. What an interrupted run has received, the next one keeps.
A server may say anything: it ends in the right file or in a DownloadError, and in a stated time.
"""

import base64
import contextlib
import dataclasses
import email.utils
import hashlib
import os
import pathlib
import re
import shutil
import stat
import sys
import time
from collections.abc import Callable

import requests
import tqdm
import urllib3
from requests.exceptions import ChunkedEncodingError

from downloads.transport import SLOWEST, Interrupted, open_session, said
from support.files import FULL, HELD, lock, put_in_place

ATTEMPTS = 6  # so many in a row without a new byte are the last; with the waits, half a minute
FIRST_WAIT = 1.0  # seconds before the second attempt; each further wait is twice as long
LONGEST_WAIT = 60.0  # seconds; a server may ask for more and does not get it
TIMEOUT = (10.0, 60.0)  # seconds to connect, seconds between two bytes
UNKNOWN_BYTES = 1 << 26  # more are not taken of a file of which not even a prediction is known
NETWORK_BLOCK = 1 << 16  # bytes; a connection that breaks loses less than one block
KEPT = 'what was received is kept: run the same command again to go on'
DISK_BLOCK = 1 << 20  # bytes that are read at a time, of files on a disk


class DownloadError(ValueError):
    """A file could not be had; the message names it and says why."""


class WrongFile(DownloadError):
    """A file on disk is not what it should be; the message is the reason alone."""


PASSING = (
    Interrupted,
    requests.ConnectionError,
    requests.Timeout,
    ChunkedEncodingError,
    urllib3.exceptions.ProtocolError,  # of a redirect's own page, where requests does not translate
    urllib3.exceptions.TimeoutError,
    ConnectionError,
    TimeoutError,
)
# What requests makes of an answer that cannot be understood: not always an error of its own.
NONSENSE = requests.RequestException, urllib3.exceptions.HTTPError, ValueError


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """Where a file comes from, where it goes, and what is known of it beforehand."""

    url: str  # http, https or file
    path: str  # the final name
    size: int | None = None  # bytes, published
    predicted_size: int | None = None  # bytes, computed and not published: see verify
    sha256: str | None = None  # hexadecimal
    md5: str | None = None  # hexadecimal, published; counts where no sha256 is known
    check: Callable[[str], None] | None = None  # raises ValueError for contents that are not right
    optional: bool = False  # for the caller: nothing here treats such a file otherwise

    @property
    def limit(self):
        """Bytes; more than these cannot be the file, and would only fill the disk."""
        if self.size is not None:
            return self.size
        return UNKNOWN_BYTES if self.predicted_size is None else 2 * self.predicted_size + 2**20


@dataclasses.dataclass(frozen=True)
class Offer:
    """What a server says of a whole file; None where it says nothing."""

    size: int | None = None
    md5: str | None = None
    etag: str | None = None
    modified: float | None = None  # seconds since 1970


def base_address(base_url):
    """The part of all addresses of a mirror before its files, without a slash at the end.

    base_url: a URL, or the path of a folder. Raises ValueError if it is neither.
    """
    if '://' not in base_url:
        folder = pathlib.Path(base_url).resolve()
        if not folder.is_dir():
            raise ValueError(f'--base_url {base_url}: neither a folder that is there nor a URL')
        base_url = folder.as_uri()
    elif not base_url.startswith(('http://', 'https://', 'file://')):
        raise ValueError(f'--base_url {base_url}: only http, https and file addresses are known')
    return base_url.rstrip('/')


def verify(file, path=None, md5=None):
    """Compare a file on disk with what is known of it; returns the evidence in its favour as text.

    A published size and a sha256 must agree. Where no sha256 is known a published MD5 counts, else
    the one that the server sent. `check` must accept the contents. A predicted size is weaker: a
    file of another size is wrong only when neither digest nor `check` spoke for it, so that a wrong
    prediction does not make a good file unusable, while an error page in place of an unknown file
    is still noticed.

    path: where to look if not at file.path. md5: hexadecimal, of the whole file, from the server.
    Raises WrongFile with the reason, FileNotFoundError.
    """
    path = path or file.path
    size = os.path.getsize(path)
    if file.size not in (None, size):
        raise WrongFile(f'{size:,} bytes instead of {file.size:,}')
    evidence = [] if file.size is None else ['size']
    algorithm, expected = ('sha256', file.sha256) if file.sha256 else ('md5', file.md5 or md5)
    if expected:
        actual = digest(path, algorithm)
        if actual != expected.lower():
            raise WrongFile(f'{algorithm} {actual} instead of {expected}')
        evidence.append(algorithm)
    if file.check:
        try:
            file.check(path)
        except ValueError as error:
            raise WrongFile(str(error)) from error
        evidence.append('contents')
    if file.predicted_size == size:
        evidence.append('predicted size')
    elif file.predicted_size is not None and not evidence:
        raise WrongFile(f'{size:,} bytes instead of the predicted {file.predicted_size:,}')
    return ', '.join(evidence) or 'nothing to compare with'


def report(path, evidence):
    """Print whether a file is there and right; returns that too.

    evidence: a function that returns what speaks for it, or raises as `verify` does.
    """
    try:
        print(f'verified {path}: {evidence()}')
    except FileNotFoundError:
        print(f'missing {path}')
        return False
    except WrongFile as error:
        print(f'wrong {path}: {error}')
        return False
    return True


def digest(path, algorithm):
    """The hexadecimal digest of a file, read in blocks under a progress bar."""
    state = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, 'rb') as f, progress(f'verifying {path}', os.path.getsize(path)) as bar:
        while block := f.read(DISK_BLOCK):
            state.update(block)
            bar.update(len(block))
    return state.hexdigest()


def progress(label, total, initial=0):
    """A bar on standard error that counts bytes, shown only on a terminal and gone when done."""
    return tqdm.tqdm(
        desc=label,
        total=total,
        initial=initial,
        unit='B',
        unit_scale=True,
        leave=False,
        disable=None,
    )


def require_space(files, folder):
    """Raise DownloadError unless the disk of `folder` has room for what the files still need.

    Bytes already in a .part count as there. A file that is about to be replaced needs its whole
    size, because the old one stays until the new one is verified.
    """
    needed = 0
    for file in files:
        part = file.path + '.part'
        there = os.path.getsize(part) if os.path.exists(part) else 0
        needed += max(0, (file.size or file.predicted_size or 0) - there)
    existing = os.path.abspath(folder)
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise DownloadError(
            f'not enough disk space in {folder}: {needed:,} bytes needed, {free:,} free'
        )


def fetch(file):
    """Download a file, verify it, and put it at its final name in place of what is there.

    A resumed download that turns out wrong is done once more from the start; a file that was
    received in one piece and is wrong is an error at once. Returns the evidence, as verify does.
    Raises DownloadError; unless the bytes were wrong, the .part stays for the next run.
    """
    os.makedirs(os.path.dirname(file.path) or '.', exist_ok=True)
    part_path = file.path + '.part'
    try:
        for last_try in (False, True):
            with exclusive(part_path) as part, open_session(file.url) as session:
                offer, start = receive(session, file, part)
                os.fsync(part.fileno())  # or a crash could leave the name without the bytes
                release(part)
                try:
                    evidence = verify(file, part_path, offer.md5)
                except WrongFile as error:
                    os.remove(part_path)
                    if start == 0 or last_try:
                        raise DownloadError(f'{file.url}: {error}') from error
                else:
                    put_in_place(part_path, file.path)
                    return evidence
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DownloadError(
            f'the disk is full, and {file.path} not complete; what was received is kept in '
            f'{part_path}: free some space and run again'
        ) from error


@contextlib.contextmanager
def exclusive(path):
    """Open a .part for appending, which only one process at a time can do; removed if left empty.

    The operating system lets go of the lock of a process that has died.
    """
    with open(path, 'a+b', buffering=0, opener=plain_file) as part:
        try:
            lock(part)
            still_there = os.path.samestat(os.fstat(part.fileno()), os.stat(path))
        except (*HELD, FileNotFoundError):
            still_there = False
        if not still_there:  # the other process has it locked, or has just renamed it
            raise DownloadError(f'{path} is in use: another process is downloading the same file')
        try:
            yield part
        finally:
            if not part.closed and length(part) == 0:
                release(part)
                with contextlib.suppress(FileNotFoundError):
                    os.remove(path)


def plain_file(path, flags):
    """Open as os.open does, but no link, since what it leads to would be overwritten; no pipe."""
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        raise DownloadError(f'{path} is a link, or no file at all: remove it')
    return os.open(path, flags | getattr(os, 'O_NOFOLLOW', 0), 0o666)


def release(part):
    """Close a file that is about to be renamed or removed, where that cannot be done while open.

    Elsewhere it stays open and locked, lest another process writes to what becomes the final file.
    """
    if os.name == 'nt':
        part.close()


def length(part):
    return os.fstat(part.fileno()).st_size


def receive(session, file, part):
    """Fill the .part, after each interruption going on where it stopped.

    Gives up after ATTEMPTS interruptions in a row that brought no more than ever before, or that
    more slowly than SLOWEST.
    Returns (Offer of the server, byte at which the last request began).
    """
    known, most, failures = None, length(part), 0
    if not sys.stderr.isatty():  # where there is one, the bar tells
        print(f'downloading {file.url}' + f' from byte {most:,}' * (most > 0), file=sys.stderr)
    with progress(f'downloading {file.path}', file.size or file.predicted_size, most) as bar:
        while True:
            began = time.monotonic()
            try:
                offer = ask(session, file)
                if offer == Offer():  # the server is not itself: what it said before still holds
                    offer = known or offer
                elif outdated(part, offer, known):
                    part.truncate(0)
                known = None if offer == Offer() else offer
                return transfer(session, file, part, offer, bar)
            except PASSING as error:
                gained = length(part) - most
                slow = gained <= SLOWEST * (time.monotonic() - began)
                failures = failures + 1 if slow else 1
                most = max(most, length(part))
                reason = root_cause(error)
                if failures == ATTEMPTS:
                    kept = f'; {length(part):,} bytes are kept for the next run' if most else ''
                    raise DownloadError(f'{file.url}: {reason}, {ATTEMPTS} times{kept}') from error
                wait = max(FIRST_WAIT * 2 ** (failures - 1), getattr(error, 'wait', 0.0))
                wait = min(wait, LONGEST_WAIT)
                tqdm.tqdm.write(f'{reason}; trying again in {wait:.0f} s', file=sys.stderr)
                time.sleep(wait)
            except DownloadError:
                raise
            except NONSENSE as error:
                raise DownloadError(f'{file.url}: {said(error)}') from error


def root_cause(error):
    """The innermost reason: the wrappers that requests and urllib3 put around it say little."""
    while error.__context__ is not None:
        error = error.__context__
    return said(getattr(error, 'strerror', None) or str(error) or type(error).__name__)


def ask(session, file):
    """What the server says of a file before sending it.

    Nothing, if the answer is an error or about something of another size: then the GET that
    follows tells what is wrong, and meanwhile the .part is safe from a login or error page.
    """
    with session.head(file.url, allow_redirects=True, stream=True, timeout=TIMEOUT) as response:
        offer = offer_of(response)
        return offer if response.ok and not misfit(file, offer) else Offer()


def misfit(file, offer):
    """Whether an offer is of a size that verify would refuse, or beyond the limit."""
    if offer.size is not None and offer.size > file.limit:
        return True
    doubtful = file.sha256 or file.md5 or offer.md5 or file.check  # any may outweigh a prediction
    expected = file.predicted_size if file.size is None and not doubtful else file.size
    return None not in (expected, offer.size) and expected != offer.size


def offer_of(response):
    """The Offer in a response that is about the whole file (not 206, whose MD5 is of the range)."""
    size = response.headers.get('Content-Length', '')
    try:
        md5 = base64.b64decode(response.headers.get('Content-MD5', ''), validate=True).hex()
    except ValueError:
        md5 = None
    return Offer(
        size=int(size) if re.fullmatch('[0-9]{1,18}', size) else None,
        md5=md5 or None,
        etag=response.headers.get('ETag'),
        modified=seconds_of(response.headers.get('Last-Modified', '')),
    )


def seconds_of(date):
    """The time that a header tells, in seconds since 1970, or None if it tells none."""
    try:
        return email.utils.mktime_tz(email.utils.parsedate_tz(date))
    except (ValueError, TypeError, OverflowError):  # TypeError: it was not even parsed
        return None


def outdated(part, offer, previous):
    """Whether the server's file has changed since the .part was written.

    Between attempts the ETag tells; for the .part of an earlier run, the times of the two files.
    """
    if previous is None:
        return offer.modified is not None and offer.modified > os.fstat(part.fileno()).st_mtime
    return None not in (offer.etag, previous.etag) and offer.etag != previous.etag


def transfer(session, file, part, offer, bar):
    """Ask once for the bytes that the .part lacks and append them.

    Returns (Offer, byte at which the request began). Raises Interrupted where another attempt may
    help, DownloadError where none will; a server's refusal leaves the .part as it was.
    """
    total = offer.size if file.size is None else file.size
    if total is not None and length(part) > total:
        part.truncate(0)
    start = length(part)
    if start and start == total:
        return offer, start
    # With both ends: Azure's oldest interface, its default without a login, knows no open range.
    headers = {'Range': f'bytes={start}-{"" if total is None else total - 1}'} if start else {}
    with session.get(file.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        refuse_errors(response, file.url)
        if response.status_code == 200:
            offer, start = offer_of(response), 0
            if misfit(file, offer):
                expected = file.size or file.predicted_size or file.limit
                raise DownloadError(
                    f'{file.url}: {offer.size:,} bytes offered instead of {expected:,}'
                )
            total = offer.size if file.size is None else file.size
            part.truncate(0)
        elif not continues(response, start, total, offer.etag):
            part.truncate(0)
            raise Interrupted('the server does not continue the file where it stopped')
        for block in response.iter_content(NETWORK_BLOCK):
            while block:  # an unbuffered write may take only some of it
                block = block[part.write(block) :]
            bar.update(length(part) - bar.n)
            if total is not None and length(part) > total:
                break  # verify will say so
            if length(part) > file.limit:
                part.truncate(0)
                raise DownloadError(
                    f'{file.url}: more bytes than the {file.limit:,} that it can have'
                )
    if total is not None and length(part) < total:
        raise Interrupted(f'the connection ended at byte {length(part):,} of {total:,}')
    return offer, start


def refuse_errors(response, url):
    """Raise Interrupted for an answer that may get better (5xx, 408, 429), else DownloadError."""
    status, encoding = response.status_code, response.headers.get('Content-Encoding', 'identity')
    if status >= 500 or status in (408, 429):
        try:
            wait = urllib3.Retry().parse_retry_after(response.headers.get('Retry-After', '0'))
        except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
            wait = 0.0
        raise Interrupted(f'{status} {response.reason}', wait)
    if status not in (200, 206, 416):
        raise DownloadError(f'{url}: {said(f"{status} {response.reason}")}')
    if encoding != 'identity':
        raise DownloadError(
            f'{url}: sent as {said(encoding)}, although the plain file was asked for'
        )


def continues(response, start, total, etag):
    """Whether a response to a Range request (206 or 416) holds the bytes from `start` of that file.

    total: size of the whole file, or None; etag: its version, or None.
    """
    content_range = response.headers.get('Content-Range', '')
    match = re.fullmatch(r'bytes ([0-9]{1,18})-[0-9]+/([0-9]{1,18}|\*)', content_range)
    if response.status_code != 206 or not match or int(match[1]) != start:
        return False
    same_total = match[2] == '*' or total in (None, int(match[2]))
    return same_total and etag in (None, response.headers.get('ETag', etag))
