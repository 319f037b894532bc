import { setTimeout as wait } from 'node:timers/promises'
import { createTestDatabase, type TestDatabase } from '@escala/testing/test-database'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test, vi } from 'vitest'
import { createLog } from '../log/log.ts'
import { createConnections } from '../postgres/connections.ts'
import { kitMigrations, migrate } from '../postgres/migrations.ts'
import { createPostgres, type Postgres, type Result, type Statement } from '../postgres/postgres.ts'
import { createPlace } from './place.ts'
import { createReplicas, type ReplicasOptions } from './postgres.ts'
import type { Self } from './replica.ts'
import type { Replicas } from './replicas.ts'

const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
const heartbeatMs = 100
let database: TestDatabase
let pools: Postgres[]
let joined: Replicas[]

beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  await migrate({ url: database.url, folders: [kitMigrations], log })
})

beforeEach(() => {
  pools = []
  joined = []
})

afterEach(async () => {
  await Promise.all([...joined.map((replica) => replica.leave()), ...pools.map((pool) => pool.stop())])
  await query('DELETE FROM replicas') // those that were left dead
})

afterAll(() => database.drop())

async function query(text: string, values: unknown[] = []) {
  const client = new pg.Client({ connectionString: database.url })
  await client.connect()
  return (await client.query(text, values).finally(() => client.end())).rows
}

interface Plan {
  'Node Type': string
  'Actual Rows': number
  'Actual Loops': number
  'Rows Removed by Filter'?: number
  Plans?: Plan[]
}

/** Of this part of a plan and all below: what its scans of tables have looked at. */
function rowsRead(plan: Plan | undefined): number {
  if (plan === undefined) return 0
  const isTable = /^(Seq|Index|Index Only|Bitmap Heap) Scan$/.test(plan['Node Type'])
  const seen = (plan['Actual Rows'] + (plan['Rows Removed by Filter'] ?? 0)) * plan['Actual Loops']
  return (isTable ? seen : 0) + (plan.Plans ?? []).reduce((sum, part) => sum + rowsRead(part), 0)
}

const api = (id: string, self: Partial<Self> = {}): Self => ({
  id,
  role: 'api',
  version: '1',
  scopes: { sessions: 'cluster', jobs: 'cluster' },
  secretFingerprints: ['a'],
  schedules: [],
  ...self,
})
const worker = (id: string, self: Partial<Self> = {}) =>
  api(id, { role: 'worker', scopes: { jobs: 'cluster' }, secretFingerprints: [], ...self })

function create(self: Self, options: Partial<ReplicasOptions> = {}) {
  const pool = createPostgres({ url: database.url, log, applicationName: self.id, maxConnections: 1, timeoutMs: 2000 })
  pools.push(pool)
  const replicas = createReplicas({
    self,
    databaseUrl: database.url,
    pool,
    log,
    dbConnections: 40,
    maxProcesses: 8,
    heartbeatMs,
    ...options,
  })
  joined.push(replicas)
  return Object.assign(replicas, { pool })
}

async function join(self: Self, options: Partial<ReplicasOptions> = {}) {
  const replicas = create(self, options)
  await replicas.join()
  return replicas
}

/** A replica that was killed: its row stays, and its heart does not beat. */
async function leaveDead(self: Self) {
  const replicas = await join(self)
  const [row] = await query('SELECT * FROM replicas WHERE id = $1', [self.id])
  await replicas.leave()
  await query('INSERT INTO replicas SELECT * FROM json_populate_record(NULL::replicas, $1)', [JSON.stringify(row)])
  await query('UPDATE replicas SET heartbeat_at = clock_timestamp() WHERE id = $1', [self.id])
}

/** API replicas that live for ten minutes without a heartbeat. */
async function addRows(count: number) {
  await query(
    `INSERT INTO replicas (incarnation, id, role, version, scopes, secret_fingerprints, schedules, ttl_ms, pool_size, admitted,
       clock_offset_ms, started_at, heartbeat_at)
     SELECT gen_random_uuid(), 'r' || n, 'api', '1', '{}', '{a}', '{}', 600000, 3, true, 0, clock_timestamp(), clock_timestamp()
     FROM generate_series(1, $1) AS n`,
    [count],
  )
}

