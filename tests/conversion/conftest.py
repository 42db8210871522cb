"""A small model as conversion.model.Model, and a model with any config.json."""

import json

import pytest

from conversion.hugging_face import write_hugging_face
from conversion.kinds import read_model
from helpers.paths import ROOT


@pytest.fixture(scope='session')
def demo():
    """The demo model."""
    return read_model(str(ROOT / 'models' / 'demo'))[1]


@pytest.fixture(scope='session')
def exported(demo, tmp_path_factory):
    """A folder of Hugging Face with the demo model."""
    folder = tmp_path_factory.mktemp('exported')
    write_hugging_face(demo, str(folder))
    return folder


@pytest.fixture
def variant(exported, tmp_path):
    """Make a copy of the folder with another config.json: (**fields) -> path, str."""

    def make(**fields):
        folder = tmp_path / 'variant'
        folder.mkdir()
        for path in exported.iterdir():
            (folder / path.name).symlink_to(path)
        (folder / 'config.json').unlink()
        config = json.loads((exported / 'config.json').read_text('utf-8')) | fields
        config = {name: value for name, value in config.items() if value != 'missing'}
        (folder / 'config.json').write_text(json.dumps(config), 'utf-8')
        return str(folder)

    return make
