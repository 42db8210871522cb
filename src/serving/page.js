const POLL = 1000; // milliseconds between two looks whether the server is there again
const byId = (id) => document.getElementById(id);

// The theme: the rules for a dark scheme hold as the system says, until a reader says otherwise.
const theme = byId('theme');
const system = matchMedia('(prefers-color-scheme: dark)');
const darkRules = [...document.styleSheets[0].cssRules].filter(
  (rule) => rule.media && rule.media.mediaText === system.media,
);

function setTheme(dark) {
  for (const rule of darkRules) rule.media.mediaText = dark ? 'all' : 'not all';
  document.documentElement.style.colorScheme = dark ? 'dark' : 'light';
  theme.setAttribute('aria-pressed', dark);
}

// What this browser remembers under a name; a browser may be told to remember nothing.
function remembered(storage, name, value) {
  try {
    if (value !== undefined) window[storage].setItem(name, value);
    return window[storage].getItem(name);
  } catch {
    return null;
  }
}

function showTheme() {
  const chosen = remembered('localStorage', 'theme');
  setTheme(chosen ? chosen === 'dark' : system.matches);
}

theme.addEventListener('click', () => {
  const dark = theme.getAttribute('aria-pressed') !== 'true';
  remembered('localStorage', 'theme', dark ? 'dark' : 'light');
  setTheme(dark);
});
system.addEventListener('change', showTheme);
showTheme();

// Tabs: arrow keys lead from one to the next, Tab into the panel of the one that is chosen.
const tabs = [...document.querySelectorAll('[role=tab]')];

function choose(tab) {
  hide();
  for (const each of tabs) {
    const chosen = each === tab;
    each.setAttribute('aria-selected', chosen);
    each.tabIndex = chosen ? 0 : -1;
    byId(each.getAttribute('aria-controls')).hidden = !chosen;
  }
}

tabs.forEach((tab, n) => {
  const last = tabs.length - 1;
  const ways = {
    ArrowLeft: n ? n - 1 : last,
    ArrowRight: n < last ? n + 1 : 0,
    Home: 0,
    End: last,
  };
  tab.addEventListener('click', () => choose(tab));
  tab.addEventListener('keydown', (event) => {
    if (!(event.key in ways)) return;
    event.preventDefault();
    choose(tabs[ways[event.key]]);
    tabs[ways[event.key]].focus();
  });
});
choose(tabs[0]);

// Asks the server; an error's message can be shown.
async function ask(path, body, signal) {
  const headers = { 'Content-Type': 'application/json' };
  const key = remembered('sessionStorage', 'key');
  if (key) headers.Authorization = `Bearer ${key}`;
  let answer = null;
  try {
    const request = { method: 'POST', headers, body: JSON.stringify(body), signal };
    answer = await fetch(path, request);
  } catch (error) {
    if (!signal.aborted) awaitServer();
    throw new Error('The server does not answer');
  }
  if (answer.ok) {
    if (!awaited) byId('notice').textContent = '';
    return answer;
  }
  if (answer.status === 401) {
    await keyEntered(key ? 'This is not the key of the server.' : 'The server asks for its key.');
    return ask(path, body, signal);
  }
  if (answer.status === 503) awaitServer();
  throw new Error(await messageOf(answer));
}

async function messageOf(answer) {
  try {
    return (await answer.json()).error.message;
  } catch {
    return `The server answers ${answer.status} ${answer.statusText}`;
  }
}

const askJson = async (path, body, signal) => (await ask(path, body, signal)).json();

let awaited = false;
async function awaitServer() {
  if (awaited) return;
  awaited = true;
  byId('notice').textContent = 'The server does not answer; waiting for it …';
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, POLL));
    const answer = await fetch('/health').catch(() => null);
    if (answer && answer.ok) break;
  }
  awaited = false;
  byId('notice').textContent = 'The server answers again.';
  for (const [tab, send] of Object.entries(again)) {
    if (byId(tab).querySelector('.status.failed')) send();
  }
}

// Waits for the key that the server asks for.
let entered = null;
function keyEntered(why) {
  const form = byId('key');
  byId('key-why').textContent = why;
  if (entered) return entered;
  form.hidden = false;
  byId('key-text').value = '';
  byId('key-text').focus();
  entered = new Promise((resolve) => {
    form.addEventListener('submit', resolve, { once: true });
  }).then(() => {
    remembered('sessionStorage', 'key', byId('key-text').value);
    form.hidden = true;
    entered = null;
  });
  return entered;
}
byId('key').addEventListener('submit', (event) => event.preventDefault());

// The tabs of pasted texts, and what asks about each again.
const again = {
  surprisal: watch(
    byId('surprisal'),
    (text, signal) => askJson('/surprisal', { text }, signal),
    (answer) => {
      listRows(byId('surprisal').querySelector('dl'), answer.rows);
      present(byId('surprisal').querySelector('.text'), answer.tokens, BITS);
      return `Scores of ${count(answer.tokens.id.length)}`;
    },
  ),
  detector: watch(
    byId('detector'),
    (text, signal) => askJson('/detect', { text }, signal),
    (record) => showFindings(byId('detector'), record),
  ),
};
