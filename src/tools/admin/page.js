'use strict';
(() => {
  const at = id => document.getElementById(id);
  // What comes from the server is put in as text, never as markup.
  const say = (node, text) => { if (node && node.textContent !== text) node.textContent = text; };
  const make = (name, attributes, ...parts) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...parts);
    return node;
  };

  const cell = (place, label, content) => {
    const head = place === 0;
    const attributes = head ? { scope: 'row', role: 'rowheader' } : { role: 'cell' };
    if (content.k) attributes.class = content.k;
    const inside = content.h ? make('a', { href: content.h }, content.t) : content.t;
    return make(head ? 'th' : 'td', { ...attributes, 'data-label': label }, make('span', {}, inside));
  };

  const update = (there, next) => {
    if (there.isEqualNode(next)) return;
    const [link, other] = [there.querySelector('a'), next.querySelector('a')];
    if (link && other) {
      link.setAttribute('href', other.getAttribute('href'));
      say(link, other.textContent);
    } else {
      there.replaceChildren(...next.childNodes);
    }
    there.className = next.className;
    if (next.className === '') there.removeAttribute('class');
  };

  // What has not changed stays as it is: so do focus, selection and the place of a screen reader.
  const shown = new Map();
  const table = ({ id, rows, empty }) => {
    const body = at(id).tBodies[0];
    const labels = Array.from(at(id).tHead.rows[0].cells, head => head.textContent);
    const old = shown.get(id) ?? [];
    const texts = rows.map(row => JSON.stringify(row));
    shown.set(id, texts);
    if (rows.length === 0) {
      if (old.length > 0) body.replaceChildren(make('tr', { role: 'row' }, make('td', { role: 'cell', colspan: labels.length }, empty)));
      return;
    }
    // The row that says that there is none.
    if (body.rows[0]?.cells.length !== labels.length) body.replaceChildren();
    while (body.rows.length > rows.length) body.deleteRow(-1);
    rows.forEach((row, number) => {
      const cells = row.map((content, place) => cell(place, labels[place], content));
      const there = body.rows[number];
      if (!there) body.append(make('tr', { role: 'row' }, ...cells));
      else if (texts[number] !== old[number]) cells.forEach((next, place) => update(there.cells[place], next));
    });
  };

  const chart = (id, { lines, now, top }) => {
    const figure = at(id);
    figure.querySelectorAll('path').forEach((path, number) => path.setAttribute('d', lines[number] ?? ''));
    say(figure.querySelector('.now'), now);
    say(figure.querySelector('.top'), top === '' ? '' : `Upper edge: ${top}`);
  };

  let version;
  let lastWarnings;
  const show = view => {
    const texts = Object.fromEntries(view.texts);
    if (version !== undefined && version !== texts.version) return location.reload();
    version = texts.version;
    for (const [id, text] of view.texts) say(at(id), text);
    say(at('live'), 'Live.');
    document.title = `${texts.state} – ninjaone-proxy`;
    at('overview').className = `tone-${view.tone}`;
    const warnings = JSON.stringify(view.warnings);
    if (warnings !== lastWarnings) {
      lastWarnings = warnings;
      const items = view.warnings.length === 0 ? ['None.'] : view.warnings;
      at('warnings').replaceChildren(...items.map(item => make('li', {}, item)));
    }
    view.tables.forEach(table);
    for (const [id, drawing] of Object.entries(view.charts)) chart(id, drawing);
  };

  const listen = () => {
    const events = new EventSource('/events');
    events.onmessage = event => show(JSON.parse(event.data));
    events.onerror = () => {
      say(at('state'), 'Not connected');
      say(at('why'), 'The proxy does not answer this page, or has ended. What is shown is what was last known.');
      say(at('live'), 'Not live; trying again.');
      at('overview').className = 'tone-bad';
      document.title = 'Not connected – ninjaone-proxy';
      // The browser tries again by itself, but not after a refusal, such as that too many pages are open.
      if (events.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
    };
    addEventListener('pagehide', () => events.close(), { once: true });
  };
  addEventListener('pageshow', event => { if (event.persisted) listen(); });
  listen();

  const explanation = ({ title, open, lines }) => {
    const pairs = lines.flatMap(([name, text]) => [make('dt', {}, name), make('dd', {}, text)]);
    return make('article', open ? { class: 'open' } : {}, make('h3', {}, title), make('dl', {}, ...pairs));
  };
  const ask = async asked => {
    const answer = at('answer');
    let parts;
    try {
      const reply = await fetch(`/explain?${new URLSearchParams(asked)}`, { headers: { Accept: 'application/json' } });
      const { problem, told } = await reply.json();
      parts = problem ? [make('p', { class: 'bad' }, problem)] : told.map(explanation);
    } catch {
      parts = [make('p', { class: 'bad' }, 'The proxy does not answer: look whether it runs.')];
    }
    answer.replaceChildren(...parts);
    answer.focus();
  };
  at('ask').addEventListener('submit', event => {
    event.preventDefault();
    ask(Object.fromEntries(new FormData(at('ask'))));
  });
})();
