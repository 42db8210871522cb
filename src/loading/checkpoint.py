"""Restoring checkpoints strictly: every variable by its name, nothing missing, nothing extra."""

import contextlib
import glob
import os

import tensorflow.compat.v1 as tf

from support.files import replacing

BUNDLE = 'model.ckpt'  # Files of a released checkpoint begin with this.


def restore(session, path, variables, remedy='download the model again', stored=None):
    """Set variables from a checkpoint after comparing its names, shapes and types with theirs.

    variables: list of tf.Variable; their names without the output number are the checkpoint's.
    stored: weights that are float32 in the checkpoint only, a dict `loaded` with names and shapes
        and a method `load(session, path, reader)`, as fast.Stored.
    remedy: what a user can do about a damaged file, for the message.
    Raises ValueError naming the first tensors that are missing, extra or misshapen, or saying that
    the files are truncated or damaged (TensorFlow checks each tensor's checksum as it reads).
    """
    try:
        reader = tf.train.load_checkpoint(path)
        compare(path, reader, variables, stored.loaded.values() if stored else ())
        if variables:
            tf.train.Saver(variables).restore(session, path)
        if stored:
            stored.load(session, path, reader)
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
        saver.save(session, path, write_meta_graph=False, write_state=False)
        for name in files_of(path):
            sync(name)
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


def sync(path):
    """Have a file on the disk before its name is used: a power failure may come."""
    with open(path, 'rb+') as file:
        os.fsync(file.fileno())


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
    """Raise ValueError unless the checkpoint holds exactly these variables and matrices."""
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    wanted = {v.op.name: (v.shape.as_list(), v.dtype.base_dtype) for v in variables}
    wanted |= {matrix.name: (matrix.shape.as_list(), tf.float32) for matrix in matrices}
    missing = sorted(set(wanted) - set(shapes))
    extra = sorted(set(shapes) - set(wanted))
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
