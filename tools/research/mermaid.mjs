// Parses Mermaid diagrams with the library that draws them.
//
//   node mermaid.mjs < diagrams.json
//
// Standard input is a JSON array of texts. Standard output is one JSON array of the same length: null where the text
// parses, else what the parser says.

import { readFileSync } from 'node:fs'
import { JSDOM } from 'jsdom'

// Mermaid looks for a browser as it is loaded, so there must be one before.
const { window } = new JSDOM('<!DOCTYPE html><body></body>', { pretendToBeVisual: true })
globalThis.window = window
globalThis.document = window.document
// What cleans labels asks for it by its bare name.
globalThis.Element = window.Element
const { default: mermaid } = await import('mermaid')
mermaid.initialize({ startOnLoad: false })

const diagrams = JSON.parse(readFileSync(0, 'utf8'))
const verdicts = []
for (const diagram of diagrams) {
  try {
    await mermaid.parse(diagram)
    verdicts.push(null)
  } catch (error) {
    verdicts.push(String(error.message ?? error))
  }
}
// The window keeps timers of its own: the program ends once all is written.
process.stdout.write(JSON.stringify(verdicts), () => process.exit(0))
