import { join } from 'node:path'
import { environment } from '@escala/testing/environment'
import { failUsage, readCommandLine } from '../../infra/local/command-line.ts'
import { createLifetime } from '../../infra/local/lifetime.ts'
import { type Check, check } from '../lab.ts'
import { runProgram } from '../program.ts'
import { type Checkout, checkOutRelease } from './released.ts'
import { upgrade } from './run.ts'

const usage = `usage: npm run upgrade:check [-- OPTIONS]

Upgrades a running system of version 0.1.0 to this one, under load.
  --seconds N   how long both versions run side by side, 1 to 600 (default 10)`

const lifetime = createLifetime()
let released: Checkout | undefined

async function main(): Promise<number> {
  const { values } = readCommandLine(usage, { seconds: { type: 'string', default: '10' } })
  const seconds = Number(values.seconds)
  if (!(seconds >= 1 && seconds <= 600)) failUsage(usage, '--seconds takes a number from 1 to 600')
  process.env.LABS = 'local' // an image holds one version
  console.log(`servers: ${(await environment()).driver.versions}`)
  console.log('checking out 0.1.0 and installing its packages')
  released = checkOutRelease('0.1.0')
  const { seen, mixed, end, logs } = await upgrade({
    released,
    current: join(import.meta.dirname, '../..'),
    ordersPerSecond: 5,
    mixedMs: seconds * 1000,
    users: 10,
    progress: (line) => console.log(`  ${line}`),
  })
  const ok = report([
    check('orders accepted', seen.orders.accepted, { atLeast: 5 * seconds }),
    check('orders that failed', JSON.stringify(seen.orders.failures), { equals: '{}' }),
    check('repetitions with another response than the first', seen.otherAnswers, { equals: 0 }),
    check('reads that failed', JSON.stringify(seen.reads.failures), { equals: '{}' }),
    check('reads older than a change two seconds before', seen.staleReads, { equals: 0 }),
    check('versions side by side', mixed.versions, { equals: '0.1.0, current' }),
    check('users of 0.1.0 logged out, on any replica', mixed.loggedOut, { equals: 0 }),
    check('users of this version logged out, on the old replicas', mixed.loggedOutOfOld, { equals: 0 }),
    check('users logged out at the end', end.loggedOut, { equals: 0 }),
    check('carts lost', end.lostCarts, { equals: 0 }),
    check('a key of 0.1.0 still leads to its order', end.repeated, { equals: true }),
    check('orders confirmed', end.confirmed, { equals: seen.orders.accepted }),
    check('dead letters', end.deadLetters, { equals: 0 }),
    check('versions at the end', end.versions, { equals: 'current' }),
  ])
  if (!ok) console.log(logs)
  return ok ? 0 : 1
}

function report(checks: Check[]): boolean {
  for (const { name, value, expected, ok } of checks)
    console.log(`${ok ? '✓' : '✗'} ${name.padEnd(56)} ${value}${ok ? '' : ` (expected: ${expected})`}`)
  return checks.every(({ ok }) => ok)
}

await runProgram(lifetime, main, async () => released?.[Symbol.dispose]())
