// Makes elements. Text is always text: nothing that comes from the node is read as markup.

const SVG = 'http://www.w3.org/2000/svg';

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

export const h = (tag, properties, ...children) =>
  fill(document.createElement(tag), properties, children);

export const svg = (tag, properties, ...children) =>
  fill(document.createElementNS(SVG, tag), properties, children);

/** A card with a heading; `aside` stands at the heading's end. */
export const card = (title, body, aside) =>
  h('section', { class: 'card' },
    h('header', {}, h('h2', {}, title), aside && h('span', { class: 'aside' }, aside)), body);

export const badge = (text, tone = '') => h('span', { class: `badge ${tone}` }, text);

/** Pairs of a name and a value. */
export const figures = (pairs) =>
  h('dl', { class: 'figures' }, pairs.filter(Boolean).map(([name, value, strong]) =>
    [h('dt', {}, name), h('dd', { class: strong && 'strong' }, value)]));

/** A table that becomes cards on a phone. Columns: name, value of a row, whether it is a number. */
export function table(caption, columns, rows, empty) {
  if (rows.length === 0) return h('p', { class: 'empty' }, empty);
  const kind = (column) => column.number ? 'number' : undefined;
  return h('div', { class: 'wide' }, h('table', { class: 'rows' },
    h('caption', { class: 'unseen' }, caption),
    h('thead', {}, h('tr', {}, columns.map((column) =>
      h('th', { scope: 'col', class: kind(column) }, column.name)))),
    h('tbody', {}, rows.map((row) => h('tr', {}, columns.map((column) =>
      h('td', { class: kind(column), 'data-label': column.name }, h('div', {}, column.value(row)))))))));
}

/** Parts of a whole side by side; widths are set by script, since the page allows no inline styles. */
export function bar(parts, label) {
  const sum = parts.reduce((all, part) => all + part.size, 0) || 1;
  return h('div', { class: 'bar', role: 'img', 'aria-label': label }, parts.map((part) => {
    const piece = h('span', { class: `tone-${part.tone}`, title: part.name });
    piece.style.width = `${(100 * part.size) / sum}%`;
    return piece;
  }));
}

export const legend = (parts) =>
  h('ul', { class: 'legend' }, parts.map((part) =>
    h('li', {}, h('i', { class: `tone-${part.tone}` }), part.name)));
