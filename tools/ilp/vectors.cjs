'use strict'
// Writes spec/vectors/ilp-packets.json, ilp-btp.json, ilp-ildcp.json and ilp-ccp.json: what Interledger's own npm packages encode and
// refuse. `node vectors.cjs` writes them, `node vectors.cjs --check` exits 1 when a committed file differs.
const fs = require('fs')
const path = require('path')
const ilp = require('ilp-packet')
const dates = require('ilp-packet/dist/utils/date')
const btp = require('btp-packet')
const ildcp = require('ilp-protocol-ildcp')
const ccp = require('ilp-protocol-ccp')

const folder = path.join(__dirname, '..', '..', 'spec', 'vectors')

// A byte string is written as hex; one with a long run of one byte as [hex before, {repeat, times}, hex after].
function bytes (buffer) {
  const hex = buffer.toString('hex')
  const run = /((?:5a){200,})/.exec(hex)
  if (!run) return hex
  return [hex.slice(0, run.index), { repeat: '5a', times: run[0].length / 2 }, hex.slice(run.index + run[0].length)]
}
const filled = (length) => Buffer.alloc(length, 0x5a)
const sequence = (length, step = 1) => Buffer.from(Array.from({ length }, (_, at) => (at * step) & 0xff))
const version = (name) => `${name} ${JSON.parse(fs.readFileSync(path.join(__dirname, 'node_modules', name, 'package.json'))).version}`

function verdict (work) {
  try {
    work()
    return 'accepts'
  } catch (error) {
    return 'rejects'
  }
}

// ---- ILP packets ----------------------------------------------------------------------------------------------------

const condition = Buffer.from('Zmh6rfhivXdsj8GLjp+OIAiXFIVu4jOzkCpZHQ1fKSU=', 'base64')
const moment = (text) => new Date(text)
const base = {
  amount: '107',
  expiresAt: moment('2026-11-22T13:31:07.042Z'),
  executionCondition: sequence(32, 7),
  destination: 'example.alice',
  data: sequence(20)
}

function prepares () {
  const cases = [['plain', {}], ['no data', { data: Buffer.alloc(0) }]]
  for (const amount of ['0', '1', '255', '4294967295', '4294967296', '9007199254740991', '9007199254740993', '9223372036854775808', '18446744073709551615']) {
    cases.push([`amount ${amount}`, { amount }])
  }
  for (const length of [1, 2, 127, 128, 129, 255, 256, 257, 32766, 32767]) cases.push([`${length} bytes of data`, { data: filled(length) }])
  // Contents of 127, 128, 255 and 256 bytes: where the outer length prefix grows.
  for (const length of [46, 47, 55, 56, 173, 174]) cases.push([`${length} bytes of data beside a short address`, { data: filled(length), destination: 'test.a' }])
  for (const destination of ['g.a', 'private.x', 'peer.config', 'peer.route.control', 'self.a', 'test.a-b_c~d.E', 'test1.a', 'test2.a', 'test3.a', 'local.host.0', `g.${'a'.repeat(125)}`, `g.${'a'.repeat(126)}`, `g.${'a'.repeat(1021)}`]) {
    cases.push([`to ${destination.slice(0, 24)} of ${destination.length}`, { destination }])
  }
  for (const expiresAt of ['1970-01-01T00:00:00.001Z', '1972-02-29T23:59:59.999Z', '1999-12-31T23:59:59.999Z', '2000-02-29T00:00:00.000Z', '2000-03-01T00:00:00.000Z', '2024-02-29T12:00:00.500Z', '2100-02-28T23:59:59.999Z', '2100-03-01T00:00:00.000Z', '9999-12-31T23:59:59.999Z']) {
    cases.push([`expires ${expiresAt}`, { expiresAt: moment(expiresAt) }])
  }
  cases.push(['peer protocol condition', { executionCondition: condition }], ['condition of ff', { executionCondition: Buffer.alloc(32, 0xff) }])
  return cases.map(([name, change]) => {
    const fields = { ...base, ...change }
    const packet = ilp.serializeIlpPrepare(fields)
    const read = ilp.deserializeIlpPrepare(packet)
    return {
      name,
      amount: read.amount,
      expires_at_ms: String(read.expiresAt.getTime()),
      condition: bytes(read.executionCondition),
      destination: read.destination,
      data: bytes(read.data),
      packet: bytes(packet)
    }
  })
}

