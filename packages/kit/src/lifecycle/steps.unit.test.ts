import { setTimeout as wait } from 'node:timers/promises'
import { pino } from 'pino'
import { beforeEach, expect, test } from 'vitest'
import { createLifecycle } from './lifecycle.ts'
import { runSteps, type Step } from './steps.ts'

const lines: Record<string, unknown>[] = []
const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(JSON.parse(line)) })
const seen: string[] = []
beforeEach(() => {
  lines.length = 0
  seen.length = 0
})

const step = (name: string, more: Partial<Step> = {}): Step => ({
  name,
  start: () => void seen.push(`start ${name}`),
  stop: () => void seen.push(`stop ${name}`),
  ...more,
})

function run(...steps: Step[]) {
  const lifecycle = createLifecycle()
  return { lifecycle, ...runSteps(steps, { lifecycle, log }) }
}

test('starts downwards, each when the one before is ready, and stops upwards', async () => {
  const slow = async () => {
    await wait(10)
    seen.push('slow')
  }
  const { start, stop, lifecycle } = run(step('one', { start: slow }), step('two', { stop: slow }), step('three'))
  await start()
  expect(lifecycle.state()).toBe('ready')
  await stop()
  expect(seen).toEqual(['slow', 'start two', 'start three', 'stop three', 'slow', 'stop one'])
  expect(lines).toEqual([])
})

test('a drain that begins during the start keeps later steps from starting, and stops them all', async () => {
  let go = () => {}
  const waits = new Promise<void>((resolve) => {
    go = resolve
  })
  const { start, stop, lifecycle } = run(step('one', { start: () => waits }), step('two'))
  const starting = start()
  await stop()
  go()
  await starting
  expect(seen).toEqual(['stop two', 'stop one'])
  expect(lifecycle.state()).toBe('draining')
})

test('a step that fails or never ends is logged, and the others are stopped all the same', async () => {
  let cut = 0
  const broken = {
    redis: () => {
      throw new Error('broken')
    },
    postgres: () => new Promise(() => {}),
    tracing: () => void seen.push('stop tracing'),
  }
  const { stop } = run(step('one'), step('connections', { stop: broken, stopMs: 20, cut: () => cut++ }))
  await stop()
  expect(seen).toEqual(['stop tracing', 'stop one'])
  expect(lines).toMatchObject([
    { msg: 'stop failed', step: 'connections', part: 'redis', err: { message: 'broken' } },
    { msg: 'not stopped in time', step: 'connections', parts: ['postgres'], stopMs: 20 },
  ])
  expect(cut).toBe(1)
})
