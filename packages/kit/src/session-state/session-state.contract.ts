import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import type { SessionRecordOptions, SessionRecords, SessionState } from './session-state.ts'

/** `create` returns the same state as two replicas see it; an adapter that lives in one process returns it twice. */
export function describeSessionState(name: string, create: () => [SessionState, SessionState]): void {
  const open = (options?: SessionRecordOptions): [SessionRecords, SessionRecords] => {
    const [first, second] = create()
    const records = first.open('notes', options)
    return [records, first === second ? records : second.open('notes', options)]
  }
  describe(name, () => {
    test('puts, changes and removes single fields', async () => {
      const replicas = open()
      const key = randomUUID()
      expect(await replicas[0].get(key)).toEqual({})
      expect(await replicas[0].put(key, 'a', '2')).toEqual({ a: '2' })
      expect(await replicas[1].put(key, 'b', '1')).toEqual({ a: '2', b: '1' })
      expect(await replicas[0].put(key, 'a', undefined)).toEqual({ b: '1' })
      expect(await replicas[1].get(key)).toEqual({ b: '1' })
      expect(await replicas[1].get(randomUUID())).toEqual({})
    })

    test('parallel writes of different fields lose nothing', async () => {
      const replicas = open({ maxFields: 200 })
      const key = randomUUID()
      const items = Array.from({ length: 200 }, (_, i) => `item-${i}`)
      await Promise.all(items.map((item, i) => replicas[i % 2 ? 1 : 0].put(key, item, `${i + 1}`)))
      expect(await replicas[0].get(key)).toEqual(Object.fromEntries(items.map((item, i) => [item, `${i + 1}`])))
    })

    test('takes no more than `maxFields` fields, and still changes those that are there', async () => {
      const replicas = open({ maxFields: 2 })
      const key = randomUUID()
      await replicas[0].put(key, 'a', '1')
      await replicas[0].put(key, 'b', '1')
      expect(await replicas[0].put(key, 'c', '1')).toBeUndefined()
      expect(await replicas[0].put(key, 'a', '5')).toEqual({ a: '5', b: '1' })
    })

    test('clears one record, not another', async () => {
      const replicas = open()
      const [key, other] = [randomUUID(), randomUUID()]
      await replicas[0].put(key, 'a', '1')
      await replicas[0].put(other, 'a', '1')
      await replicas[1].clear(key)
      expect(await replicas[0].get(key)).toEqual({})
      expect(await replicas[0].get(other)).toEqual({ a: '1' })
    })

    test('reads and clears every record beside one session, not those beside another', async () => {
      const [state] = create()
      const [notes, drafts, [key, other]] = [state.open('notes'), state.open('drafts'), [randomUUID(), randomUUID()]]
      expect(await state.readAll(key)).toEqual({})
      await notes.put(key, 'a', '1')
      await drafts.put(key, 'b', '2')
      await drafts.put(other, 'c', '3')
      expect(await state.readAll(key)).toEqual({ notes: { a: '1' }, drafts: { b: '2' } })
      await state.clearAll(key)
      expect([await state.readAll(key), await state.readAll(other)]).toEqual([{}, { drafts: { c: '3' } }])
    })

    test('takes no field that is too large, in bytes', async () => {
      const [records] = open({ maxFieldBytes: 10 })
      const key = randomUUID()
      await expect(records.put(key, 'a', 'ä'.repeat(5))).rejects.toThrow(RangeError)
      expect(await records.get(key)).toEqual({})
      expect(await records.put(key, 'a', 'x'.repeat(9))).toEqual({ a: 'x'.repeat(9) })
    })

    test('keeps records of two names apart, and opens each name once', async () => {
      const [state] = create()
      const [notes, drafts] = [state.open('notes'), state.open('drafts')]
      const key = randomUUID()
      await notes.put(key, 'a', '1')
      expect(await drafts.get(key)).toEqual({})
      for (const name of ['notes', 'Notes', 'a:b', '', 'x'.repeat(41)]) {
        expect(() => state.open(name)).toThrow(expect.objectContaining({ code: 'E_MODULE' }))
      }
    })

    test("a visitor's is gone sooner, and a look or a change after log-in keeps it", async () => {
      const replicas = open({ visitorIdleMs: 400 })
      const [visitor, looker, writer] = [randomUUID(), randomUUID(), randomUUID()]
      for (const key of [visitor, looker, writer]) await replicas[0].put(key, 'a', '1', { isVisitor: true })
      expect(await replicas[1].get(looker)).toEqual({ a: '1' })
      expect(await replicas[1].put(writer, 'b', '1')).toEqual({ a: '1', b: '1' })
      await wait(450)
      expect(await replicas[1].get(visitor, { isVisitor: true })).toEqual({})
      expect([await replicas[0].get(looker), await replicas[0].get(writer)]).toEqual([{ a: '1' }, { a: '1', b: '1' }])
    })

    test('is gone after the idle time, which every read renews, from a visitor or a user', async () => {
      const replicas = open({ idleMs: 1500, visitorIdleMs: 1500 })
      const one = async (isVisitor: boolean) => {
        const [key, other] = [randomUUID(), randomUUID()]
        for (const record of [key, other]) await replicas[0].put(record, 'a', '1', { isVisitor })
        for (let look = 0; look < 4; look++) {
          await wait(400)
          expect(await replicas[1].get(key, { isVisitor })).toEqual({ a: '1' })
        }
        expect(await replicas[1].get(other, { isVisitor })).toEqual({})
      }
      await Promise.all([one(false), one(true)])
    })
  })
}
