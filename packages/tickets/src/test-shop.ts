import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { accountsData } from '@escala/accounts/data'
import type { Breaker, BreakerCall } from '@escala/kit/breaker/breaker'
import type { Cache } from '@escala/kit/cache/cache'
import { kitErrors } from '@escala/kit/errors/errors'
import { createStreams } from '@escala/kit/events/follow'
import { createMemoryEvents } from '@escala/kit/events/memory'
import { createEventStreams } from '@escala/kit/events/sse'
import { createMemoryFlags } from '@escala/kit/flags/memory'
import { type MountOptions, mountRoutes } from '@escala/kit/http/mount'
import { problemHandler } from '@escala/kit/http/problem'
import type { Route } from '@escala/kit/http/route'
import { createPostgresIdempotency } from '@escala/kit/idempotency/postgres'
import type { Job, JobHandler } from '@escala/kit/jobs/jobs'
import { createLog } from '@escala/kit/log/log'
import { createSmtpMailer } from '@escala/kit/mail/smtp'
import { createMetrics } from '@escala/kit/metrics/metrics'
import { createPostgresOutbox } from '@escala/kit/outbox/postgres'
import { kitMigrations, migrate, migrationsOf } from '@escala/kit/postgres/migrations'
import { createPostgres, type Postgres } from '@escala/kit/postgres/postgres'
import { createPostgresUploads } from '@escala/kit/uploads/postgres'
import { countStatements } from '@escala/testing/count-statements'
import { mailControl, startMail } from '@escala/testing/peers/mail'
import { paymentsControl, startPayments } from '@escala/testing/peers/payments'
import { createTestDatabase } from '@escala/testing/test-database'
import express from 'express'
import { runAlone } from '../../kit/src/idempotency/statement.ts'
import { ticketsApi } from './api.ts'
import { ticketsData } from './data.ts'
import { ticketFlags } from './flags.ts'
import { orderJobs } from './jobs.ts'
import { createPayments } from './payments.ts'
import { liveRoutes } from './routes/live.ts'
import { orderRoutes } from './routes/orders.ts'
import { posterRoutes } from './routes/posters.ts'
import { reportRoutes } from './routes/reports.ts'
import { showRoutes } from './routes/shows.ts'
import type { Show } from './schemas.ts'
import { createShowReader } from './show-reader.ts'
import { addShow } from './shows.ts'

export const log = createLog({ service: 'test', replicaId: 'test', version: '', level: 'silent' })

export type Shop = Awaited<ReturnType<typeof createShop>>

