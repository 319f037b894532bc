import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { freePort } from '@escala/servers/processes'
import { until } from '@escala/servers/waiting'
import { copyCheckout } from '../copy-checkout.ts'
import { deleteSample } from './delete.ts'
import { runTool } from './run-tool.ts'
import { remains } from './words.ts'

type Step = [tool: string, args: string[]]

const vitest = (...args: string[]): Step => ['vitest', ['run', '--reporter', 'dot', ...args]]

/** About two minutes: what a change to the sample, or to what stays, breaks first. */
const quick: Step[] = [
  ['node', ['scripts/check.ts']],
  vitest('--project', 'unit'),
  vitest('--project', 'contract', 'apps', 'infra'), // the tests of the packages do not know the sample
  // Labs that stay, and whole clusters: the quick ones.
  vitest('--project', 'labs', 'packages/testing', 'labs/schedules/', 'labs/secrets/', 'labs/sessions/'),
]

/** Everything that the whole repository is held to, with every lab that stays. */
const full: Step[] = [['node', ['scripts/check.ts']], vitest(), ['node', ['scripts/smoke-start.ts']]]

/** Removes the sample from a copy of the checkout and runs what is left. Returns whether all of it passed and no word of the sample is left. */
export async function checkWithoutSample(checkout: string, { isFull }: { isFull: boolean }): Promise<boolean> {
  using copy = copyCheckout(checkout)
  deleteSample(copy.root)
  const failed = (isFull ? full : quick).filter(([tool, args]) => {
    console.log(`== ${[tool, ...args].join(' ')}`)
    return !runTool(copy.root, tool, args)
  })
  for (const [tool, args] of failed) console.error(`FAILED without the sample: ${[tool, ...args].join(' ')}`)
  const left = remains(copy.root)
  for (const line of left) console.error(line)
  if (left.length > 0) console.error(`FAILED: ${left.length} lines of the sample are left`)
  await start(copy.root)
  return failed.length === 0 && left.length === 0
}

/** Starts what is left as `npm start` does, signs up and logs in. Throws when it cannot. */
async function start(root: string): Promise<void> {
  console.log('== start, sign up, log in')
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const child = spawn(process.execPath, ['infra/local/start.ts', '--port', String(port)], {
    cwd: root,
    env: { ...process.env, ESCALA_FOLDER: undefined },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = once(child, 'exit')
  let output = ''
  child.stdout.on('data', (chunk) => (output += chunk))
  const send = async (path: string, body?: unknown, cookie = '') => {
    const headers = { 'content-type': 'application/json', cookie }
    const answer = await fetch(`${url}${path}`, { method: body ? 'POST' : 'GET', headers, body: JSON.stringify(body) })
    assert.ok(answer.ok, `${path} answers ${answer.status}: ${await answer.clone().text()}`)
    return answer
  }
  try {
    const ready = () => output.includes('Ctrl-C stops everything') || child.exitCode !== null
    await until(ready, 60_000, () => `it was not ready after 60 s:\n${output}`)
    assert.equal(child.exitCode, null, `it ended:\n${output}`)
    const account = { email: 'ann@example.com', password: 'a password of a check' }
    await send('/v1/users', { ...account, name: 'Ann' })
    const loggedIn = await send('/v1/session', account)
    const cookie = loggedIn.headers
      .getSetCookie()
      .map((line) => line.split(';')[0])
      .join('; ')
    const { user } = (await (await send('/v1/session', undefined, cookie)).json()) as { user: { email: string } }
    assert.equal(user.email, account.email)
  } finally {
    child.kill('SIGTERM')
    await exited
  }
}
