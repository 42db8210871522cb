// The rivals of a token, in the card.

PROBABILITY.numbersOf = (data, i) => {
  const box = document.createElement('div');
  const rank = data.top[i] ? data.top[i].findIndex(([id]) => id === data.id[i]) + 1 : 0;
  const list = document.createElement('dl');
  listRows(list, [
    ['probability', shareOf(data.logprob[i])],
    ['rank', rank || `above ${RIVALS + 1}`],
    ['token', `${data.id[i]}, number ${i + 1}`],
  ]);
  box.append(list);
  if (!data.top[i]) return box;
  const lead = document.createElement('p');
  lead.textContent = 'Go on with another:';
  const rivals = document.createElement('ol');
  rivals.className = 'rivals';
  const others = data.top[i].filter(([id]) => id !== data.id[i]).slice(0, RIVALS);
  rivals.append(...others.map((rival, n) => rivalElement(data, i, rival, n + 1)));
  box.append(lead, rivals);
  return box;
};

function shareOf(logprob) {
  const share = 100 * Math.exp(logprob);
  return `${share >= 10 ? share.toFixed(1) : share.toPrecision(2)} %`;
}

function rivalElement(data, i, rival, n) {
  const [, logprob, raw] = rival;
  const button = document.createElement('button');
  button.type = 'button';
  const hex = hexOf(raw);
  const name = hex ? `bytes ${hex.join(' ')}` : JSON.stringify(raw);
  for (const [part, content] of Object.entries({
    key: n,
    token: name,
    meter: '',
    share: shareOf(logprob),
  })) {
    const element = document.createElement('span');
    element.className = part;
    element.textContent = content;
    button.append(element);
  }
  const bar = document.createElement('span');
  bar.style.width = `${100 * Math.exp(logprob)}%`;
  button.querySelector('.meter').append(bar);
  button.addEventListener('click', () => branch(data, i, rival));
  const item = document.createElement('li');
  item.append(button);
  return item;
}

// Goes on with a rival in the place of token i.
function branch(data, i, rival) {
  if (!isSound()) return;
  const known = cut(data, i, rival);
  const byKeyboard = [text, card].some((part) => part.contains(document.activeElement));
  if (byKeyboard) known.focus = i;
  write(stateNow(written.state.prompt, known.id.slice()), known);
}

text.addEventListener('keydown', (event) => {
  if (!event.target.dataset.i || event.ctrlKey || event.altKey || event.metaKey) return;
  const rivals = card.querySelectorAll('.rivals button');
  if (/^[1-9]$/.test(event.key) && rivals[event.key - 1]) rivals[event.key - 1].click();
  else if (['Enter', ' '].includes(event.key) && rivals.length) rivals[0].focus();
  else return;
  event.preventDefault();
});

card.addEventListener('keydown', (event) => {
  const rivals = [...card.querySelectorAll('.rivals button')];
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (event.key === 'Escape' && shown) shown.focus();
  if (!step) return;
  event.preventDefault();
  const next = rivals.indexOf(document.activeElement) + step;
  if (rivals[next]) rivals[next].focus();
});
card.addEventListener('focusout', ({ relatedTarget: to }) => {
  if (to && !card.contains(to) && !text.contains(to)) hide();
});
// So that a press in the card takes no focus from the token, which would hide the card.
card.addEventListener('pointerdown', (event) => event.preventDefault());
