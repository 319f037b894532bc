import type { Request, Response } from 'express'
import { expect, test } from 'vitest'
import { createDeviceCookies } from './device.ts'
import { createMemorySessions } from './memory.ts'
import { rememberCookies } from './request-cookies.ts'

const secrets = ['a'.repeat(32), 'b'.repeat(32)]
const path = '/v1/session'
const request = (cookie?: string) => ({ headers: { cookie }, secure: true }) as unknown as Request

function remember(cookies: ReturnType<typeof createDeviceCookies>, account: string, before?: string) {
  let sent = ''
  const res = {
    cookie(name: string, value: string, options: object) {
      expect(options).toMatchObject({ path, httpOnly: true, secure: true, sameSite: 'lax' })
      sent = `${name}=${value}`
    },
  }
  cookies.remember(request(before), res as unknown as Response, account)
  return sent
}

test('knows the device for the account that it logged in to, with any of the secrets', () => {
  const cookies = createDeviceCookies({ secrets, path })
  const cookie = remember(cookies, 'ann')
  const device = cookies.read(request(`theme=dark; ${cookie}`), 'ann')
  expect(device).toMatch(/^[\w-]{22}$/)
  expect(cookies.read(request(cookie), 'bob')).toBeUndefined()
  expect(cookies.read(request(), 'ann')).toBeUndefined()
  const rotated = createDeviceCookies({ secrets: ['c'.repeat(32), ...secrets], path })
  expect(rotated.read(request(cookie), 'ann')).toBe(device)
  expect(createDeviceCookies({ secrets: ['c'.repeat(32)], path }).read(request(cookie), 'ann')).toBeUndefined()
})

test('a forged, changed or old token belongs to no user', () => {
  const cookies = createDeviceCookies({ secrets, path })
  const cookie = remember(cookies, 'ann')
  for (const forged of [cookie.slice(0, -2), cookie.replace('=', '=1'), 'device=x', `device=${'~'.repeat(3000)}`]) {
    expect(cookies.read(request(forged), 'ann')).toBeUndefined()
  }
  const short = createDeviceCookies({ secrets, path, lifetimeMs: 0 })
  expect(short.read(request(cookie), 'ann')).toBeUndefined()
})

test('one device knows four accounts, the last ones; a further log-in keeps its identifier', () => {
  const cookies = createDeviceCookies({ secrets, path })
  const first = remember(cookies, 'a0')
  const device = cookies.read(request(first), 'a0')
  let cookie = remember(cookies, 'a0', first)
  expect(cookies.read(request(cookie), 'a0')).toBe(device)
  for (const account of ['a1', 'a2', 'a3', 'a4']) cookie = remember(cookies, account, cookie)
  expect(['a0', 'a1', 'a2', 'a3', 'a4'].map((account) => cookies.read(request(cookie), account) !== undefined)).toEqual(
    [false, true, true, true, true],
  )
})

test('while the name of the session cookie changes, both names are read', () => {
  const cookies = createDeviceCookies({ secrets, path })
  const old = remember(cookies, 'ann')
  expect(old).toMatch(/^device=/)
  const named = (cookieNames: string[]) => {
    const req = request(old)
    const others = {
      chosen: undefined,
      others: [],
      sameSite: 'lax' as const,
      isVisitor: false,
      onVisitor: undefined,
      sessions: createMemorySessions(),
    }
    rememberCookies(req, { ...others, cookieNames })
    return req
  }
  expect(cookies.read(named(['__Host-sid', 'sid']), 'ann')).toBe(cookies.read(request(old), 'ann'))
  expect(cookies.read(named(['__Host-sid']), 'ann')).toBeUndefined()
})
