import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { afterEach, expect, test } from 'vitest'
import { inspectorOffset } from './inspector.ts'

const stops: (() => void)[] = []
afterEach(() => {
  for (const stop of stops.splice(0)) stop()
})

/** A process that opens its inspector; resolves with the line that it logs. */
async function open(internalPort: number): Promise<Record<string, unknown>> {
  const code = `
    const { openInspector } = await import(${JSON.stringify(new URL('./inspector.ts', import.meta.url).href)})
    const log = (level) => (fields) => console.log(JSON.stringify({ level, ...fields }))
    openInspector(${internalPort}, { warn: log('warn'), error: log('error') })
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'ignore'] })
  stops.push(() => child.kill('SIGKILL'))
  const [line] = await once(createInterface(child.stdout), 'line')
  return JSON.parse(line)
}

async function takenPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  stops.push(() => server.close())
  return (server.address() as { port: number }).port
}

test('two processes of one machine can be inspected at once', async () => {
  for (const internalPort of [4107, 4108]) {
    const { level, inspector } = await open(internalPort)
    expect([level, inspector]).toEqual(['warn', `127.0.0.1:${internalPort + inspectorOffset}`])
    const targets = await (await fetch(`http://${inspector}/json/list`)).json()
    expect(targets).toMatchObject([{ type: 'node' }])
  }
})

test('above the highest port it takes any free one', async () => {
  const { inspector } = await open(65_000)
  expect((await fetch(`http://${inspector}/json/version`)).status).toBe(200)
})

test('a port that is taken costs the inspector, not the process', async () => {
  const port = await takenPort()
  expect(await open(port - inspectorOffset)).toEqual({ level: 'error', port })
})
