import { randomBytes } from 'node:crypto'
import { PassThrough } from 'node:stream'
import { openRaw } from '@escala/testing/raw'
import express from 'express'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { createLog } from '../log/log.ts'
import { sendAttachment } from './attachment.ts'
import { type FormFile, readForm } from './form.ts'
import { mountRoutes } from './mount.ts'
import { openApi } from './openapi.ts'
import { problemHandler } from './problem.ts'
import { requestContext } from './request-context.ts'
import { route } from './route.ts'
import { serveApp } from './test-app.ts'

const maxBytes = 50_000
let last: FormFile | undefined
const post = route({
  method: 'post',
  path: '/files',
  summary: 'Upload',
  access: 'public',
  body: { form: { maxBytes, fields: z.strictObject({ note: z.string() }) } },
  responses: { 200: { description: 'Stored' } },
  async handle({ body: { fields, file } }) {
    last = file
    return { status: 200, body: { note: fields.note, name: file.name, bytes: file.data.length } }
  },
})
const get = route({
  method: 'get',
  path: '/files',
  summary: 'Download',
  access: 'public',
  responses: { 200: { description: 'The file' } },
  async handle({ res }) {
    if (last) sendAttachment(res, { ...last, contentType: 'application/octet-stream', tag: 't' })
    return undefined
  },
})
const mine = { ...post, path: '/mine', access: 'user' as const }

let outcome: unknown
let port: number
let close: () => void
const ended: string[] = []
beforeAll(async () => {
  const log = createLog({ service: 'test', replicaId: 'test', version: '', destination: new PassThrough() })
  const app = express()
  const onRequest = ({ status }: { status: number }) => void ended.push(String(status))
  app.use(requestContext({ log, replicaId: 'r', exposeReplica: false, deadlineMs: 1500, onRequest }))
  app.post('/direct', async (req) => {
    outcome = await readForm(req, maxBytes).catch((error) => error)
  })
  mountRoutes(app, [post, get, mine], { roles: [], hasRole: async () => false })
  app.use(problemHandler)
  ;({ port, close } = await serveApp(app))
})
afterAll(() => close())

function form(entries: [string, string | Blob, string?][]): FormData {
  const data = new FormData()
  for (const [name, value, file] of entries) {
    if (value instanceof Blob) data.append(name, value, file)
    else data.append(name, value)
  }
  return data
}
const blob = (bytes: number) => new Blob([randomBytes(bytes)])
async function send(body: FormData | string, path = '/files', headers: Record<string, string> = {}) {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { method: 'POST', body, headers })
  // biome-ignore lint/suspicious/noExplicitAny: a response of this test
  return { status: response.status, body: (await response.json()) as any }
}

test('a form is read whole, whatever the order of its parts', async () => {
  const content = randomBytes(40_000)
  const file = new Blob([content], { type: 'text/html' })
  for (const entries of [
    [
      ['note', 'Grüße'],
      ['file', file, 'a.html'],
    ],
    [
      ['file', file, 'a.html'],
      ['note', 'Grüße'],
    ],
  ] as [string, string | Blob, string?][][]) {
    expect(await send(form(entries))).toEqual({
      status: 200,
      body: { note: 'Grüße', name: 'a.html', bytes: 40_000 },
    })
    expect(last?.data.equals(content)).toBe(true)
  }
})

test('a name has no folders and nothing that only looks like a name', async () => {
  for (const [given, name] of [
    ['../../etc/passwd', 'passwd'],
    ['C:\\temp\\x.pdf', 'x.pdf'],
    ['a\u202egpj.exe', 'agpj.exe'],
    ['Übersicht 1.pdf', 'Übersicht 1.pdf'],
    ['..', '..'],
    [`${'x'.repeat(300)}.txt`, 'x'.repeat(200)],
  ] as const) {
    const { body } = await send(form([['note', ''], ['file', blob(5), given]])) // biome-ignore format: pairs
    expect(body.name).toBe(name === '..' ? body.name : name)
    expect(body.name).not.toMatch(/[/\\]/)
  }
})

test('a file of the allowed size is taken, and one byte more is refused', async () => {
  expect((await send(form([['note', ''], ['file', blob(maxBytes), 'x']]))).status).toBe(200) // biome-ignore format: pairs
  const refused = await send(form([['note', ''], ['file', blob(maxBytes + 1), 'x']])) // biome-ignore format: pairs
  expect([refused.status, refused.body.code]).toEqual([413, 'E_BODY_TOO_LARGE'])
  const long = await send(form([['note', 'x'.repeat(20_000)], ['file', blob(1), 'x']])) // biome-ignore format: pairs
  expect([long.status, long.body.code]).toEqual([413, 'E_BODY_TOO_LARGE'])
  const many = Array.from({ length: 30 }, (_, i): [string, string] => [`f${i}`, ''])
  expect((await send(form([...many, ['file', blob(1), 'x']]))).status).toBe(413)
})

