// Small line charts. One is made once and updated, so that a reader's place on it is kept.

import { h, svg } from './dom.js';
import { clock } from './format.js';

// Drawn narrower for a narrow window, so that letters keep their size.
const WIDTH = window.innerWidth < 768 ? 340 : 640;
const HEIGHT = 190;
const LEFT = 56;
const RIGHT = 10;
const TOP = 10;
const BOTTOM = 24;
const ROWS_SHOWN = 12;

/** A round number at or above `value`, so that the grid stands on whole figures. */
function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((end) => end >= value);
}

/**
 * A chart of series over time. `series` are `{ name, tone }`; `write` says a value in words.
 * `update(points)` takes `[{ at, values }]`, oldest first; a value may be null.
 */
export function lineChart({ title, series, write, low }) {
  const plot = svg('svg', { class: 'chart', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', tabindex: 0 });
  const readout = h('p', { class: 'readout', 'aria-live': 'off' });
  const rows = h('tbody');
  const figures = h('details', {}, h('summary', {}, 'Figures'),
    h('table', {}, h('caption', { class: 'unseen' }, title),
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Time'),
        series.map((one) => h('th', { scope: 'col', class: 'number' }, one.name)))), rows));
  let points = [];
  let chosen = null;
  let scale = null;

  function update(fresh) {
    points = fresh;
    draw();
  }

  function draw() {
    const values = points.flatMap((point) => point.values).filter((value) => value !== null);
    if (points.length < 2 || values.length === 0) {
      plot.replaceChildren(svg('text', { x: WIDTH / 2, y: HEIGHT / 2, 'text-anchor': 'middle' }, 'Nothing yet'));
      plot.setAttribute('aria-label', `${title}: nothing yet`);
      readout.replaceChildren();
      return;
    }
    scale = scaleOf(values);
    plot.replaceChildren(...grid(), ...series.flatMap(drawn), ...cross());
    plot.setAttribute('aria-label', `${title}. ${said(points.at(-1))}`);
    readout.replaceChildren(...told(points[chosen ?? points.length - 1]));
    rows.replaceChildren(...points.slice(-ROWS_SHOWN).reverse().map((point) =>
      h('tr', {}, h('td', {}, clock(point.at)),
        point.values.map((value) => h('td', { class: 'number' }, word(value))))));
  }

  function scaleOf(values) {
    const bottom = low === undefined ? 0 : Math.min(low, ...values);
    const top = low === undefined ? ceiling(Math.max(...values)) : Math.max(...values);
    const height = top > bottom ? top - bottom : Math.max(Math.abs(top) * 0.1, 1e-9);
    const [from, to] = [points[0].at, points.at(-1).at];
    return {
      bottom,
      top: bottom + height,
      x: (at) => LEFT + ((WIDTH - LEFT - RIGHT) * (at - from)) / Math.max(1, to - from),
      y: (value) => HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * (value - bottom)) / height,
    };
  }

  function grid() {
    const lines = [0, 0.5, 1].map((part) => scale.bottom + part * (scale.top - scale.bottom));
    const marks = lines.flatMap((value) => [
      svg('line', { class: 'grid', x1: LEFT, x2: WIDTH - RIGHT, y1: scale.y(value), y2: scale.y(value) }),
      svg('text', { x: LEFT - 8, y: scale.y(value) + 4, 'text-anchor': 'end' }, write(value)),
    ]);
    const ends = [[points[0], 'start'], [points.at(-1), 'end']].map(([point, anchor]) =>
      svg('text', { x: scale.x(point.at), y: HEIGHT - 6, 'text-anchor': anchor }, clock(point.at)));
    return [...marks, ...ends];
  }

  function drawn(one, number) {
    const known = points
      .map((point) => ({ x: scale.x(point.at), value: point.values[number] }))
      .filter((point) => point.value !== null);
    if (known.length === 0) return [];
    const path = known.map(({ x, value }, at) => `${at ? 'L' : 'M'}${x.toFixed(1)} ${scale.y(value).toFixed(1)}`).join('');
    const floor = scale.y(scale.bottom).toFixed(1);
    const area = `${path}L${known.at(-1).x.toFixed(1)} ${floor}L${known[0].x.toFixed(1)} ${floor}Z`;
    return [
      number === 0 && svg('path', { class: `area s${one.tone}`, d: area }),
      svg('path', { class: `line s${one.tone}`, d: path }),
    ].filter(Boolean);
  }

  function cross() {
    if (chosen === null || !points[chosen]) return [];
    const point = points[chosen];
    const x = scale.x(point.at);
    const dots = point.values.map((value, number) => value === null ? null
      : svg('circle', { class: `dot s${series[number].tone}`, cx: x, cy: scale.y(value), r: 4 }));
    return [svg('line', { class: 'cross', x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM }), ...dots.filter(Boolean)];
  }

  const word = (value) => (value === null ? '–' : write(value));
  const said = (point) => series.map((one, number) => `${one.name} ${word(point.values[number])}`).join(', ');
  const told = (point) => [h('span', {}, clock(point.at)), ...series.map((one, number) =>
    h('span', {}, `${one.name} `, h('b', {}, word(point.values[number]))))];

  function choose(at) {
    chosen = at;
    draw();
  }

  plot.addEventListener('pointermove', (event) => {
    if (points.length < 2) return;
    const box = plot.getBoundingClientRect();
    const x = ((event.clientX - box.left) * WIDTH) / box.width;
    const part = (x - LEFT) / (WIDTH - LEFT - RIGHT);
    choose(Math.max(0, Math.min(points.length - 1, Math.round(part * (points.length - 1)))));
  });
  plot.addEventListener('pointerleave', () => choose(null));
  plot.addEventListener('blur', () => choose(null));
  plot.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || points.length < 2) return;
    event.preventDefault();
    choose(Math.max(0, Math.min(points.length - 1, (chosen ?? points.length - 1) + step)));
    readout.setAttribute('aria-live', 'polite');
  });
  draw();
  const names = series.length > 1 && h('ul', { class: 'legend' }, series.map((one) =>
    h('li', {}, h('i', { class: `tone-${one.tone}` }), one.name)));
  return { element: h('div', {}, names, plot, readout, figures), update };
}

