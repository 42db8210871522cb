"""The model of a server as the script loads it: TensorFlow is imported only now."""

import contextlib
import importlib
import queue

from detection.detector import open_detector
from detection.oracle import Oracle
from generation.continuous import Batch, Request
from generation.start import start_engine
from serving.scheduler import Scheduler
from serving.scores import prompt_logprobs
from support.settings import Settings

LIBRARIES = ('starlette', 'uvicorn', 'prometheus_client')
WARMING = 32  # tokens: more than what is prefilled by decode steps


def check_libraries():
    """Raise ValueError, with what to install, unless all libraries of the server are there."""
    for name in LIBRARIES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ValueError(
                f'the server needs {name} ({error}): pip install -r requirements-serve.txt'
            ) from error


@contextlib.contextmanager
def loaded(service, models_dir, detector=None, rows=16, **more):
    """Have a serving.service.Service answer from its model in the block.

    Generation and scores share one copy of the weights.
    detector: a folder, or None.  rows: texts that are decoded at a time.  more: of Engine.
    Raises ValueError, in one line, if the model or the detector is damaged.
    """
    name = service.name
    with contextlib.ExitStack() as stack:
        engine = start_engine(name, models_dir, encoder=service.encoder, **more)
        stack.enter_context(engine)
        from scoring.scorer import Scorer

        scorer = stack.enter_context(Scorer.on(engine))
        if detector is not None:
            detector = stack.enter_context(open_detector(detector, models_dir, scorer))
        scheduler = Scheduler(Batch(engine, rows), service.most_waiting)
        scheduler.start()
        warm_up(scheduler, scorer, service)
        service.begin(scheduler, scorer, Oracle(scorer, detector))
        stack.callback(service.close)
        yield


def warm_up(scheduler, scorer, service):
    """Have what requests need built: it takes seconds, which the first client would wait."""
    told = queue.SimpleQueue()
    prompt = [service.encoder.end_of_text] * min(WARMING, service.n_ctx)
    prompt_logprobs(scorer, prompt, 1)
    request = Request(prompt, settings=Settings(length=1, seed=0), n_top=1)
    scheduler.submit([request], told.put)
    if isinstance(error := told.get(), Exception):
        raise error
