"""Restoring checkpoints strictly: every variable by its name, nothing missing, nothing extra."""

import contextlib
import glob
import os
import re
import tempfile

import numpy as np
import tensorflow.compat.v1 as tf

from loading.training_variables import is_of_training
from support.files import replacing, sync, sync_folder

MOST_SHARING = 1000  # layers that an edited model may give the weights of one
BUNDLE = 'model.ckpt'  # Files of a released checkpoint begin with this.
# What TensorFlow does not take as it stands in a path: pattern characters, and what is not UTF-8.
UNFIT = re.compile(r'[\[\ud800-\udfff]' if os.name == 'nt' else r'[\[\\\ud800-\udfff]')


def restore(session, path, variables, remedy='download the model again', stored=None):
    """Set variables from a checkpoint after comparing its names, shapes and types with theirs.

    variables: list of tf.Variable; their names without the output number are the checkpoint's.
    stored: weights that are float32 in the checkpoint only, a dict `loaded` with names and shapes
        and a method `load(session, path, reader)`, as fast.Stored.
    remedy: what a user can do about a damaged file, for the message.
    Raises ValueError naming the first tensors that are missing, extra or misshapen, or saying that
    the files are truncated or damaged (TensorFlow checks each tensor's checksum as it reads).
    """
    with complaints(path, remedy), as_it_stands(path) as name:
        reader = tf.train.load_checkpoint(name)
        compare(path, reader, variables, stored.loaded.values() if stored else ())
        if variables:
            tf.train.Saver(variables).restore(session, name)
        if stored:
            stored.load(session, name, reader)


def check_sizes(path, hparams, remedy='download the model again'):
    """Raise ValueError if hparams ask for far more than a checkpoint has: layers, or larger ones.

    This reads the checkpoint's index alone. It comes before the graph is built, which of wrong
    sizes could take minutes and all memory; `restore` then compares each shape with the graph's.
    A model that was edited may have other shapes, or share the weights of one layer.
    """
    with complaints(path, remedy), as_it_stands(path) as name:
        shapes = tf.train.load_checkpoint(name).get_variable_to_shape_map()
        largest = max((n for shape in shapes.values() for n in shape), default=0)
        for size, owner in {'n_vocab': 'wte', 'n_embd': 'wte', 'n_ctx': 'wpe'}.items():
            asked = getattr(hparams, size)
            if f'model/{owner}' in shapes and asked > largest:
                raise ValueError(f'{path} holds nothing as large as {size} {asked} of the model')
        layers = {found[1] for found in map(re.compile(r'model/h(\d+)/').match, shapes) if found}
        share = len(layers) == 1 and hparams.n_layer <= MOST_SHARING
        if len(layers) not in (0, hparams.n_layer) and not share:
            raise ValueError(
                f'{path} has {len(layers)} layers where the hyperparameters ask for '
                f'{hparams.n_layer}'
            )


def check_finite(path, remedy='download the model again'):
    """Raise ValueError, naming the tensor, if a checkpoint's weights hold NaN or infinity.

    This reads all of them. (Of optimizers' slots nobody asks.)
    """
    with complaints(path, remedy), as_it_stands(path) as name:
        reader = tf.train.load_checkpoint(name)
        dtypes = reader.get_variable_to_dtype_map()
        for tensor in sorted(dtypes):
            checked = dtypes[tensor].is_floating and not is_of_training(tensor, dtypes)
            if checked and not np.isfinite(reader.get_tensor(tensor)).all():
                raise ValueError(f'{path} holds NaN or infinity in {tensor}')


