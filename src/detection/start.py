"""Which model scores the texts that a script tells of. No TensorFlow."""

from detection.detector import read_description
from loading.model_files import find_model


def scoring_model(model_name, models_dir, detector):
    """The name of the model: as given, else the detector's, else 124M.

    detector: the folder of one, or None.
    Raises ValueError, with what would help, if it holds none, or if the model is not there.
    """
    own = None if detector is None else read_description(detector)['model']
    model_name = model_name or own or '124M'
    find_model(model_name, models_dir)
    return model_name