function fulfills () {
  return [0, 1, 94, 95, 96, 127, 128, 255, 256, 32767].map((length) => {
    const fields = { fulfillment: sequence(32, 3), data: filled(length) }
    return { name: `${length} bytes of data`, fulfillment: bytes(fields.fulfillment), data: bytes(fields.data), packet: bytes(ilp.serializeIlpFulfill(fields)) }
  })
}

function reject (name, fields) {
  const packet = ilp.serializeIlpReject(fields)
  const read = ilp.deserializeIlpReject(packet)
  return { name, code: read.code, triggered_by: read.triggeredBy, message: bytes(Buffer.from(fields.message, 'utf8')), data: bytes(read.data), packet: bytes(packet) }
}

function rejects () {
  const plain = { code: 'T00', triggeredBy: 'example.connector', message: 'no', data: Buffer.alloc(0) }
  const codes = Object.entries(ilp.IlpError).map(([name, code]) => reject(name, { ...plain, code }))
  return codes.concat([
    reject('a code nobody lists', { ...plain, code: 'T77' }),
    reject('origin empty', { ...plain, triggeredBy: '' }),
    reject('origin of 1023', { ...plain, triggeredBy: `g.${'b'.repeat(1021)}` }),
    reject('message empty', { ...plain, message: '' }),
    reject('message in UTF-8', { ...plain, message: 'zu groß: 金額 💸' }),
    reject('message of 127', { ...plain, message: 'm'.repeat(127) }),
    reject('message of 128', { ...plain, message: 'm'.repeat(128) }),
    reject('message of 8191', { ...plain, message: 'Z'.repeat(8191) }),
    reject('data of 32767', { ...plain, data: filled(32767) })
  ])
}

function amountsTooLarge () {
  return [['1000', '10'], ['0', '0'], ['18446744073709551615', '9223372036854775808']].map(([receivedAmount, maximumAmount]) => {
    const error = new ilp.Errors.AmountTooLargeError('too large', { receivedAmount, maximumAmount })
    return { received: receivedAmount, maximum: maximumAmount, packet: bytes(ilp.errorToReject('g.pool', error)) }
  })
}

// Bytes that the packages did not write themselves: `reads_as` names the prepare that they mean.
function variants () {
  const contents = ilp.deserializeEnvelope(ilp.serializeIlpPrepare(base)).contents
  const wrap = (prefix, body, tail = '') => Buffer.concat([Buffer.from('0c' + prefix, 'hex'), body, Buffer.from(tail, 'hex')])
  const size = contents.length.toString(16).padStart(2, '0')
  const fixed = contents.slice(0, 57)
  const destination = Buffer.from(base.destination)
  const longDestination = Buffer.concat([fixed, Buffer.from('8200' + destination.length.toString(16).padStart(2, '0'), 'hex'), destination, Buffer.from([base.data.length]), base.data])
  const longer = (body) => body.length.toString(16).padStart(2, '0')
  return [
    ['length in one byte too many', wrap('81' + size, contents)],
    ['length in eight bytes', wrap('88' + '00'.repeat(7) + size, contents)],
    ['destination length in two bytes', wrap(longer(longDestination), longDestination)],
    ['bytes after the packet', wrap(size, contents, 'deadbeef')],
    ['bytes after the data', wrap(longer(Buffer.concat([contents, Buffer.from('beef', 'hex')])), Buffer.concat([contents, Buffer.from('beef', 'hex')]))]
  ].map(([name, packet]) => ({ name, reads_as: 'plain', ilp_packet: verdict(() => ilp.deserializeIlpPrepare(packet)), packet: bytes(packet) }))
}

