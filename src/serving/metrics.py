"""What the server counts, for GET /metrics in the format of Prometheus. No TensorFlow."""

import time

import prometheus_client as prometheus

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
OTHER = 'other'  # the path of what is not there: names of clients' own would fill the memory


class Metrics:
    """The counters of one server, in a registry of its own.

    service: tells how much runs and waits.
    """

    def __init__(self, service):
        self.registry = registry = prometheus.CollectorRegistry()

        def counter(name, text, labels=()):
            return prometheus.Counter(f'gpt2_{name}', text, labels, registry=registry)

        def histogram(name, text, labels=()):
            name = f'gpt2_{name}_seconds'
            return prometheus.Histogram(name, text, labels, registry=registry, buckets=SECONDS)

        def gauge(name, text, value):
            prometheus.Gauge(f'gpt2_{name}', text, registry=registry).set_function(value)

        self.requests = counter('requests', 'Answers', ['path', 'status'])
        self.choices = counter('choices', 'Texts by how they ended', ['finish_reason'])
        self.prompt_tokens = counter('prompt_tokens', 'Tokens of prompts')
        self.generated_tokens = counter('generated_tokens', 'Tokens that were sampled')
        self.clients_left = counter('clients_left', 'Requests whose clients left before the end')
        self.first_token = histogram('first_token', 'From a request to the first token of it')
        self.token = histogram('token', 'Between two tokens of a text')
        self.request = histogram('request', 'From a request to the end of its answer', ['path'])
        gauge('running', 'Texts that are being decoded', lambda: running(service))
        gauge('waiting', 'Texts that wait to be decoded', lambda: waiting(service))
        gauge('scoring', 'Texts that are being scored, or wait for it', lambda: service.n_scoring)

    def page(self):
        """(type, bytes) of what GET /metrics answers."""
        return prometheus.CONTENT_TYPE_LATEST, prometheus.generate_latest(self.registry)


class Times:
    """When the tokens of one request's texts come."""

    def __init__(self, metrics):
        self.metrics, self.start, self.last = metrics, time.monotonic(), {}

    def came(self, number):
        """A token of the text of this number has come."""
        now = time.monotonic()
        if number in self.last:
            self.metrics.token.observe(now - self.last[number])
        else:
            self.metrics.first_token.observe(now - self.start)
        self.last[number] = now


def running(service):
    return service.scheduler.running if service.scheduler else 0


def waiting(service):
    return service.scheduler.waiting if service.scheduler else 0