/** The shop's routes on three replicas' worth of connections, its jobs, and both peers: all real, except Redis and log-in. */
export async function createShop(
  adminUrl: string,
  { maxPerBuyer = 0, around = (postgres: Postgres) => postgres } = {},
) {
  const database = await createTestDatabase(adminUrl)
  const folders = [kitMigrations, ...[accountsData, ticketsData].map(migrationsOf)]
  await migrate({ url: database.url, folders, log })
  const connect = () =>
    around(createPostgres({ url: database.url, log, applicationName: 'test', maxConnections: 8, timeoutMs: 2000 }))
  const replicas = [connect(), connect(), connect()] as [Postgres, Postgres, Postgres]
  const postgres = replicas[0]
  const outbox = createPostgresOutbox()
  const events = createMemoryEvents()
  const places = createEventStreams({ draining: new AbortController().signal, share: () => 1 })
  const streams = createStreams(places, events)
  const flags = createMemoryFlags({ declared: Object.values(ticketFlags) })

  const [payments, mail] = await Promise.all([startPayments(), startMail()])
  const guard = {
    open: false,
    async run<T>(call: () => Promise<T>, { begin }: BreakerCall = {}) {
      if (guard.open) throw kitErrors.E_PEER_UNAVAILABLE()
      return (await begin?.()) === false ? undefined : await call()
    },
  }
  const breaker = guard as typeof guard & Breaker
  /** Type and order of each dead letter. */
  const dead = new Set<string>()
  const mailer = createSmtpMailer({ smtpUrl: mail.smtpUrl, from: 'Shop <shop@example.com>', breaker })
  const counted = countStatements(postgres)
  const jobs = orderJobs({
    postgres: counted.postgres,
    outbox,
    events,
    deadLetters: {
      among: async (type, ids) => new Set(ids.filter((id) => dead.has(`${type} ${id}`))),
    },
    payments: createPayments({ url: payments.url, timeoutMs: 300, breaker }),
    mailer,
    stuckMs: 60_000, // longer than the tests run: only what they age is stuck
  })
  const servers = await Promise.all(
    replicas.map((replica) => {
      const idempotency = createPostgresIdempotency({ postgres: replica })
      const shows = createShowReader({ cache: readThrough, postgres: replica })
      const routes = [
        ...showRoutes({ postgres: replica, events }, shows),
        ...liveRoutes({ postgres: replica, streams }, shows),
        ...posterRoutes({ uploads: createPostgresUploads({ postgres: replica }), downloads: { begin() {} } }, shows),
        ...orderRoutes(
          { postgres: replica, idempotency, outbox, events, flags, metrics: metricsOf() },
          { holdMs: 900_000, maxPerBuyer },
        ),
        ...reportRoutes({ postgres: replica }),
      ]
      return listen(routes, {
        roles: ticketsApi.roles ?? [],
        once: { idempotency, postgres: replica },
        async hasRole(userId, role) {
          const { rowCount } = await replica.query(`SELECT FROM users WHERE id = $1 AND role = $2`, [userId, role])
          return rowCount > 0
        },
      })
    }),
  )

  return {
    replicas,
    postgres,
    log,
    outbox,
    flags,
    jobs,
    /** What the jobs have asked of Postgres. */
    asked: counted.asked,
    /** Base URL of a replica. */
    url: (path: string, replica = 0) => `http://127.0.0.1:${servers[replica]?.port}${path}`,
    payments: paymentsControl(payments.url),
    dead,
    /** Before the provider and the mail server: `open` holds calls back. */
    breaker,
    mail: mailControl(mail.url),
    smtpUrl: mail.smtpUrl,
    mailConnections: mail.connections,
    databaseUrl: database.url,
    /** A new user's id. */
    async addUser(role = 'customer') {
      const id = randomUUID()
      const values = [id, `${id}@example.com`, 'Ana, "the" Buyer', role]
      await postgres.query(
        `INSERT INTO users (id, email, name, role, password_hash) VALUES ($1, $2, $3, $4, '')`,
        values,
      )
      return id
    },
    async addShow(capacity: number, priceCents = 1000) {
      const show = { name: 'Gig', startsAt: '2030-01-01T20:00:00Z', priceCents, currency: 'EUR', capacity }
      return (await runAlone(postgres, addShow(show)))?.response.body as Show
    },
    /** One request to a replica, logged in as `userId`. */
    async send(method: string, path: string, options: SendOptions = {}) {
      const { userId, body, headers = {}, replica = 0 } = options
      const response = await fetch(`http://127.0.0.1:${servers[replica]?.port}${path}`, {
        method,
        headers: {
          ...(userId !== undefined && { 'test-user': userId }),
          ...(body !== undefined && { 'content-type': 'application/json' }),
          ...headers,
        },
        body: body === undefined ? undefined : JSON.stringify(body),
      })
      const text = await response.text()
      return { status: response.status, headers: response.headers, body: text === '' ? undefined : JSON.parse(text) }
    },
    order(userId: string, showId: string, options: { quantity?: number; key?: string; replica?: number } = {}) {
      const { quantity = 1, key = randomUUID(), replica } = options
      const headers = { 'idempotency-key': key }
      return this.send('POST', `/v1/shows/${showId}/orders`, { userId, replica, headers, body: { quantity } })
    },
    /** Runs one job as the queue would; returns what it threw. */
    async run(type: string, payload: unknown = {}, part: Partial<Job> = {}) {
      const job: Job = {
        id: `${type}-${randomUUID()}`,
        type,
        payload,
        requestId: undefined,
        traceparent: undefined,
        attempt: 1,
        isFirstTry: true,
        signal: new AbortController().signal,
        log,
        ...part,
      }
      return (jobs[type] as JobHandler)(job).catch((error: Error) => error)
    },
    /** Runs what the outbox holds, and what that leads to, until nothing is left. */
    async work() {
      for (;;) {
        const { rows } = await postgres.query<{ type: string; payload: unknown }>(
          'UPDATE outbox SET published_at = now() WHERE published_at IS NULL RETURNING type, payload',
        )
        if (rows.length === 0) return
        await Promise.all(rows.map(({ type, payload }) => this.run(type, payload)))
      }
    },
    async statusOf(orderId: string) {
      const { rows } = await postgres.query<{ status: string }>('SELECT status FROM orders WHERE id = $1', [orderId])
      return rows[0]?.status
    },
    /** Makes the order older than it is. */
    async age(orderId: string, column: 'hold_until' | 'touched_at' | 'paid_at') {
      await postgres.query(`UPDATE orders SET ${column} = ${column} - interval '1 day' WHERE id = $1`, [orderId])
    },
    /** Tickets that are neither available nor in an order that keeps them: anything but 0 is a bug. */
    async missing(showId: string) {
      const { rows } = await postgres.query<{ missing: number }>(
        `SELECT capacity - available - coalesce((SELECT sum(quantity)::int FROM orders WHERE show_id = shows.id
          AND status IN ('pending', 'charging', 'paid', 'confirmed')), 0) AS missing FROM shows WHERE id = $1`,
        [showId],
      )
      return rows[0]?.missing
    },
    async stop() {
      await Promise.all(servers.map((server) => server.stop()))
      mailer.stop()
      await Promise.all([...replicas.map((replica) => replica.stop()), payments.stop(), mail.stop()])
      await database.drop()
    },
  }
}

/** Tests read what they have just written. */
const readThrough: Cache = {
  scope: 'cluster',
  get: (_key, { load }) => load(new AbortController().signal),
  invalidate: async () => {},
  degraded: () => undefined,
  stop: async () => {},
}

const metricsOf = () => createMetrics({ service: 'test', replica: 'test', version: '0' }).ofModule(ticketsApi.name)

interface SendOptions {
  userId?: string
  body?: unknown
  headers?: Record<string, string>
  replica?: number
}

async function listen(routes: Route[], options: MountOptions) {
  const app = express()
  app.disable('etag')
  app.use((req, _res, next) => {
    const userId = req.get('test-user')
    Object.assign(req, {
      id: randomUUID(),
      log,
      deadline: new AbortController().signal,
      session: { userId, id: 'test' },
    })
    next()
  })
  mountRoutes(app, routes, options)
  app.use(problemHandler)
  const server = createServer(app).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async stop() {
      server.close()
      server.closeAllConnections()
    },
  }
}
