"""A disk of a few MB that tests can fill."""

import os
import pathlib
import subprocess
import sys

BALLAST = 'ballast'
MOUNT = 'mount -t tmpfs -o size="$1"m none "$0" && echo mounted && exec cat'


class SmallDisk:
    """A disk in memory, mounted where only the programs see it that are started by `run`.

    folder: where it is for these programs.  seen: where it is for the tests themselves.
    Raises OSError where this system lets nobody mount one.
    """

    def __init__(self, folder, megabytes):
        self.folder = folder
        # A namespace of users and mounts, for which no rights are needed; it ends with its process.
        namespace = ['unshare', '--map-root-user', '--mount', 'sh', '-c', MOUNT]
        self.holder = subprocess.Popen(
            [*namespace, str(folder), str(megabytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding='utf-8',
        )
        if self.holder.stdout.readline() != 'mounted\n':
            raise OSError(self.holder.communicate()[1].strip())
        self.seen = pathlib.Path(f'/proc/{self.holder.pid}/root{folder}')

    def close(self):
        self.holder.communicate()

    def run(self, script, *flags, **options):
        """Run a script that writes to the disk: CompletedProcess."""
        enter = ['nsenter', '--target', str(self.holder.pid), '--user', '--mount']
        python = ['--preserve-credentials', '--', sys.executable, str(script)]
        environment = {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}
        streams = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return subprocess.run(
            [*enter, *python, *map(str, flags)],
            env=environment,
            encoding='utf-8',
            timeout=120,
            **(streams | options),
        )

    def files(self, folder='.'):
        """{name: content} of a folder and the folders in it."""
        below = self.seen / folder
        found = (path for path in sorted(below.rglob('*')) if path.is_file())
        return {str(path.relative_to(below)): path.read_bytes() for path in found}

    def fill(self, leaving):
        """Leave so many bytes free."""
        free = os.statvfs(self.seen).f_bavail * os.statvfs(self.seen).f_frsize
        (self.seen / BALLAST).write_bytes(bytes(free - leaving))

    def make_room(self):
        (self.seen / BALLAST).unlink()