@contextlib.contextmanager
def complaints(path, remedy):
    """Say in one ValueError what is wrong with the checkpoint at `path`, and what would help."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise ValueError(f'not enough memory for the weights in {path}') from error
    except ValueError as error:
        raise ValueError(f'{error}; {remedy}') from error
    except IndexError as error:  # the reader's word for a file that ends too soon
        raise ValueError(f'cannot read {path}, it is truncated ({error}); {remedy}') from error
    except tf.errors.OpError as error:
        raise ValueError(
            f'cannot read {path}, {damage(error)} ({reason(error)}); {remedy}'
        ) from error


@contextlib.contextmanager
def as_it_stands(path):
    """A path to the same files that TensorFlow takes as it stands, for the time of a block.

    TensorFlow takes paths for patterns, in which `[` and a backslash do not stand for themselves,
    and encodes them as UTF-8. A folder whose name does not fit is reached by a link.
    Raises ValueError where the name of the files in their folder does not fit.
    """
    folder, name = os.path.split(path)
    if characters := UNFIT.findall(name):
        raise ValueError(
            f'TensorFlow cannot read {path}, because of the {characters[0]!r} in {name!r}: give its'
            ' files another name, and write that into the file `checkpoint`'
        )
    if not UNFIT.search(folder):
        yield path
        return
    with tempfile.TemporaryDirectory() as place:
        link = os.path.join(place, 'model')
        os.symlink(os.path.abspath(folder), link, target_is_directory=True)
        yield os.path.join(link, name)


def save(session, folder, variables):
    """Write variables as the checkpoint of a model folder, model.ckpt.* and the `checkpoint` file.

    variables: list of tf.Variable, stored under their names.
    """
    write(saver(variables), session, os.path.join(folder, BUNDLE))
    name_weights(folder, BUNDLE)


def saver(variables):
    """What `write` needs, to be made before the graph is finalized."""
    return tf.train.Saver(variables, max_to_keep=None)


def write(saver, session, path):
    """Write a saver's variables as path.index and path.data-00000-of-00001.

    Raises OSError when the disk does not take it; then nothing is left under these names.
    """
    try:
        with as_it_stands(path) as name:
            saver.save(session, name, write_meta_graph=False, write_state=False)
        for name in files_of(path):
            with open(name, 'rb+') as file:
                sync(file)
        sync_folder(os.path.dirname(path))
    except tf.errors.OpError as error:
        remove(path)
        raise OSError(f'cannot write {path}: {reason(error)}') from error
    except BaseException:
        remove(path)
        raise


def remove(path):
    """Remove a checkpoint, and what is left of one that was being written."""
    for name in files_of(path):
        # The cache of int8 weights may be deleted at any time.
        with contextlib.suppress(FileNotFoundError):
            os.remove(name)


def files_of(path):
    return glob.glob(glob.escape(path) + '.*')


def name_weights(folder, name):
    """Make a checkpoint the one in use of its folder, by its `checkpoint` file, at once."""
    with replacing(os.path.join(folder, 'checkpoint')) as file:
        file.write(f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n')


def reason(error):
    """What TensorFlow says of an error, without the place in the graph that may precede it."""
    # It reports a full disk as a lack of memory, with hints for that.
    lines = [
        line
        for line in error.message.splitlines()
        if line and '[[' not in line and not line.startswith('Hint: ')
    ]
    return lines[-1].split('; ')[-1]  # a file's name may come first


def damage(error):
    truncated = isinstance(error, tf.errors.OutOfRangeError)
    return 'it is truncated' if truncated else 'it is damaged or not a checkpoint'


def compare(path, reader, variables, matrices=()):
    """Raise ValueError unless the checkpoint holds exactly these variables and matrices.

    What optimizers of 2019 have saved beside them does not count.
    """
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    wanted = {v.op.name: (v.shape.as_list(), v.dtype.base_dtype) for v in variables}
    wanted |= {matrix.name: (matrix.shape.as_list(), tf.float32) for matrix in matrices}
    missing = sorted(set(wanted) - set(shapes))
    extra = sorted(name for name in set(shapes) - set(wanted) if not is_of_training(name, wanted))
    if missing:
        raise ValueError(f'{path} lacks {some(missing)} of {len(wanted)} tensors')
    if extra:
        raise ValueError(f'{path} holds {some(extra)} tensors that the model does not have')
    for name, (shape, dtype) in sorted(wanted.items()):
        if shapes[name] != shape:
            raise ValueError(
                f'{path} holds {name} with shape {shapes[name]} where the hyperparameters ask for '
                f'{shape}'
            )
        if dtypes[name] != dtype:
            raise ValueError(f'{path} holds {name} as {dtypes[name].name}, not {dtype.name}')


def some(names, limit=3):
    """A few of many names, with their number: 5 (a, b, c, ...)."""
    return f'{len(names)} ({", ".join(names[:limit])}{", ..." if len(names) > limit else ""})'
