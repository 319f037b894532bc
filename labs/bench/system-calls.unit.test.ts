import { expect, test } from 'vitest'
import { totalCalls } from './system-calls.ts'

const printed = `strace: Process 12 attached with 11 threads
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 99.10    0.101000          10      9000        12 write
  0.90    0.001000           1      1000           epoll_pwait
------ ----------- ----------- --------- --------- ----------------
100.00    0.102000          10     10000        12 total
`

test('the calls of a process are in the last line of strace', () => {
  expect(totalCalls(printed)).toBe(10_000)
  expect(totalCalls(printed.replace('        12 total', '           total'))).toBe(10_000)
})

test('where strace could not look there are none', () => {
  expect(totalCalls('strace: attach: ptrace(PTRACE_SEIZE, 12): Operation not permitted')).toBeUndefined()
})
