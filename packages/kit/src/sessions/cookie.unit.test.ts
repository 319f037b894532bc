import type { Request, Response } from 'express'
import session from 'express-session'
import { expect, test } from 'vitest'
import { createCookieReader } from './cookie.ts'

const secrets = ['a'.repeat(32), 'b'.repeat(32)]
const read = createCookieReader(secrets)

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