/** What each source says of a price, around what is believed, with the band in which sources count as near. */
export function sourcesChart(believed, bandBps, sources, write) {
  const [width, height] = [WIDTH, 24 * sources.length + 30];
  const farthest = Math.max(bandBps * 2.5, ...sources.map((one) => Math.abs(one.bps)));
  const clamped = Math.min(farthest, bandBps * 8);
  const x = (bps) => 90 + ((width - 120) * (Math.max(-clamped, Math.min(clamped, bps)) + clamped)) / (2 * clamped);
  const says = sources.map((one) => `${one.name} says ${write(one)}`).join(', ');
  return svg('svg', { class: 'chart', viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': `Believed ${believed}. ${says}` },
    svg('rect', { class: 'band', x: x(-bandBps), y: 4, width: x(bandBps) - x(-bandBps), height: height - 30, rx: 4 }),
    svg('line', { class: 'median', x1: x(0), x2: x(0), y1: 4, y2: height - 24 }),
    svg('text', { x: x(0), y: height - 8, 'text-anchor': 'middle' }, believed),
    sources.map((one, at) => {
      const y = 18 + at * 24;
      const off = Math.abs(one.bps) > bandBps || one.stale;
      return [
        svg('text', { x: 0, y: y + 4 }, one.name),
        svg('line', { class: 'grid', x1: 90, x2: width - 30, y1: y, y2: y }),
        svg('circle', { class: off ? 'mark off' : 'mark', cx: x(one.bps), cy: y, r: 6 },
          svg('title', {}, write(one))),
      ];
    }));
}
