import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { createTestDatabase, type TestDatabase } from '@escala/testing/test-database'
import pg from 'pg'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, onTestFinished, test, vi } from 'vitest'
import { createLog } from '../log/log.ts'
import { createConnections } from './connections.ts'
import { migrate } from './migrations.ts'
import { createPostgres, type Postgres, type PostgresOptions, sqlState, violates } from './postgres.ts'

const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
let database: TestDatabase
const open: Postgres[] = []

beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  await admin(
    'CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL CONSTRAINT not_negative CHECK (balance >= 0))',
  )
})

afterEach(async () => {
  await Promise.all(open.splice(0).map((postgres) => postgres.stop()))
  const left = () =>
    admin(
      `SELECT query FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()`,
    )
  await vi.waitFor(async () => expect(await left()).toEqual([])) // the server notices a moment later
})

afterAll(() => database.drop())

function create(options: Partial<PostgresOptions> = {}) {
  const postgres = createPostgres({
    url: database.url,
    log,
    applicationName: 'test',
    maxConnections: 3,
    timeoutMs: 1000,
    ...options,
  })
  open.push(postgres)
  return postgres
}

async function admin(text: string) {
  const client = new pg.Client({ connectionString: database.url })
  await client.connect()
  return (await client.query(text).finally(() => client.end())).rows
}

