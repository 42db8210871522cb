const RIVALS = 5; // most likely tokens beside the one that was drawn
const encoder = new TextEncoder();
const paper = byId('paper');
const text = paper.querySelector('.text');
const line = byId('actions').querySelector('.status');
const field = (name) => byId(`field-${name}`);
const texts = new Map(); // what was written, by the fragment of its address
let running = null; // the AbortController of the text that is being written
let frame = null; // in which more of it will be shown
let written = null; // { state, data } of the text that is shown

// ---- What is asked for: { prompt, seed, kept, length, temperature, ... }
// kept: ids of the tokens between the prompt and what is to be written.

function stateNow(prompt, kept) {
  const state = { prompt, seed: nextSeed(), kept };
  for (const name of NUMBERS) state[name] = Number(field(name).value);
  return state;
}

function nextSeed() {
  if (byId('fresh').checked) {
    field('seed').value = crypto.getRandomValues(new Uint32Array(1))[0];
  }
  return Number(field('seed').value);
}

// The part of an address that is not sent to any server.
function fragmentOf(state) {
  const parts = new URLSearchParams({ prompt: state.prompt, seed: state.seed });
  for (const name of NUMBERS) {
    if (state[name] !== Number(field(name).defaultValue)) parts.set(name, state[name]);
  }
  if (state.kept.length) parts.set('kept', state.kept.join('.'));
  return `#${parts}`;
}

// The state of a fragment, which the fields then show; null if there is none.
function stateOf(fragment) {
  const parts = new URLSearchParams(fragment.slice(1));
  if (!parts.has('seed')) return null;
  const state = { prompt: parts.get('prompt') || '' };
  field('prompt').value = state.prompt;
  for (const name of ['seed', ...NUMBERS]) {
    field(name).value = parts.get(name) ?? field(name).defaultValue;
    state[name] = Number(field(name).value);
  }
  state.kept = (parts.get('kept') || '').match(/\d+/g)?.map(Number) ?? [];
  return state;
}

// Whether all numbers can be meant; says which one cannot.
function isSound() {
  const inputs = [...NUMBERS, 'seed'].map(field);
  for (const input of inputs) input.setAttribute('aria-invalid', !isNumber(input));
  const wrong = inputs.find((input) => !isNumber(input));
  if (!wrong) return true;
  say(`${wrong.id.replace('field-', '')} must be ${limitsOf(wrong)}`, true);
  if (wrong.closest('details')) wrong.closest('details').open = true;
  wrong.focus();
  return false;
}

function limitsOf({ min, max, step, validity }) {
  const least = min > 0 && min < 1e-9 ? 'above 0' : `of at least ${min}`;
  const told = max && (max < 1e9 || validity.rangeOverflow);
  const most = told ? ` and at most ${max}` : '';
  return `a ${step === '1' ? 'whole ' : ''}number ${least}${most}`;
}

// A step is how far the arrow keys go; only whole numbers are bound to it.
function isNumber({ value, step, validity }) {
  const off = validity.rangeUnderflow || validity.rangeOverflow;
  return value !== '' && !off && !(step === '1' && validity.stepMismatch);
}

// ---- The tokens of a text: columns as those of the other tabs, and what each was drawn from

const COLUMNS = ['id', 'text', 'logprob', 'raw', 'top'];

function newData() {
  const data = { bytes: {}, decoder: new TextDecoder('utf-8', { ignoreBOM: true }) };
  for (const name of COLUMNS) data[name] = [];
  return data;
}

// Adds a token. raw: its text, or bytes:\xe2\x80 if it is no whole character.  top: the most
// likely tokens, [[id, logprob, raw], ...], or null.
function addToken(data, id, raw, logprob, top) {
  const hex = hexOf(raw);
  const bytes = hex ? Uint8Array.from(hex, (byte) => parseInt(byte, 16)) : encoder.encode(raw);
  if (hex) data.bytes[data.id.length] = hex.join('');
  data.text.push(data.decoder.decode(bytes, { stream: true }));
  data.id.push(id);
  data.raw.push(raw);
  data.logprob.push(logprob);
  data.top.push(top);
}

const hexOf = (raw) =>
  /^bytes:(\\x[0-9a-f]{2})+$/.test(raw) ? raw.match(/[0-9a-f]{2}(?=\\|$)/g) : null;

// The first n tokens of a text, and one more in the place of the next.
function cut(data, n, rival) {
  const columns = newData();
  for (let i = 0; i < n; i += 1) {
    addToken(columns, data.id[i], data.raw[i], data.logprob[i], data.top[i]);
  }
  if (rival) addToken(columns, rival[0], rival[2], rival[1], data.top[n]);
  return columns;
}

function addChoice(data, { logprobs, token_ids: ids }, first = 0, last = ids.length) {
  for (let i = first; i < last; i += 1) {
    const top = logprobs.top_ids[i];
    addToken(data, ids[i], logprobs.tokens[i], logprobs.token_logprobs[i], top);
  }
}

// ---- Writing

// Writes a text. known: what is known of the kept tokens, if it is not to be asked for.
async function write(state, known = null) {
  abort();
  hide();
  const mine = new AbortController();
  running = mine;
  setBusy(true);
  say('Writing …');
  byId('said').textContent = 'Writing';
  try {
    const prompt = await tokensOf(state, mine.signal);
    const data = known || (await recalled(state, prompt, mine.signal));
    const answer = await ask('/v1/completions', requestOf(state, prompt), mine.signal);
    if (running !== mine) return;
    display(state, data);
    await follow(answer, data, prompt.length, mine);
  } catch (error) {
    if (running === mine) say(error.message, true);
  } finally {
    if (running === mine) abort();
  }
}

function abort() {
  if (frame) showAll();
  if (running) running.abort();
  running = null;
  setBusy(false);
}

function stopWriting() {
  abort();
  say('Stopped');
  byId('said').textContent = 'Stopped';
}

// The tokens of the prompt and those after it that are kept.
async function tokensOf({ prompt, kept }, signal) {
  const { tokens } = await askJson('/tokenize', { prompt }, signal);
  const all = [...(tokens.length ? tokens : [END_OF_TEXT]), ...kept];
  if (all.length > N_CTX) {
    throw new Error(`The context is full: it has ${N_CTX} tokens, and these are ${all.length}`);
  }
  return all;
}

const REQUEST = { model: MODEL, logprobs: RIVALS + 1, return_token_ids: true };

function requestOf({ prompt: _, kept, length, ...parameters }, prompt) {
  const most = Math.min(length, N_CTX + 1 - prompt.length);
  return { ...REQUEST, ...parameters, prompt, max_tokens: most, stream: true };
}

// What is to be known of kept tokens that this page has not seen being written.
async function recalled({ kept }, prompt, signal) {
  const data = newData();
  if (!kept.length) return data;
  const request = { ...REQUEST, prompt, max_tokens: 1, temperature: 0, echo: true };
  const answer = await askJson('/v1/completions', request, signal);
  addChoice(data, answer.choices[0], prompt.length - kept.length, prompt.length);
  return data;
}

// Shows a text as it comes.  nPrompt: tokens before what comes.
async function follow(answer, data, nPrompt, mine) {
  const before = data.id.length;
  const start = performance.now();
  let end = null;
  for await (const { choices } of eventsOf(answer, mine.signal)) {
    if (running !== mine) return;
    if (choices.length === 0) continue;
    if (choices[0].logprobs) addChoice(data, choices[0]);
    end = choices[0].finish_reason || end;
    showSoon(before);
  }
  showAll();
  data.ended = end === 'stop';
  const n = data.id.length - before;
  const seconds = (performance.now() - start) / 1000;
  const why = data.ended ? '; the model ended the text' : '';
  // The last token is not fed back, so that there may be one more than the context has.
  const all = `${Math.min(nPrompt + n, N_CTX)} of ${N_CTX} in the context`;
  say(`${count(n)}, ${Math.round(n / seconds)} a second; ${all}${why}`);
  byId('said').textContent = data.text.slice(before).join('') || 'The model adds nothing';
}

// Shows the tokens that have come, all those of a frame at once.
function showSoon(before) {
  frame ||= window.requestAnimationFrame(() => {
    showAll();
    if (running) say(count(written.data.id.length - before));
  });
}

function showAll() {
  window.cancelAnimationFrame(frame);
  frame = null;
  if (written) inView(() => extend(text, written.data));
}

// The events of an answer, which come as lines `data: JSON`.
async function* eventsOf(answer, signal) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read().catch(() => ({ done: true }));
    if (done) break;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    for (const line of lines.filter((each) => each.startsWith('data: '))) {
      if (line.trim() === 'data: [DONE]') return;
      const event = JSON.parse(line.slice(6));
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
  if (!signal.aborted) awaitServer();
  throw new Error('The server broke off');
}

// ---- Showing

function display(state, data) {
  const fragment = fragmentOf(state);
  if (window.location.hash !== fragment) window.history.pushState(null, '', fragment);
  written = { state, data };
  texts.set(fragment, written);
  byId('given').textContent = state.prompt;
  paper.hidden = false;
  byId('reading').hidden = false;
  present(text, data, PROBABILITY);
  setBusy(running !== null);
  if (data.focus === undefined) return;
  current(data, data.focus).focus({ preventScroll: true });
  delete data.focus;
  hide();
}

function setBusy(busy) {
  byId('generate').textContent = busy ? 'Stop' : 'Generate';
  byId('more').disabled = busy || !written;
  byId('copy').disabled = !written;
  text.setAttribute('aria-busy', busy);
  byId('tail').classList.toggle('writing', busy);
  byId('tail').textContent = !busy && written && written.data.ended ? ' ∎' : '';
}

function say(message, failed = false) {
  line.textContent = message;
  line.classList.toggle('failed', failed);
  if (failed) byId('said').textContent = message;
}

// Keeps the end of the text in view while it grows, if it was.
function inView(grow) {
  const below = () => paper.getBoundingClientRect().bottom - window.innerHeight;
  const seen = below() <= 0;
  grow();
  if (seen && below() > 0) window.scrollBy(0, below() + 8);
}

// ---- The form, the keys, the address

function generate() {
  if (isSound()) write(stateNow(field('prompt').value, []));
}

byId('request').addEventListener('submit', (event) => {
  event.preventDefault();
  if (running) stopWriting();
  else generate();
});
byId('more').addEventListener('click', () => {
  const { state, data } = written;
  if (isSound()) write(stateNow(state.prompt, data.id.slice()), cut(data, data.id.length));
});
byId('copy').addEventListener('click', async () => {
  const whole = written.state.prompt + written.data.text.join('');
  try {
    await navigator.clipboard.writeText(whole);
    say('Copied');
  } catch {
    say('This browser does not let the page copy: select the text', true);
  }
});
field('seed').addEventListener('input', () => {
  byId('fresh').checked = false;
});
byId('request').addEventListener('focusin', ({ target }) => {
  byId('help').textContent = target.matches('.field input') ? target.title : '';
});
document.addEventListener(
  'keydown',
  (event) => {
    if (byId('write').hidden) return;
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) generate();
    else if (event.key === 'Escape' && running && card.hidden) stopWriting();
    else return;
    event.preventDefault();
  },
  true, // before a token's numbers are hidden
);

// Shows the text of the address: what was written here, or what is written again.
function openAddress() {
  abort();
  hide();
  const state = stateOf(window.location.hash);
  paper.hidden = true;
  byId('reading').hidden = true;
  written = null;
  setBusy(false);
  say('');
  if (!state) return;
  choose(tabs[0]);
  if (!isSound()) return;
  window.history.replaceState(null, '', fragmentOf(state));
  const known = texts.get(window.location.hash);
  if (known) display(known.state, known.data);
  else write(state);
}

window.addEventListener('popstate', openAddress);
if (byId('fresh').checked) nextSeed();
openAddress();
if (!written && !running) field('prompt').focus();
