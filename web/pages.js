// What each page asks for and shows. A page is made once, then updated with each answer.

import { PATHS, follow, read, readAll } from './api.js';
import { lineChart, sourcesChart } from './charts.js';
import { badge, bar, card, figures, h, legend, table } from './dom.js';
import { ago, amount, clock, count, date, duration, headline, percent, price, rough, short, span, whole } from './format.js';

const ALL = ['operator', 'read'];
const EVENTS_SHOWN = 300;
const EVENTS_KEPT = 10000;
const PPM = 1000000;

const lead = (text) => h('p', { class: 'lead' }, text);
const heading = (text, about) => h('div', {}, h('h1', {}, text), lead(about));
const tile = (name, value, note) =>
  h('section', { class: 'card tile' }, h('h3', {}, name), h('b', {}, value), h('small', {}, note));

/** Rates a second between two looks at the counters, and from samples before there are two. */
function rates(live, before) {
  const seconds = before ? (live.at_ms - before.at_ms) / 1000 : 0;
  if (seconds > 0) return (live.packets_fulfilled - before.packets_fulfilled) / seconds;
  const last = live.samples.at(-1);
  return last ? (last.fulfilled * 1000) / live.interval_ms : 0;
}

const perSecond = (value) => count(value < 10 ? Math.round(value * 10) / 10 : Math.round(value));

const ratePoints = (live) => live.samples.slice(1).map((sample) => ({
  at: sample.at_ms,
  values: [sample.fulfilled, sample.rejected].map((packets) => (packets * 1000) / live.interval_ms),
}));

const rateChart = () => lineChart({
  title: 'Packets a second over the last hour',
  series: [{ name: 'fulfilled', tone: 1 }, { name: 'rejected', tone: 2 }],
  write: perSecond,
});

const latencyChart = () => lineChart({
  title: 'Time that packets spend in the pool, the sync to disk included',
  series: [{ name: 'half within', tone: 1 }, { name: '99 in 100 within', tone: 3 }],
  write: (us) => duration(Math.round(us)),
});

const latencyPoints = (live) => live.samples.map((sample) => ({
  at: sample.at_ms,
  values: [sample.latency_p50_us, sample.latency_p99_us].map((us) => us ?? null),
}));

// Overview

function composition(asset) {
  const parts = [
    { name: 'notes', units: asset.notes, tone: 1 },
    { name: 'shares, first loss', units: asset.shares, tone: 2 },
    { name: 'fees kept back', units: asset.fees, tone: 4 },
    { name: 'owed to peers', units: asset.owed_to_peers, tone: 3 },
  ].map((part) => ({ ...part, size: rough(part.units, asset.scale) })).filter((part) => part.size > 0);
  if (parts.length === 0) return h('p', { class: 'empty' }, 'Nobody has a claim on this asset yet.');
  const said = parts.map((part) => `${part.name} ${amount(part.units, asset.scale)}`);
  return [bar(parts, `Who has claims: ${said.join(', ')}`),
    legend(parts.map((part, at) => ({ ...part, name: said[at] })))];
}

function assetCard(asset, samples) {
  const of = (units) => amount(units, asset.scale);
  const covered = asset.coverage_ppm === null || asset.coverage_ppm >= PPM;
  const coverage = lineChart({
    title: `Reserves of ${asset.code} over the last hour`,
    series: [{ name: 'reserves', tone: 1 }, { name: 'a stolen key would cost', tone: 2 }],
    write: (value) => count(Number(value.toPrecision(6))),
  });
  coverage.update(samples.map((sample) => {
    const known = sample.assets.find((one) => one.code === asset.code);
    const units = known ? [known.reserves, known.stolen_key_cost] : [null, null];
    return { at: sample.at_ms, values: units.map((one) => one && rough(one, asset.scale)) };
  }));
  return card(asset.code, [
    h('div', { class: 'hero' },
      h('div', {}, h('span', {}, 'Coverage of claims'),
        h('b', { class: covered ? 'good-text' : 'bad-text' }, percent(asset.coverage_ppm))),
      h('div', {}, h('span', {}, 'A stolen key would cost'), h('b', { title: of(asset.stolen_key_cost) }, headline(asset.stolen_key_cost, asset.scale)))),
    composition(asset),
    figures([
      ['Reserves', of(asset.reserves), true],
      ['Vault: free', amount(asset.chain_free, asset.chain_scale)],
      ['Vault: allotted to lanes', amount(asset.chain_allotted, asset.chain_scale)],
      ['Vouchers held, to redeem', of(asset.vouchers_held)],
      ['Vouchers signed, not redeemed', of(asset.vouchers_out)],
      asset.borrowed !== '0' ? ['Brought in by swaps', of(asset.borrowed)] : ['Lent out by swaps', of(asset.lent)],
      ['Fees earned in all', of(asset.fees_earned)],
      ['Exit cohorts waiting', count(asset.cohorts_waiting)],
    ]),
    samples.length > 1 && coverage.element,
  ], covered ? 'covered' : badge('under-covered', 'bad'));
}

