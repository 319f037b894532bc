import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createEventStreams, type EventStream } from '@escala/kit/events/sse'
import { childrenOf } from '@escala/servers/nginx-workers'
import { openRaw } from '@escala/testing/raw'
import express from 'express'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { createTestNginx } from './test-nginx.ts'

const nginx = createTestNginx()
const { addresses, behindBalancer, folder, fresh, send } = nginx
const open: { destroy(): void }[] = []

/** A connection that is counted: its head has been read, and its body does not come. */
async function beginUpload(headers = '', localAddress = '127.0.0.1') {
  const connection = openRaw(nginx.port(), localAddress)
  connection.write(`POST / HTTP/1.1\r\nHost: x\r\n${headers}Content-Length: 9\r\n\r\n1`)
  open.push(connection.socket)
  return connection
}

afterEach(() => {
  for (const socket of open.splice(0)) socket.destroy()
})

describe('one client cannot take what belongs to all', () => {
  const tooMany = /^HTTP\/1\.1 429 [\s\S]*^retry-after: 1[\s\S]*E_TOO_MANY_CONNECTIONS[^}]*\}/im

  it('an address has so many connections, and others go on', async () => {
    await fresh(addresses(), { connectionsPerAddress: 20, settings: {} })
    for (let i = 0; i < 20; i++) await beginUpload('', '127.0.0.2')
    await expect
      .poll(async () =>
        (await beginUpload('', '127.0.0.2')).next(tooMany, 500).then(
          () => 429,
          () => 0,
        ),
      )
      .toBe(429)
    await (await beginUpload('', '127.0.0.2')).next(/^content-type: application\/problem\+json/im)
    expect((await send('GET', '/')).status).toBe(200)
  })

  it('reads that wait for a response, and streams, count as well', async () => {
    await fresh(addresses(), { connectionsPerAddress: 10, settings: {} })
    const read = () => {
      const connection = openRaw(nginx.port(), '127.0.0.2')
      connection.write('GET /hang HTTP/1.1\r\nHost: x\r\n\r\n')
      open.push(connection.socket)
      return connection
    }
    for (let i = 0; i < 10; i++) read()
    await expect
      .poll(() =>
        read()
          .next(tooMany, 500)
          .then(
            () => 429,
            () => 0,
          ),
      )
      .toBe(429)
    expect((await send('GET', '/')).status).toBe(200)
  })

  it('an address has so many large uploads, and its small requests go on', async () => {
    await fresh(addresses(), { settings: {} })
    const upload = async (framing: string) => {
      const connection = openRaw(nginx.port(), '127.0.0.2')
      connection.write(`PUT / HTTP/1.1\r\nHost: x\r\n${framing}\r\n\r\n`)
      open.push(connection.socket)
      return await connection.next(tooMany, 500).then(
        () => 429,
        () => 0,
      )
    }
    const [large, chunked, small] = ['Content-Length: 100000', 'Transfer-Encoding: chunked', 'Content-Length: 99999']
    await Promise.all(Array.from({ length: 64 }, (_, i) => upload(i % 2 ? large : chunked)))
    await expect.poll(() => upload(large)).toBe(429)
    expect(await upload(chunked)).toBe(429)
    expect(await upload(small)).toBe(0)
  })

  it('of IPv6 a network of 64 bits counts as one client, and a mapped IPv4 address by itself', async () => {
    await behindBalancer({ connectionsPerAddress: 5 })
    const from = (address: string) => beginUpload(`X-Forwarded-For: ${address}\r\n`)
    const refuses = async (address: string) =>
      await (await from(address)).next(tooMany, 500).then(
        () => true,
        () => false,
      )
    for (let i = 1; i <= 5; i++) await from(`2001:db8:1:2::${i}`)
    await expect.poll(() => refuses('2001:db8:1:2:ffff:1:2:3')).toBe(true)
    expect(await refuses('2001:db8:1:3::1')).toBe(false)
    for (let i = 1; i <= 5; i++) await from('::ffff:192.0.2.1')
    await expect.poll(() => refuses('192.0.2.1')).toBe(true)
    expect(await refuses('::ffff:192.0.2.2')).toBe(false)
  })

  it('500 silent and 500 slow connections from 10 addresses() hurt no other client', async () => {
    await fresh(addresses(), { settings: {} })
    const all = Array.from({ length: 1000 }, async (_, i) => {
      const address = `127.0.1.${1 + (i % 10)}`
      if (i < 500) return await beginUpload('', address)
      const silent = openRaw(nginx.port(), address)
      open.push(silent.socket)
      return await once(silent.socket, 'connect')
    })
    await Promise.all(all)
    const others = await Promise.all(Array.from({ length: 60 }, () => send('POST', '/')))
    expect(others.map(({ status }) => status)).toEqual(Array(60).fill(200))
  })
})

