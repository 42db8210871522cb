"""The web application: which function answers which path. No TensorFlow."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from encoder import END_OF_TEXT
from serving import page, requests, scores
from serving.completions import Completion
from serving.errors import Refused, json_bytes, naming
from serving.guard import Guard, body_of
from serving.service import Deadline, unless_gone
from serving.streaming import EventStream

NO_CHAT = 'GPT-2 has no template of chats: POST the text to continue to /v1/completions'
MODELS = '/v1/models'


def make_app(service):
    """The ASGI application that answers from a serving.service.Service."""
    handlers = Handlers(service)
    return Guard(handlers, service, set(handlers.functions))


class Handlers:
    """Answers requests, each by a method (request) -> response."""

    def __init__(self, service):
        self.service = service
        encoder = service.encoder
        facts = service.name, service.n_ctx, encoder.end_of_text
        self.page = page.page(*facts, with_detector=service.with_detector)
        self.functions = {
            '/': {'GET': self.show_page},
            '/health': {'GET': self.health},
            '/metrics': {'GET': self.metrics},
            MODELS: {'GET': self.models},
            '/v1/completions': {'POST': self.completions},
            '/v1/chat/completions': {'POST': self.chat},
            '/tokenize': {'POST': self.tokenize},
            '/detokenize': {'POST': self.detokenize},
            '/tokenizer_info': {'GET': self.tokenizer_info},
            '/surprisal': {'POST': self.surprisal},
            '/detect': {'POST': self.detect},
        }

    async def __call__(self, scope, receive, send):
        response = await self.function_of(scope)(Request(scope, receive))
        await response(scope, receive, send)

    def function_of(self, scope):
        path, method = scope['path'], scope['method'].replace('HEAD', 'GET')
        by_method = self.functions.get(path)
        if by_method is None and path.startswith(f'{MODELS}/'):
            by_method = {'GET': self.model}
        if by_method is None:
            raise Refused(404, f'there is nothing at {path}')
        if method not in by_method:
            allowed = ', '.join(by_method)
            raise Refused(405, f'{path} takes {allowed} alone', headers={'Allow': allowed})
        return by_method[method]

    async def show_page(self, request):
        policy = {'Content-Security-Policy': page.policy_of(self.page)}
        return Response(self.page, media_type='text/html', headers=policy)

    async def health(self, request):
        self.service.check_ready()
        return json_response({'status': 'ok'})

    async def metrics(self, request):
        kind, data = self.service.metrics.page()
        return Response(data, headers={'Content-Type': kind})

    async def models(self, request):
        return json_response({'object': 'list', 'data': [self.about_model()]})

    async def model(self, request):
        asked = request.scope['path'].removeprefix(f'{MODELS}/')
        requests.check_model(asked, self.service.name)
        return json_response(self.about_model())

    def about_model(self):
        name, n_ctx = self.service.name, self.service.n_ctx
        about = {'id': name, 'object': 'model', 'created': 0, 'owned_by': 'local'}
        return about | {'max_model_len': n_ctx}

    async def chat(self, request):
        raise Refused(404, NO_CHAT)

    async def completions(self, request):
        service = self.service
        limits = service.n_ctx, service.most_waiting
        asked = await self.read(
            request, requests.read_completion, service.name, service.encoder, *limits
        )
        completion = Completion(service, asked, Deadline(service.most_seconds))
        if asked.stream:
            return EventStream(completion.chunks())
        data = await unless_gone(request.receive, completion.whole())
        return Response(data, media_type='application/json')

    async def tokenize(self, request):
        # The harness says whether special tokens be added; GPT-2 has none that would be.
        more = 'model', 'add_special_tokens'
        prompt = await self.read(request, requests.read_text, 'prompt', *more)
        special = {END_OF_TEXT}
        tokens = await run_in_threadpool(self.service.encoder.encode, prompt, special)
        counts = {'count': len(tokens), 'max_model_len': self.service.n_ctx}
        return json_response({'tokens': tokens} | counts)

    async def detokenize(self, request):
        tokens = await self.read(request, requests.read_tokens, self.service.encoder)
        return json_response({'prompt': self.service.encoder.decode(tokens)})

    async def tokenizer_info(self, request):
        encoder, n_ctx = self.service.encoder, self.service.n_ctx
        ends = {f'{name}_token': END_OF_TEXT for name in ('eos', 'bos', 'unk')}
        ids = {'eos_token_id': encoder.end_of_text, 'bos_token_id': encoder.end_of_text}
        sizes = {'vocab_size': encoder.n_vocab, 'model_max_length': n_ctx}
        return json_response(ends | ids | sizes | {'pad_token': None, 'chat_template': None})

    async def surprisal(self, request):
        text = await self.read(request, requests.read_text, 'text')
        return await self.scored(request, scores.surprisal, self.service.scorer, text)

    async def detect(self, request):
        text = await self.read(request, requests.read_text, 'text')
        return await self.scored(request, scores.detect, self.service.oracle, text)

    async def read(self, request, function, *arguments):
        """What a function makes of the body, in another thread: a long one takes its time."""
        data = await body_of(request.scope, request.receive, self.service.most_bytes)
        try:
            return await run_in_threadpool(function, data, *arguments)
        except RecursionError:  # JSON can be read that cannot be quoted in an error
            raise Refused(400, requests.TOO_DEEP) from None

    async def scored(self, request, function, *arguments):
        """The answer of a function that runs in the thread of scores, about a text."""
        work = self.service.score(
            function, *arguments, deadline=Deadline(self.service.most_seconds)
        )
        with naming('text'):
            return json_response(await unless_gone(request.receive, work))


def json_response(value):
    return Response(json_bytes(value), media_type='application/json')
