import concurrent.futures
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import model  # noqa: F401  (the switch to graphs and sessions)
from cluster import collective
from helpers.paths import ROOT

tf = collective.tf

# Every worker runs this. Its results are lines of JSON.
START = """
import json, sys, time
from loading.startup import quiet
from support import command_line
with quiet():
    import numpy as np
    import model
    from cluster import collective
    tf = collective.tf

collective.PROBE_SECONDS = 0.2
task, data, workers = int(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
mine = {name: np.float32(values[task]) for name, values in data.items()}


def join(workers):
    with quiet():
        return collective.Group(workers, task, start_timeout=60, announce=lambda line: None)


def say(**values):
    print(json.dumps({name: np.asarray(value).tolist() for name, value in values.items()}))
    sys.stdout.flush()
"""

TWO_WORKERS = """
def work(group):
    collective.BUCKET_BYTES = 64
    w = tf.get_variable('w', initializer=mine['w'])
    step = tf.get_variable('step', initializer=np.int64(task + 5))
    loss = tf.reduce_mean(tf.square(tf.linalg.matvec(mine['x'], w) - mine['y']))
    rows = tf.IndexedSlices(mine['rows'], [2, 0], [3, 2])
    tensors = [mine['many'], tf.gradients(loss, w)[0], mine['few'], loss, rows]
    means = group.mean(tensors + [tf.constant(float(task))])
    names = ['many', 'gradient', 'few', 'loss', 'rows', 'stop']
    with tf.Session(group.session_target, config=group.config) as session:
        session.run(tf.global_variables_initializer())
        group.run(session, group.broadcast([w, step]))
        say(**dict(zip(names, group.run(session, means), strict=True)))
        say(w=session.run(w), step=session.run(step))
    group.check_same('the model', 'demo')
    try:
        group.check_same('--batch_size', str(4 + task))
    except ValueError as error:
        say(error=str(error))


def work_for_ever(group):
    mean = group.mean([tf.zeros([1000])])
    with tf.Session(group.session_target, config=group.config) as session:
        for i in range(10**9):
            group.run(session, mean)
            if i == 3:
                say(works=True)


def main():
    with tf.Graph().as_default(), join(workers[0]) as group:
        work(group)
    with tf.Graph().as_default(), join(workers[1]) as group:
        work_for_ever(group)


command_line.run(main, [])
"""

LEAVE = """
with tf.Graph().as_default(), join(workers) as group:
    time.sleep(float(mine['seconds']))
    say(done=time.time())
say(left=time.time())
"""


