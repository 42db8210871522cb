"""Download data, verified: that of the zero-shot tasks, or OpenAI's output dataset.

`python3 src/download_data.py ptb cbt`
`python3 src/download_data.py output_dataset --sources webtext,xl-1542M-k40 --splits valid,test`
"""

import dataclasses
import difflib
import functools
import json
import os
import pathlib
import re
import sys
from typing import NamedTuple

from detection.output_dataset import check_records, published_files
from downloads import archives, fetch
from downloads.first_use import FirstUse
from support import command_line, stopping
from support.files import expand, replacing

MANIFEST = os.path.join(
    os.path.dirname(os.path.abspath(__file__)), 'evaluation', 'evaluation_files.json'
)
OUTPUTS = 'output_dataset'  # not among `all`: it is 9 GB, and its files are chosen by two flags
RECORD = 'unpacked.json'  # this file in the folder of a set tells what was unpacked there
EXIT_WRONG_FILES = 1  # the status if --verify finds a file that is missing or wrong
SUMS = ('size', 'sha256', 'md5')  # what the manifest may say of a file
KNOWN = (*SUMS, 'max_size')  # and of a member of an archive


@dataclasses.dataclass(frozen=True)
class Download:
    """A file of a set: where it may come from, and what is unpacked from it if it is an archive."""

    file: fetch.RemoteFile
    urls: tuple
    members: tuple  # of archives.Member


class DataFile(NamedTuple):
    """A file that a task reads, and what is known of it."""

    file: fetch.RemoteFile  # without an address if it is unpacked from an archive
    limit: int | None = None  # bytes; more cannot be right


def download_data(
    *tasks: str,
    data_dir: str = 'data',
    base_url: str = None,
    verify: bool = False,
    remove_archives: bool = False,
    sources: str = None,
    splits: str = 'train,valid,test',
):
    """Download the data of zero-shot tasks into data_dir/TASK, resuming and verifying every file.

    Files already there and right are left alone. Of an archive only the files that the task needs
    are unpacked. Results go to standard output, progress to standard error.

    tasks: lambada, lambada_plain, cbt, wikitext2, wikitext103, ptb, 1bw, enwik8, text8, winograd,
        coqa, nq, cnndm, wmt14, stereoset, crows_pairs, winobias, one or more, or all.
    data_dir: where the folders of the tasks are; `~` and environment variables are expanded.
    base_url: where to look first for the files: a mirror, http(s)://... or file://..., a folder, or
        a single file that you have already. In a mirror or folder a file is TASK/FILE or just FILE.
    verify: download nothing, print a line for each file, and exit with status 1 if one is missing
        or wrong.
    remove_archives: delete an archive once what is needed of it is unpacked.

    output_dataset in the place of a task fetches OpenAI's samples of all four models, and WebText.

    sources: of output_dataset: webtext, 124M, 124M-k40, 124M-nucleus, the same of 355M, 774M and
        1558M, one or more, or all; the fine-tuned 1558M's are v1-amazonfinetune.
    splits: of output_dataset: train (0.7 GB a source), valid, test (14 MB each).
    """
    tasks = [task for argument in tasks for task in argument.split(',') if task.strip()]
    if OUTPUTS in map(canonical, tasks):
        download_outputs(tasks, data_dir, base_url, verify, sources, splits)
        return
    if sources is not None:
        raise ValueError(f'--sources is for {OUTPUTS}')
    with open(MANIFEST, encoding='utf-8') as f:
        manifest = json.load(f)
    names = task_names(tasks, manifest)
    data_dir = expand(data_dir)
    bases = base_addresses(base_url, [file for name in names for file in manifest['sets'][name]])
    downloads = [d for name in names for d in downloads_of(name, manifest, data_dir, bases)]
    if verify:
        if not all([report(file) for d in downloads for file in data_files(d)]):
            sys.exit(EXIT_WRONG_FILES)
        return
    needed = [d for d in downloads if not is_complete(d)]
    require_space(needed, data_dir)
    with stopping.keeping(fetch.KEPT):
        for d in needed:
            obtain(d)
    for d in downloads:
        leave_archive(d, remove_archives)


