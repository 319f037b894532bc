const refused = /^(WRONGPASS|NOAUTH|NOPERM|ERR invalid password|ERR AUTH )/
const certificate = /^(CERT_|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_|ERR_TLS_CERT|HOSTNAME_MISMATCH)/

export interface RedisFailure {
  /** Words for operators, without any secret and without the server's own text. */
  reason: string
  /** The server answered and does not let this user in: waiting does not help. */
  isRefusal: boolean
}

/** Describes why a connection to Redis could not be made. */
export function describeFailure(error: Error & { code?: string }): RedisFailure {
  const { message, code = '' } = error
  const [, refusal] = refused.exec(message) ?? []
  if (refusal) return { reason: `it refuses the user or the password (${refusal})`, isRefusal: true }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return of(`its name cannot be resolved (${code})`)
  if (certificate.test(code)) return of(`its certificate is not trusted (${code})`)
  if (/^(EPROTO|ERR_SSL)/.test(code)) return of(`it does not speak TLS as asked (${code})`)
  return of(code ? `it cannot be reached (${code})` : 'it does not answer')
}

const of = (reason: string): RedisFailure => ({ reason, isRefusal: false })
