'use strict'
// The plugin for an endpoint: `btp+ws://:token@host:port` is dialled by ilp-plugin-btp, JSON holds options of ilp-plugin-http.
require('./loopback.cjs')

module.exports = (endpoint) => {
  if (endpoint.startsWith('{')) {
    const PluginHttp = require('ilp-plugin-http')
    return new PluginHttp(JSON.parse(endpoint))
  }
  const PluginBtp = require('ilp-plugin-btp')
  return new PluginBtp({ server: endpoint, reconnectInterval: 500 })
}
