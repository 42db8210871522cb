"""Data-parallel training: one process a GPU or host, each with its share of every batch.

Several GPUs of one host are several processes, each started with a CUDA_VISIBLE_DEVICES of its own.
The processes average their gradients by the collective operations of TensorFlow's runtime: NCCL
between GPUs, a ring over gRPC between CPUs (Patarasuk & Yuan 2009). All of them must build the same
collectives in the same order, and run them equally often:

    with Group(workers, task, config) as group:
        gradients = group.mean(tf.gradients(loss, variables))
        ...
        with tf.Session(group.session_target, config=group.config) as session:
            session.run(tf.global_variables_initializer())
            group.run(session, group.broadcast(variables))
            group.run(session, train)

TensorFlow's servers listen on every network interface, and obey whoever connects: reading files,
for example. That is for networks that can be trusted only. If all workers are on this machine, and
it runs Linux, nobody else can connect.
"""

import contextlib
import hashlib
import ipaddress
import itertools
import os
import socket
import stat
import sys
import threading
import time

import numpy as np
import tensorflow.compat.v1 as tf

# Many small collectives cost their overhead (2 ms each between CPUs), a single one could not begin
# before the last gradient is known.
BUCKET_BYTES = 25 * 2**20
PROBE_SECONDS = 1  # pass between two looks at whether the other workers are there
PROBES = 3  # a worker has gone when so many in a row have failed
SETTINGS_FRAME = b'\4'  # the type of frame that a gRPC server sends first

# Group keys: what runs under one key must be of one kind and on one kind of device.
MEETING, GRADIENTS, VARIABLES = 1, 2, 3


