// Figures as people read them. Amounts stay whole numbers until the last step.

const GROUPS = new Intl.NumberFormat('en');
const DIGITS_SHOWN = 6;

/** Base units, a decimal string, as whole units: '1500000' at scale 6 is '1.5'. Exact. */
export function whole(units, scale) {
  const digits = String(units).padStart(scale + 1, '0');
  const front = digits.slice(0, digits.length - scale);
  const part = digits.slice(digits.length - scale).replace(/0+$/, '');
  return part ? `${front}.${part}` : front;
}

/** Whole units for reading: thousands apart, at most six digits after the point. */
export function amount(units, scale, code = '') {
  const [front, part = ''] = whole(units, scale).split('.');
  const shown = part.slice(0, DIGITS_SHOWN).replace(/0+$/, '');
  const cut = part.length > DIGITS_SHOWN && !shown && front === '0' ? '<0.000001' : undefined;
  const text = cut ?? GROUPS.format(BigInt(front)) + (shown ? `.${shown}` : '');
  return code ? `${text} ${code}` : text;
}

/** An amount in large letters: with pennies alone once it is in thousands. */
export function headline(units, scale) {
  const text = amount(units, scale);
  const [front, part] = text.split('.');
  return front.length > 4 && part ? `${front}.${part.slice(0, 2)}` : text;
}

/** A price without the zeros at its end. */
export const price = (text) => (text.includes('.') ? text.replace(/0+$/, '').replace(/\.$/, '') : text);

/** For lengths of bars and heights of lines alone. */
export const rough = (units, scale) => Number(whole(units, scale));

export const count = (number) => GROUPS.format(number);

export const percent = (ppm) => {
  if (ppm === null || ppm === undefined) return '–';
  return `${GROUPS.format(Math.floor(ppm / 100) / 100)} %`;
};

export function duration(us) {
  if (us === null || us === undefined) return '–';
  return us < 1000 ? `${us} µs` : `${GROUPS.format(us / 1000)} ms`;
}

export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}

export const ago = (atMs, nowMs) => `${span(nowMs - atMs)} ago`;

export const clock = (atMs) => new Date(atMs).toLocaleTimeString('en-GB');

export const date = (atMs) => new Date(atMs).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'short' });

/** 0x1234…abcd, in full as a title. */
export const short = (address) => `${address.slice(0, 8)}…${address.slice(-6)}`;