const overview = {
  hash: 'overview', name: 'Overview', roles: [...ALL, 'lp'],
  mount(root, session) {
    const tiles = h('div', { class: 'tiles' });
    const assets = h('div', { class: 'cards' });
    const rate = rateChart();
    const slow = latencyChart();
    const full = ALL.includes(session.role);
    root.append(heading('Overview', 'What the pool holds, what is claimed, and how it runs now.'), tiles, assets,
      full && h('div', { class: 'cards' }, card('Packets a second', rate.element), card('Time in the pool', slow.element)));
    let before = null;
    let drawn = '';
    return async () => {
      const [books, live, alarms] = await Promise.all([
        read(PATHS.books), full && read(PATHS.live), full && read(PATHS.alarms)]);
      const costs = books.chains.map((chain) =>
        tile(`Gas money, chain ${chain.chain_id}`, amount(chain.gas_money, 18), `${amount(chain.gas_reserved, 18)} set aside`));
      if (live) {
        tiles.replaceChildren(
          tile('Packets a second', perSecond(rates(live, before)), `${count(live.packets_fulfilled)} since the start`),
          tile('Time in the pool', duration(live.latency_p50_us), `99 in 100 within ${duration(live.latency_p99_us)}`),
          tile('In flight', count(live.packets_in_flight), `${count(live.links_up)} links up`),
          tile('Alarms', count(alarms.length), alarms.length ? alarms[0].subject : 'nothing needs you'), ...costs);
        rate.update(ratePoints(live));
        slow.update(latencyPoints(live));
        before = live;
      } else tiles.replaceChildren(...costs);
      const now = JSON.stringify([books.assets, live && live.samples.at(-1)]);
      if (now !== drawn && !assets.matches(':hover, :focus-within')) {
        drawn = now;
        assets.replaceChildren(...books.assets.map((asset) => assetCard(asset, live ? live.samples : [])));
        if (!books.assets.length) assets.append(card('No asset yet', 'List one with forebay assets add.'));
      }
    };
  },
};

// Peers and channels

function clearing(peer) {
  const owes = peer.owed_to_pool !== '0';
  const units = amount(owes ? peer.owed_to_pool : peer.owed_to_peer, peer.scale, peer.asset);
  if (peer.owed_to_pool === '0' && peer.owed_to_peer === '0') return 'even';
  return [units, h('small', {}, owes ? 'it owes the pool' : 'the pool owes it')];
}

function channelBadge({ channel, lightning }) {
  if (lightning) return badge('Lightning', lightning.outbound !== '0' || lightning.inbound !== '0' ? 'good' : '');
  return channel ? badge(channel.phase, channel.phase === 'open' ? 'good' : '') : '–';
}

const peers = {
  hash: 'peers', name: 'Peers', roles: [...ALL, 'peer'],
  mount(root) {
    const list = h('div');
    root.append(heading('Peers', 'Accounts with connectors, and what is owed for packets that were fulfilled and not settled yet.'), card('Accounts', list));
    return async () => {
      const all = await readAll(PATHS.peers);
      list.replaceChildren(table('Accounts with connectors', [
        { name: 'Peer', value: (peer) => [h('strong', {}, peer.name), h('small', {}, peer.address)] },
        { name: 'Link', value: (peer) => badge(peer.removed ? 'removed' : peer.connected ? 'up' : 'down', peer.connected ? 'good' : peer.removed ? '' : 'bad') },
        { name: 'Clearing balance', number: true, value: clearing },
        { name: 'In flight', number: true, value: (peer) => `${count(peer.in_flight)} of ${count(peer.policy.in_flight_max)}` },
        { name: 'Packets up to', number: true, value: (peer) => amount(peer.policy.packet_max, peer.scale, peer.asset) },
        { name: 'Credit', number: true, value: (peer) => amount(peer.policy.credit, peer.scale, peer.asset) },
        { name: 'Settles at', number: true, value: (peer) => amount(peer.policy.settle_threshold, peer.scale, peer.asset) },
        { name: 'Channel', value: channelBadge },
      ], all, 'No account yet. Open one with forebay peers add.'));
    };
  },
};

