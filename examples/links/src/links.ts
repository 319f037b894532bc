import type { PersonalData } from '@escala/kit/module'
import type { Outbox } from '@escala/kit/outbox/outbox'
import type { Sql, Statement } from '@escala/kit/postgres/postgres'
import { newCode } from './codes.ts'
import { clickPayload } from './messages.ts'
import type { Link } from './schemas.ts'

export interface LinkRow {
  code: string
  /** bigint, as text. */
  position: string
  target: string
  clicks: number
  created_at: Date
}

const columns = 'code, position, target, clicks, created_at'

const insert: Statement = {
  name: 'links-create',
  text: `INSERT INTO links (code, user_id, target) VALUES ($1, $2, $3) ON CONFLICT (code) DO NOTHING RETURNING ${columns}`,
}

const select: Statement = {
  name: 'links-read',
  text: `SELECT ${columns} FROM links WHERE code = $1 AND user_id = $2`,
}

// `coalesce` instead of two statements: the index serves both.
const selectPage: Statement = {
  name: 'links-page',
  text: `SELECT ${columns} FROM links WHERE user_id = $1 AND position < coalesce($2::bigint, 9223372036854775807)
    ORDER BY position DESC LIMIT $3`,
}

const selectDays: Statement = {
  name: 'links-days',
  text: `SELECT day::text, link_days.clicks FROM link_days JOIN links USING (code)
    WHERE code = $1 AND user_id = $2 ORDER BY day DESC LIMIT 366`,
}

const deleteLinks: Statement = { name: 'links-delete-of-user', text: 'DELETE FROM links WHERE user_id = $1' }

const deleteDomains: Statement = {
  name: 'links-delete-domains-of-user',
  text: 'DELETE FROM link_domains WHERE user_id = $1',
}

// A host of a user's own serves the links of this user alone; any other host serves all links.
const follow = (outbox: Pick<Outbox, 'insert'>): Statement => ({
  name: 'links-follow',
  text: `WITH found AS (
      SELECT code, target FROM links WHERE code = $1
        AND user_id = coalesce((SELECT user_id FROM link_domains WHERE host = $2), user_id)
    ), message AS (
      ${outbox.insert(`SELECT 'link.click', code, ${clickPayload('code', '$3::text')}, $3::text, $4::text FROM found WHERE $5::boolean`)}
    )
    SELECT target FROM found`,
})

/** Must run in a transaction only if the caller needs one: the insert stands alone. */
export async function createLink(sql: Sql, userId: string, target: string): Promise<Link> {
  for (;;) {
    const { rows } = await sql.query<LinkRow>(insert, [newCode(), userId, target])
    if (rows[0]) return toLink(rows[0]) // otherwise the code is taken: about one time in 10^13
  }
}

export async function readLink(sql: Sql, code: string, userId: string): Promise<Link | undefined> {
  const { rows } = await sql.query<LinkRow>(select, [code, userId])
  return rows[0] && toLink(rows[0])
}

/** `limit` rows, the newest first; `before`: the position of the last row that the client has. */
export async function listLinks(sql: Sql, userId: string, before: string | undefined, limit: number) {
  return (await sql.query<LinkRow>(selectPage, [userId, before ?? null, limit])).rows
}

/** Clicks of each whole day, the latest first. */
export async function listDays(sql: Sql, code: string, userId: string) {
  return (await sql.query<{ day: string; clicks: number }>(selectDays, [code, userId])).rows
}

export interface Click {
  code: string
  host: string
  requestId: string
  traceparent: string | undefined
  /** Whether it counts: a HEAD does not. */
  counts: boolean
}

/** Returns where the link leads, and leaves the counting to a job: both in one statement. */
export async function followLink(sql: Sql, outbox: Pick<Outbox, 'insert'>, click: Click): Promise<string | undefined> {
  const { code, host, requestId, traceparent, counts } = click
  const { rows } = await sql.query<{ target: string }>(follow(outbox), [
    code,
    host,
    requestId,
    traceparent ?? null,
    counts,
  ])
  return rows[0]?.target
}

const exported = 1000

/** For an account's export and its deletion: links lead nowhere without their user. */
export const linksOfUser: PersonalData = {
  async export(sql, userId) {
    const rows = await listLinks(sql, userId, undefined, exported + 1)
    return { links: rows.slice(0, exported).map(toLink), more: rows.length > exported }
  },
  async erase(tx, userId) {
    await tx.query(deleteLinks, [userId])
    await tx.query(deleteDomains, [userId])
  },
}

export function toLink({ code, target, clicks, created_at }: LinkRow): Link {
  return { code, target, clicks, createdAt: created_at.toISOString() }
}
