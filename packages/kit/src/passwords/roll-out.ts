import type { Logger } from '@escala/kit/log/log.ts'
import type { Sql, Statement } from '@escala/kit/postgres/postgres.ts'

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
  /** Asks the registry, now and every `everyMs`. */
  start(): Promise<void>
  stop(): void
}

/** A hash that an older replica cannot verify would lock its user out there: nothing is written before the last one is gone. */
export function createPasswordForms(options: { postgres: Sql; log: Logger; everyMs: number; isWanted: boolean }) {
  const { postgres, log, everyMs, isWanted } = options
  let allowed = false
  let timer: NodeJS.Timeout | undefined
  const ask = async () => {
    try {
      allowed = await everyReplicaVerifiesArgon2id(postgres)
    } catch (err) {
      log.warn({ err }, 'registry not asked for the form of password hashes') // the last answer stays
    }
  }
  return {
    mayWriteArgon2id: () => isWanted && allowed,
    async start() {
      if (!isWanted) return
      await ask()
      timer = setInterval(ask, everyMs).unref()
    },
    stop: () => clearInterval(timer),
  } satisfies PasswordForms
}
