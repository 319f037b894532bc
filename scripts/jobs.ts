import { baseSettings, withPasswords } from '@escala/kit/config/base'
import { readConfig } from '@escala/kit/config/config'
import { createBullmqDeadLetters } from '@escala/kit/jobs/dead-letters'
import type { DeadLetter } from '@escala/kit/jobs/jobs'
import { createLog } from '@escala/kit/log/log'
import { describeFailure } from '@escala/kit/redis/failure'
import { redisPrefixes } from '@escala/kit/redis/prefixes'
import { createRedis, stopRedis } from '@escala/kit/redis/redis'
import { workerLanes } from '@escala/worker/modules'
import { failUsage, readCommandLine } from '../infra/local/command-line.ts'

const usage = `usage: npm run jobs [-- COMMAND]

  list [--limit N]    jobs that failed for good, the latest first, 1 to 500 of them (20); this is the default
  show ID             one of them, with its payload
  replay ID | --all   runs it again, with all of its attempts
  drop ID | --all     deletes it

Uses REDIS_URL, or the system that runs from this checkout.`

const { positionals, values } = readCommandLine(
  usage,
  { limit: { type: 'string', default: '20' }, all: { type: 'boolean', default: false } },
  2,
)
const [command = 'list', id] = positionals
const limit = Number(values.limit)
const takesJob = command === 'show' || command === 'replay' || command === 'drop'
if (command !== 'list' && !takesJob) failUsage(usage, `unknown command: ${command}`)
if (!Number.isInteger(limit) || limit < 1 || limit > 500) failUsage(usage, '--limit takes a whole number from 1 to 500')
if (takesJob && (id === undefined) !== (values.all && command !== 'show'))
  failUsage(usage, `${command} takes the id of one job`)

let config: { REDIS_URL: string; APP_NAME: string }
try {
  const { REDIS_URL, APP_NAME } = baseSettings
  config = readConfig(withPasswords(process.env), { REDIS_URL, APP_NAME })
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error))
  process.exit(1)
}
const log = createLog({ service: 'jobs', replicaId: 'jobs', version: '', level: 'error' })
const redis = createRedis({ url: config.REDIS_URL, role: 'request', log, timeoutMs: 5000 })
const deadLetters = createBullmqDeadLetters({
  redis,
  lanes: workerLanes(),
  prefix: redisPrefixes(config.APP_NAME).jobs,
})
try {
  await new Promise((resolve, reject) => {
    redis.once('ready', resolve)
    redis.once('error', (error) => reject(new Error(unusable(error), { cause: error })))
  })
  await run()
} catch (error) {
  console.error(error instanceof Error ? error.message || String(error) : String(error))
  process.exitCode = 1
} finally {
  await deadLetters.stop()
  await stopRedis(redis)
}

function unusable(error: Error): string {
  return `Redis cannot be used: ${describeFailure(error).reason}. Look at REDIS_URL and whether the server runs, then run this again`
}

async function run(): Promise<void> {
  if (command === 'list') {
    const found = await deadLetters.list({ limit })
    for (const letter of found) console.log(line(letter))
    console.log(found.length === 0 ? 'no dead letters' : `${found.length} shown, the latest first`)
  } else if (command === 'show' && id !== undefined) {
    const found = await deadLetters.find(id)
    console.log(found ? JSON.stringify(found, undefined, 2) : `there is no dead letter ${id}`)
    if (!found) process.exitCode = 1
  } else if (command === 'replay' || command === 'drop') {
    const ids = id === undefined ? await allIds() : [id]
    for (const one of ids) {
      const done = await deadLetters[command](one)
      console.log(done ? `${command === 'replay' ? 'replayed' : 'dropped'} ${one}` : `there is no dead letter ${one}`)
      if (!done) process.exitCode = 1
    }
    if (ids.length === 0) console.log('no dead letters')
  }
}

const pageSize = 500

/** Returns every id before anything is done with one, so that a job that fails again meanwhile is not replayed for ever. */
async function allIds(): Promise<string[]> {
  const ids: string[] = []
  while (true) {
    const page = await deadLetters.list({ offset: ids.length, limit: pageSize })
    ids.push(...page.map((letter) => letter.id))
    if (page.length < pageSize) return ids
  }
}

function line({ id, type, attempts, failedAt, reason }: DeadLetter): string {
  return `${failedAt.toISOString()}  ${id}  ${type}  ${attempts} attempt(s)  ${reason.split('\n')[0]}`
}
