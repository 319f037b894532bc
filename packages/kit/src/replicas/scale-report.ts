import { type ConnectionLimits, processScoped, scopeConflicts, shareSecret } from './admission.ts'
import type { ReplicaRow } from './replica.ts'

/** `warn`: acceptable for a short time, for example during a rollout. */
export type Verdict = 'pass' | 'warn' | 'fail'

export interface ScaleCheck {
  name: string
  verdict: Verdict
  detail: string
}

/** What `/scale` answers: everything that one replica knows about all of them. */
export interface ScaleReport {
  /** The replica that answers. */
  answeredBy: string
  replicas: (Omit<ReplicaRow, 'secretFingerprints' | 'scopes' | 'incarnation'> & { processScoped: string[] })[]
  connections: ConnectionLimits & {
    /** What the live processes may open together. */
    granted: number
    /** Connections open at the server now, of all processes. */
    open: number
  }
  checks: ScaleCheck[]
}

export interface ScaleReportOptions {
  self: string
  rows: ReplicaRow[]
  open: number
  limits: ConnectionLimits
}

const maxClockOffsetMs = 500

export function createScaleReport({ self, rows, open, limits }: ScaleReportOptions): ScaleReport {
  const granted = rows.reduce((sum, { poolSize }) => sum + poolSize, 0)
  return {
    answeredBy: self,
    replicas: rows.map(({ secretFingerprints, scopes, incarnation, ...row }) => ({
      ...row,
      processScoped: processScoped({ scopes }),
    })),
    connections: { ...limits, granted, open },
    checks: [
      checkScopes(rows),
      checkSecrets(rows),
      checkBudget(limits, granted),
      checkShares(rows, limits),
      checkAdmitted(rows, limits),
      checkClocks(rows),
      checkVersions(rows),
      checkSchedules(rows),
      checkIds(rows),
    ],
  }
}

function checkScopes(rows: ReplicaRow[]): ScaleCheck {
  const parts = rows.flatMap((row, at) => scopeConflicts(row, rows.slice(at + 1)).map(({ part }) => part))
  if (parts.length > 0) return check('state', 'fail', `shared, but kept in one process: ${unique(parts).join(', ')}`)
  const alone = unique(rows.flatMap(processScoped))
  if (alone.length > 0)
    return check('state', 'warn', `no second replica can start: ${alone.join(', ')} live in one process`)
  return check('state', 'pass', 'no replica keeps state that another one needs')
}

function checkSecrets(rows: ReplicaRow[]): ScaleCheck {
  const apis = rows.filter(({ role }) => role === 'api')
  const split = apis.flatMap((a, at) =>
    apis
      .slice(at + 1)
      .filter((b) => !shareSecret(a, b))
      .map((b) => `${a.id} and ${b.id}`),
  )
  if (split.length > 0) return check('secrets', 'fail', `no session secret in common: ${split.join(', ')}`)
  const lists = unique(apis.map(({ secretFingerprints }) => secretFingerprints.join()))
  if (lists.length > 1) return check('secrets', 'warn', 'a rotation is under way: not all have the same list')
  return check('secrets', 'pass', 'every API replica has the same session secrets')
}

function checkBudget(
  { budget, serverAllows, allowedBy, maxProcesses, perProcess }: ConnectionLimits,
  granted: number,
): ScaleCheck {
  const sum = `${maxProcesses} processes × ${perProcess} = ${maxProcesses * perProcess} of ${budget}`
  if (granted > budget) return check('connections', 'fail', `${granted} are granted, the budget is ${budget}`)
  if (budget > serverAllows) {
    return check(
      'connections',
      'warn',
      `${sum}; the ${allowedBy} allows ${serverAllows}: right only with PgBouncer in between`,
    )
  }
  return check('connections', 'pass', `${sum}; ${granted} granted now; the ${allowedBy} allows ${serverAllows}`)
}

function checkShares(rows: ReplicaRow[], { perProcess }: ConnectionLimits): ScaleCheck {
  const others = rows.filter(({ admitted, poolSize }) => admitted && poolSize !== perProcess)
  if (others.length === 0) return check('shares', 'pass', `every process may open ${perProcess}`)
  const list = others.map(({ id, poolSize }) => `${id} ${poolSize}`).join(', ')
  return check('shares', 'fail', `DB_CONNECTIONS or MAX_PROCESSES differ: ${perProcess} here, ${list}`)
}

function checkAdmitted(rows: ReplicaRow[], { maxProcesses }: ConnectionLimits): ScaleCheck {
  const waiting = rows.filter(({ admitted }) => !admitted).map(({ id }) => id)
  if (waiting.length > 0)
    return check('places', 'fail', `MAX_PROCESSES=${maxProcesses}; waiting for a place: ${waiting.join(', ')}`)
  return check('places', 'pass', `${rows.length} of MAX_PROCESSES=${maxProcesses} are taken`)
}

function checkClocks(rows: ReplicaRow[]): ScaleCheck {
  const off = rows.filter(({ clockOffsetMs }) => Math.abs(clockOffsetMs) > maxClockOffsetMs)
  const furthest = Math.max(0, ...rows.map(({ clockOffsetMs }) => Math.abs(clockOffsetMs)))
  if (off.length === 0) return check('clocks', 'pass', `within ${Math.ceil(furthest)} ms of the database's`)
  const list = off.map(({ id, clockOffsetMs }) => `${id} ${Math.round(-clockOffsetMs)} ms`).join(', ')
  return check('clocks', 'fail', `ahead of the database's (or behind it, if negative): ${list}`)
}

function checkVersions(rows: ReplicaRow[]): ScaleCheck {
  const versions = unique(rows.map(({ version }) => version))
  if (versions.length <= 1) return check('versions', 'pass', `all run ${versions[0] ?? 'nothing'}`)
  return check('versions', 'warn', `a roll-out is under way, or one got stuck: ${versions.join(', ')}`)
}

function checkSchedules(rows: ReplicaRow[]): ScaleCheck {
  const workers = rows.filter(({ role }) => role === 'worker')
  const declared = unique(workers.map(({ schedules }) => [...schedules].sort().join(', ')))
  if (workers.length === 0) return check('schedules', 'warn', 'there is no worker: nothing scheduled runs')
  if (declared.length > 1) return check('schedules', 'warn', `workers declare different ones: ${declared.join(' / ')}`)
  return check('schedules', 'pass', `${workers.length} worker(s) declare ${declared[0] || 'none'}`)
}

function checkIds(rows: ReplicaRow[]): ScaleCheck {
  const ids = rows.map(({ id }) => id)
  const twice = unique(ids.filter((id, at) => ids.indexOf(id) !== at))
  if (twice.length === 0) return check('ids', 'pass', 'every process has an id of its own')
  return check('ids', 'warn', `more than one process each: ${twice.join(', ')} (one of them drains, or died just now)`)
}

function check(name: string, verdict: Verdict, detail: string): ScaleCheck {
  return { name, verdict, detail }
}

function unique(list: string[]): string[] {
  return [...new Set(list)]
}
