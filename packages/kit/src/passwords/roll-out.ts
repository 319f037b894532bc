import type { Logger } from '../log/log.ts'
import type { Changes } from '../postgres/changes.ts'
import type { Sql, Statement } from '../postgres/postgres.ts'

/** In the registry's `scopes`: this replica verifies argon2id. Versions before 0.2.0 do not, and do not say so. */
export const argon2idMark = 'argon2id'

const olderReplicas: Statement = {
  name: 'passwords.olderReplicas',
  text: `SELECT count(*)::int AS older FROM replicas WHERE role = 'api' AND NOT scopes ? '${argon2idMark}'
    AND heartbeat_at > clock_timestamp() - ttl_ms * interval '1 ms'`,
}

/** Returns whether every live replica verifies argon2id. */
export async function everyReplicaVerifiesArgon2id(sql: Sql): Promise<boolean> {
  const { rows } = await sql.query<{ older: number }>(olderReplicas)
  return rows[0]?.older === 0
}

export interface PasswordForms {
  /** Whether argon2id may be written, as last known. `false` until the registry has been asked. */
  mayWriteArgon2id(): boolean
  /** Asks the registry, now and whenever it changes. */
  start(): Promise<void>
  stop(): void
}

export interface PasswordFormsOptions {
  postgres: Sql
  changes: Changes
  log: Logger
  isWanted: boolean
}

const retryMs = 5000

/** A hash that an older replica cannot verify would lock its user out there: nothing is written before the last one is gone. */
export function createPasswordForms({ postgres, changes, log, isWanted }: PasswordFormsOptions): PasswordForms {
  let allowed = false
  let asked = 0
  let timer: NodeJS.Timeout | undefined
  let stopHearing = () => {}
  const ask = async () => {
    clearTimeout(timer)
    const turn = ++asked
    try {
      const answer = await everyReplicaVerifiesArgon2id(postgres)
      if (turn === asked) allowed = answer // not when a later one has overtaken it
    } catch (err) {
      log.warn({ err }, 'cannot read from the registry which password hashes are supported') // the last answer stays
      if (turn === asked) timer = setTimeout(ask, retryMs).unref()
    }
  }
  return {
    mayWriteArgon2id: () => isWanted && allowed,
    async start() {
      if (!isWanted) return
      stopHearing = changes.onChange('replicas', () => void ask())
      await ask()
    },
    stop() {
      stopHearing()
      asked++ // what is under way counts no more
      clearTimeout(timer)
    },
  }
}
