"""The texts that a model has generated for a task, in a file from which figures can be computed.

No TensorFlow.
"""

import contextlib
import math
import time

from evaluation.generating import Generated, prompt_sha
from evaluation.journal import Journal, check_origin
from support.files import sync

ONE_BY_ONE = ('choices', 'code_version')  # as what decides the texts
SYNC_SECONDS = 5  # Texts of so long a power failure may take; the end of the process takes none.


class GeneratedTexts(Journal):
    """The texts of a task so far: a Journal with one in each line, in the order of ending.

        {"id": of the prompt, "prompt_sha": digest of its tokens, "text", "tokens": ids, "logprob":
         in nats, "seed", "lost": tokens cut off the prompt, "seconds": since the text before}

    origin: dict of what makes the texts, with `choices`, `sources` and `code_version`.
    prompts: all of the task's, a list of Prompt.
    any_code: texts that another version of the code made are taken, too, if all are there.
    texts: {id: Generated}.  seconds: how long they took.  made: the origin of those there.
    """

    def __init__(self, path, origin, prompts, any_code=False):
        self.any_code, self.seed = any_code, origin['choices'].get('seed', 0)
        self.shas = {prompt.id: prompt_sha(prompt) for prompt in prompts}
        assert len(self.shas) == len(prompts), 'each prompt has an id of its own'
        self.texts, self.seconds, self.other_prompts = {}, 0.0, []
        self.added = self.synced = time.monotonic()
        self.made = origin  # unless the file says otherwise
        super().__init__(path, origin)
        try:
            self._check_all()
        except ValueError:
            self.__exit__()
            raise

    def _check_all(self):
        """Raise ValueError if the texts that are there are none of these prompts, or too few."""
        if not self.complete:
            check_origin(self.path, self.made, {'sources': self.origin['sources']})
        if self.other_prompts:
            raise ValueError(
                f'{self.path} has a text of another prompt {self.other_prompts[0]}: choose another '
                '--results_dir, or forget it with --restart'
            )

    def check(self, theirs):
        ours = {name: value for name, value in self.origin.items() if name not in ONE_BY_ONE}
        if self.any_code:
            del ours['sources']
        check_origin(self.path, theirs, ours)
        choices = theirs.get('choices')
        choices = choices if isinstance(choices, dict) else {}
        check_origin(self.path, choices, self.origin['choices'])
        self.made = self.origin | {n: theirs[n] for n in ('sources', 'code_version') if n in theirs}

    @property
    def complete(self):
        return len(self.texts) == len(self.shas)

    def take(self, content):
        text = Generated(*(content[name] for name in Generated._fields))
        strings = text.id, text.text, content['prompt_sha']
        numbers = text.logprob, content['seconds'], text.lost, *text.tokens
        good = all(isinstance(string, str) for string in strings)
        good = good and all(isinstance(n, int | float) and math.isfinite(n) for n in numbers)
        if not good or text.id in self.texts:
            raise ValueError('this is no text of the task')
        if content['prompt_sha'] != self.shas.get(text.id):
            self.other_prompts.append(text.id)
        self.texts[text.id] = text
        self.seconds += content['seconds']

    def start(self):
        """Count the seconds from now on."""
        self.added = time.monotonic()

    def add(self, text):
        """Keep one more text, a Generated: it outlives this process, and soon a power failure."""
        now = time.monotonic()
        durable = now - self.synced >= SYNC_SECONDS
        seconds = now - self.added
        first = {'id': text.id, 'prompt_sha': self.shas[text.id]}
        self.write(first | text._asdict() | {'seed': self.seed, 'seconds': seconds}, durable)
        self.texts[text.id] = text
        self.seconds += seconds
        self.added, self.synced = now, now if durable else self.synced

    def __exit__(self, *exception):
        with contextlib.suppress(OSError, ValueError):  # it may be closed already
            sync(self.file)
        super().__exit__(*exception)