def task_names(tasks, manifest):
    """The sets that the tasks stand for, each once; aliases, capitals and commas are understood."""
    known = {plain(name): [name] for name in manifest['sets']}
    known |= {alias: [name] for alias, name in manifest['aliases'].items()}
    known['all'] = list(manifest['sets'])
    if not tasks:
        raise ValueError(f'name at least one task, or all: {menu(manifest)}, or {OUTPUTS}')
    names = []
    for task in tasks:
        if plain(task) not in known:
            near = difflib.get_close_matches(plain(task), known, n=1)
            hint = f', did you mean {known[near[0]][0]}?' if near else ''
            raise ValueError(f'unknown task {task!r}{hint} (there are: {menu(manifest)})')
        names += known[plain(task)]
    return list(dict.fromkeys(names))


def canonical(task):
    """output_dataset however it is written; another task as it is."""
    return OUTPUTS if plain(task) in (plain(OUTPUTS), 'gpt2outputdataset') else task


def plain(name):
    return re.sub('[^a-z0-9]', '', name.lower())


def menu(manifest):
    """The tasks and their download sizes, as far as they are known, in one line."""
    return ', '.join(
        f'{name} ({megabytes(sum(entry.get("size", 0) for entry in files.values()))})'
        for name, files in manifest['sets'].items()
    )


def download_outputs(tasks, data_dir, base_url, verify, sources, splits):
    """Download files of OpenAI's output dataset, or verify them; see `download_data`."""
    if len(tasks) > 1:
        raise ValueError(f'{OUTPUTS} is downloaded alone: leave out the tasks beside it')
    files = published_files(sources, splits)
    folder = os.path.join(expand(data_dir), OUTPUTS)
    first_use = FirstUse(folder)
    bases = base_addresses(base_url, [file.name for file in files])
    downloads = [output_download(file, folder, bases, first_use) for file in files]
    if verify:
        if not all([report(DataFile(d.file)) for d in downloads]):
            sys.exit(EXIT_WRONG_FILES)
        return
    needed = [d for d in downloads if not is_complete(d)]
    require_space(needed, folder)
    with stopping.keeping(fetch.KEPT):
        for d in downloads:
            evidence = 'contents'
            if d in needed:
                evidence = fetch_anywhere(d)
                print(f'downloaded {d.file.path}: {evidence}')
            first_use.record(d.file, evidence)
    for source, what in {file.source: file.what for file in files}.items():
        print(f'{source}: {what}')


def output_download(file, folder, bases, first_use):
    """The Download of a file of the output dataset.  file: PublishedFile."""
    urls = (*bases(file.collection, file.name), *file.addresses)
    remote = fetch.RemoteFile(
        url=urls[0],
        path=os.path.join(folder, file.name),
        size=file.size,
        predicted_size=file.predicted_size,
        sha256=file.sha256,
        check=check_records,
    )
    return Download(first_use.expected(remote), urls, ())


def megabytes(size):
    return f'{size / 1e6:,.1f} MB'


def base_addresses(base_url, files):
    """A function (task, file name) -> addresses to try first, those of --base_url.

    files: the names of all that is asked for.
    """
    if base_url is None:
        return lambda name, file: []
    base_url = expand(base_url)
    path = pathlib.Path(base_url).resolve()
    if os.path.isfile(path):  # unlike path.is_file(), it bears an address of any length
        if path.name not in files:
            raise ValueError(f'--base_url {base_url}: none of the files {", ".join(files)}')
        return lambda name, file: [path.as_uri()] if file == path.name else []
    base = fetch.base_address(base_url)
    return lambda name, file: [f'{base}/{name}/{file}', f'{base}/{file}']


def downloads_of(name, manifest, data_dir, bases):
    """What is to be fetched for a set, a list of Download."""
    folder = os.path.join(data_dir, name)
    downloads = []
    for file, entry in manifest['sets'][name].items():
        urls = (*bases(name, file), *entry['urls'])
        members = tuple(
            archives.Member(
                name=member,
                path=os.path.join(folder, known['file']),
                **{key: known[key] for key in KNOWN if key in known},
            )
            for member, known in entry.get('members', {}).items()
        )
        remote = fetch.RemoteFile(
            url=urls[0],
            path=os.path.join(folder, file),
            **{key: entry[key] for key in SUMS if key in entry},
        )
        downloads.append(Download(remote, urls, members))
    return downloads


