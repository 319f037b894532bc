import { z } from 'zod'
import { url } from './config.ts'

const form = url('postgres', 'postgresql')
const sslModes = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full', 'no-verify']

/** The address of one Postgres, over TCP or a Unix socket. What `pg` would misunderstand is refused, each with a sentence of its own. */
export function postgresUrl() {
  return z.string({ error: form.description ?? '' }).superRefine((value, context) => {
    const rule = broken(value)
    if (rule !== undefined) context.addIssue({ code: 'custom', message: rule })
  })
}

function broken(value: string): string | undefined {
  if (/^\w+:\/\/(?:[^@/]*@)?[^/?]*,/.test(value))
    return 'one server: lists of hosts are not supported. Use a name or a proxy that leads to the primary; see docs/postgres.md'
  if (/^\w+:\/\/[^/?]*@\//.test(value))
    return 'a host between @ and /. For a Unix socket: postgres://USER:PASSWORD@localhost/DATABASE?host=/var/run/postgresql'
  if (!form.safeParse(value).success) return form.description
  const { searchParams } = new URL(value)
  const sslMode = searchParams.get('sslmode')
  // pg takes whatever it does not know for `verify-full`.
  if (sslMode !== null && !sslModes.includes(sslMode)) return `sslmode is ${sslModes.join(', ')}; see docs/postgres.md`
  const target = searchParams.get('target_session_attrs')
  // pg ignores it. Connections that lead to a read-only server are replaced in any case.
  if (target !== null && !['any', 'read-write', 'primary'].includes(target))
    return 'target_session_attrs can only be any, read-write or primary: writes need a primary'
  return undefined
}
