import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { type ClientHttp2Session, connect } from 'node:http2'
import { get } from 'node:https'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { renderNginx } from '@escala/servers/nginx-config'
import { freePort } from '@escala/servers/processes'
import { openRaw } from '@escala/testing/raw'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createTestNginx, small } from './test-nginx.ts'

const { addresses, behindBalancer, folder, fresh, seen, send } = createTestNginx()
const openssl = spawnSync('openssl', ['version']).status === 0

describe('over HTTPS, as a balancer in front says', () => {
  it('every response says that the next one has to be, NGINX’s own errors too', async () => {
    await behindBalancer()
    const hsts = async (path: string, headers: Record<string, string>) =>
      (await send('GET', path, { headers })).headers.get('strict-transport-security')
    for (const path of ['/', '/livez']) {
      expect(await hsts(path, { 'x-forwarded-proto': 'https' })).toBe('max-age=63072000')
      expect(await hsts(path, { 'x-forwarded-proto': 'http' })).toBeNull()
    }
    await fresh()
  })
})

describe.runIf(openssl)('tls.conf.example', () => {
  let [plain, tls] = [0, 0]
  const sessions: ClientHttp2Session[] = []

  beforeAll(async () => {
    const [key, certificate] = [join(folder(), 'key.pem'), join(folder(), 'certificate.pem')]
    const made = [
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-subj',
      '/CN=api.example.com',
    ]
    expect(spawnSync('openssl', ['req', ...made, '-days', '1', '-keyout', key, '-out', certificate]).status).toBe(0)
    plain = await freePort()
    tls = await freePort()
    const example = (await readFile(new URL('tls.conf.example', import.meta.url), 'utf8'))
      .replace('listen 80;', `listen 127.0.0.1:${plain};`)
      .replace('listen 443 ssl;', `listen 127.0.0.1:${tls} ssl http2;`)
      .replace(/^ *http2 on;.*/m, '') // from NGINX 1.25.1 on, which also takes the older form above
      .replace('/etc/nginx/tls/fullchain.pem', certificate)
      .replace('/etc/nginx/tls/privkey.pem', key)
    const [, redirect = '', own = ''] = /^(server \{[\s\S]*?^\})\s+^server \{\n([\s\S]*?)^\}/m.exec(example) ?? []
    await fresh(addresses(), {
      conf: (listen, list) =>
        renderNginx({
          listen,
          upstream: { kind: 'addresses', addresses: list },
          tempFolder: folder(),
          settings: { ...small, client_body_timeout: '20s' },
        }).replace('  server {\n', `${redirect}\n  server {\n${own}\n`),
    })
  })
  afterAll(async () => {
    for (const session of sessions) session.destroy()
    await fresh()
  })

  it('ends HTTPS, and redirects to its own name only', async () => {
    const asked = openRaw(plain)
    asked.write('POST /v1/a?b=c HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n')
    await asked.next(/^HTTP\/1\.1 308 [\s\S]*^location: https:\/\/api\.example\.com\/v1\/a\?b=c\r$/im)
    for (const path of ['/', '/livez']) {
      const [response] = await once(
        get({ host: '127.0.0.1', port: tls, path, rejectUnauthorized: false, agent: false }),
        'response',
      )
      expect(response.resume().headers['strict-transport-security']).toBe('max-age=63072000')
    }
    expect(seen[0]?.headers['x-forwarded-proto']).toBe('https')
  })

  /** The status of an HTTP/2 request, whose body is `body` or, without one, never comes to an end; `undefined` if there is none. */
  async function ask(method: string, { body, length }: { body?: Buffer; length?: number } = {}) {
    const session = connect(`https://127.0.0.1:${tls}`, { rejectUnauthorized: false })
    sessions.push(session)
    session.on('error', () => undefined)
    const headers = { ':method': method, ':path': '/', ...(length !== undefined && { 'content-length': length }) }
    const stream = session.request(headers, { endStream: false })
    stream.on('error', () => undefined)
    if (body) stream.end(body)
    else stream.write('some of it')
    const responded = once(stream, 'response').then(([answer]) => answer[':status'] as number)
    return await Promise.race([responded, wait(body ? 5000 : 500)])
  }

  it('over HTTP/2, bodies of unknown length count as uploads', async () => {
    expect(await ask('PUT', { body: Buffer.alloc(1_000_000) })).toBe(200)
    expect(await ask('POST', { body: Buffer.alloc(1000) })).toBe(200)
    await Promise.all(Array.from({ length: 64 }, (_, i) => ask(i % 2 ? 'PUT' : 'DELETE')))
    await expect.poll(() => ask('PATCH')).toBe(429)
    expect(await ask('PUT', { length: 100_000 })).toBe(429)
    expect(await ask('PUT', { body: Buffer.alloc(99_999), length: 99_999 })).toBe(200)
    expect(await ask('GET', { body: Buffer.alloc(0) })).toBe(200)
    expect(await ask('GET', { body: Buffer.alloc(100_000) })).toBe(413) // never kept in a file
  })
})