const endAll = () =>
  admin(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`,
  )
const unavailable = { code: 'E_POSTGRES_UNAVAILABLE', kind: { status: 503 } }

test('a named statement is prepared once per connection; without names none is', async () => {
  const named = create({ maxConnections: 1 })
  const statement = { name: 'answer', text: 'SELECT $1::int + 1 AS n' }
  expect((await named.query(statement, [1])).rows).toEqual([{ n: 2 }])
  expect((await named.query(statement, [2])).rows).toEqual([{ n: 3 }])
  expect((await named.query('SELECT name FROM pg_prepared_statements')).rows).toEqual([{ name: 'answer' }])

  const plain = create({ maxConnections: 1, namedStatements: false })
  await plain.query(statement, [1])
  expect((await plain.query('SELECT name FROM pg_prepared_statements')).rows).toEqual([])
})

describe('a transaction', () => {
  test('commits when its work resolves, and rolls back when it rejects', async () => {
    const postgres = create()
    await postgres.transaction((tx) => tx.query('INSERT INTO accounts VALUES (1, 10)'))
    const mine = new Error('mine')
    const failing = postgres.transaction(async (tx) => {
      await tx.query('INSERT INTO accounts VALUES (2, 10)')
      throw mine
    })
    await expect(failing).rejects.toBe(mine)
    expect((await postgres.query('SELECT id FROM accounts')).rows).toEqual([{ id: 1 }])
    expect(postgres.stats()).toMatchObject({ idle: 1, total: 1 })
  })

  test('what the server says about the statement is thrown as it is', async () => {
    const error = await create()
      .query('INSERT INTO accounts VALUES (3, -1)')
      .catch((error) => error)
    expect(sqlState(error)).toBe('23514')
    expect(violates(error, 'not_negative')).toBe(true)
    expect(violates(error, 'another')).toBe(false)
  })

  test('is tried again after a serialization failure: three transfers at once, no money made', async () => {
    const postgres = create({ maxConnections: 5, timeoutMs: 5000 })
    await admin('DELETE FROM accounts; INSERT INTO accounts VALUES (1, 100), (2, 100)')
    let tries = 0
    const allHaveRead = Promise.withResolvers<void>()
    const transfer = () =>
      postgres.transaction(async (tx) => {
        const attempt = ++tries
        await tx.query('SET TRANSACTION ISOLATION LEVEL SERIALIZABLE')
        const { rows } = await tx.query<{ balance: number }>('SELECT balance FROM accounts WHERE id = 1')
        if (attempt === 3) allHaveRead.resolve()
        await allHaveRead.promise
        await tx.query('UPDATE accounts SET balance = $1 WHERE id = 1', [(rows[0]?.balance ?? 0) - 1])
        await tx.query('UPDATE accounts SET balance = balance + 1 WHERE id = 2')
      })
    const outcomes = await Promise.allSettled([transfer(), transfer(), transfer()])
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'fulfilled'])
    expect(tries).toBeGreaterThan(3)
    expect((await postgres.query('SELECT balance FROM accounts ORDER BY id')).rows).toEqual([
      { balance: 97 },
      { balance: 103 },
    ])
  })

  test('is tried again after a deadlock', async () => {
    const postgres = create({ timeoutMs: 5000 })
    await admin('DELETE FROM accounts; INSERT INTO accounts VALUES (1, 0), (2, 0)')
    const both = (first: number, second: number) =>
      postgres.transaction(async (tx) => {
        await tx.query('UPDATE accounts SET balance = balance + 1 WHERE id = $1', [first])
        await wait(50)
        await tx.query('UPDATE accounts SET balance = balance + 1 WHERE id = $1', [second])
      })
    await Promise.all([both(1, 2), both(2, 1)])
    expect((await postgres.query('SELECT balance FROM accounts')).rows).toEqual([{ balance: 2 }, { balance: 2 }])
  })

  test('is given up after five tries', async () => {
    let tries = 0
    const failing = create().transaction(async (tx) => {
      tries++
      await tx.query(`DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = 'serialization_failure'; END $$`)
    })
    await expect(failing).rejects.toMatchObject({ ...unavailable, cause: { code: '40001' } })
    expect(tries).toBe(5)
  })

  test('a deferred constraint that fails at COMMIT is reported, and the connection is fit for the next transaction', async () => {
    const postgres = create({ maxConnections: 1 })
    await admin('CREATE TABLE IF NOT EXISTS late (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)')
    const failing = postgres.transaction((tx) => tx.query('INSERT INTO late VALUES (1), (1)'))
    await expect(failing).rejects.toMatchObject({ code: '23505' })
    expect((await postgres.query('SELECT count(*)::int AS n FROM late')).rows).toEqual([{ n: 0 }])
  })

  test('never commits what follows a failed statement, even if the work swallowed the failure', async () => {
    const postgres = create()
    await admin('DELETE FROM accounts')
    const failing = postgres.transaction(async (tx) => {
      await tx.query('INSERT INTO accounts VALUES (7, 1)')
      await tx.query('INSERT INTO accounts VALUES (7, 1)').catch(() => undefined)
    })
    await expect(failing).rejects.toMatchObject({ code: '23505' })
    expect((await postgres.query('SELECT id FROM accounts')).rows).toEqual([])
  })

  test('whose connection is ended half-way is unavailable, and the next one works', async () => {
    const postgres = create()
    const failing = postgres.transaction(async (tx) => {
      await tx.query('SELECT 1')
      await endAll()
      await tx.query('SELECT 2')
    })
    await expect(failing).rejects.toMatchObject(unavailable)
    expect((await postgres.query('SELECT 3 AS n')).rows).toEqual([{ n: 3 }])
  })

  test('a statement that comes after the end of its transaction is refused', async () => {
    const postgres = create({ maxConnections: 1 })
    const escaped = await postgres.transaction(async (tx) => tx)
    await expect(escaped.query('SELECT 1')).rejects.toThrow('had ended')
  })
})

describe('what does not answer in time is unavailable', () => {
  test('a full pool', async () => {
    const postgres = create({ maxConnections: 1, timeoutMs: 300 })
    const started = performance.now()
    const outcomes = await Promise.allSettled(Array.from({ length: 4 }, () => postgres.query('SELECT pg_sleep(0.25)')))
    const refused = outcomes.filter(({ status }) => status === 'rejected') as PromiseRejectedResult[]
    expect(refused.length).toBeGreaterThanOrEqual(2)
    for (const { reason } of refused) expect(reason).toMatchObject(unavailable)
    expect(performance.now() - started).toBeLessThan(5000)
  })

  test('a statement that takes too long', async () => {
    const postgres = create({ timeoutMs: 200 })
    await expect(postgres.query('SELECT pg_sleep(2)')).rejects.toMatchObject(unavailable)
    await admin(`SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(2)'`)
    await vi.waitFor(async () =>
      expect(await admin(`SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(2)'`)).toEqual([]),
    )
  })

  test('with the limits of the role, the server ends it first and the connection stays', async () => {
    const limited = await createTestDatabase(inject('postgresUrl'))
    const limits = { statementMs: 150, lockMs: 100, idleInTransactionMs: 150 }
    await migrate({ url: limited.url, folders: [], log, limits })
    const postgres = create({ url: limited.url, maxConnections: 1 })
    const pid = async () => (await postgres.query('SELECT pg_backend_pid() AS pid')).rows[0]
    const before = await pid()
    await expect(postgres.query('SELECT pg_sleep(0.5)')).rejects.toMatchObject(unavailable)
    expect(await pid()).toEqual(before)

    const long = postgres.transaction((tx) => tx.query('SELECT pg_sleep(0.5)'), { statementMs: 5000 })
    await expect(long).resolves.toMatchObject({ rowCount: 1 })
    await expect(postgres.query('SELECT pg_sleep(0.5)')).rejects.toMatchObject(unavailable)

    const forgotten = postgres.transaction(async (tx) => {
      await tx.query('SELECT 1')
      await wait(400)
      await tx.query('SELECT 2')
    })
    await expect(forgotten).rejects.toMatchObject(unavailable)
    expect(await pid()).not.toEqual(before)
    await postgres.stop()
    await limited.drop()
  })

  test('a row that somebody else keeps locked', async () => {
    await admin('INSERT INTO accounts VALUES (77, 1)')
    const [holder, postgres] = [create(), create({ maxConnections: 1 })]
    await holder.transaction(async (tx) => {
      await tx.query('UPDATE accounts SET balance = 2 WHERE id = 77')
      await postgres.query(`SET lock_timeout = '50ms'`)
      await expect(postgres.query('UPDATE accounts SET balance = 3 WHERE id = 77')).rejects.toMatchObject(unavailable)
    })
  })

  test('a statement and its wait for a connection have one time together', async () => {
    const postgres = create({ maxConnections: 1, timeoutMs: 1000 })
    const first = postgres.query('SELECT pg_sleep(0.7)')
    const startedAt = performance.now()
    await expect(postgres.query('SELECT pg_sleep(0.9)')).rejects.toMatchObject(unavailable)
    expect(performance.now() - startedAt).toBeLessThan(1500)
    await first
  })

  test('a server that cannot be reached', async () => {
    await expect(create({ url: 'postgres://postgres@127.0.0.1:1/x' }).query('SELECT 1')).rejects.toMatchObject(
      unavailable,
    )
  })

  test('a server that accepts and then says nothing', async () => {
    await using silent = await listen(() => {})
    const started = performance.now()
    await expect(create({ url: silent.url, timeoutMs: 200 }).query('SELECT 1')).rejects.toMatchObject(unavailable)
    expect(performance.now() - started).toBeLessThan(5000)
  })

  test('a database that takes no more connections', async () => {
    const name = new URL(database.url).pathname.slice(1)
    const role = `few_${name}`
    await admin(`CREATE ROLE ${role} LOGIN PASSWORD 'x' CONNECTION LIMIT 1`)
    const url = new URL(database.url)
    url.username = role
    url.password = 'x'
    const postgres = create({ url: url.href, maxConnections: 2 })
    await postgres.transaction(async (tx) => {
      await tx.query('SELECT 1')
      await expect(postgres.query('SELECT 2')).rejects.toMatchObject(unavailable)
    })
    await postgres.stop()
    await admin(`DROP ROLE ${role}`)
  })
})

