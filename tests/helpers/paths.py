"""Where the tests find the project and their data."""

import pathlib

ROOT = pathlib.Path(__file__).parents[2]
SRC = ROOT / 'src'
TESTDATA = ROOT / 'tests' / 'testdata'
REFERENCE = TESTDATA / 'reference'
