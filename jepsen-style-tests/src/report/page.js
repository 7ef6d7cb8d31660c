'use strict';
const copy = document.getElementById('copy');
copy.hidden = false;
copy.addEventListener('click', async () => {
  const command = document.getElementById('replay');
  try {
    await navigator.clipboard.writeText(command.textContent);
    copy.textContent = 'Copied';
  } catch {
    // A page from a file may not use the clipboard: select it for the reader.
    getSelection().selectAllChildren(command);
  }
});
const search = document.getElementById('search');
search?.addEventListener('input', () => {
  const wanted = search.value.toLowerCase();
  let lines = 0;
  for (const log of document.querySelectorAll('details.log')) {
    let here = 0;
    for (const line of log.querySelectorAll('pre > span')) {
      line.hidden = wanted !== '' && !line.textContent.toLowerCase().includes(wanted);
      here += line.hidden ? 0 : 1;
    }
    log.hidden = wanted !== '' && here === 0;
    log.open = wanted !== '' && here > 0;
    lines += here;
  }
  document.getElementById('found').textContent = wanted === '' ? '' : `${lines} lines`;
});
