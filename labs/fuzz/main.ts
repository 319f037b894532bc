import { environment } from '@escala/testing/environment'
import type { FuzzReport } from '@escala/testing/fuzz/fuzz'
import { failUsage, readCommandLine } from '../../infra/local/command-line.ts'
import { createLifetime } from '../../infra/local/lifetime.ts'
import { runProgram } from '../program.ts'
import { fuzzCluster } from './run.ts'

const usage = `usage: npm run fuzz [-- OPTIONS]

Sends odd requests to three replicas and compares every response with the OpenAPI document.
  --requests N   requests in all (default 20000)
  --seed N       which ones (default: others each time)`

const lifetime = createLifetime()

function readOptions() {
  const { values } = readCommandLine(usage, {
    requests: { type: 'string', default: '20000' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 10_000)) },
  })
  const [requests, seed] = [Number(values.requests), Number(values.seed)]
  if (!(Number.isInteger(requests) && requests > 0 && Number.isInteger(seed) && seed >= 0 && seed < 20_000))
    failUsage(usage, '--requests takes a whole number above 0, --seed one from 0 to 19999')
  return { requests, seed }
}

async function main(): Promise<number> {
  const { requests, seed } = readOptions()
  process.env.LABS = 'local' // its users come from other addresses of this machine
  console.log(`fuzz: ${requests} requests, seed ${seed}`)
  console.log(`servers: ${(await environment()).driver.versions}`)
  const startedAt = Date.now()
  let toldAt = startedAt
  const report = await fuzzCluster({
    requests,
    seed,
    progress(sent) {
      if (Date.now() - toldAt < 5000) return
      toldAt = Date.now()
      console.log(`  ${sent} requests`)
    },
  })
  console.log(describe(report))
  console.log(
    `${report.findings.length} findings in ${Math.round((Date.now() - startedAt) / 1000)} s; the same requests again: --seed ${seed}`,
  )
  return report.findings.length === 0 ? 0 : 1
}

function describe({ sent, statuses, slowestMs, findings }: FuzzReport): string {
  const rows = Object.entries(statuses).sort(([a], [b]) => (a < b ? -1 : 1))
  return [
    `\n${sent} requests, the slowest in ${slowestMs} ms`,
    ...rows.map(([status, count]) => `${String(count).padStart(8)}  ${status}`),
    '',
    ...findings.flatMap(({ what, count, curl = '(no single request)' }) => [`${what} (${count} times)`, `  ${curl}`]),
  ].join('\n')
}

await runProgram(lifetime, main)
