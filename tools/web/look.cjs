'use strict'
// Looks at the dashboard of a running pool as people do: signs in, turns every page, in light and dark, on a desk and on a
// phone, by mouse and by keys, and keeps what it saw as pictures.
//
//   FOREBAY_TOKEN=<operator's token> node look.cjs <url> <folder for pictures>
//
// The pool must have the demonstration's assets (BTC, ETH, USDX), peers (a, b, c) and an LP. Ends with a line that counts.

const { chromium } = require('playwright-core')
const { mkdirSync, existsSync } = require('node:fs')
const { randomBytes } = require('node:crypto')
const { join } = require('node:path')
const assert = require('node:assert/strict')

const [url, folder] = process.argv.slice(2)
const operator = process.env.FOREBAY_TOKEN
const BROWSERS = [process.env.FOREBAY_CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser']
const PAGES = ['Overview', 'Peers', 'Channels', 'Prices', 'Live', 'LPs', 'Alarms', 'Audit trail']
const DESK = { width: 1360, height: 860 }
const PHONE = { width: 390, height: 844 }
const CONTRAST_MIN = 4.5
/** A page polls every two seconds; on a loaded machine that may be late. */
const WAIT_MS = 10000

let passed = 0
let failed = 0

async function check (claim, hold) {
  try {
    await hold()
    passed += 1
    console.log(`test ${claim} ... ok`)
  } catch (error) {
    failed += 1
    console.log(`test ${claim} ... FAILED\n${error.stack}`)
  }
}

/** An instruction to the pool, by the operator's token. */
async function instruct (method, path, body) {
  const response = await fetch(new URL(path, url), {
    method,
    headers: {
      Authorization: `Bearer ${operator}`,
      'Idempotency-Key': randomBytes(16).toString('hex'),
      'Content-Type': 'application/json'
    },
    body: body && JSON.stringify(body)
  })
  assert.equal(response.status, 200, `${method} ${path}: ${await response.clone().text()}`)
  return response.json()
}

/** A browser's window that notes whatever goes wrong and whatever is asked for. */
async function open (browser, options) {
  const context = await browser.newContext({ reducedMotion: 'reduce', ...options })
  const page = await context.newPage()
  page.setDefaultTimeout(WAIT_MS)
  const seen = { wrong: [], asked: new Set() }
  page.on('pageerror', (error) => seen.wrong.push(`script: ${error.message}`))
  page.on('console', (message) => {
    const expected = message.text().includes('401 (Unauthorized)')
    if (['error', 'warning'].includes(message.type()) && !expected) seen.wrong.push(message.text())
  })
  page.on('request', (request) => seen.asked.add(request.url()))
  await page.goto(url)
  return { page, seen, context }
}

async function signIn (page, token) {
  await page.getByLabel('Token').fill(token)
  await page.keyboard.press('Enter')
}

const turn = (page, name) => page.getByRole('navigation').getByRole('link', { name: new RegExp(`^${name}`) }).click()

/** Waits until a page has its figures. */
async function settled (page, name) {
  const body = {
    Overview: 'Coverage of claims', Peers: /owes|even/, Channels: 'promised of', Prices: 'Fresh sources',
    Live: 'Half within', LPs: 'Notes of USDX', Alarms: /Nothing needs you|halted|quoted|gas|notice/
  }[name]
  const first = body ? page.locator('main').getByText(body) : page.locator('.events li[data-kind]')
  await first.first().waitFor()
  await page.waitForTimeout(400)
}

/** Of the whole page, save where it is endless. */
const picture = (page, name) =>
  page.screenshot({ path: join(folder, `${name}.png`), fullPage: !name.endsWith('audit-trail') })
const file = (name) => name.toLowerCase().replace(' ', '-')

/** The ratio of luminances of an element's text and what is behind it (WCAG 2). */
const contrasts = (page) => page.evaluate(() => {
  const parts = (colour) => colour.match(/[\d.]+/g).map(Number)
  const light = (colour) => {
    const [r, g, b] = parts(colour).map((part) => part / 255).map((part) =>
      part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor
      if ((parts(colour)[3] ?? 1) > 0) return colour
    }
    return 'rgb(255, 255, 255)'
  }
  const texts = [...document.querySelectorAll('body *')].filter((element) =>
    !(element instanceof SVGElement) && element.checkVisibility() &&
    [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
  return texts.map((element) => {
    const [front, back] = [light(getComputedStyle(element).color), light(behind(element))]
    const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05)
    return { text: element.textContent.trim().slice(0, 40), ratio }
  })
})

async function desk (browser) {
  const { page, seen, context } = await open(browser, { viewport: DESK, colorScheme: 'light' })
  await check('a token that is not known is refused in words', async () => {
    await signIn(page, 'x'.repeat(40))
    await page.getByRole('alert').getByText('not known').waitFor()
    await picture(page, 'sign-in')
  })
  await signIn(page, operator)
  for (const name of PAGES) {
    await check(`the page ${name} shows its figures`, async () => {
      await turn(page, name)
      await settled(page, name)
      await picture(page, `desk-light-${file(name)}`)
    })
  }
  await figures(page)
  await keys(page)
  await liveliness(page)
  await check('every script is content, and nothing else than this node was asked', async () => {
    assert.deepEqual(seen.wrong, [])
    const origin = new URL(url).origin
    assert.deepEqual([...seen.asked].filter((one) => new URL(one).origin !== origin), [])
  })
  await context.close()
}

async function figures (page) {
  await check('the overview shows every asset, covered, with what a stolen key would cost', async () => {
    await turn(page, 'Overview')
    await settled(page, 'Overview')
    const books = await (await fetch(new URL('/v1/books', url), { headers: { Authorization: `Bearer ${operator}` } })).json()
    for (const asset of books.assets) {
      const card = page.locator('section.card', { has: page.getByRole('heading', { name: asset.code, exact: true }) })
      await card.getByText('A stolen key would cost', { exact: true }).waitFor()
      const shown = await card.locator('.hero b').nth(1).innerText()
      const cost = Number(asset.stolen_key_cost) / 10 ** asset.scale
      assert.ok(Math.abs(Number(shown.replaceAll(',', '')) - cost) <= cost * 1e-5 + 1e-6, `${shown} is not ${cost}`)
    }
  })
  await check('the peers are up, and the liar among the sources is marked', async () => {
    await turn(page, 'Peers')
    await settled(page, 'Peers')
    assert.equal(await page.locator('.badge.good', { hasText: 'up' }).count(), 3)
    await turn(page, 'Prices')
    await settled(page, 'Prices')
    assert.equal(await page.locator('circle.mark.off').count(), 3)
  })
  await check('the LP has earned on what it paid in', async () => {
    await turn(page, 'LPs')
    await settled(page, 'LPs')
    const row = page.getByRole('row').nth(1)
    await row.getByText('15,000').first().waitFor()
    const earned = Number((await row.locator('td').nth(4).innerText()).replaceAll(',', ''))
    assert.ok(earned > 0, `earned ${earned}`)
  })
}

async function keys (page) {
  await check('pages turn by number keys, and the keys explain themselves', async () => {
    await page.keyboard.press('2')
    await page.getByRole('heading', { name: 'Peers', level: 1 }).waitFor()
    await page.keyboard.press('?')
    await page.getByRole('dialog', { name: 'Keys' }).waitFor()
    await page.keyboard.press('Escape')
    await page.getByRole('dialog', { name: 'Keys' }).waitFor({ state: 'hidden' })
  })
  await check('the first stop of the tab key leads to the figures', async () => {
    await page.reload()
    await page.getByRole('heading', { name: 'Peers', level: 1 }).waitFor()
    await page.keyboard.press('Tab')
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to the figures')
  })
  await check('a chart is read point by point with the arrows', async () => {
    await page.keyboard.press('5')
    await settled(page, 'Live')
    const chart = page.locator('svg.chart').nth(1)
    await chart.focus()
    await page.keyboard.press('ArrowLeft')
    await chart.locator('.cross').waitFor({ state: 'attached' })
  })
  await check('each page has one heading, captions on its tables, names on its fields', async () => {
    for (const name of PAGES) {
      await turn(page, name)
      await settled(page, name)
      const bare = await page.evaluate(() => ({
        headings: document.querySelectorAll('h1').length,
        tables: [...document.querySelectorAll('table')].filter((one) => !one.caption).length,
        fields: [...document.querySelectorAll('input')].filter((one) => !one.labels.length && !one.ariaLabel).length,
        pictures: [...document.querySelectorAll('[role=img]')].filter((one) => !one.getAttribute('aria-label')).length
      }))
      assert.deepEqual(bare, { headings: 1, tables: 0, fields: 0, pictures: 0 }, name)
    }
  })
}

async function liveliness (page) {
  await check('a halt is told at once, raises an alarm, and both end with it', async () => {
    await turn(page, 'Audit trail')
    await settled(page, 'Audit trail')
    await instruct('PUT', '/v1/assets/ETH', { halted: true })
    await page.locator('li[data-kind="book-halted"]').first().waitFor()
    await page.getByRole('status').filter({ hasText: '1 alarm' }).first().waitFor()
    await turn(page, 'Alarms')
    await page.getByText('ETH is halted').waitFor()
    await picture(page, 'desk-light-alarm')
    await instruct('PUT', '/v1/assets/ETH', { halted: false })
    await page.getByText('Nothing needs you').waitFor()
  })
  await check('the audit trail is searched', async () => {
    await turn(page, 'Audit trail')
    await settled(page, 'Audit trail')
    await page.getByRole('searchbox').fill('voucher-held')
    await page.waitForFunction(() => document.querySelectorAll('.events li').length > 0 &&
      [...document.querySelectorAll('.events li')].every((line) => line.dataset.kind === 'voucher-held'))
  })
}

async function other (browser, name, options) {
  const { page, seen, context } = await open(browser, options)
  await signIn(page, operator)
  for (const one of PAGES) {
    await check(`${name}: ${one} fits, and can be read`, async () => {
      await turn(page, one)
      await settled(page, one)
      await picture(page, `${name}-${file(one)}`)
      const beyond = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
      assert.ok(beyond <= 0, `${beyond} pixels beyond the window`)
      const faint = (await contrasts(page)).filter(({ ratio }) => ratio < CONTRAST_MIN)
      assert.deepEqual(faint, [])
    })
  }
  await check(`${name}: nothing went wrong`, () => assert.deepEqual(seen.wrong, []))
  await context.close()
}

async function narrow (browser) {
  await check('a peer\'s token shows its own account and no other page', async () => {
    const token = randomBytes(32).toString('hex')
    const name = `look-${token.slice(0, 8)}`
    await instruct('POST', '/v1/tokens', { name, role: 'peer', subject: 'b', token })
    const { page, context } = await open(browser, { viewport: DESK })
    await signIn(page, token)
    await page.getByRole('heading', { name: 'Peers', level: 1 }).waitFor()
    await settled(page, 'Peers')
    const links = await page.getByRole('navigation').getByRole('link').allInnerTexts()
    assert.deepEqual(links.map((text) => text.replace(/\s*\d$/, '')), ['Peers', 'Channels', 'Audit trail'])
    assert.equal(await page.getByRole('row').count(), 2)
    await instruct('DELETE', `/v1/tokens/${name}`)
    await page.getByRole('heading', { name: 'Sign in' }).waitFor()
    await context.close()
  })
}

async function main () {
  const executablePath = BROWSERS.find((path) => path && existsSync(path))
  assert.ok(executablePath, 'no Chromium: run `apt-get install -y --no-install-recommends chromium` as root')
  mkdirSync(folder, { recursive: true })
  // Chromium refuses its own sandbox to root, who runs this in containers.
  const args = process.getuid() === 0 ? ['--no-sandbox'] : []
  const browser = await chromium.launch({ executablePath, args })
  await desk(browser)
  await other(browser, 'desk-dark', { viewport: DESK, colorScheme: 'dark' })
  await other(browser, 'phone-light', { viewport: PHONE, colorScheme: 'light', isMobile: true, hasTouch: true, deviceScaleFactor: 2 })
  await other(browser, 'phone-dark', { viewport: PHONE, colorScheme: 'dark', isMobile: true, hasTouch: true, deviceScaleFactor: 2 })
  await narrow(browser)
  await browser.close()
  console.log(`\ntest result: ${failed ? 'FAILED' : 'ok'}. ${passed} passed; ${failed} failed`)
  process.exitCode = failed ? 1 : 0
}

main().catch((error) => {
  console.error(error)
  console.log(`test result: FAILED. ${passed} passed; ${failed + 1} failed`)
  process.exitCode = 1
})
