"""Packages that only some tasks need: requirements-evaluation.txt lists them. No TensorFlow."""

from importlib import metadata


def version_of(package):
    """A package with its version, such as 'pysbd 0.3.4', as it stands in the results."""
    try:
        return f'{package} {metadata.version(package)}'
    except metadata.PackageNotFoundError:
        return f'{package} (not installed)'
