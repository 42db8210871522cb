const WIDTH = 400;
const HEIGHT = 110;
const FLOOR = 90; // where bars stand; labels are below

function svg(name, attributes, text = '') {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

// Draws the histogram of u into a figure: counts of tokens in bins of equal width.
function drawHistogram(figure, counts) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const even = total / counts.length;
  const top = Math.max(...counts, 2 * even);
  const step = WIDTH / counts.length;
  const drawing = svg('svg', {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    role: 'img',
    'aria-label': `Tokens in each bin of u from 0 to 1: ${counts.join(', ')}`,
  });
  counts.forEach((count, n) => {
    const height = (count / top) * FLOOR;
    const bar = { x: n * step + 1, width: step - 2, y: FLOOR - height, height };
    drawing.append(svg('rect', bar));
  });
  const y = FLOOR - (even / top) * FLOOR;
  drawing.append(svg('line', { x1: 0, x2: WIDTH, y1: y, y2: y }));
  drawing.append(svg('path', { d: `M0 ${FLOOR}H${WIDTH}` }));
  [0, 0.5, 1].forEach((u, n) => {
    const anchor = ['start', 'middle', 'end'][n];
    drawing.append(svg('text', { x: u * WIDTH, y: HEIGHT - 4, 'text-anchor': anchor }, u));
  });
  const caption = document.createElement('figcaption');
  caption.textContent =
    'Tokens by u, the probability of all more likely tokens and a random part of their own. Text ' +
    'that this model drew fills all bins evenly (dashed); top-k and nucleus sampling leave those ' +
    'at the right empty, a low temperature fills those at the left.';
  figure.replaceChildren(drawing, caption);
}

for (const section of document.querySelectorAll('section')) {
  drawHistogram(section.querySelector('.histogram'), section.data.u);
}
