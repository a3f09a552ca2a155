'use strict'
// Ends TLS in front of a TCP port on this machine, with Node's own TLS. Prints its port as one JSON line.
//   node tls-front.cjs <certificate, PEM file> <key, PEM file> <port behind it>
const fs = require('fs')
const net = require('net')
const tls = require('tls')

const [certificate, key, port] = process.argv.slice(2)
const options = { cert: fs.readFileSync(certificate), key: fs.readFileSync(key) }
const server = tls.createServer(options, (outside) => {
  const inside = net.connect(Number(port), '127.0.0.1')
  const end = () => { outside.destroy(); inside.destroy() }
  for (const socket of [outside, inside]) socket.on('error', end).on('close', end)
  outside.pipe(inside).pipe(outside)
})
// A client that does not trust the certificate ends the handshake; that is its right.
server.on('tlsClientError', () => {})
server.listen(0, '127.0.0.1', () => process.stdout.write(JSON.stringify({ port: server.address().port }) + '\n'))
process.stdin.resume().on('end', () => process.exit(0))
