const BLOCK = 400; // tokens; a block goes on to the end of its line, or to four times as many
const REST = 120; // milliseconds that a pointer rests on a token before its numbers replace others
const card = document.getElementById('card');
let shown = null;
let pointer = ''; // where it was last
let resting = null;

const bitsOf = (data, i) => -data.logprob[i] / Math.LN2;
const measures = { bits: bitsOf, rank: (data, i) => data.rank[i] };
const measured = (data, i) => measures[data.look.measure](data, i);

function levelOf(data, i) {
  const { levels } = data.look;
  const value = measured(data, i);
  let level = levels.length - 1;
  while (level > 0 && value < levels[level]) level -= 1;
  return level;
}

// Blocks end after a line's end, so that the division is not seen.
function isFull(block) {
  const length = block.end - block.start;
  const endsLine = block.data.text[block.end - 1].endsWith('\n');
  return (length >= BLOCK && endsLine) || length >= 4 * BLOCK;
}

function elementOf(data, i) {
  const element = document.createElement('span');
  element.className = `s${levelOf(data, i)}`;
  element.tabIndex = i === data.current ? 0 : -1;
  element.dataset.i = i;
  const text = data.text[i];
  if (text === '') element.dataset.mark = '\\x' + data.bytes[i].match(/../g).join('\\x');
  else if (/^[\r\n]/.test(text)) element.dataset.mark = '↵';
  element.textContent = text;
  return element;
}

// Makes elements of the tokens of a block that are none yet.
function fill(block) {
  if (!block.filled) block.replaceChildren();
  block.filled = true;
  const elements = [];
  const first = block.start + block.children.length;
  for (let i = first; i < block.end; i += 1) elements.push(elementOf(block.data, i));
  block.append(...elements);
}

function empty(block) {
  if (!block.filled || block.contains(document.activeElement) || block.contains(shown)) return;
  // The token that Tab leads to stays an element.
  if (block.start <= block.data.current && block.data.current < block.end) return;
  block.filled = false;
  showPlain(block);
}

function showPlain(block) {
  block.textContent = block.data.text.slice(block.start, block.end).join('');
}

const near = new IntersectionObserver(
  (entries) => entries.forEach((e) => (e.isIntersecting ? fill(e.target) : empty(e.target))),
  { rootMargin: '1000px 0px' },
);

function quoted(data, i) {
  const text = JSON.stringify(data.text[i]);
  if (!data.bytes[i]) return text;
  const bytes = data.bytes[i].match(/../g).join(' ');
  if (data.text[i] === '') return `bytes ${bytes}, inside a character`;
  return `bytes ${bytes}, which complete ${text}`;
}

function numbersOf(data, i) {
  const list = document.createElement('dl');
  listRows(list, [
    ['log-probability', `${data.logprob[i]} nats`],
    ['surprisal', `${bitsOf(data, i).toFixed(3)} bits`],
    ['probability', Math.exp(data.logprob[i]).toPrecision(4)],
    ['rank', data.rank[i]],
    ['entropy', `${data.entropy[i]} nats`],
    ['token', `${data.id[i]}, number ${i + 1}`],
  ]);
  return list;
}

// Fills a list with [label, value] pairs.
function listRows(list, rows) {
  const items = rows.map(([label, value]) => {
    const row = document.createElement('div');
    row.append(document.createElement('dt'), document.createElement('dd'));
    row.children[0].textContent = label;
    row.children[1].textContent = value;
    return row;
  });
  list.replaceChildren(...items);
}

function show(element) {
  clearTimeout(resting);
  const data = element.closest('.block').data;
  const i = Number(element.dataset.i);
  const title = document.createElement('b');
  title.textContent = quoted(data, i);
  card.replaceChildren(title, (data.look.numbersOf || numbersOf)(data, i));
  if (shown) shown.classList.remove('shown');
  shown = element;
  shown.classList.add('shown');
  card.hidden = false;
  place(element);
}

// Below the token, or above it where there is no room.
function place(element) {
  const lines = element.getClientRects();
  const at = lines[lines.length - 1];
  const { width, height } = card.getBoundingClientRect();
  const right = document.documentElement.clientWidth - width - 8;
  const below = at.bottom + 4;
  const fits = below + height <= window.innerHeight;
  card.style.left = `${Math.max(8, Math.min(at.left, right))}px`;
  card.style.top = `${fits ? below : Math.max(8, lines[0].top - height - 4)}px`;
}

