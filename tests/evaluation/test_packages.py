from importlib import metadata

from evaluation.packages import version_of


def test_a_package_is_named_with_its_version():
    assert version_of('numpy') == f'numpy {metadata.version("numpy")}'


def test_one_that_is_not_there_is_named_all_the_same():
    assert version_of('no-such-package') == 'no-such-package (not installed)'