test('every process sees the live ones until they leave', async () => {
  const [first, , third] = [
    await join(api('one')),
    await join(worker('w', { schedules: ['s'] })),
    await join(api('two')),
  ]
  expect((await first.list()).map(({ id, role, schedules }) => ({ id, role, schedules }))).toEqual([
    { id: 'one', role: 'api', schedules: [] },
    { id: 'w', role: 'worker', schedules: ['s'] },
    { id: 'two', role: 'api', schedules: [] },
  ])
  await vi.waitFor(() => expect(first.liveApis()).toBe(2))
  await third.leave()
  expect((await first.list()).map(({ id }) => id)).toEqual(['one', 'w'])
  await vi.waitFor(() => expect(first.liveApis()).toBe(1))
})

test('when processes fall silent together, the one that finds one of them reports all', async () => {
  const first = await join(api('one'))
  const second = await join(api('two'))
  await addRows(3)
  for (const replica of [first, second]) await vi.waitFor(() => expect(replica.liveApis()).toBe(5))
  // No trigger counts this: it is what happens when no process writes any more.
  await query(`UPDATE replicas SET heartbeat_at = heartbeat_at - interval '1 hour' WHERE id LIKE 'r%'`)
  for (const replica of [first, second]) await vi.waitFor(() => expect(replica.liveApis()).toBe(2))
  await vi.waitFor(async () => expect(await query('SELECT FROM replicas WHERE found_dead')).toHaveLength(3))
})

describe('what a heartbeat costs', () => {
  const scans: number[] = []
  let statements: string[]

  /** Runs each statement as it is, and notes how many rows it looked at. */
  function explained(postgres: Postgres): Postgres {
    return {
      ...postgres,
      async query<Row>(statement: string | Statement, values?: unknown[]) {
        const text = typeof statement === 'string' ? statement : statement.text
        statements.push(text)
        let result: Result<Row> | undefined
        await postgres.transaction(async (tx) => {
          // A table of one page is read as a whole, which is cheaper than any index. Forbidden, it looks so dear that it would be compiled.
          await tx.query('SET LOCAL enable_seqscan = off')
          await tx.query('SET LOCAL jit = off')
          result = await tx.query<Row>(text, values)
          const plan = await tx.query<{ 'QUERY PLAN': [{ Plan: Plan }] }>(
            `EXPLAIN (ANALYZE, FORMAT JSON) ${text}`,
            values,
          )
          scans.push(rowsRead(plan.rows[0]?.['QUERY PLAN'][0].Plan))
        })
        return result as Result<Row>
      },
    }
  }

  async function costOf(others: number): Promise<{ statements: number; rows: number }> {
    const postgres = create(api('own')).pool
    await addRows(others)
    const connections = createConnections({ log })
    const counted = explained(postgres)
    const place = createPlace({
      ...{ self: api('own'), pool: postgres, log, dbConnections: 400, maxProcesses: 100, ttlMs: 60_000 },
      ...{ connections, postgres: counted },
    })
    statements = []
    await place.register(true)
    await place.renew() // the first one after a change counts
    expect(place.liveApis()).toBe(others + 1)
    statements = []
    scans.length = 0
    for (let beats = 0; beats < 4; beats++) await place.renew()
    expect(place.liveApis()).toBe(others + 1)
    await query('DELETE FROM replicas')
    return { statements: statements.length, rows: scans.reduce((sum, rows) => sum + rows, 0) }
  }

  test('is one statement, and as many rows for 50 processes as for 3', async () => {
    const few = await costOf(2)
    expect(few.statements).toBe(4)
    expect(few.rows).toBeLessThanOrEqual(4 * 6)
    expect(await costOf(49)).toEqual(few)
  })
})

test('a replica that is silent for a time-to-live is dead, and counts no more', async () => {
  const first = await join(api('one'))
  await leaveDead(api('two'))
  expect(await first.list()).toHaveLength(2)
  await vi.waitFor(async () => expect(await first.list()).toHaveLength(1))
  await vi.waitFor(() => expect(first.liveApis()).toBe(1))
})