def free_addresses(n):
    """Addresses of this machine at which nobody listens."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(('127.0.0.1', 0))
        return [f'127.0.0.1:{each.getsockname()[1]}' for each in sockets]


@contextlib.contextmanager
def started(script, data, workers, n):
    """n processes that run `script`; each gets its entry of every list in `data`."""
    # A proxy that is not there: nothing between workers may go through it.
    environment = {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}
    environment |= {'PYTHONPATH': str(ROOT / 'src'), 'no_proxy': ''}
    environment |= {'http_proxy': 'http://127.0.0.1:9'}
    arguments = [json.dumps(data), json.dumps(workers)]
    processes = [
        subprocess.Popen(
            [sys.executable, '-c', START + script, str(task), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding='utf-8',
            env=environment,
        )
        for task in range(n)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def read(process, lines):
    """The next results of a worker in one dictionary."""
    results = {}
    for _ in range(lines):
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        results |= json.loads(line)
    return results


@pytest.fixture(scope='module')
def random():
    """Random float32 data, an entry a worker."""
    rng = np.random.default_rng(0)
    shapes = {'many': [300], 'few': [2, 3], 'rows': [2, 2], 'w': [5], 'x': [8, 5], 'y': [8]}
    return {name: np.float32(rng.normal(size=[2, *shape])) for name, shape in shapes.items()}


def run_pair(random, victim):
    """What two workers compute, and how one of them ends when the other is killed."""
    addresses = free_addresses(4)
    data = {name: values.tolist() for name, values in random.items()}
    with started(TWO_WORKERS, data, [addresses[:2], addresses[2:]], 2) as processes:
        results = [read(process, lines=4) for process in processes]
        survivor = processes[1 - victim]
        processes[victim].kill()
        start = time.monotonic()
        ends = (*survivor.communicate(timeout=60), survivor.returncode)
        assert time.monotonic() - start < 10
        assert ends == ('', f'error: worker {victim} ({addresses[2 + victim]}) has gone\n', 2)
    return results


@pytest.fixture(scope='module')
def results(random):
    return run_pair(random, victim=1)


@pytest.mark.slow
def test_worker_0_that_is_killed_ends_the_other_with_one_line(random):
    run_pair(random, victim=0)


def test_the_mean_is_exact_and_the_same_in_both_workers(results, random):
    for name in ('many', 'few'):
        mean = (random[name][0] + random[name][1]) / 2
        for result in results:
            np.testing.assert_array_equal(np.float32(result[name]), mean)


def test_rows_of_an_embedding_are_averaged_as_a_tensor(results, random):
    mean = np.zeros([3, 2], np.float32)
    mean[[2, 0]] = (random['rows'][0] + random['rows'][1]) / 2
    for result in results:
        np.testing.assert_array_equal(np.float32(result['rows']), mean)


def test_half_a_batch_in_each_worker_gives_the_gradient_of_the_whole_batch(results, random):
    x, y, w = np.concatenate(random['x']), np.concatenate(random['y']), random['w'][0]
    error = x @ w - y
    for result in results:
        np.testing.assert_allclose(result['loss'], np.mean(error**2), rtol=1e-6)
        np.testing.assert_allclose(result['gradient'], 2 * error @ x / len(y), rtol=1e-5)
    assert results[0]['gradient'] == results[1]['gradient']


def test_a_number_tells_all_workers_that_one_wants_to_stop(results):
    assert [result['stop'] for result in results] == [0.5, 0.5]


def test_all_workers_start_from_the_variables_of_worker_0(results, random):
    for result in results:
        np.testing.assert_array_equal(np.float32(result['w']), random['w'][0])
        assert result['step'] == 5


def test_different_settings_are_found_by_all(results):
    message = '--batch_size must be the same in all workers, and is not'
    assert [result['error'] for result in results] == [message] * 2


@pytest.mark.slow
def test_workers_leave_together_and_quietly():
    data = {'seconds': [2, 0]}  # as worker 0 may need to save a model
    with started(LEAVE, data, free_addresses(2), 2) as processes:
        results = [read(process, lines=2) for process in processes]
        ends = [(*process.communicate(timeout=60), process.returncode) for process in processes]
    assert ends == [('', '', 0)] * 2
    assert results[1]['done'] < results[0]['done'] < results[1]['left']


def in_threads(function, n):
    """[function(0), ..., function(n - 1)], all at the same time; an error stands for itself."""

    def run(task):
        try:
            return function(task)
        except ValueError as error:
            return str(error)

    with concurrent.futures.ThreadPoolExecutor(n) as pool:
        return list(pool.map(run, range(n)))


def test_three_workers_agree_to_the_bit_whoever_comes_first():
    values = np.float32(np.random.default_rng(0).normal(size=[3, 1000]))
    means = []
    for delays in ([0, 0.3, 0.6], [0.6, 0.3, 0]):
        workers = free_addresses(3)

        def work(task, delays=delays, workers=workers):
            time.sleep(delays[task])
            with collective.Group(workers, task) as group, tf.Graph().as_default():
                mean = group.mean([tf.constant(values[task])])
                with tf.Session(group.session_target, config=group.config) as session:
                    return group.run(session, mean)[0].tobytes()

        means += in_threads(work, 3)
    np.testing.assert_allclose(np.frombuffer(means[0], np.float32), values.mean(0), atol=1e-6)
    assert len(set(means)) == 1


def test_different_lists_of_workers_are_found():
    workers = free_addresses(3)
    tf.train.Server({'worker': workers[2:]}, 'worker', 0)
    messages = in_threads(lambda task: collective.Group(workers[: 2 + task], task, timeout=1), 2)
    assert 'the list of workers must be the same in all workers, and is not' in messages


def test_alone_everything_does_nothing():
    config = tf.ConfigProto(inter_op_parallelism_threads=1)
    with collective.Group(config=config) as group, tf.Graph().as_default():
        assert (group.rank, group.size, group.session_target) == (0, 1, '')
        assert group.config == config
        tensors = [tf.constant([1.0, 2.0]), tf.constant(3.0)]
        assert group.mean(tensors) == tensors
        variable = tf.get_variable('v', initializer=4.0)
        with tf.Session(group.session_target, config=group.config) as session:
            session.run(tf.global_variables_initializer())
            group.run(session, group.broadcast([variable]))
            assert group.run(session, variable * 2) == 8
        group.check_same('a setting', 'a')
        types = {operation.type for operation in tf.get_default_graph().get_operations()}
        assert not [name for name in types if name.startswith('Collective')]


@pytest.mark.parametrize(
    'workers, task, message',
    [
        (None, 1, 'task 1 is none of 0..0'),
        (['a:1', 'b:2'], 2, 'task 2 is none of 0..1'),
        (['a:1', 'b:2'], -1, 'task -1 is none of 0..1'),
        (['a:1', 'a:1'], 0, 'a worker is listed twice in a:1,a:1'),
        (['a:1', 'b'], 0, "'b' is not host:port"),
        (['a:1', 'b:70000'], 0, "'b:70000' is not host:port"),
        (['a:1', ':2'], 0, "':2' is not host:port"),
    ],
)
def test_impossible_arguments_are_refused(workers, task, message):
    with pytest.raises(ValueError, match=message):
        collective.Group(workers, task)


def test_something_that_only_sounds_like_a_worker_is_an_error(stranger):
    def greet():
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            while True:
                stack.enter_context(stranger.accept()[0]).sendall(b'\0\0\0\4\0\0\0\0\0')

    threading.Thread(target=greet, daemon=True).start()
    workers = [address(stranger), *free_addresses(1)]
    with pytest.raises(ValueError, match='the workers have not met in 1 s'):
        collective.Group(workers, 1, start_timeout=1)


@pytest.fixture
def stranger():
    """A program that is not a worker: it accepts connections, and no more."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        listener.listen(100)
        yield listener