class Group:
    """The workers that train one model together; use it in a `with` block, around all sessions.

    workers: list of 'host:port', one a worker, the same in all of them. None is a process alone,
        for which everything here does nothing.
    task: this process's place in that list.
    config: tf.ConfigProto for this process's sessions; the attribute `config` is a copy with what
        collectives need. It decides about this process's devices: open no session before.
    start_timeout: seconds to wait until all workers are there.
    timeout: seconds that `run` may take; None sets no limit, since waiting for the others counts
        and one of them may be validating for days. A worker that has gone is noticed in any case,
        one that hangs is waited for.
    communication: 'nccl' (between GPUs; CPUs use the ring in any case) or 'ring'.
    announce: called with a line of text when the port is open, and says who can connect.
    Raises ValueError if the arguments do not fit together, differ between workers, the port is
    taken, or a worker does not come.
    """

    def __init__(
        self,
        workers=None,
        task=0,
        config=None,
        *,
        start_timeout=300,
        timeout=None,
        communication='nccl',
        announce=lambda line: print(line, file=sys.stderr),
    ):
        self.workers = list(workers or [])
        self.rank, self.size = task, max(1, len(self.workers))
        self._check_arguments()
        self.config = tf.ConfigProto()
        if config is not None:
            self.config.CopyFrom(config)
        self.session_target = ''
        if self.size == 1:
            return
        self.timeout, self.communication = timeout, communication
        self._others = [rank for rank in range(self.size) if rank != self.rank]
        self._instances = itertools.count(1)
        self._running = None  # (session, time) of the run that waits for the others
        self._lost = None  # why there can be no other
        self._left = threading.Event()
        self._start_server(announce)
        self._wait_for_others(start_timeout)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        self._prepare_meeting()
        self._meet(start_timeout)

    def _check_arguments(self):
        for worker in self.workers:
            split_address(worker)
        if len(set(self.workers)) < len(self.workers):
            raise ValueError(f'a worker is listed twice in {",".join(self.workers)}')
        if not 0 <= self.rank < self.size:
            raise ValueError(f'task {self.rank} is none of 0..{self.size - 1}')

    def _start_server(self, announce):
        prefix = '/job:worker/replica:0/task:'
        self.config.experimental.collective_group_leader = f'{prefix}0'
        # Without a filter this process's sessions would spread over all workers.
        self.config.device_filters.append(f'{prefix}{self.rank}')
        # gRPC would call even this host through the proxy that http_proxy names.
        hosts = [split_address(worker)[0] for worker in self.workers]
        os.environ['no_grpc_proxy'] = ','.join(hosts)
        cluster = {'worker': self.workers}
        port = split_address(self.workers[self.rank])[1]
        try:
            server = tf.train.Server(cluster, 'worker', self.rank, config=self.config, start=False)
        except tf.errors.OpError as error:
            raise ValueError(f'worker {self.rank} cannot listen on port {port}') from error
        if all(map(is_loopback, hosts)) and keep_to_loopback(port):
            announce(f'worker {self.rank} listens on port {port}, for this machine alone')
        else:
            announce(
                f'worker {self.rank} listens on port {port} of every network interface: whoever '
                'connects can read and write files here, so the network must be one that you trust'
            )
        server.start()
        self.session_target = server.target

    def _wait_for_others(self, seconds):
        deadline = time.monotonic() + seconds
        for rank in self._others:
            while not is_there(self.workers[rank]):
                if time.monotonic() > deadline:
                    raise ValueError(f'{self._name(rank)} has not come in {seconds} s')
                time.sleep(0.2)

    def _prepare_meeting(self):
        """A session of the group's own, whose one operation averages 32 numbers."""
        device = f'/job:worker/replica:0/task:{self.rank}/device:'
        self._cpu = self._accelerator = f'{device}CPU:0'
        with tf.Graph().as_default(), tf.device(self._cpu):
            self._mine = tf.placeholder(tf.float32, [32])
            self._all = self._all_reduce(self._mine, MEETING)
            self._meeting = tf.Session(self.session_target, config=self.config)
        if any(found.device_type == 'GPU' for found in self._meeting.list_devices()):
            self._accelerator = f'{device}GPU:0'

    def _meet(self, seconds):
        """Compare notes for the first time; raise ValueError if that fails or takes too long."""
        errors = []

        def meet():
            try:
                self.check_same('the list of workers', ','.join(self.workers))
            except Exception as error:
                errors.append(error)

        # In a thread, because a run cannot be cancelled while it still looks for worker 0.
        thread = threading.Thread(target=meet, daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            errors.append(ValueError(f'the workers have not met in {seconds} s'))
        if errors:
            self._leave()
            raise errors[0]

    def _watch(self):
        """Cancel the run that waits for a worker that has gone, or waits for too long.

        TensorFlow would wait for ever. It offers a timeout, but that costs two threads for each
        collective, until it has passed.
        """
        failed = dict.fromkeys(self._others, 0)
        while not self._left.wait(PROBE_SECONDS):
            for rank in self._others:
                failed[rank] = 0 if is_there(self.workers[rank]) else failed[rank] + 1
                if failed[rank] >= PROBES:
                    self._lost = self._lost or f'{self._name(rank)} has gone'
            running = self._running
            if running:
                session, start = running
                if self.timeout is not None and time.monotonic() - start > self.timeout:
                    self._lost = self._lost or f'a worker has not answered for {self.timeout} s'
                if self._lost:
                    session.close()

    def _name(self, rank):
        return f'worker {rank} ({self.workers[rank]})'

    def mean(self, tensors):
        """The means of tensors over all workers, with the same bits in all of them.

        tensors: float32, of known shapes, such as gradients in the order of their variables. A few
            scalars more cost nothing: with the loss among them all workers see whether one of them
            is not finite, and with a number that is 0 unless a worker wants to stop, that one does.
        Returns a list. The mean of gradients is the gradient of the whole batch if all workers have
        equal shares of it.
        """
        if self.size == 1:
            return list(tensors)
        means, previous = [], []
        # Backpropagation computes the gradients of the last variables first.
        tensors = [tf.convert_to_tensor(tensor) for tensor in reversed(tensors)]
        with tf.device(self._accelerator):
            for bucket in buckets(tensors, BUCKET_BYTES):
                flat = tf.concat([tf.reshape(tensor, [-1]) for tensor in bucket], axis=0)
                with tf.control_dependencies(previous):  # NCCL needs one order in all workers
                    mean = self._all_reduce(flat, GRADIENTS)
                previous = [mean]
                parts = tf.split(mean, [tensor.shape.num_elements() for tensor in bucket])
                means += [tf.reshape(p, t.shape) for p, t in zip(parts, bucket, strict=True)]
        return means[::-1]

    def _all_reduce(self, x, group_key):
        return tf.raw_ops.CollectiveReduceV2(
            input=x,
            merge_op='Add',
            final_op='Div',
            ordering_token=[],
            communication_hint=self.communication,
            **self._keys(group_key),
        )

    def _keys(self, group_key):
        """What the workers' operations find each other by."""
        instance = next(self._instances)
        return {'group_size': self.size, 'group_key': group_key, 'instance_key': instance}

    def broadcast(self, variables):
        """The operation that gives all workers the values that worker 0 has in `variables`."""
        assignments = []
        for variable in variables if self.size > 1 else []:
            keys = self._keys(VARIABLES)
            value = tf.convert_to_tensor(variable)  # on the variable's own device
            # One at a time, through the hosts: this is for the start, not for speed.
            with tf.device(self._cpu), tf.control_dependencies(assignments[-1:]):
                if self.rank == 0:
                    value = tf.raw_ops.CollectiveBcastSendV2(input=value, **keys)
                else:
                    value = tf.raw_ops.CollectiveBcastRecvV2(
                        T=value.dtype, shape=value.shape, **keys
                    )
            assignments.append(variable.assign(value, read_value=False))
        return tf.group(assignments)

    def run(self, session, fetches, feed_dict=None):
        """session.run of what contains collectives: it ends when another worker does.

        Raises ValueError, in a few seconds, if a worker has gone; this is the group's end.
        """
        if self.size == 1:
            return session.run(fetches, feed_dict)
        if self._lost:
            raise ValueError(self._lost)
        self._running = session, time.monotonic()
        try:
            return session.run(fetches, feed_dict)
        except (tf.errors.OpError, RuntimeError) as error:  # the latter if closed before it began
            self._lost = self._lost or self._explain(error)
            if self._lost:
                raise ValueError(self._lost) from error
            raise
        finally:
            self._running = None

    def _explain(self, error):
        """What the other workers have to do with an error: a message, or None."""
        if isinstance(error, tf.errors.ResourceExhaustedError):
            return None  # they may have the same trouble, which explains nothing
        for rank in self._others:
            if not is_there(self.workers[rank]):
                return f'{self._name(rank)} has gone'
        broken = isinstance(error, tf.errors.UnavailableError)
        return 'the connection to another worker has broken' if broken else None

    def check_same(self, what, text):
        """Wait for all workers, and raise ValueError unless `text` is the same in all of them.

        what: how the message calls it. With more than two workers only some may see the difference;
        the others find that these have gone.
        """
        if self.size == 1:
            return
        digest = np.frombuffer(hashlib.sha256(text.encode('utf-8')).digest(), np.uint8)
        message = f'{what} must be the same in all workers, and is not'
        try:
            mean = self.run(self._meeting, self._all, {self._mine: digest})
        except tf.errors.InternalError as error:  # some expect more workers than others
            raise ValueError(message) from error
        if not np.array_equal(mean, digest):
            raise ValueError(message)

    def close(self):
        """Wait for the other workers, then leave them."""
        if self.size > 1 and not self._left.is_set():
            # Who leaves at once may take along the last bytes that another is waiting for.
            with contextlib.suppress(ValueError, tf.errors.OpError):
                self.check_same('the end', '')
            self._leave()
            self._meeting.close()

    def _leave(self):
        """Stop watching; the others are to see that this worker goes."""
        self._left.set()
        # Python must not end while that thread is in TensorFlow, closing a session.
        self._watcher.join(timeout=10)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.close()
        elif self.size > 1:
            self._leave()


def split_address(address):
    """'host:port' -> host, port. Raises ValueError if it is not of that form."""
    host, _, port = address.rpartition(':')
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(f'{address!r} is not host:port')
    return host.strip('[]'), int(port)


def is_loopback(host):
    """Whether a host is this machine by definition."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == 'localhost'


def keep_to_loopback(port):
    """Let only this machine connect to a port that this process listens on; whether that is so.

    TensorFlow has no setting for it, but Linux lets a socket be bound to an interface afterwards.
    """
    if not hasattr(socket, 'SO_BINDTODEVICE'):
        return False
    try:
        with contextlib.ExitStack() as stack:
            listening = [stack.enter_context(found) for found in listening_sockets(port)]
            for found in listening:
                found.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'lo')
            return bool(listening)
    except OSError:  # before Linux 5.7 only root may
        return False


def listening_sockets(port):
    """Yield this process's sockets that listen on a TCP port, as duplicates for the caller."""
    for name in os.listdir('/proc/self/fd'):
        try:
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            found = socket.socket(fileno=os.dup(int(name)))
        except OSError:  # it was closed meanwhile, as that of the folder's listing is
            continue
        internet = found.family in (socket.AF_INET, socket.AF_INET6)
        if (
            internet
            and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            and found.getsockname()[1] == port
        ):
            yield found
        else:
            found.close()


def is_there(address):
    """Whether a gRPC server answers at 'host:port': it speaks first (RFC 9113, section 3.4)."""
    try:
        with socket.create_connection(split_address(address), timeout=5) as connection:
            return connection.recv(4)[3:] == SETTINGS_FRAME
    except OSError:
        return False


def buckets(tensors, limit):
    """Split a list of float32 tensors of known shapes into lists of at most `limit` bytes.

    A tensor that is larger has a list of its own.
    """
    lists, free = [], 0
    for tensor in tensors:
        size = 4 * tensor.shape.num_elements()
        if size > free or not lists:
            lists.append([])
            free = limit
        lists[-1].append(tensor)
        free -= size
    return lists
