import { expect, test } from 'vitest'
import { readConfig } from './config.ts'
import { postgresUrl } from './postgres-url.ts'

const read = (DATABASE_URL?: string) => readConfig({ DATABASE_URL }, { DATABASE_URL: postgresUrl() }).DATABASE_URL

test.each([
  'postgres://user:p%40ss@db.example.com:5432/shop',
  'postgresql://user@[::1]/shop?sslmode=verify-full&sslrootcert=/etc/ca.crt',
  'postgres://user:secret@localhost/shop?host=/var/run/postgresql',
  'postgres://user:secret@%2Fvar%2Frun%2Fpostgresql/shop?port=5433',
  'postgres://user:secret@db/shop?target_session_attrs=read-write',
])('is taken as it is: %s', (value) => expect(read(value)).toBe(value))

test.each([
  ['postgres://user:hunter2@one:5432,two:5432/shop', 'lists of hosts are not supported'],
  ['postgres://user:hunter2@one,two/shop', 'lists of hosts are not supported'],
  ['postgres://user:hunter2@/shop?host=/var/run/postgresql', 'For a Unix socket: postgres://USER'],
  ['postgres://user:hunter2@one/shop?sslmode=verify_full', 'sslmode is disable, prefer'],
  ['postgres://user:hunter2@one/shop?target_session_attrs=standby', 'target_session_attrs can only be'],
  ['mysql://user:hunter2@one/shop', 'an address that begins with postgres:// or postgresql://'],
])('is refused with its own sentence, and never shown: %s', (value, sentence) => {
  const refused = () => read(value)
  expect(refused).toThrow(`DATABASE_URL: `)
  expect(refused).toThrow(sentence)
  expect(refused).not.toThrow('hunter2')
})

test('is required', () => {
  expect(() => read()).toThrow('DATABASE_URL: is required; an address that begins with postgres://')
})
