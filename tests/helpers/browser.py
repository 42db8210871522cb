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
# Scrolls only what is out of the window: to be scrolled to makes Tab go on from there, too.
POINT = """
const element = {};
const box = () => element.getClientRects()[0];
if (box().top < 0 || box().bottom > innerHeight) element.scrollIntoView({{block: 'nearest'}});
return [box().x, box().y, box().right, box().bottom];
"""
PATIENCE = 20  # seconds
KEYS = {'Tab': '\ue004', 'Escape': '\ue00c', 'End': '\ue010', 'Home': '\ue011'}
KEYS |= {'Left': '\ue012', 'Up': '\ue013', 'Right': '\ue014', 'Down': '\ue015'}
KEYS |= {'Enter': '\ue007', 'Control': '\ue009'}


class Browser:
    """Debian's chromium without a window, by the protocol of WebDriver."""

    def __init__(self, folder, size, dark):
        self._start_driver()
        flags = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-sync']
        flags += ['--disable-background-networking', '--disable-component-update']
        flags += [f'--user-data-dir={folder}', '--window-size={},{}'.format(*size)]
        flags += [f'--blink-settings=preferredColorScheme={0 if dark else 1}']
        options = {'goog:chromeOptions': {'args': flags}, 'goog:loggingPrefs': {'browser': 'ALL'}}
        session = self._call('', {'capabilities': {'alwaysMatch': options}})
        self.root += f'/{session["sessionId"]}'

    def _start_driver(self):
        """Start chromedriver; the port that it finds free may be taken the next moment."""
        for _ in range(5):
            self.process = subprocess.Popen(
                ['chromedriver', '--port=0'], stdout=subprocess.PIPE, text=True, encoding='utf-8'
            )
            for line in self.process.stdout:
                if started := re.search(r'on port (\d+)\.', line):
                    self.root = f'http://127.0.0.1:{started[1]}/session'
                    return
            self.process.wait()
            self.process.stdout.close()
        raise AssertionError('chromedriver does not start')

    def _call(self, path, body, method='POST'):
        request = urllib.request.Request(self.root + path, method=method)
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(request, data, timeout=60) as answer:
            return json.load(answer)['value']

    def open(self, address):
        self._call('/url', {'url': address})

    def back(self):
        self._call('/back', {})

    def run(self, script):
        return self._call('/execute/sync', {'script': script, 'args': []})

    def until(self, script):
        """Run a script until it returns what is true, and return that."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if result := self.run(script):
                return result
            time.sleep(0.05)
        raise AssertionError(f'never true: {script}')

    def point_at(self, *scripts):
        """Move the pointer to the middle of the element that a script returns, at once on to the
        next one."""
        moves = []
        for script in scripts:
            box = self.run(POINT.format(script))
            x, y = int((box[0] + box[2]) / 2), int((box[1] + box[3]) / 2)
            moves.append({'type': 'pointerMove', 'duration': 0, 'x': x, 'y': y})
        self._act('pointer', moves)

    def click(self, script):
        """Press the main button of the mouse on the element that a script returns."""
        self.point_at(script)
        self._act('pointer', [{'type': f'pointer{way}', 'button': 0} for way in ('Down', 'Up')])

    def press(self, *names):
        """Press keys one after the other: names of KEYS, or characters."""
        keys = [KEYS.get(name, name) for name in names]
        strokes = [{'type': kind, 'value': key} for key in keys for kind in ('keyDown', 'keyUp')]
        self._act('key', strokes)

    def press_with_control(self, name):
        keys = KEYS['Control'], KEYS.get(name, name)
        self._act('key', [{'type': 'keyDown', 'value': key} for key in keys])
        self._act('key', [{'type': 'keyUp', 'value': key} for key in keys[::-1]])

    def _act(self, kind, actions):
        self._call('/actions', {'actions': [{'type': kind, 'id': kind, 'actions': actions}]})

    def resize(self, width, height):
        """Make the page as small as that of a phone, which a window cannot be."""
        size = {'width': width, 'height': height, 'deviceScaleFactor': 1, 'mobile': False}
        self._emulate('DeviceMetricsOverride', size)

    def prefer(self, scheme):
        """Let the system be `light` or `dark` from now on."""
        features = [{'name': 'prefers-color-scheme', 'value': scheme}]
        self._emulate('EmulatedMedia', {'features': features})

    def _emulate(self, what, params):
        command = {'cmd': f'Emulation.set{what}', 'params': params}
        self._call('/goog/cdp/execute', command)

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
