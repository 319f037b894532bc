import { setTimeout as wait } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { createLines, type Sink } from './lines.ts'

/** A reader that takes what `answer` says; `undefined`: everything. */
function reader(answer: () => ReturnType<Sink['write']> | undefined) {
  let text = ''
  const sink: Sink = {
    write(bytes) {
      const taken = answer() ?? bytes.length
      if (typeof taken === 'number') text += bytes.subarray(0, taken)
      return taken
    },
    idle: () => true,
  }
  return { sink, text: () => text }
}

test('lines of one turn leave in one piece, and in order when only a part is taken', async () => {
  const answers = [3, 'full', 4] as const
  let pieces = 0
  const { sink, text } = reader(() => answers[pieces++])
  const lines = createLines({ sink })
  for (const line of ['one\n', 'two\n', 'three\n']) lines.write(line)
  await lines.flush(1000)
  expect([text(), pieces, lines.lost()]).toEqual(['one\ntwo\nthree\n', 4, 0])
})

test('what exceeds the bound is dropped, counted, and reported once there is room', async () => {
  let full = true
  const { sink, text } = reader(() => (full ? 'full' : undefined))
  const lines = createLines({ sink, maxBytes: 10, onLost: (count) => lines.write(`lost ${count}\n`) })
  for (const line of ['one\n', 'two\n', 'three\n', 'four\n']) lines.write(line)
  await lines.flush(20)
  expect([text(), lines.lost()]).toEqual(['', 2])
  full = false
  await lines.flush(1000)
  expect(text()).toBe('one\ntwo\nlost 2\n')
  lines.write('five\n')
  await lines.flush(1000)
  expect(text()).toBe('one\ntwo\nlost 2\nfive\n')
})

test('a broken reader costs lines, is not tried without need, and begins with a line of its own again', async () => {
  const answers: (number | 'failed')[] = [2, 'failed']
  let tries = 0
  const { sink, text } = reader(() => answers[tries++])
  const lines = createLines({ sink, onLost: (count) => lines.write(`lost ${count}\n`) })
  lines.write('one\n')
  lines.write('two\n')
  await lines.flush(1000)
  expect([text(), lines.lost(), tries]).toEqual(['on', 2, 2])
  await wait(20)
  expect(tries).toBe(2)
  lines.write('three\n')
  await lines.flush(1000)
  expect(text()).toBe('on\nthree\nlost 2\n')
})

test('at the end of the process it waits for a slow reader, and no longer than it may', () => {
  let tries = 0
  const slow = reader(() => (tries++ < 5 ? 'full' : undefined))
  const lines = createLines({ sink: slow.sink })
  lines.write('last\n')
  lines.flushSync(1000)
  expect(slow.text()).toBe('last\n')

  const still = createLines({ sink: reader(() => 'full').sink })
  still.write('never\n')
  const began = Date.now()
  still.flushSync(50)
  expect(Date.now() - began).toBeLessThan(1000)
})
