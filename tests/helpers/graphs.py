"""What is in a graph, and what its runs allocate."""

import tensorflow.compat.v1 as tf


def check_cache_is_not_copied(graph, hparams, n_shards=1):
    """A step of the loop must not do what that of 2019 did: make a new tensor of a cache's rank."""
    body = [op for op in graph.get_operations() if op.name.startswith('while/')]
    run, waiting = set(), [op for op in body if op.type in ('NextIteration', 'InplaceUpdate')]
    while waiting:  # what nobody asks for is in the graph, too, but never run
        op = waiting.pop()
        if op not in run:
            run.add(op)
            waiting += [each.op for each in op.inputs] + list(op.control_inputs)
    body = [op for op in body if op in run]
    copies = ('ConcatV2', 'Pad', 'PadV2', 'TensorScatterUpdate', 'Tile')
    copied = [op for op in body if op.type in copies]
    assert [op.name for op in copied if op.outputs[0].shape.rank in (None, 4, 5, 6)] == []
    assert sum(op.type == 'InplaceUpdate' for op in body) == 2 * hparams.n_layer * n_shards


def largest_tensors(fetches, feed, session):
    """The sizes, in numbers, of the tensors that a run allocates, largest first."""
    metadata = tf.RunMetadata()
    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
    session.run(fetches, feed, options=options, run_metadata=metadata)
    return sorted(
        (
            output.tensor_description.allocation_description.requested_bytes // 4
            for device in metadata.step_stats.dev_stats
            for node in device.node_stats
            for output in node.output
        ),
        reverse=True,
    )