describe('a statement outside of a transaction', () => {
  test('is repeated after a conflict, five times in all', async () => {
    await admin(`CREATE SEQUENCE IF NOT EXISTS tries; CREATE OR REPLACE FUNCTION conflict(times int) RETURNS bigint AS $$
      DECLARE n bigint := nextval('tries');
      BEGIN
        IF n % (times + 1) <> 0 THEN RAISE EXCEPTION 'again' USING ERRCODE = 'deadlock_detected'; END IF;
        RETURN n;
      END $$ LANGUAGE plpgsql`)
    const postgres = create()
    expect((await postgres.query('SELECT conflict(4)::int AS n')).rows).toEqual([{ n: 5 }])
    await admin('ALTER SEQUENCE tries RESTART')
    await expect(postgres.query('SELECT conflict(5)')).rejects.toMatchObject({
      ...unavailable,
      cause: { code: '40P01' },
    })
    expect(await admin('SELECT last_value::int AS n FROM tries')).toEqual([{ n: 5 }])
  })

  test('a deadlock of two single statements fails no caller', async () => {
    await admin(`DELETE FROM accounts; INSERT INTO accounts VALUES (1, 0), (2, 0);
      CREATE OR REPLACE FUNCTION raise_both(first int, second int) RETURNS void AS $$ BEGIN
        UPDATE accounts SET balance = balance + 1 WHERE id = first;
        PERFORM pg_sleep(0.1);
        UPDATE accounts SET balance = balance + 1 WHERE id = second;
      END $$ LANGUAGE plpgsql`)
    const postgres = create({ timeoutMs: 10_000 })
    await Promise.all([postgres.query('SELECT raise_both(1, 2)'), postgres.query('SELECT raise_both(2, 1)')])
    expect((await postgres.query('SELECT balance FROM accounts')).rows).toEqual([{ balance: 2 }, { balance: 2 }])
  })

  test('a value that cannot be sent is a mistake in the program, not an outage', async () => {
    const postgres = create({ maxConnections: 1 })
    const loop: { self?: unknown } = {}
    loop.self = loop
    const statement = { name: 'loop', text: 'SELECT $1::jsonb AS value' }
    const error = await postgres.query(statement, [loop]).catch((error) => error)
    expect(error).toBeInstanceOf(TypeError)
    expect((await postgres.query(statement, [{ n: 1 }])).rows).toEqual([{ value: { n: 1 } }])
    const same = postgres.query({ name: 'loop', text: 'SELECT 2' })
    await expect(same).rejects.toThrow('Prepared statements must be unique')
    await expect(same).rejects.not.toMatchObject(unavailable)
  })
})

