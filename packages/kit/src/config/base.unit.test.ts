import { expect, test } from 'vitest'
import { baseSettings, defaultReplicaId, withPasswords } from './base.ts'
import { readConfig } from './config.ts'

const urls = {
  DATABASE_URL: 'postgres://escala@db:5432/escala',
  REDIS_URL: 'redis://state:6379',
  CACHE_REDIS_URL: 'redis://cache:6379',
}

test('a password of its own may hold any character', () => {
  const password = `p@ss/w:o?r#d %zz"'\\é`
  const env = { ...urls, DATABASE_PASSWORD: password, REDIS_PASSWORD: password }
  const config = readConfig(withPasswords(env), baseSettings)
  for (const name of ['DATABASE_URL', 'REDIS_URL', 'CACHE_REDIS_URL'] as const) {
    const url = new URL(config[name])
    expect(decodeURIComponent(url.password)).toBe(password)
    expect(url.host).toBe(new URL(urls[name]).host)
  }
})

test('a password in the URL goes before, and the caches’ before the one of both', () => {
  const env = { ...urls, REDIS_URL: 'redis://:own@state', REDIS_PASSWORD: 'both', CACHE_REDIS_PASSWORD: 'cache' }
  expect(withPasswords(env)).toMatchObject({
    DATABASE_URL: urls.DATABASE_URL,
    REDIS_URL: 'redis://:own@state',
    CACHE_REDIS_URL: 'redis://:cache@cache:6379',
  })
})

test.each([
  'postgres://escala:p@ss/word@db:5432/escala',
  'postgres://escala:12?word@db:5432/escala',
  'postgres://escala:12#word@db:5432/escala',
  'postgres://escala:100%@db:5432/escala',
])('a URL that a special character has broken is refused without a word of it: %s', (url) => {
  const read = () => readConfig({ ...urls, DATABASE_URL: url }, baseSettings)
  expect(read).toThrow(/DATABASE_URL: .*percent-encoded/)
  expect(read).not.toThrow(/word@|p@|\b12|100/)
})

test('replica ids are never cut to the same letters', () => {
  const pod = 'orders-api-of-the-team-that-has-a-long-name-7d9c5b6f4-abcde.prod'
  expect(readConfig({ ...urls, REPLICA_ID: 'x'.repeat(253) }, baseSettings).REPLICA_ID).toHaveLength(253)
  expect(() => readConfig({ ...urls, REPLICA_ID: 'x'.repeat(254) }, baseSettings)).toThrow('REPLICA_ID')
  expect(defaultReplicaId('vm', 12)).toBe('vm-12')
  expect(defaultReplicaId(pod, 7)).not.toBe(defaultReplicaId(pod, 7))
  expect(defaultReplicaId(pod, 7)).toContain(pod)
})

test('the port for operators is this machine’s own unless a setting says otherwise', () => {
  expect(readConfig(urls, baseSettings)).toMatchObject({ HOST: '0.0.0.0', INTERNAL_HOST: '127.0.0.1' })
})
