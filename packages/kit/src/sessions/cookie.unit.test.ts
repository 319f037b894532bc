import { createHmac } from 'node:crypto'
import type { Request, Response } from 'express'
import session from 'express-session'
import { expect, test } from 'vitest'
import { cookieValues, createCookieReader } from './cookie.ts'
import { createDeviceCookies } from './device.ts'

const secrets = ['a'.repeat(32), 'b'.repeat(32)]
const readAll = createCookieReader(secrets)
const read = (header: string | undefined) => readAll(header)[0]?.id

/** A cookie as express-session itself writes it. */
function written(secret: string): Promise<{ id: string; cookie: string }> {
  const req = { url: '/', headers: {}, socket: {} } as unknown as Request
  const headers: Record<string, string[]> = {}
  const res = {
    setHeader: (name: string, value: string[]) => Object.assign(headers, { [name]: value }),
    getHeader: () => undefined,
    writeHead() {},
    end() {},
  } as unknown as Response
  return new Promise((resolve) =>
    session({ name: 'sid', secret, resave: false, saveUninitialized: true })(req, res, () => {
      res.writeHead(200)
      resolve({ id: req.sessionID, cookie: String(headers['Set-Cookie']?.[0]).split(';')[0] ?? '' })
    }),
  )
}

test('reads what express-session signs, with any of the secrets', async () => {
  for (const secret of secrets) {
    const { id, cookie } = await written(secret)
    expect(read(cookie)).toBe(id)
    expect(read(`theme=dark; ${cookie}; lang=pt`)).toBe(id)
    expect(read(cookie)).toBe(id) // remembered
  }
})

test('refuses everything else', async () => {
  const { id, cookie } = await written('c'.repeat(32))
  for (const header of [
    undefined,
    '',
    cookie,
    `sid=${id}`,
    'sid=s%3A',
    'sid=s%3A.',
    'sid=%E0%A4%A',
    `not${cookie}`,
    `sid=s%3A${'x'.repeat(500)}.y`,
  ]) {
    expect(read(header)).toBeUndefined()
  }
})

test('what the same secret has signed as something else is no session', () => {
  const signed = (id: string) =>
    `sid=s%3A${encodeURIComponent(`${id}.${createHmac('sha256', 'a'.repeat(32)).update(id).digest('base64')}`)}`
  const id = 'a.eBvHnCWVFVjLLwJdFJnK_-Vq3qTCK8tq'
  expect(read(signed(id).replaceAll('%3D', ''))).toBe(id)
  const device = createDeviceCookies({ secrets, path: '/' })
  let token = ''
  const res = { cookie: (_name: string, value: string) => (token = value) } as unknown as Response
  device.remember({ headers: {} } as Request, res, 'ann')
  const [issued, nonce, signature = ''] = token.split('.')
  const forged = Buffer.from(signature, 'base64url').toString('base64').replace(/=+$/, '')
  expect(read(`sid=${encodeURIComponent(`s:device\nann\n${issued}\n${nonce}.${forged}`)}`)).toBeUndefined()
})

test('returns every signed cookie of the name, and none whose name only looks like it', async () => {
  const [old, valid] = [await written(secrets[1] as string), await written(secrets[0] as string)]
  const ids = (header: string) => readAll(header).map(({ id }) => id)
  expect(ids(`sid=old; ${valid.cookie}`)).toEqual([valid.id])
  expect(ids(`\u00a0sid=x; ${valid.cookie}`)).toEqual([valid.id])
  expect(ids(`\u00a0${old.cookie}; ${valid.cookie}`)).toEqual([valid.id])
  expect(ids(`${old.cookie}; ${valid.cookie}; ${old.cookie}`)).toEqual([old.id, valid.id])
  const [name, value] = valid.cookie.split('=')
  expect(ids(`\t${name} = "${value}" `)).toEqual([valid.id])
  expect(ids(`SID=${value}; sid${name}=${value}; ${value}`)).toEqual([])
})

test('reads several names, the first name first, and at most eight cookies', async () => {
  const cookies = await Promise.all(Array.from({ length: 10 }, () => written(secrets[0] as string)))
  const header = cookies.map(({ cookie }) => cookie).join('; ')
  expect(readAll(header)).toHaveLength(8)
  const [first] = cookies
  const both = createCookieReader(secrets, ['__Host-sid', 'sid'])
  expect(both(`${header}; __Host-${first?.cookie}`)[0]).toMatchObject({ name: '__Host-sid', id: first?.id })
})

test('no header takes long, whatever is in it', async () => {
  const { id, cookie } = await written(secrets[0] as string)
  const began = performance.now()
  expect(read(`sid=a${' '.repeat(45_000)}b; ${cookie}`)).toBe(id)
  expect(cookieValues(`${' '.repeat(45_000)}a =b; sid=\t x\t${'\t'.repeat(45_000)}`, 'sid')).toEqual(['x'])
  expect(cookieValues(`sid${' '.repeat(45_000)}=a`, 'sid')).toEqual(['a'])
  expect(performance.now() - began).toBeLessThan(500) // a second when it grows with the square
})

test('verifies no more than 64 values of a header', async () => {
  const { id, cookie } = await written(secrets[0] as string)
  const forged = (count: number) => Array.from({ length: count }, (_, i) => `sid=s:forged.${i}; `).join('')
  expect(read(`${forged(63)}${cookie}`)).toBe(id)
  expect(read(`${forged(64)}${cookie}`)).toBeUndefined()
})
