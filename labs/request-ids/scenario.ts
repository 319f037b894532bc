import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Client, ClientAnswer } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import pg from 'pg'
import { parseLine, type TraceLine, traceOf } from '../../infra/local/trace.ts'
import { check, defineLab, type LabContext } from '../lab.ts'
import { createBuyer, createShow, order, untilQuiet } from '../shop.ts'

interface Size {
  orders: number
}

const workers = 2
const forged = 'an-id-that-a-client-made-up'
const forgedTrace = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`

export const lab = defineLab<Size>({
  slug: 'request-ids',
  sample: true,
  problem: 'An order cannot be followed through the logs of several processes.',
  sizes: { full: { orders: 60 }, test: { orders: 9 } },
  halves: {
    problem: {
      title: (replicas) => `with separate ids in each process, an order's trail ends at one of ${replicas} replicas`,
      async run(context) {
        const { orders } = context.size
        const seen = await follow(context, new URL('./naive.ts', import.meta.url))
        return [
          check('orders confirmed', seen.confirmed, { equals: orders }),
          check('found in the API by the id that the client got', seen.inApi, { equals: orders }),
          check("found in NGINX's log", seen.inNginx, { equals: 0 }),
          check('found in the workers, with charge and mail', seen.inWorker, { equals: 0 }),
        ]
      },
    },
    fix: {
      title: (replicas) =>
        `with one id from NGINX, one grep follows an order over ${replicas} replicas and ${workers} workers`,
      async run(context) {
        const { size, replicas } = context
        const { orders } = size
        const seen = await follow(context)
        return [
          check('orders confirmed', seen.confirmed, { equals: orders }),
          check('found in the API by the id that the client got', seen.inApi, { equals: orders }),
          check("found in NGINX's log", seen.inNginx, { equals: orders }),
          check('found in the workers, with charge and mail', seen.inWorker, { equals: orders }),
          check('found with their queries, by name, in API and worker', seen.queries, { equals: orders }),
          check('found at the provider, with the same traceparent', seen.atProvider, { equals: orders }),
          check('found in the mail, with the same traceparent', seen.inMail, { equals: orders }),
          check("found as well by the order's own id", seen.byOrder, { equals: orders }),
          check('lines that `npm run trace` prints of the first, and grep finds', seen.printed, {
            equals: seen.grepped,
          }),
          check('replicas involved', seen.replicas, { equals: replicas }),
          check('database connections that name their process', seen.named, { equals: replicas + workers }),
          check('ids that a client invented and a log accepted', seen.forged, { equals: 0 }),
          check('queries in the log with a value in them', seen.values, { equals: 0 }),
        ]
      },
    },
  },
})

async function follow({ cluster: start, size, replicas, progress }: LabContext<Size>, parts?: URL) {
  const { orders } = size
  const debug = { LOG_LEVEL: 'debug' }
  const cluster = await start({ parts, replicas, workers, env: debug, workerEnv: debug })
  const [show, buyer] = await Promise.all([createShow(cluster), createBuyer(cluster)])
  const answers: ClientAnswer[] = []
  for (let n = 0; n < orders; n++) answers.push(await order(pretending(buyer), show))
  const { confirmed } = await untilQuiet({ cluster, buyer, orders, progress })
  const [{ charges }, mails, named] = [await cluster.payments.seen(), await cluster.mail.mails(), await names(cluster)]
  const log = await completeLog(cluster, orders)
  const lines = log.flatMap((line) => parseLine(line) ?? [])

  const seen = { inApi: 0, inNginx: 0, inWorker: 0, queries: 0, atProvider: 0, inMail: 0, byOrder: 0 }
  for (const { headers, body } of answers) {
    const id = String(headers['x-request-id'])
    const found = traceOf(lines, id)
    const isOfTrace = (carried: { traceparent?: string }) => carried.traceparent?.split('-')[1] === id
    const has = (service: string | undefined, what: string) =>
      found.some(({ record }) => record.service === service && (record.statement ?? record.msg ?? record.path) === what)
    if (has('api', 'order placed') && has('api', 'request')) seen.inApi++
    if (has(undefined, `${show}/orders`)) seen.inNginx++
    if (has('worker', 'order charged') && has('worker', 'order confirmed')) seen.inWorker++
    if (has('api', 'tickets-order-place') && has('worker', 'tickets-order-paid')) seen.queries++
    if (charges.some((charge) => charge.key === body.id && charge.requestId === id && isOfTrace(charge)))
      seen.atProvider++
    if (
      mails.some(
        (mail) => mail.messageId.includes(body.id) && mail.headers['x-request-id'] === id && isOfTrace(mail.headers),
      )
    )
      seen.inMail++
    if (includesAll(traceOf(lines, body.id), found)) seen.byOrder++
  }
  const first = String(answers[0]?.headers['x-request-id'])
  return {
    ...seen,
    confirmed,
    named,
    grepped: log.filter((line) => line.includes(first)).length,
    printed: await npmRunTrace(first, log),
    replicas: new Set(answers.map(({ replicaId }) => replicaId)).size,
    forged: log.filter((line) => line.includes(forged)).length,
    values: log.filter((line) => line.includes('"msg":"query"') && /@example\.com|\$\d/.test(line)).length,
  }
}

/** A client that sends an id and a trace of its own. */
function pretending(buyer: Client): Client {
  return {
    ...buyer,
    post: (path, body, headers) =>
      buyer.post(path, body, { ...headers, 'X-Request-Id': forged, traceparent: forgedTrace }),
  }
}

/** Every line of NGINX, API and workers, once the workers have logged that they are done. */
async function completeLog(cluster: Cluster, orders: number): Promise<string[]> {
  for (const deadline = Date.now() + 5000; ; await wait(50)) {
    const texts = [...cluster.replicas, ...cluster.workers].map((replica) => replica.logs())
    const told = texts.join('').match(/"msg":"order confirmed"/g)?.length ?? 0
    if (told >= orders || Date.now() > deadline)
      return [...texts, await cluster.accessLog()].flatMap((t) => t.split('\n'))
  }
}

/** How many processes Postgres can identify by their connections' `application_name`. */
async function names({ databaseUrl, replicas, workers }: Cluster): Promise<number> {
  const client = new pg.Client(databaseUrl)
  await client.connect()
  const query = 'SELECT DISTINCT application_name AS name FROM pg_stat_activity WHERE datname = current_database()'
  const { rows } = await client.query<{ name: string }>(query)
  await client.end()
  return [...replicas, ...workers].filter(({ id }) => rows.some(({ name }) => name === id)).length
}

function includesAll(lines: TraceLine[], others: TraceLine[]): boolean {
  const texts = new Set(lines.map(({ text }) => text))
  return others.every(({ text }) => texts.has(text))
}

/** How many lines `npm run trace -- ID` prints, with the logs piped into it. */
async function npmRunTrace(id: string, log: string[]): Promise<number> {
  const script = fileURLToPath(new URL('../../scripts/trace.ts', import.meta.url))
  // `cat |`: Node gives its child a socket, and the command reads pipes.
  const child = spawn('sh', ['-c', 'cat | "$0" "$@"', process.execPath, script, id], {
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  child.stdin.end(log.join('\n'))
  const [output] = await Promise.all([text(child.stdout), once(child, 'close')])
  return output.split('\n').filter((line) => line !== '').length
}
