import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findBinaries } from '@escala/servers/binaries'
import type { LocalServer } from '@escala/servers/local-server'
import { startPostgres } from '@escala/servers/postgres'
import { run } from '@escala/servers/processes'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createLog } from '../log/log.ts'
import { createConnections } from './connections.ts'
import { createPostgres } from './postgres.ts'

// What docs/postgres.md says about `sslmode`, against a server whose certificate is for `localhost` and of a private authority.
const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
const hasOpenssl = (await run('openssl', ['version'])).code === 0
let folder: string
let server: LocalServer | undefined

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'escala-tls-'))
  if (!hasOpenssl) return
  await makeCertificates()
  const options = { binaries: await findBinaries(), dataDir: join(folder, 'data'), password: 'test' }
  await (await startPostgres({ ...options, settings: { fsync: 'off' } })).stop()
  const names = ['server.key', 'server.crt', 'ca.crt']
  for (const name of names) await copyFile(join(folder, name), join(options.dataDir, name))
  const files = names.map((name) => join(options.dataDir, name))
  await run('chmod', ['600', ...files])
  await run('chown', ['--reference', join(options.dataDir, 'PG_VERSION'), ...files])
  server = await startPostgres({ ...options, settings: { fsync: 'off', ssl: 'on', ssl_ca_file: 'ca.crt' } })
})
afterAll(async () => {
  await server?.stop()
  await rm(folder, { recursive: true, force: true })
})

async function makeCertificates(): Promise<void> {
  const openssl = async (...args: string[]) => {
    const { code, output } = await run('openssl', args, { cwd: folder })
    if (code !== 0) throw new Error(output)
  }
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  await writeFile(join(folder, 'names'), 'subjectAltName=DNS:localhost')
  await openssl('req', '-x509', ...key, '-days', '2', '-subj', '/CN=Test CA', '-keyout', 'ca.key', '-out', 'ca.crt')
  await openssl('req', ...key, '-subj', '/CN=localhost', '-keyout', 'server.key', '-out', 'server.csr')
  const signed = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', 'names', '-days', '2']
  await openssl('x509', '-req', '-in', 'server.csr', ...signed, '-out', 'server.crt')
  await openssl('req', ...key, '-subj', '/CN=shop', '-keyout', 'client.key', '-out', 'client.csr')
  await openssl('x509', '-req', '-in', 'client.csr', ...signed, '-out', 'client.crt')
}

/** Whether the connection is encrypted, and whose certificate the client showed, or why there is none. */
async function attempt(url: string): Promise<string> {
  const connections = createConnections({ log })
  const postgres = createPostgres({ url, log, applicationName: 'tls', maxConnections: 1, timeoutMs: 5000, connections })
  try {
    const { rows } = await postgres.query<{ ssl: boolean; client: string | null }>(
      'SELECT ssl, client_dn AS client FROM pg_stat_ssl WHERE pid = pg_backend_pid()',
    )
    const [row] = rows
    return row?.ssl ? ['encrypted', row.client].filter(Boolean).join(' for ') : 'plain'
  } catch {
    return connections.problem() ?? 'no reason'
  } finally {
    await postgres.stop()
  }
}

// A server that knows the authority sends its certificate along.
const unknownAuthority = /^(unable to verify the first certificate|self-signed certificate in certificate chain)/
const privateCa = () => `sslrootcert=${join(folder, 'ca.crt')}`
test.skipIf(!hasOpenssl).each<[string, string, () => string, RegExp]>([
  ['nothing said', 'localhost', () => '', /^plain$/],
  ['disable', 'localhost', () => 'sslmode=disable', /^plain$/],
  ['prefer', 'localhost', () => 'sslmode=prefer', unknownAuthority],
  ['require', 'localhost', () => 'sslmode=require', unknownAuthority],
  ['verify-full', 'localhost', () => 'sslmode=verify-full', unknownAuthority],
  ['verify-full, CA', 'localhost', () => `sslmode=verify-full&${privateCa()}`, /^encrypted$/],
  [
    'verify-full, CA, a client certificate',
    'localhost',
    () =>
      `sslmode=verify-full&${privateCa()}&sslcert=${join(folder, 'client.crt')}&sslkey=${join(folder, 'client.key')}`,
    /^encrypted for \/CN=shop$/,
  ],
  ['verify-full, CA, another name', '127.0.0.1', () => `sslmode=verify-full&${privateCa()}`, /does not match/],
  ['require, CA, another name', '127.0.0.1', () => `sslmode=require&${privateCa()}`, /does not match/],
  ['no-verify', '127.0.0.1', () => 'sslmode=no-verify', /^encrypted$/],
  ['require, as libpq', '127.0.0.1', () => 'uselibpqcompat=true&sslmode=require', /^encrypted$/],
  ['verify-ca, as libpq', '127.0.0.1', () => `uselibpqcompat=true&sslmode=verify-ca&${privateCa()}`, /^encrypted$/],
  ['a CA that is not there', 'localhost', () => 'sslmode=verify-full&sslrootcert=/nowhere.crt', /no such file/],
])('sslmode: %s', async (_, host, parameters, outcome) => {
  expect(await attempt(`postgres://postgres:test@${host}:${server?.port}/postgres?${parameters()}`)).toMatch(outcome)
})

test('a server without TLS is refused as soon as any is asked for', async () => {
  const url = new URL(inject('postgresUrl'))
  url.searchParams.set('sslmode', 'require')
  expect(await attempt(url.href)).toBe('The server does not support SSL connections')
})

test.skipIf(!hasOpenssl)('a Unix socket', async () => {
  await server?.stop()
  const settings = { fsync: 'off', unix_socket_directories: folder }
  await run('chmod', ['777', folder])
  server = await startPostgres({
    binaries: await findBinaries(),
    dataDir: join(folder, 'data'),
    password: 'test',
    settings,
  })
  const path = encodeURIComponent(folder)
  expect(await attempt(`postgres://postgres:test@localhost/postgres?host=${path}&port=${server.port}`)).toBe('plain')
  expect(await attempt(`postgres://postgres:test@${path}/postgres?port=${server.port}`)).toBe('plain')
})