describe.runIf(process.getuid?.() === 0)('started by root', () => {
  it('no worker is root', async () => {
    const workers = [...(await childrenOf(nginx.pid())).keys()]
    expect(workers.length).toBeGreaterThan(0)
    for (const pid of workers) {
      expect(/^Uid:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]).not.toBe('0')
    }
  })
})

describe('streams', () => {
  it('live through NGINX whatever their path, and each event arrives at once', async () => {
    const streams = createEventStreams({ draining: new AbortController().signal, share: () => 1, heartbeatMs: 100 })
    const app = express()
    const opened: EventStream[] = []
    app.get('/any/path', (req, res) => void opened.push(streams.reserve(req, res).open()))
    const server = app.listen(0, '127.0.0.1')
    await once(server, 'listening')
    await fresh([`127.0.0.1:${(server.address() as AddressInfo).port}`], {
      settings: { proxy_read_timeout: '2s' },
    })
    const connection = openRaw(nginx.port())
    open.push(connection.socket)
    connection.write('GET /any/path HTTP/1.1\r\nHost: x\r\n\r\n')
    await connection.next(/^HTTP\/1\.1 200 [\s\S]*retry: /)
    for (let beats = 0; beats < 30; beats++) await connection.next(/\n:\n/) // for longer than that
    opened[0]?.send({ type: 'news', data: 1 })
    await connection.next(/event: news/)
    const head = await send('HEAD', '/any/path')
    expect(head.status).toBe(200)
    connection.socket.destroy()
    server.close()
    server.closeAllConnections()
    await fresh()
  })
})

describe('the access log', () => {
  it.each([
    ['an escape that is no UTF-8', 'GET /a%ff%22 HTTP/1.1', '/a...'],
    ['bytes that are no UTF-8', 'GET /b\xff\xfe HTTP/1.1', '/b...'],
    ['half a character', 'GET /c%c3 HTTP/1.1', '/c...'],
    ['a surrogate', 'GET /d%ed%a0%80 HTTP/1.1', '/d...'],
    ['another alphabet', 'GET /e%c3%a9%e2%82%ac%f0%9f%98%80 HTTP/1.1', '/eé€😀'],
    ['quotes and controls', 'GET /f%22%5c%0a%01 HTTP/1.1', '/f"\\\n\u0001'],
    ['HTTP/0.9', 'GET /g', '/g'],
  ])('is JSON and UTF-8 after %s', async (_what, line, path) => {
    const connection = openRaw(nginx.port())
    connection.write(Buffer.from(`${line}\r\nHost: x\r\nConnection: close\r\n\r\n`, 'latin1'))
    await once(connection.socket, 'close')
    await vi.waitFor(async () => {
      const log = new TextDecoder('utf-8', { fatal: true }).decode(await readFile(join(folder(), 'access.log')))
      expect(
        log
          .trimEnd()
          .split('\n')
          .map((entry) => JSON.parse(entry).path),
      ).toContain(path)
    })
  })
})
