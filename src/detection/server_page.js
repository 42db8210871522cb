async function ask(text, signal) {
  const request = {
    method: 'POST',
    headers: { 'Content-Type': 'text/plain; charset=utf-8' },
    body: text,
    signal,
  };
  const answer = await fetch('/detect?tokens', request).catch(() => {
    throw new Error('The server does not answer');
  });
  const record = await answer.json();
  if (!answer.ok) throw new Error(record.error);
  return record;
}

const part = document.querySelector('main');
watch(part, ask, (record) => showFindings(part, record));
part.querySelector('textarea').focus();
