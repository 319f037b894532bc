import { spawnSync } from 'node:child_process'
import { Writable } from 'node:stream'
import { expect, test } from 'vitest'
import { createLog, withoutRedaction } from './log.ts'

test('secrets are in no line, except lines whose fields are known', () => {
  const lines: Record<string, unknown>[] = []
  const destination = new Writable({
    write(chunk, _encoding, done) {
      lines.push(JSON.parse(String(chunk)))
      done()
    },
  })
  const log = createLog({ service: 'test', replicaId: 'r1', version: '1', destination })
  log.info({ password: 'x', headers: { cookie: 'sid=1' } }, 'first')
  withoutRedaction(log).info({ path: '/v1' }, 'second')
  log.child({ requestId: '1' }).info({ password: 'x' }, 'third')
  expect(lines).toMatchObject([
    { password: '[redacted]', headers: { cookie: '[redacted]' } },
    { path: '/v1', service: 'test' },
    { password: '[redacted]', requestId: '1' },
  ])
})

test('what was logged in the turn of the exit is written, in order', () => {
  const program = `
    const { createLog } = await import('${new URL('./log.ts', import.meta.url)}')
    const logs = [1, 2].map((n) => createLog({ service: 's' + n, replicaId: 'r', version: '1' }))
    for (let i = 0; i < 200; i++) logs[i % 2].info({ i, text: 'x'.repeat(200) }, 'line')
    process.exit(0)`
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' })
  const numbers = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line).i)
  expect(numbers).toEqual(Array.from({ length: 200 }, (_, i) => i))
})