describe('the guard', () => {
  const memory = { scopes: { sessions: 'process', uploads: 'cluster' } } as const

  test('refuses a second replica beside state in a process, and says what would break', async () => {
    await join(api('one', memory))
    const error = await join(api('two')).catch((error) => error)
    expect(error.code).toBe('E_PROCESS_SCOPE')
    expect(error.message).toContain('sessions (in the process of one): users are logged out at random')
    expect(error.message).toContain('docs/problems/sessions.md')
    expect(error.message).not.toContain('uploads')
  })

  test('of two that start at once, one lives', async () => {
    const outcomes = await Promise.allSettled([join(api('one', memory)), join(api('two', memory))])
    expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
  })

  test('waits for a dead predecessor rather than refusing', async () => {
    await leaveDead(api('one', memory))
    const successor = await join(api('one', memory))
    expect(await successor.list()).toHaveLength(1)
  })

  test('lets a worker be beside what only the API keeps, but not beside what they share', async () => {
    await join(api('one', memory))
    await join(worker('w'))
    await expect(join(worker('w2', { scopes: { jobs: 'process' } }))).rejects.toMatchObject({ code: 'E_PROCESS_SCOPE' })
  })

  test('can be switched off', async () => {
    await join(api('one', memory), { allowProcessScope: true })
    const second = await join(api('two', memory), { allowProcessScope: true })
    const { checks } = await second.scaleReport()
    expect(checks.find(({ name }) => name === 'state')).toMatchObject({ verdict: 'fail' })
  })
})

describe('secrets', () => {
  test('one in common with each live API replica is enough, and needed', async () => {
    await join(api('one', { secretFingerprints: ['old'] }))
    await join(worker('w'))
    await join(api('two', { secretFingerprints: ['new', 'old'] }))
    await expect(join(api('three', { secretFingerprints: ['new'] }))).rejects.toMatchObject({
      code: 'E_SECRETS_DIFFER',
      message: expect.stringContaining('three shares no session secret with one:'),
    })
  })

  test('a leaked one can be dropped at once', async () => {
    await join(api('one', { secretFingerprints: ['leaked'] }))
    await join(api('two', { secretFingerprints: ['new'] }), { allowSecretSplit: true })
  })
})

describe('connections', () => {
  test('from one to six: each has its share, the seventh waits for a place', async () => {
    const replicas = []
    for (let n = 1; n <= 6; n++) replicas.push(await join(api(`r${n}`), { dbConnections: 20, maxProcesses: 6 }))
    expect(replicas.map(({ pool }) => pool.stats().max)).toEqual([2, 2, 2, 2, 2, 2]) // and one each of the registry
    const seventh = await join(api('r7'), { dbConnections: 20, maxProcesses: 6 })
    expect(seventh.unreadyReason()).toBe('MAX_PROCESSES=6 are running already: waiting for a place')
    expect(seventh.pool.stats().max).toBe(1)
    expect((await seventh.scaleReport()).checks.find(({ name }) => name === 'places')).toMatchObject({
      verdict: 'fail',
    })
    expect((await seventh.scaleReport()).connections.granted).toBe(18)

    await replicas[0]?.leave()
    await seventh.admitted
    expect(seventh.unreadyReason()).toBeUndefined()
    expect(seventh.pool.stats().max).toBe(2)
  })

  test('eight that start at once never pass the maximum', async () => {
    const all = await Promise.all(Array.from({ length: 8 }, (_, n) => join(api(`r${n}`), { maxProcesses: 5 })))
    expect(all.filter((replica) => replica.unreadyReason() === undefined)).toHaveLength(5)
  })

  test('too few for so many processes is an error of the configuration', async () => {
    await expect(join(api('one'), { dbConnections: 11, maxProcesses: 6 })).rejects.toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringContaining('lower MAX_PROCESSES to 3'),
    })
  })

  test('by default, what the server allows less a reserve', async () => {
    const { connections } = await (await join(api('one'), { dbConnections: 0 })).scaleReport()
    expect(connections.budget).toBe(connections.serverAllows - 5)
    expect(connections.perProcess).toBe(Math.floor(connections.budget / 8))
  })
})

