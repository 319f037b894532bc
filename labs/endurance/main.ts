import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { environment } from '@escala/testing/environment'
import { failUsage, readCommandLine } from '../../infra/local/command-line.ts'
import { createLifetime } from '../../infra/local/lifetime.ts'
import { runProgram } from '../program.ts'
import { type EnduranceReport, type Progress, runEndurance } from './run.ts'

const usage = `usage: npm run endurance [-- OPTIONS]

Runs three replicas and two workers under load while servers and processes fail, and settles the accounts afterwards.
  --minutes N    how long failures go on, up to a day (default 1)
  --seed N       which failures, when, and for how long (default: another seed each time)
  --rate N       requests started each second, 1 to 1000 (default 30)`

const lifetime = createLifetime()

function readOptions() {
  const { values } = readCommandLine(usage, {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 100_000)) },
    rate: { type: 'string', default: '30' },
  })
  const [minutes, seed, rate] = [values.minutes, values.seed, values.rate].map(Number) as [number, number, number]
  if (!(minutes > 0 && minutes <= 24 * 60 && Number.isInteger(seed) && seed >= 0 && rate >= 1 && rate <= 1000)) {
    failUsage(usage, 'one of the numbers is out of its range')
  }
  return { minutes, seed, rate }
}

async function main(): Promise<number> {
  const { minutes, seed, rate } = readOptions()
  process.env.LABS = 'local' // servers are crashed and come back under the same address
  console.log(`endurance: ${minutes} minute(s), ${rate} requests a second, seed ${seed}`)
  console.log(`servers: ${(await environment()).driver.versions}`)
  console.log('           3 API replicas, 2 workers\n')
  const report = await runEndurance({
    seed,
    forMs: minutes * 60_000,
    perSecond: rate,
    pace: 1,
    loseRedis: true,
    switchOver: true,
    strangersMs: 10_000,
    recoverMs: 5000,
    jobLockMs: 30_000,
    restMs: 240_000,
    signal: lifetime.ended,
    progress: createProgress(),
  })
  console.log(
    `\n${counts('faults', tally(report.events.map(({ name }) => name)))}\n\n${counts('answers', report.statuses)}\n`,
  )
  console.log(table(report))
  const ok = report.checks.every((check) => check.ok)
  const folder = keep(seed, report)
  for (const finding of report.findings) console.log(`  ${finding}`)
  console.log(
    `\n${ok ? 'Everything is accounted for.' : `Not everything is accounted for: see ${folder}.`} The same plan again: --seed ${seed}`,
  )
  return ok ? 0 : 1
}

/** On a terminal one line that changes; else a line every ten seconds. */
function createProgress() {
  let lastAt = 0
  return ({ atMs, phase, requests, accepted, wrong }: Progress) => {
    const { isTTY } = process.stdout
    if (Date.now() - lastAt < (isTTY ? 250 : 10_000)) return
    lastAt = Date.now()
    const time = `${Math.floor(atMs / 60_000)}:${String(Math.floor(atMs / 1000) % 60).padStart(2, '0')}`
    const now = wrong.length > 0 ? wrong.join(', ') : phase
    const text = `  ${time}  ${requests} requests, ${accepted} orders accepted; ${now}`
    process.stdout.write(isTTY ? `\r\x1b[K${text.slice(0, process.stdout.columns - 1)}` : `${text}\n`)
  }
}

function tally(names: string[]): Record<string, number> {
  return Object.fromEntries([...Map.groupBy(names, (name) => name)].map(([name, list]) => [name, list.length]))
}

function counts(title: string, numbers: Record<string, number>): string {
  const rows = Object.entries(numbers).sort(([a], [b]) => (a < b ? -1 : 1))
  const sum = rows.reduce((total, [, number]) => total + number, 0)
  return [`${title}: ${sum}`, ...rows.map(([name, number]) => `${String(number).padStart(8)}  ${name}`)].join('\n')
}

function table({ checks }: EnduranceReport): string {
  const rows = [
    ['what was counted at the end', ''],
    ...checks.map(({ name, ok, value, expected }) => [
      name,
      expected === 'at least 0' ? `  ${value}` : `${ok ? '✓' : '✗'} ${value} (expected: ${expected})`, // or only reported
    ]),
  ] as [string, string][]
  const width = Math.max(...rows.map(([name]) => name.length))
  const lines = rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`.trimEnd())
  lines.splice(1, 0, '─'.repeat(Math.max(...lines.map((line) => line.length))))
  return lines.join('\n')
}

/** What happened and when, and every log: in a folder that git does not see. */
function keep(seed: number, { events, findings, logs }: EnduranceReport): string {
  const folder = join('.escala', `endurance-${seed}`)
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'faults.json'), JSON.stringify(events, null, 2))
  writeFileSync(join(folder, 'findings.txt'), findings.join('\n'))
  for (const [id, text] of Object.entries(logs)) writeFileSync(join(folder, `${id}.log`), text)
  return folder
}

await runProgram(lifetime, main)