def address(listener):
    return f'127.0.0.1:{listener.getsockname()[1]}'


def test_a_port_that_is_taken_is_an_error(stranger):
    workers = [address(stranger), *free_addresses(1)]
    with pytest.raises(ValueError, match=r'worker 0 cannot listen on port \d+'):
        collective.Group(workers, 0)


def outer_address():
    """The address that this machine has for others, or skip."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(('192.0.2.1', 9))  # sends nothing
        except OSError:
            pytest.skip('this machine is in no network')
        return probe.getsockname()[0]


def open_port(workers):
    """What the first worker says when its port is open, and who can then connect."""
    said, port = [], workers[0].rpartition(':')[2]
    with pytest.raises(ValueError, match='has not come'):
        collective.Group(workers, 0, start_timeout=0, announce=said.append)
    hosts = ('127.0.0.1', outer_address())
    return said, [collective.is_there(f'{host}:{port}') for host in hosts]


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='only Linux can do that')
@pytest.mark.parametrize('host', ['127.0.0.1', 'localhost', '[::1]'])
def test_workers_of_one_machine_listen_to_nobody_else(host):
    ports = [address.rpartition(':')[2] for address in free_addresses(2)]
    said, reached = open_port([f'{host}:{port}' for port in ports])
    if said[0].endswith('that you trust'):
        pytest.skip('this kernel lets only root do that')
    assert said == [f'worker 0 listens on port {ports[0]}, for this machine alone']
    assert reached == [True, False]


@pytest.mark.parametrize('allowed', [True, False])
def test_a_port_that_is_open_to_all_is_announced(monkeypatch, allowed):
    workers = free_addresses(2)
    if allowed:
        workers[1] = workers[1].replace('127.0.0.1', outer_address())
    else:
        monkeypatch.delattr(socket, 'SO_BINDTODEVICE', raising=False)
    said, reached = open_port(workers)
    assert reached == [True, True]
    assert len(said) == 1 and 'whoever connects can read and write files' in said[0]
    assert said[0].startswith(f'worker 0 listens on port {workers[0].rpartition(":")[2]} of every')


def test_a_worker_that_does_not_come_is_an_error(stranger, monkeypatch):
    connect = socket.create_connection
    monkeypatch.setattr(socket, 'create_connection', lambda at, timeout: connect(at, timeout=0.1))
    for absent in (address(stranger), *free_addresses(1)):
        workers = [absent, *free_addresses(1)]
        with pytest.raises(ValueError, match=rf'worker 0 \({absent}\) has not come in 0.3 s'):
            collective.Group(workers, 1, start_timeout=0.3)


@pytest.mark.parametrize('task', [0, 1])
def test_a_worker_that_does_something_else_is_an_error(monkeypatch, task):
    monkeypatch.setattr(collective, 'PROBE_SECONDS', 0.1)
    workers = free_addresses(2)
    tf.train.Server({'worker': workers}, 'worker', 1 - task)
    with pytest.raises(ValueError, match='a worker has not answered for 0.5 s'):
        collective.Group(workers, task, timeout=0.5)


def test_buckets_keep_the_order_and_the_limit():
    with tf.Graph().as_default():
        sizes = [0, 3, 3, 3, 12, 1, 0, 4]
        tensors = [tf.zeros([size]) for size in sizes]
        found = collective.buckets(tensors, limit=4 * 6)
        assert [[t.shape[0].value for t in b] for b in found] == [[0, 3, 3], [3], [12], [1, 0, 4]]
        assert [t.name for b in found for t in b] == [t.name for t in tensors]
        assert collective.buckets([], 1) == []