function refused () {
  const good = ilp.serializeIlpPrepare(base)
  const goodReject = ilp.serializeIlpReject({ code: 'T00', triggeredBy: 'g.a', message: 'no', data: Buffer.alloc(0) })
  const changed = (at, hex, from = good) => { const copy = Buffer.from(from); Buffer.from(hex, 'hex').copy(copy, at); return copy }
  const ascii = (text) => Buffer.from(text).toString('hex')
  const expiry = (text) => changed(10, ascii(text))
  const at = good.indexOf('example.alice')
  const cases = [
    ['empty', Buffer.alloc(0)],
    ['type alone', Buffer.from([12])],
    ['type 11', changed(0, '0b')],
    ['type 0', changed(0, '00')],
    ['length without bytes', changed(1, '80')],
    ['length past the end', changed(1, '7f')],
    ['length of a GiB', changed(1, '8440000000')],
    ['length of 2^64 - 1', changed(1, '88ffffffffffffffff')],
    ['length of 127 bytes', changed(1, 'ff')],
    ['destination past the end', changed(at - 1, '7f')],
    ['destination of a GiB', changed(at - 1, '8440000000')],
    ['destination empty', changed(at - 1, '00')],
    ['destination with a space', changed(at + 3, '20')],
    ['destination of a scheme alone', changed(at - 1, '07')],
    ['destination with two dots', changed(at + 8, '2e')],
    ['destination ending in a dot', changed(at + 12, '2e')],
    ['destination of no scheme', changed(at, ascii('f'))],
    ['data past the end', changed(at + 13, '7f')],
    ['expiry in letters', expiry('2026112213310704x')],
    ['expiry with a sign', expiry('+0261122133107042')],
    ['month 0', expiry('20260022133107042')],
    ['month 13', expiry('20261322133107042')],
    ['day 0', expiry('20261100133107042')],
    ['November 31st', expiry('20261131133107042')],
    ['February 29th of 2026', expiry('20260229133107042')],
    ['February 29th of 2100', expiry('21000229133107042')],
    ['hour 24', expiry('20261122243107042')],
    ['minute 60', expiry('20261122136007042')],
    ['second 60', expiry('20261122133160042')],
    ['year 1969', expiry('19691231235959999')],
    ['reject with a code of control bytes', changed(2, '000102', goodReject)],
    ['reject with an origin of no scheme', changed(6, ascii('h'), goodReject)]
  ]
  for (let length = 1; length < good.length; length += 9) cases.push([`cut after ${length} bytes`, good.slice(0, length)])
  return cases.map(([name, packet]) => ({ name, ilp_packet: verdict(() => ilp.deserializeIlpPacket(packet)), packet: bytes(packet) }))
}

function addresses () {
  const list = ['', 'g', 'g.', '.g', 'g..a', 'g.a.', 'g.a..b', 'g.a', 'G.a', 'g.A', 'test.a', 'test0.a', 'test1.a', 'test2.a', 'test3.a', 'test4.a', 'tests.a', 'private.a', 'privat.a', 'example.a', 'peer.a', 'peer', 'self.a', 'local.a', 'locals.a', 'example1.a', 'g.a b', 'g.a\n', 'g.ä', 'g.-', 'g._', 'g.~', 'g.a.b.c.d.e.f', `g.${'a'.repeat(1021)}`, `g.${'a'.repeat(1022)}`, `g${'.a'.repeat(511)}`, `private.${'b.'.repeat(507)}c`, `private.${'b.'.repeat(508)}c`]
  for (let code = 0; code < 128; code++) list.push(`g.a${String.fromCharCode(code)}b`, `g.${String.fromCharCode(code)}`)
  return list.map((address) => ({ address, valid: ilp.isValidIlpAddress(address) }))
}

function times () {
  const list = [1, 999, 1000, 59999, 60000, 86399999, 86400000, 951782399999, 951782400000, 951868800000, 4107542399999, 4107542400000, 253402300799999]
  let state = 20261122n // a fixed linear congruential generator: the same dates on every run
  for (let count = 0; count < 200; count++) {
    state = (state * 6364136223846793005n + 1442695040888963407n) % (1n << 64n)
    list.push(Number((state >> 8n) % 253402300800000n))
  }
  return list.map((ms) => ({ ms: String(ms), digits: dates.dateToInterledgerTime(new Date(ms)) }))
}

