import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { openSync } from 'node:fs'
import { expect, it } from 'vitest'

const program = `
  import { outliveOutput } from '${new URL('output.ts', import.meta.url)}'
  outliveOutput()
  process.once('message', async () => {
    // Node bears the first line that fails.
    for (let line = 0; line < 5; line++) {
      console.log('no reader is left')
      console.error('nor this')
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    process.exit(42)
  })
  process.send('ready')`

async function outlives(stdout: 'pipe' | number) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', stdout, stdout, 'ipc'],
  })
  const exited = once(child, 'exit')
  await once(child, 'message')
  child.stdout?.destroy()
  child.stderr?.destroy()
  child.send('go')
  return (await exited)[0]
}

it('a program goes on when the readers of its output have gone away', async () => {
  expect(await outlives('pipe')).toBe(42)
})

it.runIf(process.platform === 'linux')('and when its output goes to a disk that is full', async () => {
  expect(await outlives(openSync('/dev/full', 'w'))).toBe(42)
})
