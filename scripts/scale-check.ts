import type { ScaleReport, Verdict } from '@escala/kit/replicas/scale-report'
import { failUsage, readCommandLine } from '../infra/local/command-line.ts'

const usage = `usage: npm run scale:check [-- URL]

Prints all live processes, the connection budget and a verdict for each check. Exits with 1 if a check fails or no replica
responds. URL is the internal port (PORT + 1000) of any replica, http://127.0.0.1:4000 for example; by default, that of a
replica that runs from this checkout.`

const marks: Record<Verdict, string> = { pass: 'ok  ', warn: 'warn', fail: 'FAIL' }

const [address = process.env.INTERNAL_URL] = readCommandLine(usage, {}, 1).positionals
if (address !== undefined && !URL.canParse(address)) failUsage(usage, `not a URL: ${address}`)
if (address === undefined) {
  console.error(`Nothing runs from this checkout.\n\n${usage}`)
  process.exit(1)
}
try {
  const answer = await fetch(new URL('/scale', address), { signal: AbortSignal.timeout(5000) })
  if (!answer.ok) throw new Error(`answered ${answer.status}`)
  print((await answer.json()) as ScaleReport)
} catch (error) {
  const cause = error instanceof Error && error.cause instanceof Error ? `: ${error.cause.message}` : ''
  console.error(`no answer from ${address}: ${error instanceof Error ? error.message : String(error)}${cause}`)
  process.exitCode = 1
}

function print({ answeredBy, replicas, connections, checks }: ScaleReport): void {
  table(
    ['replica', 'role', 'version', 'alive for', 'heartbeat', 'clock', 'connections', 'in its process'],
    replicas.map((replica) => [
      replica.id + (replica.id === answeredBy ? ' *' : ''),
      replica.role,
      replica.version,
      seconds(replica.startedAt),
      `${seconds(replica.heartbeatAt)} ago`,
      `${Math.round(-replica.clockOffsetMs) || 0} ms`,
      replica.admitted ? String(replica.poolSize) : 'waits',
      replica.processScoped.join(', ') || '-',
    ]),
  )
  const { serverAllows, allowedBy, budget, maxProcesses, perProcess, granted, open } = connections
  console.log(
    `\nconnections: the ${allowedBy} allows ${serverAllows}, ${open} are open; budget ${budget} ÷ ${maxProcesses} processes = ${perProcess} each; ${granted} granted\n`,
  )
  table(
    ['', 'check', ''],
    checks.map(({ name, verdict, detail }) => [marks[verdict], name, detail]),
  )
  if (checks.some(({ verdict }) => verdict === 'fail')) process.exitCode = 1
}

function seconds(since: Date | string): string {
  return `${Math.max(0, Math.round((Date.now() - new Date(since).getTime()) / 1000))} s`
}

function table(head: string[], rows: string[][]): void {
  const widths = head.map((title, at) => Math.max(title.length, ...rows.map((row) => row[at]?.length ?? 0)))
  for (const row of [head, ...rows])
    console.log(
      row
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join('  ')
        .trimEnd(),
    )
}
