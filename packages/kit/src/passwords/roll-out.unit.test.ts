import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createLog } from '../log/log.ts'
import { createChanges } from '../postgres/changes.ts'
import type { Result } from '../postgres/postgres.ts'
import { createPasswordForms } from './roll-out.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })

/** A registry whose answers the test gives, in whatever order. */
function registry() {
  const asked: PromiseWithResolvers<Result<never>>[] = []
  const query = <Row>() => {
    asked.push(Promise.withResolvers())
    return asked.at(-1)?.promise as Promise<Result<Row>>
  }
  const changes = createChanges()
  const forms = createPasswordForms({ postgres: { query }, changes, log, isWanted: true })
  const answer = async (at: number, older: number) => {
    asked[at]?.resolve({ rows: [{ older }] as never[], rowCount: 1 })
    await vi.advanceTimersByTimeAsync(0)
  }
  return { asked, changes, forms, answer }
}

test('the registry is asked at the start and when it has changed, and at no other time', async () => {
  const { asked, changes, forms, answer } = registry()
  void forms.start()
  await answer(0, 1)
  expect(forms.mayWriteArgon2id()).toBe(false)
  changes.heard({ replicas: 7 })
  await answer(1, 0)
  expect(forms.mayWriteArgon2id()).toBe(true)
  changes.heard({ replicas: 7, flags: 2 })
  await vi.advanceTimersByTimeAsync(600_000)
  expect(asked).toHaveLength(2)
  forms.stop()
  changes.heard({ replicas: 8 })
  expect(asked).toHaveLength(2)
})

test('a failure leaves what was known, and is repeated in five seconds', async () => {
  const { asked, changes, forms, answer } = registry()
  void forms.start()
  await answer(0, 0)
  changes.heard({ replicas: 2 })
  asked[1]?.reject(new Error('away'))
  await vi.advanceTimersByTimeAsync(4999)
  expect([asked.length, forms.mayWriteArgon2id()]).toEqual([2, true])
  await vi.advanceTimersByTimeAsync(1)
  await answer(2, 1)
  expect([asked.length, forms.mayWriteArgon2id()]).toEqual([3, false])
})

test('an answer that a later one has overtaken does not count', async () => {
  const { changes, forms, answer } = registry()
  void forms.start()
  changes.heard({ replicas: 2 })
  await answer(1, 1)
  await answer(0, 0)
  expect(forms.mayWriteArgon2id()).toBe(false)
})
