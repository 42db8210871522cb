const WAIT = 1000; // milliseconds without typing, after which a text is sent

function count(n) {
  return `${n.toLocaleString('en')} token${n === 1 ? '' : 's'}`;
}

// Asks about the text of a part of the page when typing stops.
// ask: (text, signal) -> promise of an answer; the message of its error is shown.
// show: (answer) shows it in .result, unless it holds no token, and returns what is said of it.
// Returns what asks at once.
function watch(part, ask, show) {
  const box = part.querySelector('textarea');
  const result = part.querySelector('.result');
  const status = part.querySelector('.status');
  let timer = null;
  let asked = null; // the AbortController of the request that goes on

  function say(text, failed = false) {
    status.textContent = text;
    status.classList.toggle('failed', failed);
  }

  function clear() {
    hide(); // the numbers of a token
    result.hidden = true;
  }

  async function send() {
    clearTimeout(timer);
    if (asked) asked.abort();
    const mine = new AbortController();
    asked = mine;
    say('Predicting …');
    try {
      const answer = await ask(box.value, mine.signal);
      if (asked !== mine) return;
      hide();
      result.hidden = !answer.tokens;
      say(answer.tokens ? show(answer) : 'There is no token in this text');
    } catch (error) {
      if (asked !== mine) return;
      clear();
      say(error.message, true);
    }
  }

  box.addEventListener('input', () => {
    clearTimeout(timer);
    if (box.value) {
      timer = setTimeout(send, WAIT);
    } else {
      if (asked) asked.abort();
      asked = null;
      clear();
      say('');
    }
  });
  if (box.value) send(); // what the browser has kept over a reload
  return send;
}
