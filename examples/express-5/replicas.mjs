// Runs a server three times and reports what a client sees: node replicas.mjs server.ts
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

const freePort = async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  return port
}

const replicas = []
for (const _ of [1, 2, 3]) {
  const port = await freePort()
  const env = { ...process.env, PORT: String(port) }
  const child = spawn(process.execPath, [process.argv[2]], { env, stdio: ['ignore', 'ignore', 'inherit'] })
  replicas.push({ url: `http://127.0.0.1:${port}`, child })
}
process.on('exit', () => {
  for (const { child } of replicas) child.kill('SIGKILL')
})
const [a, b, c] = replicas
for (const { url } of replicas) {
  const until = Date.now() + 20_000
  while (!(await fetch(`${url}/health`).catch(() => undefined))?.ok) {
    if (Date.now() > until) throw new Error(`${url} does not start`)
    await wait(50)
  }
}

const logIn = await fetch(`${a.url}/log-in/ana`, { method: 'POST' })
const cookie = logIn.headers.getSetCookie()[0]?.split(';')[0]
const me = async ({ url }) => (await (await fetch(`${url}/me`, { headers: { cookie } })).json()).name
const seen = [await me(b), await me(c)]
await fetch(`${c.url}/log-out`, { method: 'POST', headers: { cookie } })
const after = await me(a)

const statuses = []
for (let i = 0; i < 36; i++) statuses.push((await fetch(`${replicas[i % 3].url}/limited`)).status)

const slow = fetch(`${b.url}/slow`)
await wait(200)
b.child.kill('SIGTERM')
const drained = await (await slow).text()
await once(b.child, 'exit')
const requestId = (await fetch(`${a.url}/health`)).headers.get('x-request-id')

console.log(
  JSON.stringify({
    seen,
    after,
    allowed: statuses.filter((status) => status === 200).length,
    refused: statuses.filter((status) => status === 429).length,
    drained,
    exitCode: b.child.exitCode,
    requestId: requestId !== null,
  }),
)
process.exit()
