const percent = (share) => `${(100 * share).toFixed(2)} %`;

// What the numbers rest on, and whether that is enough.
function basis(record) {
  const { all_tokens: all, used_tokens: used, too_short: short } = record;
  const what = record.fake_probability === null ? 'Scores' : 'Prediction';
  const part = used < all ? `the first ${count(used)} among the total ${all}` : count(all);
  return `${what} based on ${part}${short ? `: too short to tell, under ${SHORT}` : ''}`;
}

function showBar(bar, record) {
  const { real_probability: human, fake_probability: machine } = record;
  bar.hidden = machine === null;
  if (bar.hidden) return;
  bar.classList.toggle('short', record.too_short);
  const labels = { human: `human ${percent(human)}`, machine: `machine ${percent(machine)}` };
  bar.querySelector('.human').style.width = `${100 * human}%`;
  bar.querySelector('.machine').style.width = `${100 * machine}%`;
  bar.querySelector('.human-label').textContent = labels.human;
  bar.querySelector('.machine-label').textContent = labels.machine;
  bar.querySelector('.shares').setAttribute('aria-label', `${labels.human}, ${labels.machine}`);
}

// Shows a record with its tokens in a part of the page, and returns what it rests on.
function showFindings(part, record) {
  showBar(part.querySelector('.bar'), record);
  listRows(part.querySelector('dl'), record.rows);
  drawHistogram(part.querySelector('.histogram'), record.u);
  present(part.querySelector('.text'), record.tokens, RANK);
  return basis(record);
}