// ---- BTP ------------------------------------------------------------------------------------------------------------

const entry = (protocolName, contentType, data) => ({ protocolName, contentType, data: Buffer.from(data) })
const named = (list) => list.map((one) => ({ name: one.protocolName, content_type: one.contentType, data: bytes(one.data) }))

function frames () {
  const prepare = ilp.serializeIlpPrepare(base)
  const fulfill = ilp.serializeIlpFulfill({ fulfillment: sequence(32, 3), data: Buffer.from('thanks') })
  const rejected = ilp.serializeIlpReject({ code: 'F02', triggeredBy: 'g.pool', message: 'no route', data: Buffer.alloc(0) })
  const one = (packet) => [entry('ilp', 0, packet)]
  const auth = [entry('auth', 0, ''), entry('auth_username', 1, 'alice'), entry('auth_token', 1, 'open sesame')]
  const many = Array.from({ length: 32 }, (_, at) => entry(`protocol_${at}`, at % 3, filled(at)))
  const { TYPE_MESSAGE: message, TYPE_RESPONSE: response, TYPE_TRANSFER: transfer, TYPE_ERROR: error } = btp
  const cases = [
    ['prepare in a message', message, 1, one(prepare)],
    ['fulfill in a response', response, 1, one(fulfill)],
    ['reject in a response', response, 0xffffffff, one(rejected)],
    ['inverted: prepare in a response', response, 7, one(prepare)],
    ['inverted: fulfill in a message', message, 7, one(fulfill)],
    ['inverted: reject in a message', message, 7, one(rejected)],
    ['auth', message, 0, auth],
    ['auth without a name', message, 3, [auth[0], auth[2]]],
    ['accepted', response, 3, []],
    ['no entries', message, 12, []],
    ['text and json', message, 13, [entry('info', 1, 'grüße'), entry('claim', 2, '{"amount":"5"}')]],
    ['ilp and another', message, 14, [entry('forebay', 0, sequence(97)), entry('ilp', 0, prepare)]],
    ['content type 9', message, 15, [entry('x', 9, 'y')]],
    ['32 entries', message, 16, many]
  ]
  for (const length of [0, 1, 109, 110, 111, 112, 118, 119, 120, 127, 128, 240, 256, 32767]) cases.push([`ilp of ${length} bytes`, message, 17, one(filled(length))])
  const list = cases.map(([name, type, requestId, protocolData]) => ({ name, type, request_id: requestId, entries: named(protocolData), frame: bytes(btp.serialize({ type, requestId, data: { protocolData } })) }))
  for (const amount of ['0', '1', '18446744073709551615']) {
    const protocolData = [entry('claim', 2, '{}')]
    list.push({ name: `transfer of ${amount}`, type: transfer, request_id: 21, amount, entries: named(protocolData), frame: bytes(btp.serializeTransfer({ amount }, 21, protocolData)) })
  }
  const errors = { UnreachableError: 'T00', NotAcceptedError: 'F00', InvalidFieldsError: 'F01', TransferNotFoundError: 'F03', InvalidFulfillmentError: 'F04', DuplicateIdError: 'F05', AlreadyRolledBackError: 'F06', AlreadyFulfilledError: 'F07', InsufficientBalanceError: 'F08' }
  for (const [name, code] of Object.entries(errors)) {
    const triggeredAt = '2026-11-22T13:31:07.042Z'
    const frame = btp.serializeError({ code, name, triggeredAt, data: 'wrong token' }, 22, [])
    list.push({ name: `error ${code}`, type: error, request_id: 22, error: { code, name, triggered_at_ms: String(Date.parse(triggeredAt)), data: 'wrong token' }, entries: [], frame: bytes(frame) })
  }
  return list
}

