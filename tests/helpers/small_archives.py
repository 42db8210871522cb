"""Archives made in memory, and what lies in a folder."""

import io
import tarfile
import zipfile


def zipped(members):
    """A .zip of {name: bytes}."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(members, more=()):
    """A .tar.gz of {name: bytes}, behind members made by hand, as (TarInfo, bytes or None)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w:gz') as archive:
        for name, content in [*more, *members.items()]:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if content is not None:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content or b''))
    return buffer.getvalue()


def files_below(folder):
    """{path with slashes: bytes} of all files in a folder and its folders."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }
