const WAIT = 1000; // milliseconds without typing, after which a text is sent
const box = document.getElementById('text');
const result = document.getElementById('result');
const state = document.getElementById('status');
const bar = document.getElementById('bar');
let timer = null;
let asked = null; // the AbortController of the request that goes on

const percent = (share) => `${(100 * share).toFixed(2)} %`;

function say(text, failed = false) {
  state.textContent = text;
  state.classList.toggle('failed', failed);
}

function clear() {
  hide(); // the numbers of a token
  bar.hidden = true;
  result.hidden = true;
}

function tokens(n) {
  return `${n.toLocaleString('en')} token${n === 1 ? '' : 's'}`;
}

// What the numbers rest on, and whether that is enough.
function basis(record) {
  const { all_tokens: all, used_tokens: used, too_short: short } = record;
  const what = record.fake_probability === null ? 'Scores' : 'Prediction';
  const part = used < all ? `the first ${tokens(used)} among the total ${all}` : tokens(all);
  return `${what} based on ${part}${short ? `: too short to tell, under ${SHORT}` : ''}`;
}

function showBar(record) {
  const { real_probability: human, fake_probability: machine } = record;
  bar.hidden = machine === null;
  if (bar.hidden) return;
  bar.classList.toggle('short', record.too_short);
  document.getElementById('human').style.width = `${100 * human}%`;
  document.getElementById('machine').style.width = `${100 * machine}%`;
  document.getElementById('human-label').textContent = `human ${percent(human)}`;
  document.getElementById('machine-label').textContent = `machine ${percent(machine)}`;
  const label = `human ${percent(human)}, machine ${percent(machine)}`;
  document.getElementById('shares').setAttribute('aria-label', label);
}

function showRows(rows) {
  const items = rows.map(([label, value]) => {
    const row = document.createElement('div');
    row.append(document.createElement('dt'), document.createElement('dd'));
    row.children[0].textContent = label;
    row.children[1].textContent = value;
    return row;
  });
  result.querySelector('dl').replaceChildren(...items);
}

function showResult(record) {
  hide();
  say(record.all_tokens ? basis(record) : 'There is no token in this text');
  showBar(record);
  result.hidden = !record.all_tokens;
  if (result.hidden) return;
  showRows(record.rows);
  drawHistogram(result.querySelector('.histogram'), record.u);
  // A new element, so that nothing listens twice.
  const old = result.querySelector('.text');
  const text = old.cloneNode(false);
  old.replaceWith(text);
  near.disconnect();
  result.data = record.tokens;
  present(result, result.data);
}

async function ask() {
  if (asked) asked.abort();
  const mine = new AbortController();
  asked = mine;
  say('Predicting …');
  try {
    const answer = await fetch('/detect?tokens', {
      method: 'POST',
      headers: { 'Content-Type': 'text/plain; charset=utf-8' },
      body: box.value,
      signal: mine.signal,
    });
    const record = await answer.json();
    if (asked !== mine) return;
    if (answer.ok) showResult(record);
    else fail(record.error);
  } catch (error) {
    if (asked === mine) fail('The server does not answer');
  }
}

function fail(why) {
  clear();
  say(why, true);
}

box.addEventListener('input', () => {
  clearTimeout(timer);
  if (box.value) {
    timer = setTimeout(ask, WAIT);
  } else {
    if (asked) asked.abort();
    asked = null;
    clear();
    say('');
  }
});
if (box.value) ask(); // what the browser has kept over a reload
