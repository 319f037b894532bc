import { readConfig } from '@escala/kit/config/config'
import { expect, test } from 'vitest'
import { workerOrders, workerSettings } from './config.ts'

const names = ['DATABASE_TIMEOUT_MS', 'REDIS_TIMEOUT_MS', 'HEARTBEAT_MS'] as const
const shape = Object.fromEntries(names.map((name) => [name, workerSettings[name]]))
const read = (env: Record<string, string>) => readConfig(env, shape as unknown as typeof workerSettings, workerOrders)

test('a command of Redis that takes its longest ends within the time for which a transaction may idle', () => {
  expect(read({})).toMatchObject({ DATABASE_TIMEOUT_MS: 2000, REDIS_TIMEOUT_MS: 500 })
  expect(read({ REDIS_TIMEOUT_MS: '1000' })).toMatchObject({ REDIS_TIMEOUT_MS: 1000 })
  expect(() => read({ REDIS_TIMEOUT_MS: '1001' })).toThrow('REDIS_TIMEOUT_MS: at most 0.5 × DATABASE_TIMEOUT_MS')
  expect(() => read({ DATABASE_TIMEOUT_MS: '900' })).toThrow('REDIS_TIMEOUT_MS: at most 0.5 × DATABASE_TIMEOUT_MS')
})
