import { execFileSync } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { freePort } from '@escala/servers/processes'
import { type Client, type ClientAnswer, createClient, expectStatus } from '@escala/testing/client'
import { startTraffic } from '@escala/testing/traffic'
import { createCompose } from '../infra/docker/compose.ts'
import { readCommandLine } from '../infra/local/command-line.ts'

const usage = `usage: npm run smoke:compose

Starts the containers as a user does, in a project of their own, and scales them under traffic. Needs Docker. Exits with 0
only if every step held, and removes what it started in any case.`

readCommandLine(usage, {})
const secret = () => randomBytes(32).toString('base64url')
// A machine may allow less than the file asks for.
const files = Number(execFileSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' })) || 65_536 // or `unlimited`
const port = await freePort()
const password = secret()
const compose = createCompose({
  ...process.env,
  COMPOSE_PROJECT_NAME: `escala-smoke-${process.pid}`,
  POSTGRES_PASSWORD: secret(),
  DATABASE_OWNER_PASSWORD: `o@w:n/e?r#%d '${secret()}`,
  // What a URL or a command line would take for something else.
  DATABASE_PASSWORD: `p@s:s/w?o#r%d '${secret()}`,
  REDIS_PASSWORD: `>#p@s:s/w ?"\\${secret()}`,
  SESSION_SECRETS: secret(),
  SEED: '1',
  NOFILE: String(Math.min(files, 65_536)),
  SEED_PASSWORD: password,
  RATE_LIMIT_PER_MINUTE: '1000000',
  REDIS_TIMEOUT_MS: '3000', // how fast a busy machine answers is not what is tested here
  DATABASE_TIMEOUT_MS: '6000',
  EXPOSE_REPLICA: '1',
  BIND_ADDRESS: '127.0.0.1',
  PORT: String(port),
})
/** What the sample adds: something that a worker has to finish, and a write that NGINX may not send twice. */
const sample: { order?(client: Client): Promise<void>; write(client: Client): Promise<ClientAnswer> } = {
  write: (client) =>
    client.post('/v1/users', { email: `${randomUUID()}@example.com`, password: secret(), name: 'Ann' }),
}
const url = `http://127.0.0.1:${port}`
const startedAt = Date.now()
const say = (line: string) =>
  console.log(`${String(Math.round((Date.now() - startedAt) / 1000)).padStart(4)} s  ${line}`)
const scale = (count: number) => compose.command('up', '-d', '--no-build', '--wait', '--scale', `api=${count}`)

// sample
let show: string | undefined
sample.write = async (client) => {
  show ??= expectStatus(await client.get('/v1/shows'), 200).body.items[0].id
  return client.post(`/v1/shows/${show}/orders`, { quantity: 1 }, { 'Idempotency-Key': randomUUID() })
}
sample.order = async (client) => {
  const { items } = expectStatus(await client.get('/v1/shows'), 200).body
  const headers = { 'Idempotency-Key': randomUUID() }
  const ordered = await client.post(`/v1/shows/${items[0].id}/orders`, { quantity: 1 }, headers)
  const { id } = expectStatus(ordered, 201).body
  for (const deadline = Date.now() + 20_000; ; await wait(200)) {
    const { status } = expectStatus(await client.get(`/v1/orders/${id}`), 200).body
    if (status === 'confirmed') break
    if (Date.now() > deadline) throw new Error(`the order is still ${status} after 20 s`)
  }
  say('an order was charged, mailed and confirmed')
}
// /sample

process.once('SIGINT', () => void remove().finally(() => process.exit(130)))
process.once('SIGTERM', () => void remove().finally(() => process.exit(143)))
try {
  await compose.command('build')
  say('images built')
  await scale(3)
  say('3 replicas are healthy')
  await replicas(3)
  const client = createClient(url)
  await client.logIn('customer@example.com', password)
  say('logged in')
  await sample.order?.(client)
  await scaleUnderTraffic(client)
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  console.error(await compose.command('logs', '--no-color', '--tail', '20').catch(() => ''))
  const answers = await compose.command('logs', '--no-color', 'nginx').catch(() => '')
  console.error(`Answers of NGINX with 5xx:\n${answers.match(/.*"status":5.*/g)?.join('\n')}`)
  process.exitCode = 1
} finally {
  await remove()
  say('removed')
}

async function replicas(count: number): Promise<void> {
  const seen = new Set<string | undefined>()
  for (let tries = 0; seen.size < count && tries < 200; tries++) {
    seen.add((await createClient(url, { keepAlive: false }).get('/v1/session')).replicaId)
    await wait(20)
  }
  if (seen.size !== count || seen.has(undefined))
    throw new Error(`expected ${count} replicas, saw ${[...seen].join(', ')}`)
  say(`requests reach ${[...seen].join(', ')}`)
}

async function scaleUnderTraffic(client: Client): Promise<void> {
  await scale(1)
  say('scaled to 1')
  // Reads, and now and then a write.
  const traffic = startTraffic(60, (index) => (index % 20 === 0 ? sample.write(client) : client.get('/v1/session')))
  for (const count of [5, 2]) {
    await scale(count)
    await wait(8000)
    say(`scaled to ${count} under traffic: ${traffic.report().total} requests, ${traffic.report().failed} failed`)
  }
  const { total, failed, failures } = await traffic.stop()
  await replicas(2)
  if (failed > 0) throw new Error(`${failed} of ${total} requests failed: ${JSON.stringify(failures)}`)
  say(`${total} requests, none failed`)
}

async function remove(): Promise<void> {
  await compose.command('down', '--volumes', '--rmi', 'local', '--timeout', '3')
}
