import type { Locks } from '@escala/kit/locks/locks'
import type { Sql, Statement } from '@escala/kit/postgres/postgres'
import type { DomainCheck } from './dns.ts'
import { linkErrors } from './errors.ts'

const claim: Statement = {
  name: 'links-claim-domain',
  text: `INSERT INTO link_domains (host, user_id, fence) VALUES ($1, $2, $3)
    ON CONFLICT (host) DO UPDATE SET user_id = excluded.user_id, fence = excluded.fence, verified_at = now()
    WHERE link_domains.fence < excluded.fence RETURNING verified_at`,
}

const selectOfUser: Statement = {
  name: 'links-domains-of-user',
  text: 'SELECT host, verified_at FROM link_domains WHERE user_id = $1 ORDER BY host LIMIT 100',
}

/** The user's domains by name, at most 100. */
export async function listDomains(sql: Sql, userId: string): Promise<{ host: string; verified_at: Date }[]> {
  return (await sql.query<{ host: string; verified_at: Date }>(selectOfUser, [userId])).rows
}

export interface ClaimOptions {
  sql: Sql
  locks: Locks
  check: DomainCheck
  host: string
  userId: string
}

/**
 * Gives the host to the user who has put the record into its DNS, even if it was another's before. One replica at a time asks DNS about a
 * host. Throws `E_LINK_DOMAIN_BUSY` while another one does, `E_LINK_DOMAIN_RECORD`, and `E_LINK_DOMAIN_TAKEN` if a later request won.
 */
export async function claimDomain({ sql, locks, check, host, userId }: ClaimOptions): Promise<Date> {
  const lease = await locks.acquire(`link-domain:${host}`, { leaseMs: 5000 })
  if (lease === undefined) throw linkErrors.E_LINK_DOMAIN_BUSY({ retryAfterMs: 1000 })
  try {
    if (!(await check(host, userId))) {
      throw linkErrors.E_LINK_DOMAIN_RECORD({ detail: `add the TXT record escala-links=${userId} to ${host}` })
    }
    lease.signal.throwIfAborted()
    const { rows } = await sql.query<{ verified_at: Date }>(claim, [host, userId, lease.fence])
    if (rows[0] === undefined) throw linkErrors.E_LINK_DOMAIN_TAKEN()
    return rows[0].verified_at
  } finally {
    await lease.release()
  }
}