function refusedFrames () {
  const good = btp.serializeMessage(1, [entry('ilp', 0, ilp.serializeIlpPrepare(base))])
  const changed = (at, hex) => { const copy = Buffer.from(good); Buffer.from(hex, 'hex').copy(copy, at); return copy }
  const cases = [
    ['empty', Buffer.alloc(0)],
    ['type 0', changed(0, '00')],
    ['type 3, dead since BTP 2.0', changed(0, '03')],
    ['type 8', changed(0, '08')],
    ['length past the end', changed(5, '81ff')],
    ['length of a GiB', changed(5, '8440000000')],
    ['count of no bytes', changed(6, '00')],
    ['two entries announced, one sent', changed(7, '02')],
    ['2^32 entries announced', Buffer.from('06000000010605' + '0100000000', 'hex')],
    ['name past the end', changed(8, '7f')],
    ['data past the end', changed(13, '7f')],
    ['transfer without amount', Buffer.from('0700000001020100', 'hex')],
    ['error without code', Buffer.from('0200000001020100', 'hex')]
  ]
  for (let length = 1; length < good.length; length += 11) cases.push([`cut after ${length} bytes`, good.slice(0, length)])
  return cases.map(([name, frame]) => ({ name, btp_packet: verdict(() => btp.deserialize(frame)), frame: bytes(frame) }))
}

// ---- ILDCP ----------------------------------------------------------------------------------------------------------

function requests () {
  return ['2026-11-22T13:31:07.042Z', '2030-01-01T00:00:00.000Z'].map((text) => ({
    expires_at_ms: String(Date.parse(text)),
    packet: bytes(ildcp.serializeIldcpRequest({ expiresAt: moment(text) }))
  }))
}

function responses () {
  return [['test.pool.alice', 9, 'ETH'], ['g.a', 0, 'JPY'], ['private.x', 255, 'a'], ['example.b', 6, '円'], [`g.${'c'.repeat(1021)}`, 11, 'BTC']].map(([clientAddress, assetScale, assetCode]) => ({
    address: clientAddress,
    asset_scale: assetScale,
    asset_code: assetCode,
    packet: bytes(ildcp.serializeIldcpResponse({ clientAddress, assetScale, assetCode }))
  }))
}

function refusedResponses () {
  const fulfill = (fulfillment, data) => ilp.serializeIlpFulfill({ fulfillment, data: Buffer.from(data, 'hex') })
  const zero = Buffer.alloc(32)
  return [
    ['another fulfillment', fulfill(Buffer.alloc(32, 1), '03672e610003455448')],
    ['no data', fulfill(zero, '')],
    ['no scale', fulfill(zero, '03672e61')],
    ['no code', fulfill(zero, '03672e6109')],
    ['code past the end', fulfill(zero, '03672e61097f455448')],
    ['address of no scheme', fulfill(zero, '03682e610903455448')]
  ].map(([name, packet]) => ({ name, ilp_protocol_ildcp: verdict(() => ildcp.deserializeIldcpResponse(packet)), packet: bytes(packet) }))
}

// ---- CCP ------------------------------------------------------------------------------------------------------------

const table = (seed) => sequence(16, seed).toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
const wire = (uuid) => uuid.replace(/-/g, '')

function controls () {
  return [
    ['first request', { mode: 1, lastKnownRoutingTableId: table(0), lastKnownEpoch: 0, features: [] }],
    ['stop', { mode: 0, lastKnownRoutingTableId: table(3), lastKnownEpoch: 7, features: [] }],
    ['last epoch', { mode: 1, lastKnownRoutingTableId: table(5), lastKnownEpoch: 4294967295, features: [] }],
    ['two features', { mode: 1, lastKnownRoutingTableId: table(5), lastKnownEpoch: 9, features: ['foo', 'größe'] }]
  ].map(([name, request]) => ({
    name,
    mode: request.mode,
    table: wire(request.lastKnownRoutingTableId),
    epoch: request.lastKnownEpoch,
    features: request.features.length,
    data: bytes(ccp.serializeCcpRouteControlRequestPayload(request))
  }))
}

