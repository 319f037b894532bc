import { readConfig } from '@escala/kit/config/config'
import { expect, test } from 'vitest'
import { apiOrders, apiSettings, storeTimeoutMs } from './config.ts'

const names = ['DATABASE_TIMEOUT_MS', 'REDIS_TIMEOUT_MS', 'HEARTBEAT_MS', 'REQUEST_TIMEOUT_MS'] as const
const shape = Object.fromEntries(names.map((name) => [name, apiSettings[name]])) as Pick<
  typeof apiSettings,
  (typeof names)[number]
>
const read = (env: Record<string, string>) => readConfig(env, shape as typeof apiSettings, apiOrders)

test('the defaults stand within each other', () => {
  expect(read({})).toMatchObject({ DATABASE_TIMEOUT_MS: 2000, REQUEST_TIMEOUT_MS: 10_000 })
})

test.each([
  [{ DATABASE_TIMEOUT_MS: '12000', HEARTBEAT_MS: '6000' }, 'DATABASE_TIMEOUT_MS: at most REQUEST_TIMEOUT_MS'],
  [{ REQUEST_TIMEOUT_MS: '400' }, 'REDIS_TIMEOUT_MS: at most REQUEST_TIMEOUT_MS'],
  [{ HEARTBEAT_MS: '999' }, 'DATABASE_TIMEOUT_MS: at most 2 × HEARTBEAT_MS'],
])('a change that breaks their order is refused: %o', (env, sentence) => {
  expect(() => read(env)).toThrow(sentence)
})

test.each(['0', '2', 'loopback', '10.0.0.1', '10.0.0.0/8, ::1', 'fd00::/8', '2001:db8::/128'])(
  'TRUST_PROXY may be %s',
  (value) => {
    expect(apiSettings.TRUST_PROXY.safeParse(value).success).toBe(true)
  },
)

test.each(['true', '10', '', '10.0.0.0/0', '10.0.0.0/33', '::/129', '10.0.0.0/8/8', 'proxy.example.com'])(
  'TRUST_PROXY may not be %j',
  (value) => {
    expect(apiSettings.TRUST_PROXY.safeParse(value).success).toBe(false)
  },
)

test.each([100, 1000, 10_000, 120_000])('both tries at the store of uploads fit into a request of %i ms', (ms) => {
  const timeoutMs = storeTimeoutMs({ REQUEST_TIMEOUT_MS: ms })
  expect(2 * timeoutMs).toBeLessThan(ms)
  expect(timeoutMs).toBeLessThanOrEqual(4000)
})