describe('a statement that was prepared before a migration', () => {
  const all = { name: 'all', text: 'SELECT * FROM changing' }
  const add = { name: 'add', text: 'INSERT INTO changing (n) VALUES ($1) RETURNING n' }
  beforeEach(() => admin('DROP TABLE IF EXISTS changing; CREATE TABLE changing (n int)'))

  test('works on, after a column was added: 0A000', async () => {
    const postgres = create()
    await Promise.all([1, 2, 3].map(() => postgres.transaction((tx) => tx.query(all))))
    await admin('ALTER TABLE changing ADD COLUMN more text')
    for (let n = 0; n < 6; n++) await postgres.query(all)
    await Promise.all([1, 2, 3, 4, 5, 6].map(() => postgres.transaction((tx) => tx.query(all))))
  })

  test('works on, after the type of a column has changed: 42804', async () => {
    const postgres = create({ maxConnections: 1 })
    await postgres.query(add, [1])
    await admin(`ALTER TABLE changing ALTER COLUMN n TYPE jsonb USING to_jsonb(n)`)
    expect((await postgres.query(add, [2])).rows).toEqual([{ n: 2 }])
    expect((await postgres.transaction((tx) => tx.query(add, [3]))).rows).toEqual([{ n: 3 }])
  })

  test('works on, after a pooler has forgotten it: 26000', async () => {
    const postgres = create({ maxConnections: 1 })
    await postgres.query(all)
    await postgres.query('DEALLOCATE ALL')
    expect((await postgres.query(all)).rows).toEqual([])
  })

  test('is repeated once only', async () => {
    const postgres = create({ maxConnections: 1 })
    await postgres.query(add, [1])
    await admin('ALTER TABLE changing ALTER COLUMN n TYPE timestamptz USING now()')
    await expect(postgres.query(add, [2])).rejects.toMatchObject({ code: expect.stringMatching(/^22/) })
  })
})