function updates () {
  const head = { routingTableId: table(7), currentEpochIndex: 52, fromEpochIndex: 46, toEpochIndex: 50, holdDownTime: 45000, speaker: 'example.alice' }
  const route = (prefix, path = [], props = []) => ({ prefix, path, auth: sequence(32, prefix.length + 1), props })
  const property = (id, value, flags = {}) => ({ id, value, isOptional: false, isTransitive: false, isPartial: false, isUtf8: typeof value === 'string', ...flags })
  return [
    ['heartbeat', { fromEpochIndex: 52, toEpochIndex: 52 }, [], []],
    ['one route', {}, [route('example.prefix1', ['example.prefix1'])], []],
    ['routes and withdrawals', {}, [route('example.prefix1', ['example.alice', 'example.prefix1']), route('example.prefix2', ['example.alice', 'example.bob', 'example.prefix2'])], ['example.prefix3', 'example.prefix4']],
    ['withdrawals alone', {}, [], ['g.a', 'g.b.c']],
    ['the default route and a bare scheme', {}, [route('', ['g.parent']), route('g', ['g.parent'])], ['', 'test']],
    ['no path', {}, [route('g.static')], []],
    ['a path of 32', {}, [route('g.far', Array.from({ length: 32 }, (_, at) => `g.hop${at}`))], []],
    ['a prefix of 200', {}, [route(`g.${'p'.repeat(198)}`, ['g.a'])], [`g.${'w'.repeat(198)}`]],
    ['150 routes', { speaker: 'g.many', fromEpochIndex: 0, toEpochIndex: 150, currentEpochIndex: 4294967295, holdDownTime: 4294967295 }, Array.from({ length: 150 }, (_, at) => route(`g.r${at}`, ['g.many'])), []],
    ['properties', {}, [route('example.prefix1', ['example.alice'], [property(0, Buffer.alloc(0)), property(1, 'hello world', { isOptional: true, isTransitive: true, isPartial: true }), property(65535, filled(300), { isOptional: true })]), route('example.prefix2', ['example.alice'])], ['example.prefix3']]
  ].map(([name, change, newRoutes, withdrawnRoutes]) => {
    const request = { ...head, ...change, newRoutes, withdrawnRoutes }
    return {
      name,
      table: wire(request.routingTableId),
      current_epoch: request.currentEpochIndex,
      from_epoch: request.fromEpochIndex,
      to_epoch: request.toEpochIndex,
      hold_down_ms: request.holdDownTime,
      speaker: request.speaker,
      routes: newRoutes.map((one) => ({ prefix: one.prefix, path: one.path, auth: bytes(one.auth), properties: one.props.length })),
      withdrawn: withdrawnRoutes,
      data: bytes(ccp.serializeCcpRouteUpdateRequestPayload(request))
    }
  })
}

// The packages stamp their prepares by the clock: only the fields that do not depend on it are kept.
function routePrepares () {
  const control = ccp.constructCcpRouteControlRequest({ mode: 1, lastKnownRoutingTableId: table(0), lastKnownEpoch: 0, features: [] })
  const update = ccp.constructCcpRouteUpdateRequest({ routingTableId: table(7), currentEpochIndex: 0, fromEpochIndex: 0, toEpochIndex: 0, holdDownTime: 0, speaker: 'g.a', newRoutes: [], withdrawnRoutes: [] })
  const expiresAt = moment('2026-11-22T13:31:07.042Z')
  return [['control', control], ['update', update]].map(([kind, request]) => ({
    kind,
    expires_at_ms: String(expiresAt.getTime()),
    data: bytes(request.data),
    packet: bytes(ilp.serializeIlpPrepare({ ...request, expiresAt }))
  }))
}

