import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { increase } from './counters.ts'
import { type CpuTimes, cpuBetween, cpuSinceStart, readCpu } from './cpu.ts'

const threads = (us: number) => new Map([[1, us]])

test('counters that ended do not take away what the others counted', () => {
  const before = new Map([
    [1, 100],
    [2, 5000],
  ])
  const after = new Map([
    [1, 130],
    [3, 7],
  ])
  expect(increase(before, after)).toBe(37)
})

test('a child that ends within a window adds what it used in it', () => {
  const before: CpuTimes = {
    living: new Map([
      [10, threads(1000)],
      [11, threads(80_000)],
    ]),
    endedUs: 20_000,
  }
  const after: CpuTimes = { living: new Map([[10, threads(4000)]]), endedUs: 110_000 }
  expect(cpuBetween(before, after)).toBe(3000 + 10_000)
})

test('a child that begins within a window counts from zero, one that also ends in it with all it used', () => {
  const before: CpuTimes = { living: new Map([[10, threads(1000)]]), endedUs: 0 }
  const after: CpuTimes = {
    living: new Map([
      [10, threads(1500)],
      [12, threads(400)],
    ]),
    endedUs: 30_000,
  }
  expect(cpuBetween(before, after)).toBe(500 + 400 + 30_000)
})

test('rounding in the time of ended children never makes a window negative', () => {
  const before: CpuTimes = { living: new Map([[11, threads(84_000)]]), endedUs: 0 }
  expect(cpuBetween(before, { living: new Map(), endedUs: 80_000 })).toBe(0)
})

test.runIf(process.platform === 'linux')('a child that works and ends is found in this process’s time', async () => {
  const before = readCpu(process.pid)
  const child = spawn(process.execPath, ['-e', 'while (process.cpuUsage().user < 100_000);'])
  await once(child, 'close')
  expect(cpuBetween(before, readCpu(process.pid))).toBeGreaterThan(50_000)
  expect(cpuSinceStart(process.pid)).toBeGreaterThan(0)
})