function lane(view, scale, code, who) {
  const sizes = [view.paid, view.promised, view.ceiling].map((units) => rough(units, scale));
  const [paid, promised, ceiling] = sizes;
  const parts = [
    { name: 'redeemed', size: paid, tone: 4 },
    { name: 'promised', size: Math.max(0, promised - paid), tone: 1 },
    { name: 'left', size: Math.max(0, ceiling - Math.max(promised, paid)), tone: 0 },
  ];
  if (view.ceiling === '0') return h('div', { class: 'lane' }, h('small', {}, `nothing ${who}`));
  const of = (units) => amount(units, scale);
  const said = `${of(view.promised)} promised of ${of(view.ceiling)} ${code} ${who}`;
  return h('div', { class: 'lane' }, bar(parts, said), h('span', {}, said), h('small', {}, `${of(view.paid)} redeemed on chain`));
}

const channels = {
  hash: 'channels', name: 'Channels', roles: [...ALL, 'peer'],
  mount(root) {
    const list = h('div');
    root.append(heading('Channels', 'Both lanes of each channel: what the chain guarantees, what vouchers promise of it, and what is redeemed.'),
      card('Channels', [legend([{ name: 'redeemed on chain', tone: 4 }, { name: 'promised by voucher', tone: 1 }]), list]));
    return async () => {
      const all = await readAll(PATHS.channels);
      const now = Date.now();
      list.replaceChildren(table('Channels', [
        { name: 'Channel', value: (one) => [h('strong', {}, one.peer), h('small', {}, `number ${one.channel.serial}`)] },
        { name: 'Phase', value: (one) => [badge(one.channel.phase, one.channel.phase === 'open' ? 'good' : one.channel.phase === 'closing' ? 'bad' : ''),
          one.channel.close_deadline_ms && h('small', {}, `from ${date(one.channel.close_deadline_ms)}`)] },
        { name: 'Pool pays', value: (one) => lane(one.channel.pool, one.chain_scale, one.asset, 'allotted') },
        { name: 'Peer pays', value: (one) => lane(one.channel.peer, one.chain_scale, one.asset, 'deposited') },
        { name: 'Term ends', value: (one) => one.channel.term_ends_ms > now ? [`in ${span(one.channel.term_ends_ms - now)}`, h('small', {}, date(one.channel.term_ends_ms))] : '–' },
      ], all, 'No channel yet. One opens when a peer connects and names its keys.'));
    };
  },
};

// Prices

function priceCard(asset, now) {
  const believed = Number(asset.price ?? 0);
  const { price_age_max_ms: ageMax, price_deviation_max_bps: band, sources_min: least } = asset.policy;
  const inOrder = [...asset.sources].sort((one, other) => one.source - other.source);
  const sources = inOrder.map((one) => ({
    name: `source ${one.source}`, says: price(one.price), at: one.at_ms,
    bps: believed ? Math.round((Number(one.price) / believed - 1) * 10000) : 0,
    stale: now - one.at_ms > ageMax,
  }));
  const fresh = sources.filter((one) => !one.stale).length;
  const state = asset.halted ? badge('halted', 'bad') : asset.price ? badge('quoted', 'good') : badge('not quoted', 'bad');
  return card(asset.code, [
    h('div', { class: 'hero' },
      h('div', {}, h('span', {}, 'Believed price'), h('b', {}, asset.price ? price(asset.price) : '–')),
      h('div', {}, h('span', {}, 'Fresh sources'), h('b', { class: fresh >= least ? 'good-text' : 'bad-text' }, `${fresh} of ${sources.length}`), h('span', {}, `${least} needed`))),
    sources.length && asset.price ? sourcesChart(price(asset.price), band, sources, (one) => `${one.says}, ${one.bps} basis points off`) : null,
    table(`Sources of ${asset.code}`, [
      { name: 'Source', value: (one) => one.name },
      { name: 'Says', number: true, value: (one) => one.says },
      { name: 'Off by', number: true, value: (one) => h('span', { class: Math.abs(one.bps) > band ? 'bad-text' : '' }, `${(one.bps / 100).toFixed(2)} %`) },
      { name: 'Heard', number: true, value: (one) => h('span', { class: one.stale ? 'bad-text' : '' }, ago(one.at, now)) },
    ], sources, 'No source has reported yet.'),
    figures([
      ['Guard: a report counts for', span(ageMax)],
      ['Guard: near means within', `${(band / 100).toFixed(2)} %`],
      ['Half-spread from', `${asset.policy.spread_floor_ppm / 10000} %`],
      ['Lent out at most', amount(asset.policy.lent_max, asset.scale, asset.code)],
      ['Notes are promised a day', `${asset.policy.note_rate_ppm / 10000} %`],
      ['Vault', h('code', { title: asset.vault }, short(asset.vault))],
    ]),
  ], state);
}

