"""A real browser for tests of pages."""

import base64
import json
import pathlib
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request

import pytest

needs_browser = pytest.mark.skipif(
    not shutil.which('chromedriver'), reason='needs chromium and chromedriver'
)
KEYS = {'Tab': '\ue004', 'Escape': '\ue00c', 'End': '\ue010', 'Home': '\ue011'}
KEYS |= {'Left': '\ue012', 'Up': '\ue013', 'Right': '\ue014', 'Down': '\ue015'}


class Browser:
    """Debian's chromium without a window, by the protocol of WebDriver."""

    def __init__(self, folder, size, dark):
        self.process = subprocess.Popen(
            ['chromedriver', '--port=0'], stdout=subprocess.PIPE, text=True, encoding='utf-8'
        )
        for line in self.process.stdout:
            if started := re.search(r'on port (\d+)\.', line):
                self.root = f'http://127.0.0.1:{started[1]}/session'
                break
        flags = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-sync']
        flags += ['--disable-background-networking', '--disable-component-update']
        flags += [f'--user-data-dir={folder}', '--window-size={},{}'.format(*size)]
        flags += [f'--blink-settings=preferredColorScheme={0 if dark else 1}']
        options = {'goog:chromeOptions': {'args': flags}, 'goog:loggingPrefs': {'browser': 'ALL'}}
        session = self._call('', {'capabilities': {'alwaysMatch': options}})
        self.root += f'/{session["sessionId"]}'

    def _call(self, path, body, method='POST'):
        request = urllib.request.Request(self.root + path, method=method)
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(request, data, timeout=60) as answer:
            return json.load(answer)['value']

    def open(self, address):
        self._call('/url', {'url': address})

    def run(self, script):
        return self._call('/execute/sync', {'script': script, 'args': []})

    def until(self, script):
        """Run a script until it returns what is true, and return that."""
        for _ in range(100):
            if result := self.run(script):
                return result
            time.sleep(0.05)
        raise AssertionError(f'never true: {script}')

    def point_at(self, script):
        """Move the pointer to the middle of the element that a script returns."""
        box = self.run(
            f'const b = ({script}).getClientRects()[0]; return [b.x, b.y, b.right, b.bottom]'
        )
        x, y = int((box[0] + box[2]) / 2), int((box[1] + box[3]) / 2)
        move = {'type': 'pointerMove', 'duration': 0, 'x': x, 'y': y}
        self._call('/actions', {'actions': [{'type': 'pointer', 'id': 'mouse', 'actions': [move]}]})

    def press(self, *names):
        keys = [KEYS[name] for name in names]
        strokes = [{'type': kind, 'value': key} for key in keys for kind in ('keyDown', 'keyUp')]
        self._call('/actions', {'actions': [{'type': 'key', 'id': 'keys', 'actions': strokes}]})

    def messages(self):
        return self._call('/se/log', {'type': 'browser'})

    def screenshot(self, path):
        pathlib.Path(path).write_bytes(base64.b64decode(self._call('/screenshot', None, 'GET')))

    def close(self):
        try:
            self._call('', None, 'DELETE')
        except urllib.error.URLError:
            pass
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()