describe('the role that serves', () => {
  let role: string
  let url: string
  const name = () => new URL(database.url).pathname.slice(1)
  const limits = () =>
    query(`SELECT unnest(setconfig) AS one FROM pg_db_role_setting JOIN pg_roles ON setrole = oid WHERE rolname = $1`, [
      role,
    ])

  beforeEach(async () => {
    role = `serves_${name()}`
    const withRole = new URL(database.url)
    Object.assign(withRole, { username: role, password: 'x' })
    url = withRole.href
    await query(`CREATE ROLE ${role} LOGIN PASSWORD 'x'`)
    await query(`GRANT ALL ON ALL TABLES IN SCHEMA public TO ${role}`)
  })
  afterEach(async () => {
    await Promise.all(joined.map((replica) => replica.leave()))
    await query(`ALTER DATABASE ${name()} CONNECTION LIMIT -1`)
    await query(`DROP OWNED BY ${role}; DROP ROLE ${role}`)
  })

  test('gets the limits that it lacks, and keeps those that it has', async () => {
    await query(`ALTER ROLE ${role} IN DATABASE ${name()} SET statement_timeout = 999`)
    await join(api('one'), { databaseUrl: url })
    expect((await limits()).map(({ one }) => one).sort()).toEqual([
      'idle_in_transaction_session_timeout=1500',
      'lock_timeout=1500',
      'statement_timeout=999',
      'tcp_keepalives_count=3',
      'tcp_keepalives_idle=5',
      'tcp_keepalives_interval=2',
      'tcp_user_timeout=10000',
    ])
  })

  test('gets others when DATABASE_TIMEOUT_MS has changed', async () => {
    await join(api('one'), { databaseUrl: url })
    await join(api('two'), { databaseUrl: url, timeoutMs: 3001 })
    expect((await limits()).map(({ one }) => one)).toEqual(
      expect.arrayContaining([
        'idle_in_transaction_session_timeout=2251',
        'lock_timeout=2251',
        'statement_timeout=2701',
      ]),
    )
    await join(api('three'), { databaseUrl: url, timeoutMs: 1000 })
    expect((await limits()).map(({ one }) => one)).toContain('statement_timeout=900')
  })

  test.each(['5s', '2000', '0'])('a statement that goes on when it was given up ends the start: %s', async (value) => {
    await query(`ALTER ROLE ${role} SET statement_timeout = '${value}'`)
    await expect(join(api('one'), { databaseUrl: url })).rejects.toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringContaining('DATABASE_TIMEOUT_MS=2000 gives a statement up before'),
    })
    await query(`ALTER ROLE ${role} SET statement_timeout = '1.9s'`)
    await join(api('one'), { databaseUrl: url })
  })

  test('has a budget within its own limit', async () => {
    await query(`ALTER ROLE ${role} CONNECTION LIMIT 12`)
    const first = await join(api('one'), { databaseUrl: url, dbConnections: 0, maxProcesses: 2 })
    const { connections, checks } = await first.scaleReport()
    expect(connections).toMatchObject({ serverAllows: 12, allowedBy: 'role', budget: 7, perProcess: 3 })
    expect(checks.find((check) => check.name === 'connections')?.detail).toContain('the role allows 12')
    await expect(join(api('two'), { databaseUrl: url, dbConnections: 0 })).rejects.toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringContaining('(the role allows 12, less 5 in reserve)'),
    })
  })

  test('has a budget within the limit of the database', async () => {
    await query(`ALTER DATABASE ${name()} CONNECTION LIMIT 14`)
    const { connections } = await (
      await join(api('one'), { databaseUrl: url, dbConnections: 0, maxProcesses: 3 })
    ).scaleReport()
    expect(connections).toMatchObject({ serverAllows: 14, allowedBy: 'database', budget: 9 })
  })

  test('a password that is wrong from the start is reported', async () => {
    const replicas = create(api('one'), { databaseUrl: url.replace(':x@', ':wrong@') })
    const joining = replicas.join().catch(() => undefined)
    await vi.waitFor(() =>
      expect(replicas.unreadyReason()).toBe(
        `waiting for Postgres: password authentication failed for user "${role}" (28P01)`,
      ),
    )
    await replicas.leave()
    await joining
  })
})