const prices = {
  hash: 'prices', name: 'Prices', roles: [...ALL, 'lp'],
  mount(root) {
    const list = h('div', { class: 'cards' });
    root.append(heading('Prices and guards', 'What each source says, what is believed, and the conditions under which it is.'), list);
    return async () => {
      const all = await readAll(PATHS.assets);
      const now = Date.now();
      list.replaceChildren(...all.map((asset) => priceCard(asset, now)));
    };
  },
};

// Live

const live = {
  hash: 'live', name: 'Live', roles: ALL,
  mount(root) {
    const tiles = h('div', { class: 'tiles' });
    const now = lineChart({
      title: 'Packets a second since this page was opened',
      series: [{ name: 'fulfilled', tone: 1 }], write: perSecond });
    const hour = rateChart();
    const slow = latencyChart();
    root.append(heading('Live', 'Packets as they pass, and how long they stay.'), tiles,
      h('div', { class: 'cards' }, card('Now', now.element, 'each second'), card('Last hour', hour.element, 'each five seconds'), card('Time in the pool', slow.element, 'each five seconds')));
    let before = null;
    const points = [];
    return async () => {
      const state = await read(PATHS.live);
      if (before && state.at_ms > before.at_ms) {
        points.push({ at: state.at_ms, values: [rates(state, before)] });
        if (points.length > 300) points.shift();
      }
      tiles.replaceChildren(
        tile('Packets a second', perSecond(rates(state, before)), `${count(state.packets_fulfilled)} fulfilled`),
        tile('Half within', duration(state.latency_p50_us), 'in the pool, sync included'),
        tile('99 in 100 within', duration(state.latency_p99_us), 'in the pool, sync included'),
        tile('In flight', count(state.packets_in_flight), `${count(state.packets_accepted)} accepted`),
        tile('Rejected', count(state.packets_rejected), 'since the start'),
        tile('Links up', count(state.links_up), 'peers connected'));
      now.update(points);
      hour.update(ratePoints(state));
      slow.update(latencyPoints(state));
      before = state;
    };
  },
  everyMs: 1000,
};

// LPs

const lps = {
  hash: 'lps', name: 'LPs', roles: [...ALL, 'lp'],
  mount(root) {
    const tiles = h('div', { class: 'tiles' });
    const list = h('div');
    root.append(heading('Liquidity providers', 'Positions in notes: what was paid in, what they are worth now, and which exits wait for money.'), tiles, card('Positions', list));
    return async () => {
      const [all, books] = await Promise.all([readAll(PATHS.lps), read(PATHS.books)]);
      tiles.replaceChildren(...books.assets.map((asset) =>
        tile(`Notes of ${asset.code}`, headline(asset.notes, asset.scale), `index ${amount(asset.note_index, 27)} · shares ${amount(asset.shares, asset.scale)}`)));
      list.replaceChildren(table('Positions', [
        { name: 'LP', value: (one) => h('code', { title: one.owner }, short(one.owner)) },
        { name: 'Asset', value: (one) => one.asset },
        { name: 'Paid in', number: true, value: (one) => amount(one.paid_in, one.chain_scale) },
        { name: 'Worth now', number: true, value: (one) => h('strong', {}, amount(one.worth, one.chain_scale)) },
        { name: 'Earned', number: true, value: (one) => h('span', { class: one.earned === '0' ? '' : 'good-text', title: whole(one.earned, one.chain_scale) }, amount(one.earned, one.chain_scale)) },
        { name: 'Exits', value: (one) => one.exits.length === 0 ? 'none waits' : one.exits.map((exit) =>
          h('div', {}, badge(`cohort ${exit.cohort}`), ` ${amount(exit.unpaid, one.chain_scale)} of ${amount(exit.units, one.chain_scale)} units not paid yet`)) },
      ], all, 'Nobody holds notes.'));
    };
  },
};

