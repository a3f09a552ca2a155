// Asks the node. Every path that is used stands here and in spec/openapi.json; a test compares them.

export const PATHS = {
  token: '/v1/token',
  status: '/v1/status',
  books: '/v1/books',
  assets: '/v1/assets',
  peers: '/v1/peers',
  channels: '/v1/channels',
  lps: '/v1/lps',
  alarms: '/v1/alarms',
  live: '/v1/live',
  events: '/v1/events',
};

const KEY = 'forebay-token';
const PAGES_MAX = 20;

export const stored = () => sessionStorage.getItem(KEY);
export const store = (token) => sessionStorage.setItem(KEY, token);
export const forget = () => sessionStorage.removeItem(KEY);

/** An answer that is no success: RFC 9457. */
export class Problem extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? `the node answered ${status}`);
    this.status = status;
    this.title = problem?.title ?? 'No answer';
  }
}

async function ask(path, headers = {}, signal = undefined) {
  const response = await fetch(path, {
    headers: { Authorization: `Bearer ${stored()}`, ...headers },
    cache: 'no-store',
    signal,
  });
  if (response.ok) return response;
  throw new Problem(response.status, await response.json().catch(() => undefined));
}

export const read = async (path) => (await ask(path)).json();

/** All pages of a list, as far as anybody would look. */
export async function readAll(path) {
  const all = [];
  let next = `${path}?limit=500`;
  for (let page = 0; next && page < PAGES_MAX; page += 1) {
    const response = await ask(next);
    all.push(...(await response.json()));
    next = /<([^>]+)>; rel="next"/.exec(response.headers.get('Link') ?? '')?.[1];
  }
  return all;
}

/**
 * Follows the journal's events until `signal` aborts; resumes by itself where it was. `each` gets an event,
 * `state` one of 'open', 'gap', 'lost'.
 */
export async function follow(each, state, signal) {
  let last = '0.0';
  while (!signal.aborted) {
    try {
      const response = await ask(PATHS.events, { 'Last-Event-ID': last }, signal);
      state('open');
      for await (const block of blocks(response.body)) {
        if (block.event === 'gap') state('gap');
        if (!block.id) continue;
        last = block.id;
        each(JSON.parse(block.data));
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401 || error.status === 403) throw error;
    }
    state('lost');
    await new Promise((done) => { setTimeout(done, 2000); });
  }
}

/** The blocks of a stream of server-sent events. */
async function* blocks(body) {
  let text = '';
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    let end = text.indexOf('\n\n');
    while (end >= 0) {
      const fields = text.slice(0, end).split('\n').map((line) => line.split(/: ?(.*)/s));
      yield Object.fromEntries(fields);
      text = text.slice(end + 2);
      end = text.indexOf('\n\n');
    }
  }
}