test('without a heartbeat for its time-to-live, a process ends its connections and says why', async () => {
  const connections = createConnections({ log })
  const first = await join(api('one'), { connections, ttlMs: 400 })
  const pool = createPostgres({
    url: database.url,
    log,
    applicationName: 'one',
    maxConnections: 3,
    timeoutMs: 2000,
    connections,
  })
  pools.push(pool)
  await pool.query('SELECT 1')
  const name = new URL(database.url).pathname.slice(1)
  const admin = new pg.Client({ connectionString: inject('postgresUrl') })
  await admin.connect()
  await admin.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`)
  await admin.query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'one registry'`,
    [name],
  )
  await vi.waitFor(() => expect(first.silentReason()).toContain('no heartbeat for'))
  expect(pool.stats().total).toBe(0)
  await expect(pool.query('SELECT 1')).rejects.toMatchObject({
    code: 'E_POSTGRES_UNAVAILABLE',
    cause: { message: expect.stringContaining('no place') },
  })
  expect(first.problems()).toEqual([expect.stringContaining('postgres: '), expect.stringContaining('no heartbeat')])
  expect(first.unreadyReason()).toBeUndefined()
  await admin.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`)
  await admin.end()
  await vi.waitFor(() => expect(first.silentReason()).toBeUndefined())
  await pool.query('SELECT 1')
  expect(first.problems()).toEqual([])
})

test('an admitted process ends what a silent one left open, and nothing that began later or belongs to a live one', async () => {
  const connect = async (name: string) => {
    const client = new pg.Client({ connectionString: database.url, application_name: name })
    client.on('error', () => undefined)
    await client.connect()
    return client
  }
  const isOpen = async (client: pg.Client) => (await client.query('SELECT 1').catch(() => undefined)) !== undefined
  const left = await connect('gone')
  await leaveDead(api('gone'))
  await leaveDead(api('heir'))
  const ofHeir = await connect('heir')
  const heir = await join(api('heir'))
  await vi.waitFor(async () => expect(await heir.list()).toHaveLength(1))
  const [later, own] = [await connect('gone'), await connect('one')]
  await join(api('one'))
  expect(await Promise.all([left, later, ofHeir, own].map(isOpen))).toEqual([false, true, true, true])
  await Promise.all([left, later, ofHeir, own].map((client) => client.end().catch(() => undefined)))
})

test('a replica whose row vanished registers again', async () => {
  const first = await join(api('one'))
  await query('DELETE FROM replicas')
  await vi.waitFor(async () => expect(await first.list()).toHaveLength(1))
  expect(first.unreadyReason()).toBeUndefined()
})

test('a replica that woke after its place was given away waits for another', async () => {
  const first = await join(api('one'), { maxProcesses: 1 })
  const second = await join(api('two'), { maxProcesses: 1 })
  // The first one is silent, and the second one has taken its place.
  await query(
    `UPDATE replicas SET admitted = id = 'two',
       heartbeat_at = heartbeat_at - CASE id WHEN 'one' THEN interval '1 minute' ELSE interval '0' END`,
  )
  await vi.waitFor(() =>
    expect([first.unreadyReason() === undefined, second.unreadyReason() === undefined]).toEqual([false, true]),
  )
  await second.leave()
  await vi.waitFor(() => expect(first.unreadyReason()).toBeUndefined())
})

test('waits for the tables, and says so', async () => {
  const empty = await createTestDatabase(inject('postgresUrl'))
  const replicas = create(api('one'), { databaseUrl: empty.url, migrations: [kitMigrations] })
  const joining = replicas.join()
  await vi.waitFor(() => expect(replicas.unreadyReason()).toContain('waiting for the migrations kit/0002_replicas, '))
  await migrate({ url: empty.url, folders: [kitMigrations], log })
  await joining
  expect(replicas.unreadyReason()).toBeUndefined()
  await replicas.leave()
  await empty.drop()
})

test('while Postgres is down the last known number stays', async () => {
  const [first] = [await join(api('one')), await join(api('two'))]
  await vi.waitFor(() => expect(first.liveApis()).toBe(2))
  const admin = new pg.Client({ connectionString: inject('postgresUrl') })
  await admin.connect()
  const name = new URL(database.url).pathname.slice(1)
  await admin.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`)
  await admin.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [name])
  await wait(heartbeatMs * 5) // nothing can be awaited: that nothing changes is the point
  expect(first.liveApis()).toBe(2)
  expect(first.unreadyReason()).toBeUndefined()
  await admin.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`)
  await admin.end()
  await vi.waitFor(async () => expect(await first.list()).toHaveLength(2))
})
