import type { ScaleReport, Verdict } from '@escala/kit/replicas/scale-report'

// npm run scale:check                             asks the system that runs from this checkout
// npm run scale:check -- http://127.0.0.1:4000    asks that replica, by its internal port: any one knows about all of them
// Exit code 1 when a check fails or nothing answers.
const marks: Record<Verdict, string> = { pass: 'ok  ', warn: 'warn', fail: 'FAIL' }

const address = process.argv[2] ?? process.env.INTERNAL_URL
if (address === undefined) {
  console.error('Nothing runs from this checkout. Name the internal port of a replica (PORT + 1000):')
  console.error('npm run scale:check -- http://127.0.0.1:4000')
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
