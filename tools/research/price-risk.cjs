#!/usr/bin/env node
// What price moves cost whoever quotes: volatility, curves against anchored quotes, the free option of a lock, first loss.
//   node tools/research/price-risk.cjs PRICES.csv
// PRICES.csv: a header line, then one hour a line, oldest first and without a gap: Unix seconds, then one price for each asset in a common
// unit. Columns are named ASSET_unit, e.g. btc_usdt. Each asset is looked at by itself and against the first one.
'use strict';
const { readFileSync } = require('node:fs');

const YEAR_H = 8766;
const DAY_H = 24;
const HALF_LIFE_H = 24; // of the running variance: what a quote could have known when it was made

function table(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  const rule = head.map((_, column) => (column === 0 ? '---' : '--:'));
  return [line(head), `|${rule.join('|')}|`, ...rows.map(line)].join('\n');
}

const percent = (part, places = 1) => `${(100 * part).toFixed(places)} %`;
const basisPoints = (part, places = 2) => (1e4 * part).toFixed(places);
const mean = (numbers) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;

function quantile(numbers, part) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))];
}

function read(file) {
  const [head, ...lines] = readFileSync(file, 'utf8').trim().split('\n');
  const names = head.split(',').slice(1).map((name) => name.split('_')[0].toUpperCase());
  const rows = lines.map((line) => line.split(',').map(Number));
  for (const [number, row] of rows.entries()) {
    if (row.length !== names.length + 1 || !row.every((value) => value > 0)) throw new Error(`${file}: line ${number + 2} is not a row of prices`);
    if (number > 0 && row[0] - rows[number - 1][0] !== 3600) throw new Error(`${file}: line ${number + 2} is not the hour after the one before`);
  }
  const seconds = rows.map((row) => row[0]);
  const single = names.map((name, column) => ({ name, prices: rows.map((row) => row[column + 1]) }));
  const against = single.slice(1).map(({ name, prices }) => ({ name: `${name}/${names[0]}`, prices: prices.map((price, hour) => price / rows[hour][1]) }));
  const cross = single.length > 2 ? [{ name: `${names[2]}/${names[1]}`, prices: rows.map((row) => row[3] / row[2]) }] : [];
  return { seconds, series: [...single, ...against, ...cross] };
}

const returnsOver = (prices, hours) => prices.slice(hours).map((price, hour) => Math.log(price / prices[hour]));

// ------------------------------------------------------------------------------------------------------ volatility

function volatility(series, seconds) {
  const year = (second) => new Date(second * 1000).getUTCFullYear();
  const years = [...new Set(seconds.map(year))];
  const deviation = (returns) => Math.sqrt(mean(returns.map((move) => move * move)));
  const rows = series.map(({ name, prices }) => {
    const hourly = returnsOver(prices, 1);
    const each = years.map((wanted) => percent(deviation(hourly.filter((_, hour) => year(seconds[hour + 1]) === wanted)) * Math.sqrt(YEAR_H), 0));
    const moves = hourly.map(Math.abs);
    const tail = [quantile(moves, 0.5), quantile(moves, 0.99), quantile(moves, 0.999), Math.max(...moves)];
    return [name, ...each, ...tail.map((move) => basisPoints(move, 0))];
  });
  return table(['pair', ...years.map((wanted) => `σ a year, ${wanted}`), 'hour, median bp', '99 %', '99.9 %', 'worst'], rows);
}

// ----------------------------------------------------------------------------------------------------------- curves

function curves(series) {
  const rows = series.map(({ name, prices }) => {
    const hourly = returnsOver(prices, 1);
    const variance = mean(hourly.map((move) => move * move)) * DAY_H;
    const months = [];
    for (let from = 0; from + 30 * DAY_H <= hourly.length; from += 30 * DAY_H) {
      months.push(hourly.slice(from, from + 30 * DAY_H).reduce((sum, move) => sum + move * move, 0) / 8);
    }
    // 2 sqrt(k) / (1 + k) - 1, for a price that went by k: what a constant-product pool has lost against holding.
    const loss = (days) => mean(returnsOver(prices, days * DAY_H).map((move) => 1 - 1 / Math.cosh(move / 2)));
    return [name, percent(Math.sqrt(variance), 2), basisPoints(variance / 8), percent((variance / 8) * 365), percent(Math.max(...months), 2), ...[1, 7, 30, 90].map((days) => basisPoints(loss(days), 1))];
  });
  return table(['pair', 'σ a day', 'LVR a day, bp', 'LVR a year', 'worst 30 days', 'IL 1 day, bp', 'IL 7', 'IL 30', 'IL 90'], rows);
}