// Alarms

const alarms = {
  hash: 'alarms', name: 'Alarms', roles: ALL,
  mount(root) {
    const list = h('div', { class: 'cards' });
    root.append(heading('Alarms', 'What needs somebody, and what to do.'), list);
    return async () => {
      const all = await read(PATHS.alarms);
      const calm = h('section', { class: 'card calm' }, h('h2', {}, 'Nothing needs you'),
        lead('The books balance, every book is quoted, and no notice runs.'));
      list.replaceChildren(...(all.length ? all.map((alarm) => h('section', { class: 'card alarm' },
        h('header', {}, h('h2', {}, alarm.subject), badge(alarm.kind, 'bad')), h('p', {}, alarm.detail))) : [calm]));
    };
  },
};

// Audit trail

function eventLine(event) {
  const about = [event.peer, event.asset].filter(Boolean).join(' · ') || 'pool';
  return h('li', { 'data-kind': event.kind },
    h('time', { datetime: new Date(event.at_ms).toISOString(), title: date(event.at_ms) }, clock(event.at_ms)),
    h('span', { class: 'kind' }, event.kind),
    h('div', { class: 'what' }, h('span', { class: 'about' }, about), h('p', {}, event.text), h('small', {}, h('code', {}, event.id))));
}

const audit = {
  hash: 'audit', name: 'Audit trail', roles: [...ALL, 'lp', 'peer'],
  mount(root, session, signal) {
    const list = h('ol', { class: 'events', 'aria-label': 'Events, newest first' });
    const state = h('span', { class: 'aside', role: 'status' }, 'connecting');
    const search = h('input', { type: 'search', placeholder: 'voucher, bob, ETH …', 'aria-label': 'Show only events with these words', oninput: () => show() });
    const withPrices = h('input', { type: 'checkbox', onchange: () => show() });
    const paused = h('input', { type: 'checkbox', onchange: () => show() });
    // Price reports come by the thousand: kept apart, so that they push out nothing else.
    const kept = { prices: [], others: [] };
    let number = 0;
    let due = false;
    const fits = (event) => {
      const text = `${event.kind} ${event.peer ?? ''} ${event.asset ?? ''} ${event.text} ${event.id}`.toLowerCase();
      return search.value.toLowerCase().split(/\s+/).every((word) => text.includes(word));
    };
    function show() {
      due = false;
      const all = withPrices.checked ? [...kept.others, ...kept.prices] : kept.others;
      const shown = all.filter(({ event }) => fits(event)).sort((one, other) => other.number - one.number);
      list.replaceChildren(...shown.slice(0, EVENTS_SHOWN).map(({ event }) => eventLine(event)));
      if (!shown.length) list.append(h('li', { class: 'empty' }, h('div', { class: 'what' }, 'No event fits.')));
    }
    function later() {
      if (due || paused.checked) return;
      due = true;
      setTimeout(show, 150);
    }
    root.append(heading('Audit trail', 'The journal\'s events, told once they are safe on disk. Single packets are counted, not listed.'),
      h('section', { class: 'card' }, h('header', {}, h('h2', {}, 'Events'), state),
        h('div', { class: 'tools' }, search, h('label', { class: 'inline' }, withPrices, 'with price reports'), h('label', { class: 'inline' }, paused, 'hold still')), list));
    show();
    follow((event) => {
      const place = event.kind === 'price-reported' ? kept.prices : kept.others;
      number += 1;
      place.push({ number, event });
      if (place.length > EVENTS_KEPT) place.splice(0, EVENTS_KEPT / 10);
      later();
    }, (now) => {
      state.textContent = { open: 'following', gap: 'older events are not kept', lost: 'connection lost, trying again' }[now];
    }, signal).catch((error) => { state.textContent = error.message; });
    return async () => {};
  },
};

export const PAGES = [overview, peers, channels, prices, live, lps, alarms, audit];
