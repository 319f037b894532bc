import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { get } from 'node:https'
import { join } from 'node:path'
import { openRaw } from '@escala/testing/raw.ts'
import { describe, expect, it } from 'vitest'
import { freePort } from '../local/processes.ts'
import { renderNginx } from './render.ts'
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
  it('ends HTTPS, and redirects to its own name only', async () => {
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
    const [plain, tls] = [await freePort(), await freePort()]
    const example = (await readFile(new URL('tls.conf.example', import.meta.url), 'utf8'))
      .replace('listen 80;', `listen 127.0.0.1:${plain};`)
      .replace('listen 443 ssl;', `listen 127.0.0.1:${tls} ssl;`)
      .replace(/^ *http2 on;.*/m, '') // NGINX 1.25.1
      .replace('/etc/nginx/tls/fullchain.pem', certificate)
      .replace('/etc/nginx/tls/privkey.pem', key)
    const [, redirect = '', own = ''] = /^(server \{[\s\S]*?^\})\s+^server \{\n([\s\S]*?)^\}/m.exec(example) ?? []
    await fresh(addresses(), {
      conf: (listen, list) =>
        renderNginx({
          listen,
          upstream: { kind: 'addresses', addresses: list },
          tempFolder: folder(),
          settings: small,
        }).replace('  server {\n', `${redirect}\n  server {\n${own}\n`),
    })
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
    await fresh()
  })
})