describe('one connection that finds out', () => {
  const pids = async (postgres: Postgres) => {
    const queries = [1, 2, 3].map(() =>
      postgres.query<{ pid: number }>('SELECT pg_backend_pid() AS pid, pg_sleep(0.05)'),
    )
    return (await Promise.all(queries)).map(({ rows }) => rows[0]?.pid)
  }

  test('that the server takes no writes (25006) replaces all', async () => {
    const connections = createConnections({ log })
    const [postgres, other] = [create({ connections }), create({ connections })]
    const before = [...(await pids(postgres)), ...(await pids(other))]
    const failing = postgres.transaction(async (tx) => {
      await tx.query('SET TRANSACTION READ ONLY')
      await tx.query('INSERT INTO accounts VALUES (90, 1)')
    })
    await expect(failing).rejects.toMatchObject({ ...unavailable, cause: { code: '25006' } })
    await vi.waitFor(async () => expect([postgres.stats().total, other.stats().total]).toEqual([0, 0]))
    const after = [...(await pids(postgres)), ...(await pids(other))]
    expect(after.filter((pid) => before.includes(pid))).toEqual([])
  })

  test('that the server ends connections (57P01) replaces all, idle or in use', async () => {
    const connections = createConnections({ log })
    const [postgres, other] = [create({ connections, maxConnections: 1 }), create({ connections })]
    await pids(other)
    const [row] = (await postgres.query('SELECT pg_backend_pid() AS pid')).rows
    await admin(`SELECT pg_terminate_backend(${row?.pid})`)
    await vi.waitFor(() => expect(other.stats().total).toBe(0))
    await pids(other)
    const failing = expect(postgres.query('SELECT pg_backend_pid(), pg_sleep(5)')).rejects.toMatchObject({
      ...unavailable,
      cause: { code: '57P01' },
    })
    const busy = `SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_backend_pid(), pg_sleep(5)'`
    await vi.waitFor(async () => expect(await admin(busy)).toHaveLength(1))
    await admin(`SELECT pg_terminate_backend(pid) FROM (${busy}) AS one`)
    await failing
    await vi.waitFor(() => expect(other.stats().total).toBe(0))
  })
})

test('a connection ends after its lifetime, between two statements', async () => {
  const postgres = create({ maxConnections: 1, lifetimeMs: 100 })
  const pid = async () => (await postgres.query('SELECT pg_backend_pid() AS pid')).rows[0]
  const first = await pid()
  expect(await pid()).toEqual(first)
  await wait(100) // its lifetime
  expect(await pid()).not.toEqual(first)
})

describe('what the server refuses is unavailable, and said loudly', () => {
  const loud = () => {
    const lines: { level: number; msg: string; err?: { code: string } }[] = []
    const log = pino({ level: 'error' }, { write: (line: string) => void lines.push(JSON.parse(line)) })
    return { log, lines }
  }
  const as = (user: string, password: string, path = new URL(database.url).pathname) => {
    const url = new URL(database.url)
    Object.assign(url, { username: user, password, pathname: path })
    return url.href
  }

  test.each([
    ['a password that was changed', '28P01', () => as('postgres', 'wrong')],
    ['a role that is gone', '28P01', () => as('nobody_here', 'x')],
    ['a database that is gone', '3D000', () => as('postgres', 'test', '/nowhere')],
  ])('%s', async (_, code, url) => {
    const { log, lines } = loud()
    const connections = createConnections({ log })
    const postgres = create({ url: url(), log, connections })
    await expect(postgres.query('SELECT 1')).rejects.toMatchObject({ ...unavailable, cause: { code } })
    await expect(postgres.query('SELECT 1')).rejects.toMatchObject(unavailable)
    expect(lines.map(({ msg, err }) => [msg, err?.code])).toEqual([['the database refuses this process', code]])
    expect(connections.problem()).toContain(`(${code})`)
  })

  test('a right that was taken away', async () => {
    const { log, lines } = loud()
    const role = `poor_${new URL(database.url).pathname.slice(1)}`
    await admin(`CREATE ROLE ${role} LOGIN PASSWORD 'x'`)
    const postgres = create({ url: as(role, 'x'), log })
    await expect(postgres.query('SELECT * FROM accounts')).rejects.toMatchObject({
      ...unavailable,
      cause: { code: '42501' },
    })
    expect(lines.map(({ msg, err }) => [msg, err?.code])).toEqual([['the database refuses this process', '42501']])
    await postgres.stop()
    await admin(`DROP ROLE ${role}`)
  })
})

