'use strict'
// ilp-protocol-stream 2.7.1 assigns `this.closed` on its streams, where Node has a getter without a setter since version 18.
// Giving its class a property of its own, before anything is created, keeps both sides working.
// Load this file before ilp-protocol-stream: `node --require ./node20-shim.cjs script.cjs`.
const { DataAndMoneyStream } = require('ilp-protocol-stream/dist/src/stream')

const own = Object.getOwnPropertyDescriptor(DataAndMoneyStream.prototype, 'closed')
if (own === undefined) {
  Object.defineProperty(DataAndMoneyStream.prototype, 'closed', { value: false, writable: true, configurable: true })
}
