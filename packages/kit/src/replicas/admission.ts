import { bootErrors } from '../errors/errors.ts'
import { consequenceOf } from './consequences.ts'
import type { ReplicaRow, Self } from './replica.ts'
import type { ServerConnections } from './statements.ts'

/** A part that two replicas have and that at least one of them keeps in its process. */
export interface ScopeConflict {
  part: string
  /** Ids of those that keep it in their process. */
  holders: string[]
}

export function processScoped({ scopes }: Pick<Self, 'scopes'>): string[] {
  return Object.keys(scopes).filter((part) => scopes[part] === 'process')
}

/** A part that only one of two replicas has is not shared, and cannot break: for example the API's sessions next to a worker. */
export function scopeConflicts(self: Self, others: Self[]): ScopeConflict[] {
  return Object.keys(self.scopes).flatMap((part) => {
    const sharing = others.filter(({ scopes }) => part in scopes)
    const holders = [self, ...sharing].filter(({ scopes }) => scopes[part] === 'process').map(({ id }) => id)
    return sharing.length > 0 && holders.length > 0 ? [{ part, holders }] : []
  })
}

export function shareSecret(a: Self, b: Self): boolean {
  return a.secretFingerprints.some((fingerprint) => b.secretFingerprints.includes(fingerprint))
}

/** What may be started in spite of it. */
export interface Allowed {
  allowProcessScope?: boolean
  allowSecretSplit?: boolean
}

/** What stands in the way of a start, and in whose names. */
export interface Refusal {
  error: Error
  others: ReplicaRow[]
}

export function refusalOf(self: Self, others: ReplicaRow[], allowed: Allowed): Refusal | undefined {
  const sharing = others.filter((other) => scopeConflicts(self, [other]).length > 0)
  if (sharing.length > 0 && !allowed.allowProcessScope)
    return { error: processScopeError(self, sharing), others: sharing }
  const strangers = others
    .filter(({ role }) => role === 'api' && self.role === 'api')
    .filter((api) => !shareSecret(self, api))
  if (strangers.length > 0 && !allowed.allowSecretSplit)
    return { error: secretsError(self, strangers), others: strangers }
  return undefined
}

function processScopeError(self: Self, others: Self[]) {
  const conflicts = scopeConflicts(self, others)
  const parts = conflicts.map(({ part, holders }) => {
    const { breaks, page } = consequenceOf(part)
    return `  ${part} (in the process of ${holders.join(', ')}): ${breaks}; see ${page}`
  })
  const lines = [
    `${self.id} would share state with ${others.map(({ id }) => id).join(', ')}, but it lives in one process:`,
    ...parts,
    'Give these parts an adapter whose scope is cluster, or run one replica. ALLOW_PROCESS_SCOPE=1 starts in spite of it.',
  ]
  return bootErrors.E_PROCESS_SCOPE({ detail: lines.join('\n') })
}

function secretsError(self: Self, others: Self[]) {
  return bootErrors.E_SECRETS_DIFFER({
    detail:
      `${self.id} shares no session secret with ${others.map(({ id }) => id).join(', ')}: each would refuse the other's cookies.\n` +
      'Give all replicas the same SESSION_SECRETS; to rotate, put the new secret first and keep the old one behind it.\n' +
      'ALLOW_SECRET_SPLIT=1 starts in spite of it, to drop a leaked secret at once; see docs/problems/secrets.md',
  })
}

export interface ConnectionLimits {
  /** `max_connections`, less what the server keeps for superusers and reserved roles; or a lower limit of the role or the database. */
  serverAllows: number
  /** Whose limit that is. */
  allowedBy: 'server' | 'role' | 'database'
  /** For migrations, operators and replicas that are not admitted. */
  reserve: number
  /** For all processes together. */
  budget: number
  maxProcesses: number
  /** The share of each process. */
  perProcess: number
}

const reserve = 5
const raise = {
  server: 'max_connections',
  role: "the role's CONNECTION LIMIT",
  database: "the database's CONNECTION LIMIT",
}
const leastPerProcess = 3 // one for the registry, one for a worker's listener, one to work with

/** Static on purpose: each process knows its share without asking the others, so no race can exceed the budget. */
export function connectionShare(
  { allows: serverAllows, allowedBy }: Pick<ServerConnections, 'allows' | 'allowedBy'>,
  dbConnections: number,
  maxProcesses: number,
): ConnectionLimits {
  const budget = dbConnections || serverAllows - reserve
  const perProcess = Math.floor(budget / maxProcesses)
  const source = dbConnections
    ? 'DB_CONNECTIONS'
    : `the ${allowedBy} allows ${serverAllows}, less ${reserve} in reserve`
  if (perProcess < leastPerProcess) {
    throw bootErrors.E_CONFIG({
      detail:
        `${budget} database connections (${source}) for MAX_PROCESSES=${maxProcesses} are ${perProcess} for each process, ` +
        `which needs ${leastPerProcess}: lower MAX_PROCESSES to ${Math.floor(budget / leastPerProcess)} or less, ` +
        `raise ${raise[allowedBy]}, or put PgBouncer in between; see docs/problems/connections.md`,
    })
  }
  return { serverAllows, allowedBy, reserve, budget, maxProcesses, perProcess }
}
