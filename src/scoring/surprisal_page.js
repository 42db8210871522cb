const BLOCK = 400; // tokens; a block goes on to the end of its line, or to four times as many
const card = document.getElementById('card');
let shown = null;
let pointer = ''; // where it was last

const bitsOf = (data, i) => -data.logprob[i] / Math.LN2;
const measured = { bits: bitsOf, rank: (data, i) => data.rank[i] }[MEASURE];

function levelOf(value) {
  let level = LEVELS.length - 1;
  while (level > 0 && value < LEVELS[level]) level -= 1;
  return level;
}

// Where blocks start: after a line's end, so that the division is not seen.
function starts(texts) {
  const found = [0];
  for (let i = 0; i < texts.length - 1; i += 1) {
    const length = i + 1 - found[found.length - 1];
    if ((length >= BLOCK && texts[i].endsWith('\n')) || length >= 4 * BLOCK) found.push(i + 1);
  }
  return found;
}

function elementOf(data, i) {
  const element = document.createElement('span');
  element.className = `s${levelOf(measured(data, i))}`;
  element.tabIndex = i === data.current ? 0 : -1;
  element.dataset.i = i;
  const text = data.text[i];
  if (text === '') element.dataset.mark = '\\x' + data.bytes[i].match(/../g).join('\\x');
  else if (/^[\r\n]/.test(text)) element.dataset.mark = '↵';
  element.textContent = text;
  return element;
}

function fill(block) {
  if (block.filled) return;
  block.filled = true;
  const elements = [];
  for (let i = block.start; i < block.end; i += 1) elements.push(elementOf(block.data, i));
  block.replaceChildren(...elements);
}

function empty(block) {
  if (!block.filled || block.contains(document.activeElement) || block.contains(shown)) return;
  // The token that Tab leads to stays an element.
  if (block.start <= block.data.current && block.data.current < block.end) return;
  block.filled = false;
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

function show(element) {
  const data = element.closest('.block').data;
  const i = Number(element.dataset.i);
  const title = document.createElement('b');
  title.textContent = quoted(data, i);
  const list = document.createElement('dl');
  const rows = [
    ['log-probability', `${data.logprob[i]} nats`],
    ['surprisal', `${bitsOf(data, i).toFixed(3)} bits`],
    ['probability', Math.exp(data.logprob[i]).toPrecision(4)],
    ['rank', data.rank[i]],
    ['entropy', `${data.entropy[i]} nats`],
    ['token', `${data.id[i]}, number ${i + 1}`],
  ];
  for (const [label, value] of rows) {
    const row = document.createElement('div');
    row.append(document.createElement('dt'), document.createElement('dd'));
    row.children[0].textContent = label;
    row.children[1].textContent = value;
    list.append(row);
  }
  card.replaceChildren(title, list);
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
  let j = i + step;
  while (j >= 0 && j <= last && measured(data, j) < LEVELS[LEVELS.length - 2]) j += step;
  return j >= 0 && j <= last ? j : i;
}

function listen(text) {
  text.addEventListener('pointermove', (event) => {
    // Browsers report a move, too, when text is scrolled below a pointer at rest.
    const place = `${event.screenX},${event.screenY}`;
    if (place === pointer) return;
    pointer = place;
    if (event.target.dataset.i && event.target !== shown) show(event.target);
  });
  text.addEventListener('focusin', (event) => {
    if (!event.target.dataset.i) return;
    const data = event.target.closest('.block').data;
    show(current(data, Number(event.target.dataset.i)));
  });
  text.addEventListener('focusout', hide);
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

document.addEventListener('keydown', (event) => event.key === 'Escape' && hide());
document.addEventListener('scroll', () => shown && place(shown), { passive: true });
document.addEventListener('pointerdown', (event) => {
  if (!event.target.closest('.block, #card')) hide();
});

// Shows the text of a section, whose tokens `data` has.
function present(section, data) {
  const text = section.querySelector('.text');
  const found = starts(data.text);
  data.current = 0;
  data.blocks = found.map((start, n) => {
    const end = n + 1 < found.length ? found[n + 1] : data.text.length;
    const block = document.createElement('div');
    Object.assign(block, { className: 'block', data, start, end });
    block.textContent = data.text.slice(start, end).join('');
    return block;
  });
  text.append(...data.blocks);
  fill(data.blocks[0]); // so that Tab finds its first token
  data.blocks.forEach((block) => near.observe(block));
  listen(text);
}

for (const section of document.querySelectorAll('section')) {
  section.data = JSON.parse(section.querySelector('script').textContent);
  present(section, section.data);
}