// ---------------------------------------------------------------------------------------------------- anchored quotes

function erf(x) { // Abramowitz and Stegun 7.1.26, error under 1.5e-7
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - tail * Math.exp(-x * x));
}

// Mean of (|move| - edge)+ for a normal move with this deviation: what one who knows the price takes from a quote that is this stale.
function takenFrom(deviation, edge) {
  const z = edge / deviation;
  const above = (1 - erf(z / Math.SQRT2)) / 2;
  const density = Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);
  return { chance: 2 * above, loss: Math.max(0, 2 * (deviation * density - edge * above)) };
}

// The running deviation of an hour's move, as known at the start of each hour.
function runningDeviations(hourly) {
  const weight = 1 - 0.5 ** (1 / HALF_LIFE_H);
  let variance = mean(hourly.slice(0, 7 * DAY_H).map((move) => move * move));
  return hourly.map((move) => {
    const known = Math.sqrt(variance);
    variance += weight * (move * move - variance);
    return known;
  }).slice(7 * DAY_H);
}

function anchored(series) {
  const ages = [1, 10, 60, 600];
  const edges = [0.0005, 0.001, 0.002, 0.005];
  const rows = series.flatMap(({ name, prices }) => {
    const deviations = runningDeviations(returnsOver(prices, 1));
    return edges.map((edge) => {
      const cells = ages.map((age) => {
        const taken = deviations.map((deviation) => takenFrom(deviation * Math.sqrt(age / 3600), edge));
        return `${basisPoints(mean(taken.map(({ loss }) => loss)), 3)} (${percent(mean(taken.map(({ chance }) => chance)), 2)})`;
      });
      return [name, basisPoints(edge, 0), ...cells];
    });
  });
  return table(['pair', 'half-spread, bp', ...ages.map((age) => `${age} s old`)], rows);
}

// -------------------------------------------------------------------------------------------------------- free option

function options(series) {
  const rows = series.map(({ name, prices }) => {
    const hourly = Math.sqrt(mean(returnsOver(prices, 1).map((move) => move * move)));
    const short = [30, 600].map((age) => basisPoints(0.4 * hourly * Math.sqrt(age / 3600), 1));
    const long = [1, 6, 12, 24, 36].map((hours) => basisPoints(mean(returnsOver(prices, hours).map((move) => Math.max(0, Math.exp(move) - 1))), 0));
    const day = returnsOver(prices, 24).map((move) => Math.max(0, Math.exp(move) - 1));
    return [name, ...short, ...long, percent(quantile(day, 0.95)), percent(quantile(day, 0.99))];
  });
  return table(['pair', '30 s', '10 min', '1 h', '6 h', '12 h', '24 h', '36 h', '24 h, best 5 % of days', 'best 1 %'], rows);
}

// --------------------------------------------------------------------------------------------------------- first loss

function firstLoss(series) {
  const rows = series.map(({ name, prices }) => {
    // Whoever has paid out one unit and holds what it brought in is short that unit: it loses when the unit rises, or falls, by this much.
    const worst = (hours, part) => quantile(returnsOver(prices, hours).map((move) => Math.abs(Math.exp(move) - 1)), part);
    return [name, ...[1, 24, 72, 168].flatMap((hours) => [percent(worst(hours, 0.99)), percent(worst(hours, 0.999))])];
  });
  return table(['pair', '1 h, 99 %', '99.9 %', '1 day, 99 %', '99.9 %', '3 days, 99 %', '99.9 %', '7 days, 99 %', '99.9 %'], rows);
}

function report(file) {
  const { seconds, series } = read(file);
  const date = (second) => new Date(second * 1000).toISOString().slice(0, 10);
  console.log(`${seconds.length} hours, ${date(seconds[0])} to ${date(seconds[seconds.length - 1])}.`);
  console.log(`\nVolatility\n\n${volatility(series, seconds)}`);
  console.log(`\nA passive constant-product curve\n\n${curves(series)}`);
  console.log(`\nAn anchored quote: mean loss to one who always knows the price, bp of the amount, each time he looks; how often it pays him\n\n${anchored(series)}`);
  console.log(`\nThe free option of a lock, bp of the amount: 0.4 σ √T up to minutes, mean of what it turned out to be worth from hours\n\n${options(series)}`);
  console.log(`\nWhat an unhedged position loses at most, with this certainty\n\n${firstLoss(series)}`);
}

try {
  const file = process.argv[2];
  if (!file) throw new Error('usage: price-risk.cjs PRICES.csv');
  report(file);
} catch (error) {
  console.error(error.message);
  process.exitCode = 2;
}