function hide() {
  clearTimeout(resting);
  card.hidden = true;
  if (shown) shown.classList.remove('shown');
  shown = null;
}

// The element of a token, which is made one if it is not; it becomes the one that Tab leads to.
function current(data, i) {
  const before = data.current;
  data.current = i;
  for (const block of data.blocks) {
    if (block.start <= before && before < block.end && block.filled) {
      block.children[before - block.start].tabIndex = -1;
    }
  }
  const block = data.blocks.find((b) => i < b.end);
  fill(block);
  const element = block.children[i - block.start];
  element.tabIndex = 0;
  return element;
}

function target(data, i, key) {
  const last = data.text.length - 1;
  if (key === 'Home') return 0;
  if (key === 'End') return last;
  if (key === 'ArrowLeft') return Math.max(0, i - 1);
  if (key === 'ArrowRight') return Math.min(last, i + 1);
  const step = { ArrowUp: -1, ArrowDown: 1 }[key];
  if (!step) return null;
  const far = data.look.levels[data.look.levels.length - 2];
  let j = i + step;
  while (j >= 0 && j <= last && measured(data, j) < far) j += step;
  return j >= 0 && j <= last ? j : i;
}

function listen(text) {
  text.addEventListener('pointermove', (event) => {
    // Browsers report a move, too, when text is scrolled below a pointer at rest.
    const place = `${event.screenX},${event.screenY}`;
    if (place === pointer) return;
    pointer = place;
    clearTimeout(resting);
    const element = event.target;
    if (!element.dataset.i || element === shown) return;
    // A pointer on its way to the card passes other tokens.
    resting = setTimeout(() => element.isConnected && show(element), shown ? REST : 0);
  });
  text.addEventListener('focusin', (event) => {
    if (!event.target.dataset.i) return;
    const data = event.target.closest('.block').data;
    show(current(data, Number(event.target.dataset.i)));
  });
  text.addEventListener('focusout', (event) => {
    if (!card.contains(event.relatedTarget)) hide();
  });
  text.addEventListener('keydown', (event) => {
    if (!event.target.dataset.i || event.ctrlKey || event.altKey || event.metaKey) return;
    const data = event.target.closest('.block').data;
    const i = target(data, Number(event.target.dataset.i), event.key);
    if (i === null) return;
    event.preventDefault();
    const element = current(data, i);
    element.focus({ preventScroll: true });
    element.scrollIntoView({ block: 'nearest' });
    show(element);
  });
}

card.addEventListener('pointerenter', () => clearTimeout(resting));
document.addEventListener('keydown', (event) => event.key === 'Escape' && hide());
document.addEventListener('scroll', () => shown && place(shown), { passive: true });
document.addEventListener('pointerdown', (event) => {
  if (!event.target.closest('.block, #card')) hide();
});

// Shows the tokens of a text in an element, in the place of those that were there.
function present(text, data, look) {
  if (text.contains(shown)) hide();
  text.querySelectorAll('.block').forEach((block) => near.unobserve(block));
  text.replaceChildren();
  Object.assign(data, { look, current: 0, blocks: [] });
  extend(text, data);
  if (!text.listened) listen(text);
  text.listened = true;
}

// Shows the tokens that have been added to a text since.
function extend(text, data) {
  let block = data.blocks[data.blocks.length - 1];
  const changed = new Set();
  for (let i = block ? block.end : 0; i < data.text.length; i += 1) {
    if (!block || isFull(block)) {
      block = document.createElement('div');
      Object.assign(block, { className: 'block', data, start: i });
      data.blocks.push(block);
    }
    block.end = i + 1;
    changed.add(block);
  }
  for (const each of changed) {
    // The first one is filled so that Tab finds its first token.
    if (each.filled || each === data.blocks[0]) fill(each);
    else showPlain(each);
    if (each.isConnected) continue;
    text.append(each);
    near.observe(each);
  }
}

for (const section of document.querySelectorAll('section')) {
  section.data = JSON.parse(section.querySelector('script').textContent);
  present(section.querySelector('.text'), section.data, LOOK);
}