function refusedRouteMessages () {
  const control = ccp.serializeCcpRouteControlRequestPayload({ mode: 1, lastKnownRoutingTableId: table(5), lastKnownEpoch: 9, features: ['foo'] })
  const request = { routingTableId: table(7), currentEpochIndex: 52, fromEpochIndex: 46, toEpochIndex: 50, holdDownTime: 45000, speaker: 'g.speaker', newRoutes: [{ prefix: 'g.prefix', path: ['g.hop'], auth: sequence(32), props: [] }], withdrawnRoutes: ['g.gone'] }
  const update = ccp.serializeCcpRouteUpdateRequestPayload(request)
  const changed = (from, at, hex) => { const copy = Buffer.from(from); Buffer.from(hex, 'hex').copy(copy, at); return copy }
  const at = (text) => update.indexOf(text)
  const written = (change) => ccp.serializeCcpRouteUpdateRequestPayload({ ...request, ...change })
  const cases = [
    ['control', 'empty', Buffer.alloc(0)],
    ['control', 'mode 2', changed(control, 0, '02')],
    ['control', 'feature past the end', changed(control, 23, '7f')],
    ['control', 'count of no bytes', changed(control, 21, '00')],
    ['update', 'empty', Buffer.alloc(0)],
    ['update', 'speaker of no scheme', written({ speaker: 'nobody' })],
    ['update', 'speaker of a GiB', changed(update, 32, '8440000000')],
    ['update', 'prefix with a space', changed(update, at('g.prefix') + 3, '20')],
    ['update', 'prefix past the end', changed(update, at('g.prefix') - 1, '7f')],
    ['update', 'hop of no scheme', changed(update, at('g.hop'), '68')],
    ['update', '2^32 hops announced', changed(update, at('g.hop') - 3, '0500')],
    ['update', 'a path of 33', written({ newRoutes: [{ prefix: 'g.far', path: Array.from({ length: 33 }, (_, hop) => `g.hop${hop}`), auth: sequence(32), props: [] }] })],
    ['update', 'from above to', written({ fromEpochIndex: 51 })],
    ['update', 'to above current', written({ toEpochIndex: 53 })],
    ['update', 'withdrawn prefix with two dots', written({ withdrawnRoutes: ['g..a'] })]
  ]
  for (let length = 1; length < control.length; length += 4) cases.push(['control', `cut after ${length} bytes`, control.slice(0, length)])
  for (let length = 1; length < update.length; length += 5) cases.push(['update', `cut after ${length} bytes`, update.slice(0, length)])
  const read = { control: ccp.deserializeCcpRouteControlRequestPayload, update: ccp.deserializeCcpRouteUpdateRequestPayload }
  return cases.map(([kind, name, data]) => ({ kind, name, ilp_protocol_ccp: verdict(() => read[kind](data)), data: bytes(data) }))
}

// ---------------------------------------------------------------------------------------------------------------------

const files = {
  'ilp-packets.json': { written_by: version('ilp-packet'), prepares: prepares(), fulfills: fulfills(), rejects: rejects(), amounts_too_large: amountsTooLarge(), variants: variants(), refused: refused(), addresses: addresses(), times: times() },
  'ilp-btp.json': { written_by: version('btp-packet'), frames: frames(), refused: refusedFrames() },
  'ilp-ildcp.json': { written_by: version('ilp-protocol-ildcp'), requests: requests(), responses: responses(), refused: refusedResponses() },
  'ilp-ccp.json': { written_by: version('ilp-protocol-ccp'), prepares: routePrepares(), controls: controls(), updates: updates(), response: bytes(ccp.serializeCcpResponse()), refused: refusedRouteMessages() }
}
// One case a line, so that a difference can be read.
const text = (file) => '{\n' + Object.entries(file).map(([key, value]) => {
  if (!Array.isArray(value)) return `  ${JSON.stringify(key)}: ${JSON.stringify(value)}`
  return `  ${JSON.stringify(key)}: [\n${value.map((one) => '    ' + JSON.stringify(one)).join(',\n')}\n  ]`
}).join(',\n') + '\n}\n'

let differing = 0
for (const [name, file] of Object.entries(files)) {
  const target = path.join(folder, name)
  if (process.argv.includes('--check')) {
    if (!fs.existsSync(target) || fs.readFileSync(target, 'utf8') !== text(file)) {
      console.error(`${name} differs: run node tools/ilp/vectors.cjs and look at the difference`)
      differing++
    }
  } else {
    fs.writeFileSync(target, text(file))
  }
}
process.exit(differing ? 1 : 0)
