// The dashboard: asks for a token, then shows the pages that it may see.

import { PATHS, forget, read, store, stored } from './api.js';
import { badge, h } from './dom.js';
import { PAGES } from './pages.js';

const EVERY_MS = 2000;
const main = document.getElementById('main');
const nav = document.getElementById('pages');
const who = document.getElementById('who');
const state = document.getElementById('state');
const leave = document.getElementById('leave');

let session = null;
let running = null;

function enter(message) {
  running?.abort();
  session = null;
  nav.hidden = true;
  leave.hidden = true;
  who.textContent = '';
  state.replaceChildren();
  const token = h('input', { type: 'password', id: 'token', autocomplete: 'off', required: true, spellcheck: 'false' });
  const form = h('form', { class: 'enter card' },
    h('h1', {}, 'Sign in'),
    h('p', { class: 'lead' }, 'Make a token with ', h('code', {}, 'forebay tokens add me --role read'), ' on the pool\'s machine. It stays in this tab.'),
    message && h('p', { class: 'notice', role: 'alert' }, message),
    h('label', {}, 'Token', token),
    h('button', { type: 'submit' }, 'Show the pool'));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    store(token.value.trim());
    begin();
  });
  main.replaceChildren(form);
  token.focus();
}

async function begin() {
  if (!stored()) return enter();
  try {
    session = await read(PATHS.token);
  } catch (error) {
    forget();
    return enter(error.status === 401 ? 'That token is not known here.' : error.message);
  }
  leave.hidden = false;
  nav.hidden = false;
  return turn();
}

const allowed = () => PAGES.filter((page) => page.roles.includes(session.role));
const current = () => allowed().find((page) => `#/${page.hash}` === location.hash) ?? allowed()[0];

/** Shows the page that the address names. */
function turn() {
  if (!session) return;
  running?.abort();
  running = new AbortController();
  const page = current();
  document.title = `${page.name} – Forebay`;
  drawNav(page);
  main.replaceChildren();
  const update = page.mount(main, session, running.signal);
  const trouble = h('p', { class: 'notice', role: 'alert', hidden: true });
  main.prepend(trouble);
  keep(update, page.everyMs ?? EVERY_MS, trouble, running.signal);
}

function drawNav(page) {
  nav.replaceChildren(...allowed().map((one, at) =>
    h('a', { href: `#/${one.hash}`, 'aria-current': one === page ? 'page' : undefined, 'aria-keyshortcuts': at + 1 },
      one.name, h('kbd', { 'aria-hidden': 'true' }, at + 1))));
}

/** Updates a page until another is turned to. */
async function keep(update, everyMs, trouble, signal) {
  while (!signal.aborted) {
    try {
      await Promise.all([update(), drawState()]);
      trouble.hidden = true;
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401) {
        forget();
        enter('The token is not good any more.');
        return;
      }
      trouble.textContent = error.status ? `${error.title}: ${error.message}` : 'The node does not answer. Trying again.';
      trouble.hidden = false;
      if (!error.status) state.replaceChildren(badge('no answer', 'bad'));
    }
    await new Promise((done) => { setTimeout(done, everyMs); });
    while (document.hidden && !signal.aborted) await new Promise((done) => { setTimeout(done, 500); });
  }
}

async function drawState() {
  const status = await read(PATHS.status);
  who.textContent = `${status.operator} · ${session.name}, ${session.role} · version ${status.version}`;
  const number = status.alarms.length;
  const calm = status.accepting && number === 0;
  const text = !status.accepting ? 'takes no packets' : number ? `${number} ${number === 1 ? 'alarm' : 'alarms'}` : 'takes packets';
  if (state.textContent !== text) state.replaceChildren(badge(text, calm ? 'good' : 'bad'));
}

const shortcuts = h('dialog', { 'aria-label': 'Keys' },
  h('h2', {}, 'Keys'),
  h('p', {}, '1 to 8 turn pages, ? shows this, Escape closes it. On a chart the left and right arrows read it point by point.'),
  h('form', { method: 'dialog' }, h('button', {}, 'Close')));
document.body.append(shortcuts);

document.addEventListener('keydown', (event) => {
  const typing = event.target.matches('input, textarea');
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !session) return;
  if (event.key === '?') shortcuts.showModal();
  const page = allowed()[Number(event.key) - 1];
  if (page) location.hash = `#/${page.hash}`;
});

window.addEventListener('hashchange', () => {
  turn();
  main.focus({ preventScroll: true });
  window.scrollTo(0, 0);
});
leave.addEventListener('click', () => {
  forget();
  enter();
});
begin();