test('idle connections that the server ends cost nothing', async () => {
  const postgres = create()
  await Promise.all([1, 2, 3].map(() => postgres.query('SELECT pg_sleep(0.05)')))
  await endAll()
  await vi.waitFor(() => expect(postgres.stats().total).toBe(0))
  expect((await postgres.query('SELECT 1 AS n')).rows).toEqual([{ n: 1 }])
})

test('a connection that the server ends in one packet with its last answer', async () => {
  const target = new URL(database.url)
  const [port, host] = [Number(target.port), target.hostname]
  const fields = 'SFATAL\0C57P01\0Mterminating connection\0\0'
  const fatal = Buffer.from(`E\0\0\0${String.fromCharCode(fields.length + 4)}${fields}`, 'latin1')
  let answers = 0
  await using proxy = await listen((socket) => {
    const upstream = connect(port, host)
    socket.on('data', (data: Buffer) => upstream.write(data))
    upstream.on('data', (data: Buffer) => {
      const isReady = data.subarray(-6, -1).toString('latin1') === 'Z\0\0\0\x05'
      socket.write(isReady && answers++ === 0 ? Buffer.concat([data, fatal]) : data)
    })
    socket.on('close', () => upstream.destroy()).on('error', () => {})
    upstream.on('close', () => socket.destroy()).on('error', () => {})
  })
  target.port = String(proxy.port)
  const postgres = create({ url: target.href })
  // Nothing uses the connection at that moment: without a listener on it, the error would end the process.
  const uncaught: unknown[] = []
  const catchIt = (error: unknown) => void uncaught.push(error)
  process.on('uncaughtException', catchIt)
  onTestFinished(() => void process.off('uncaughtException', catchIt))
  await expect(postgres.query('SELECT 1')).rejects.toMatchObject(unavailable)
  expect(uncaught).toEqual([])
  expect((await postgres.query('SELECT 2 AS n')).rows).toEqual([{ n: 2 }])
  expect(answers).toBeGreaterThan(0)
})

test('a connection that hangs in the middle is given up, and not used again', async () => {
  let hang = false
  const target = new URL(database.url)
  const [port, host] = [Number(target.port), target.hostname]
  await using proxy = await listen((socket) => {
    const upstream = connect(port, host)
    socket.on('data', (data: Buffer) => hang || upstream.write(data))
    upstream.on('data', (data) => hang || socket.write(data))
    socket.on('close', () => upstream.destroy()).on('error', () => {})
    upstream.on('close', () => hang || socket.destroy()).on('error', () => {})
  })
  target.port = String(proxy.port)
  const postgres = create({ url: target.href, maxConnections: 1, timeoutMs: 300 })
  await postgres.query('SELECT 1')
  hang = true
  await expect(postgres.transaction((tx) => tx.query('SELECT 1'))).rejects.toMatchObject(unavailable)
  hang = false
  expect((await postgres.query('SELECT 2 AS n')).rows).toEqual([{ n: 2 }])
})

test('a pool grows, and never shrinks', async () => {
  const postgres = create({ maxConnections: 1 })
  postgres.grow(3)
  postgres.grow(2)
  expect(postgres.stats().max).toBe(3)
  await Promise.all([1, 2, 3, 4].map(() => postgres.query('SELECT pg_sleep(0.05)')))
  expect(postgres.stats()).toMatchObject({ total: 3, waiting: 0 })
})

test('can be stopped twice', async () => {
  const postgres = create()
  await Promise.all([postgres.stop(), postgres.stop()])
  await expect(postgres.query('SELECT 1')).rejects.toMatchObject(unavailable)
})

async function listen(onConnection: (socket: Socket) => void) {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    onConnection(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    port,
    url: `postgres://postgres@127.0.0.1:${port}/x`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