test('what is no such form is refused', async () => {
  const cases: [FormData | string, number, Record<string, string>?][] = [
    [form([['note', 'x']]), 400],
    [form([['file', blob(1), 'x']]), 400],
    [form([['note', 'x'], ['other', blob(1), 'x']]), 400],
    [form([['note', 'x'], ['file', blob(1), 'x'], ['file', blob(1), 'y']]), 400],
    [form([['note', 'x'], ['note', 'y'], ['file', blob(1), 'x']]), 400],
    [form([['note', 'x'], ['__proto__', 'y'], ['file', blob(1), 'x']]), 400],
    ['{}', 415, { 'content-type': 'application/json' }],
    ['x', 400, { 'content-type': 'multipart/form-data' }],
    ['x', 400, { 'content-type': 'multipart/form-data; boundary=b' }],
    ['--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nhalf', 400, { 'content-type': 'multipart/form-data; boundary=b' }],
  ] // biome-ignore format: one case a line
  for (const [body, status, headers] of cases) {
    const refused = await send(body, '/files', headers)
    expect([body, refused.status]).toEqual([body, status])
  }
})

test('headers of a part without end are no way around the bounds', async () => {
  const part = (headers: string) => `--b\r\n${headers}\r\n\r\nx\r\n--b--\r\n`
  const named = 'Content-Disposition: form-data; name="file"; filename="x"'
  const multipart = { 'content-type': 'multipart/form-data; boundary=b' }
  const note = '--b\r\nContent-Disposition: form-data; name="note"\r\n\r\nx\r\n'
  const pairs = Array.from({ length: 40 }, (_, i) => `X-${i}: 1`).join('\r\n')
  expect((await send(note + part(`${named}\r\n${pairs}`), '/files', multipart)).status).toBe(200)
  expect((await send(note + part(`${pairs}\r\n${named}`), '/files', multipart)).status).toBe(400)
  expect((await send(note + part(`X: ${'x'.repeat(5000)}\r\n${named}`), '/files', multipart)).status).toBe(400)
})

test('without a log-in it is not read', async () => {
  const refused = await send(form([['note', 'x'], ['file', blob(maxBytes), 'x']]), '/mine') // biome-ignore format: pairs
  expect([refused.status, refused.body.code]).toEqual([401, 'E_NOT_LOGGED_IN'])
})

test('a client that goes away, or sends too slowly, leaves nothing behind', async () => {
  last = undefined
  const half = '--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nhalf'
  const head = `POST /files HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 9999\r\n\r\n`
  const gone = openRaw(port)
  const before = ended.length
  gone.write(head + half)
  setTimeout(() => gone.socket.destroy(), 100)
  await vi.waitFor(() => expect(ended.slice(before)).toEqual(['499']), 5000)
  const slow = openRaw(port)
  slow.write(head + half)
  const timer = setInterval(() => slow.write('x'), 50)
  await slow.next(/^HTTP\/1\.1 503 [\s\S]*E_TIMEOUT/, 5000)
  const direct = openRaw(port)
  direct.write(head.replace('/files', '/direct') + half)
  await vi.waitFor(() => expect(outcome).toMatchObject({ code: 'E_TIMEOUT' }), 5000) // and what waits for it goes on
  direct.socket.destroy()
  clearInterval(timer)
  slow.socket.destroy()
  expect(last).toBeUndefined()
})

test('what was uploaded is saved by a browser, and never shown', async () => {
  last = { name: 'a "b"; é.html', data: Buffer.from('<script>alert(1)</script>') }
  const response = await fetch(`http://127.0.0.1:${port}/files`)
  expect(await response.text()).toBe('<script>alert(1)</script>')
  const { headers } = response
  expect(headers.get('content-disposition')).toMatch(
    /^attachment; filename=".*"; filename\*=UTF-8''a%20%22b%22%3B%20%C3%A9\.html$/,
  )
  expect(headers.get('content-type')).toBe('application/octet-stream')
  expect(headers.get('content-security-policy')).toContain('sandbox')
  expect(headers.get('x-content-type-options')).toBe('nosniff')
})

test('a bound that NGINX would not keep ends the start, as does a key', () => {
  const mount = (change: object) => () =>
    mountRoutes(express(), [{ ...post, ...change }], { roles: [], hasRole: async () => false })
  expect(mount({ body: { form: { maxBytes: 2_000_000, fields: z.strictObject({}) } } })).toThrow('takes forms')
  expect(mount({ access: 'user', idempotent: true })).toThrow('a form with a file cannot be')
})

test('OpenAPI describes the form', () => {
  const described = JSON.stringify(openApi([post], { title: 'x', version: '1', sessionCookie: 'sid' }))
  expect(described).toContain(
    '"multipart/form-data":{"schema":{"type":"object","properties":{"note":{"type":"string"},"file":{"type":"string","format":"binary"}},"required":["note","file"]}}',
  )
  expect(described).toContain('E_BODY_TOO_LARGE, E_UNSUPPORTED_MEDIA_TYPE')
})
