'use strict';
(() => {
  const at = id => document.getElementById(id);
  // What comes from the server is put in as text, never as markup.
  const say = (node, text) => { if (node && node.textContent !== text) node.textContent = text; };
  const make = (name, attributes, ...parts) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) if (value) node.setAttribute(key, value);
    node.append(...parts);
    return node;
  };
  const SYMBOLS = { good: '✓', warn: '!', bad: '✕' };

  const linked = content => content.h ? make('a', { href: content.h }, content.t) : content.t;
  const pair = ([name, content]) => [make('dt', {}, name), make('dd', { class: content.k }, linked(content))];
  const cell = (head, label, content) => {
    const parts = [make('div', { title: content.f }, linked(content))];
    if (content.d) {
      parts.push(make('details', {}, make('summary', {}, content.d.s), make('dl', {}, ...content.d.l.flatMap(pair))));
    }
    const attributes = head ? { scope: 'row', role: 'rowheader' } : { role: 'cell' };
    return make(head ? 'th' : 'td', { ...attributes, class: content.k, 'data-label': label }, ...parts);
  };

  // What has not changed stays as it is: so do focus, selection, what is open, and the place of a screen reader.
  const update = (there, next) => {
    if (there.isEqualNode(next)) return;
    if (there.nodeName !== next.nodeName || there.childElementCount !== next.childElementCount) return there.replaceWith(next);
    for (const { name, value } of next.attributes) there.setAttribute(name, value);
    if (!next.hasAttribute('class')) there.removeAttribute('class');
    if (next.childElementCount === 0) return say(there, next.textContent);
    Array.from(next.children).forEach((child, place) => update(there.children[place], child));
  };

  const shown = new Map();
  const table = ({ id, rows, keys, empty }) => {
    const body = at(id).tBodies[0];
    const labels = Array.from(at(id).tHead.rows[0].cells, head => head.textContent);
    const texts = rows.map(row => JSON.stringify(row));
    const old = shown.get(id) ?? new Map();
    shown.set(id, new Map(keys.map((key, place) => [key, texts[place]])));
    // Rows do not change places under the pointer, nor while somebody reads them by keyboard.
    const still = body.matches(':hover, :focus-within');
    const there = new Map(Array.from(body.rows, row => [row.dataset.key, row]));
    keys.forEach((key, place) => {
      const cells = () => rows[place].map((content, column) => cell(column === 0, labels[column], content));
      let row = there.get(key);
      there.delete(key);
      const isNew = !row;
      if (isNew) row = make('tr', { role: 'row', 'data-key': key }, ...cells());
      else if (old.get(key) !== texts[place]) cells().forEach((next, column) => update(row.cells[column], next));
      if (isNew || (!still && body.rows[place] !== row)) body.insertBefore(row, body.rows[place] ?? null);
    });
    for (const row of there.values()) if (rows.length > 0 || row.dataset.key) row.remove();
    if (rows.length === 0 && body.rows.length === 0) {
      body.append(make('tr', { role: 'row' }, make('td', { class: 'empty', role: 'cell', colspan: labels.length }, empty)));
    }
  };

  const chart = (id, { lines, now, max, top }) => {
    const figure = at(id);
    figure.querySelectorAll('.line').forEach((path, number) => path.setAttribute('d', lines[number] ?? ''));
    say(figure.querySelector('.now'), now);
    say(figure.querySelector('.max'), max && `max ${max}`);
    say(figure.querySelector('.top'), top);
  };

  const notice = ({ tone, text, todo }) =>
    make('li', { class: tone }, text, ...(todo ? [make('p', {}, make('strong', {}, 'Do this: '), todo)] : []));

  const banner = (tone, texts) => {
    for (const id of ['headline', 'why', 'todo']) say(at(id), texts[id]);
    say(at('symbol'), SYMBOLS[tone]);
    at('overview').className = `tone-${tone}`;
    document.title = `${texts.headline} – ninjaone-proxy`;
  };

  let version;
  let lastNotices;
  const show = view => {
    const texts = Object.fromEntries(view.texts);
    if (version !== undefined && version !== texts.version) return location.reload();
    version = texts.version;
    for (const [id, text] of view.texts) say(at(id), text);
    banner(view.tone, texts);
    say(at('live'), 'Live.');
    const notices = JSON.stringify(view.notices);
    if (notices !== lastNotices) {
      lastNotices = notices;
      at('notices').replaceChildren(...view.notices.map(notice));
    }
    view.tables.forEach(table);
    for (const [id, drawing] of Object.entries(view.charts)) chart(id, drawing);
  };

  const listen = () => {
    const events = new EventSource('/events');
    events.onmessage = event => show(JSON.parse(event.data));
    events.onerror = () => {
      banner('bad', {
        headline: 'Not connected',
        why: 'The proxy does not answer this page, or has ended. The rest of the page is as it was last known.',
        todo: 'look whether the proxy is running. This page connects again by itself.',
      });
      say(at('state'), 'Unknown');
      say(at('live'), 'Not live; trying again.');
      // The browser tries again by itself, but not after a refusal, such as that too many pages are open.
      if (events.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
    };
    addEventListener('pagehide', () => events.close(), { once: true });
  };
  addEventListener('pageshow', event => { if (event.persisted) listen(); });
  listen();

  const explanation = ({ title, open, lines }, _, all) => {
    const pairs = lines.flatMap(([name, text]) => [make('dt', {}, name), make('dd', {}, text)]);
    const told = make('details', { class: open ? 'told open' : 'told' }, make('summary', {}, title), make('dl', {}, ...pairs));
    told.open = all.length === 1;
    return told;
  };
  const ask = async asked => {
    const answer = at('answer');
    let parts;
    try {
      const reply = await fetch(`/explain?${new URLSearchParams(asked)}`, { headers: { Accept: 'application/json' } });
      const { problem, told } = await reply.json();
      parts = problem ? [make('p', { class: 'bad' }, problem)] : told.map(explanation);
    } catch {
      parts = [make('p', { class: 'bad' }, 'The proxy does not answer: look whether it is running.')];
    }
    answer.replaceChildren(...parts);
    answer.focus();
  };
  at('ask').addEventListener('submit', event => {
    event.preventDefault();
    ask(Object.fromEntries(new FormData(at('ask'))));
  });
})();
