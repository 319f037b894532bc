import { expect, test } from 'vitest'
import { z } from 'zod'
import { readConfig } from './config/config.ts'
import { type Access, route } from './http/route.ts'
import { type BasicApiParts, collectPersonalData, collectSettings, mergeOnce } from './module.ts'

const own = { PORT: z.string().default('3000'), TRUST_PROXY: z.string().default('1') }
const module = (name: string, ...names: string[]) => ({
  name,
  settings: Object.fromEntries(names.map((key) => [key, z.string().default(name)])),
})

test("a module's settings are read with the process's own", () => {
  expect(readConfig({}, collectSettings(own, [module('links', 'LINK_DAYS')]))).toEqual({
    PORT: '3000',
    TRUST_PROXY: '1',
    LINK_DAYS: 'links',
  })
})

test('a setting that is declared twice is refused, whether the process has it or another module', () => {
  const modules = [module('links', 'TRUST_PROXY', 'LINK_DAYS'), module('images', 'LINK_DAYS', 'PORT')]
  expect(() => collectSettings(own, modules)).toThrow(
    expect.objectContaining({
      code: 'E_MODULE',
      message: expect.stringMatching(
        /links declares TRUST_PROXY[\s\S]*images declares LINK_DAYS[\s\S]*images declares PORT/,
      ),
    }),
  )
})

test('a job that two modules declare is refused', () => {
  expect(mergeOnce('job', [{ 'link.count': 1 }, { 'image.resize': 2 }])).toEqual({ 'link.count': 1, 'image.resize': 2 })
  expect(() => mergeOnce('job', [{ 'link.count': 1 }, { 'link.count': 2 }])).toThrow(
    expect.objectContaining({ code: 'E_MODULE', message: expect.stringContaining('the job link.count') }),
  )
})

// Held by the compiler: `tsc` fails when a line that is expected to be an error is none.
test('what a route knows about its user depends on its access', () => {
  const of = <A extends Access>(
    access: A,
    handle: Parameters<typeof route<z.ZodType, z.ZodType, z.ZodType, A>>[0]['handle'],
  ) => route({ method: 'get', path: '/', summary: '', access, responses: {}, handle })
  of('user', async ({ user }) => ({ status: 200, body: user.id }))
  of({ role: 'editor' }, async ({ user }) => ({ status: 200, body: user.id }))
  of('public', async ({ user }) => ({ status: 200, body: user?.id }))
  // @ts-expect-error: without a log-in there is no user
  of('public', async ({ user }) => ({ status: 200, body: user.id }))
})

test('what modules store about users is collected by their names, and two modules of one name are refused', () => {
  const stored = { export: async () => [], erase: async () => undefined }
  const one = { name: 'notes', settings: {}, routes: () => [], personalData: () => stored }
  const without = { name: 'links', settings: {}, routes: () => [] }
  const collect = (...modules: (typeof one | typeof without)[]) => collectPersonalData(modules, {} as BasicApiParts, {})
  expect(collect(one, without)).toEqual({ notes: stored })
  expect(() => collect(one, one)).toThrow(
    expect.objectContaining({ code: 'E_MODULE', detail: 'two modules declare the personal data of notes' }),
  )
})