def data_files(d):
    """The files that a task reads, a list of DataFile."""
    if not d.members:
        return [DataFile(d.file)]
    return [data_file(member) for member in d.members]


def data_file(member):
    """The DataFile of a member: the record of its unpacking tells what the manifest does not."""
    size, sha256 = member.size, member.sha256
    if not (sha256 or member.md5):
        written = recorded(os.path.dirname(member.path)).get(os.path.basename(member.path), {})
        size, sha256 = written.get('size'), written.get('sha256')
    file = fetch.RemoteFile(url='', path=member.path, size=size, sha256=sha256, md5=member.md5)
    return DataFile(file, member.limit)


def recorded(folder):
    """What was unpacked into a folder, {file: {size, sha256, ...}}; {} where nothing tells."""
    try:
        with open(os.path.join(folder, RECORD), encoding='utf-8') as f:
            record = json.load(f)
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def report(data_file):
    """Print whether a file is there and right; returns that too."""
    return fetch.report(data_file.file.path, lambda: evidence(data_file))


def evidence(data_file):
    """What speaks for a file, as fetch.verify has it; WrongFile, FileNotFoundError."""
    size = os.path.getsize(data_file.file.path)
    if data_file.limit and not 0 < size <= data_file.limit:
        raise fetch.WrongFile(f'{size:,} bytes, and it can have 1 to {data_file.limit:,}')
    return fetch.verify(data_file.file)


def is_complete(d):
    return all([os.path.exists(data.file.path) and report(data) for data in data_files(d)])


def require_space(downloads, folder):
    """Raise DownloadError unless there is room for what is fetched and for what is unpacked."""
    files = [d.file for d in downloads if not may_be_right(d.file)]
    for d in downloads:
        files += [
            fetch.RemoteFile(url='', path=member.path, size=member.limit) for member in d.members
        ]
    fetch.require_space(files, folder)


def may_be_right(file):
    """Whether a file is there that has its size, as far as that is known."""
    return os.path.exists(file.path) and file.size in (None, os.path.getsize(file.path))


def obtain(d):
    """Fetch a file, unless it is an archive that is there already, and unpack it if it is one."""
    if not (d.members and may_be_right(d.file) and report(DataFile(d.file))):
        print(f'downloaded {d.file.path}: {fetch_anywhere(d)}')
    if d.members:
        record = functools.partial(add_to_record, d.file)
        archives.unpack(d.file.path, d.members, record)


def fetch_anywhere(d):
    """Fetch a file from the first address that has it; raises DownloadError if none has."""
    reasons = []
    for url in d.urls:
        try:
            return fetch.fetch(dataclasses.replace(d.file, url=url))
        except fetch.DownloadError as error:
            if not str(error).startswith(url):  # it is about this machine, not about the address
                raise
            reasons.append(str(error))
            if url != d.urls[-1]:
                print(f'{error}; trying the next address', file=sys.stderr)
    name = os.path.basename(d.file.path)
    raise fetch.DownloadError(
        f'{"; ".join(reasons)} (a copy of {name} from elsewhere can be given with --base_url)'
    )


def add_to_record(archive, member, size, sha256):
    """Note in the folder of a member what is written there; called before it has its name."""
    folder, name = os.path.split(member.path)
    record = recorded(folder)
    record[name] = {
        'size': size,
        'sha256': sha256,
        'archive': os.path.basename(archive.path),
        **{
            f'archive_{name}': getattr(archive, name) for name in SUMS[1:] if getattr(archive, name)
        },
        'member': member.name,
    }
    path = os.path.join(folder, RECORD)
    with replacing(path) as f:
        json.dump(record, f, indent=2)
        f.write('\n')
    print(f'unpacked {member.path}: {size:,} bytes, sha256 {sha256}')


def leave_archive(d, remove):
    """Delete an archive that is unpacked, or say that it may be deleted."""
    if not d.members or not os.path.exists(d.file.path):
        return
    if remove:
        os.remove(d.file.path)
        print(f'removed {d.file.path}')
        return
    print(
        f'{d.file.path} ({megabytes(os.path.getsize(d.file.path))}) is not needed any more: '
        'it may be deleted, which --remove_archives does',
        file=sys.stderr,
    )


if __name__ == '__main__':
    command_line.run(download_data)
