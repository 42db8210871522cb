"""Setting weights from a float32 checkpoint, and those of other dtypes from the file beside it."""

import contextlib
import os

import numpy as np
import tensorflow.compat.v1 as tf

from fast import int8_file
from fast.weights import Store, StoredWeight, shared

WORTH_CACHING = 2**26  # weights of a model: fewer are quantized about as fast as they are read
READ_AT_ONCE = 2  # weights that are packed as they are read: a whole one takes memory beside that
LOADED_AT_ONCE = 2**25  # bytes that one run of the session sets: each run takes 20 ms to prepare


def load(session, path, reader, weights):
    """Set weights from the checkpoint at `path`, whose reader gives them by name.

    weights: list of Store, StoredWeight, or what sharded_weights.sharded makes.
    """
    matrices = [weight for weight in weights if isinstance(weight, StoredWeight)]
    read(session, path, [weight for weight in weights if weight not in matrices])
    convert(session, path, reader, matrices)


def read(session, path, weights):
    """Set float32 weights, which TensorFlow reads by itself."""
    plain = [weight for weight in weights if isinstance(weight, Store)]
    packed = [weight for weight in weights if weight not in plain]
    # The largest first, while nothing else takes memory.
    packed.sort(key=lambda weight: -weight.shape.num_elements())
    done = []
    with session.graph.as_default():
        for together in filter(None, [*([weight] for weight in packed), plain]):
            names = [weight.name for weight in together]
            with (
                tf.device('CPU:0'),
                tf.control_dependencies(done[-READ_AT_ONCE : 1 - READ_AT_ONCE]),
            ):
                values = tf.raw_ops.RestoreV2(
                    prefix=shared(path, tf.string),
                    tensor_names=names,
                    shape_and_slices=shared([''] * len(names), tf.string),
                    dtypes=[tf.float32] * len(names),
                )
            done += [weight.assign(value) for weight, value in zip(together, values, strict=True)]
        session.run(done)


def convert(session, path, reader, matrices):
    """Set weights of other dtypes than the checkpoint's: list of StoredWeight.

    What takes long to make comes from a file beside the checkpoint, if there is one already.
    """
    size = sum(matrix.shape.num_elements() for matrix in matrices if matrix.worth_caching)
    if size < WORTH_CACHING:
        return assign(session, made(reader, matrices))
    cache = int8_file.Cache(path, max(matrix.layout for matrix in matrices))
    with contextlib.suppress(*int8_file.UNREADABLE):
        return map_cached(session, cache, matrices)
    writer = int8_file.Writer(cache)
    try:
        for matrix in matrices:
            if writer.archive:  # there is none where it cannot be written
                writer.add(matrix.name, matrix.arrays(reader.get_tensor(matrix.name)))
    except BaseException:
        writer.abandon()
        raise
    writer.finish()
    try:
        map_cached(session, cache, matrices)
    except int8_file.UNREADABLE:  # it could not be written, or not be mapped
        assign(session, made(reader, matrices))


def made(reader, matrices):
    """Yield matrices with their arrays."""
    for matrix in matrices:
        yield matrix, matrix.arrays(reader.get_tensor(matrix.name))


def map_cached(session, cache, matrices):
    """Set matrices to what is in the file beside a checkpoint, where TensorFlow then reads values.

    oneDNN reads them once, to pack them. So they need not stay in memory, and if there is little
    of it the system takes theirs back. Ranges are few and read for each request: these are copied.
    """
    with cache.reading() as places:
        pairs = [
            pair
            for matrix in matrices
            for pair in zip(matrix.variables, places(matrix.name), strict=True)
        ]
        ranges = [pair for pair in pairs if pair[1].dtype != np.int8]
        initialize(session, [(each, cache.array(place)) for each, place in ranges])
        values = [pair for pair in pairs if pair[1].dtype == np.int8]
        try:
            map_values(session, cache.file, values)
        except tf.errors.OpError as error:  # deleted meanwhile, or where files cannot be mapped
            raise OSError(error.message) from error


def map_values(session, name, pairs):
    """Set variables to parts of a file: pairs of a variable and a int8_file.Place."""
    with session.graph.as_default(), tf.device('CPU:0'):
        content = tf.raw_ops.ImmutableConst(
            dtype=tf.int8, shape=[os.path.getsize(name)], memory_region_name=name
        )

        def part(place):  # which shares the memory of the whole
            items = tf.slice(content, [place.offset], [int(np.prod(place.shape))])
            return tf.reshape(items, place.shape)

        session.run([variable.assign(part(place)).op for variable, place in pairs])


def assign(session, pairs):
    """Set the variables of weights: pairs of a StoredWeight and its arrays, read as needed."""
    waiting, size = [], 0
    for matrix, arrays in pairs:
        waiting += zip(matrix.variables, arrays, strict=True)
        size += sum(values.nbytes for values in arrays)
        if size > LOADED_AT_ONCE:
            initialize(session, waiting)
            waiting, size = [], 0
    initialize(session, waiting)


def initialize(session, pairs):
    """Set variables: list of (variable, NumPy array)."""
    feed = {variable.initializer.inputs[1]: values for variable, values in pairs}
    session.run([variable.initializer for variable, _ in pairs], feed)
