import { z } from 'zod'
import { bootErrors } from '../errors/errors.ts'

type Shape = Record<string, z.ZodType>
export type Config<S extends Shape> = { [Key in keyof S]: z.output<S[Key]> }

/** Of two numbers, the one that must not be above so many times the other, and why. */
export interface Order<Name extends string = string> {
  lesser: Name
  greater: Name
  times?: number
  why: string
}

/**
 * Reads variables of the environment; an empty variable counts as absent.
 * Throws one `E_CONFIG` that names every variable that is wrong and its rule, and no value: it may be a secret.
 */
export function readConfig<S extends Shape>(
  env: Record<string, string | undefined>,
  shape: S,
  orders: Order<keyof S & string>[] = [],
): Config<S> {
  const config: Record<string, unknown> = {}
  const problems: string[] = []
  for (const [name, schema] of Object.entries(shape)) {
    const value = env[name] === '' ? undefined : env[name]
    const parsed = schema.safeParse(value)
    if (parsed.success) config[name] = parsed.data
    else problems.push(`${name}: ${value === undefined ? 'is required; ' : ''}${ruleOf(schema, parsed.error)}`)
  }
  for (const { lesser, greater, times = 1, why } of orders) {
    if (Number(config[lesser]) <= times * Number(config[greater])) continue
    if (lesser in config && greater in config)
      problems.push(`${lesser}: at most ${times === 1 ? '' : `${times} × `}${greater}, ${why}`)
  }
  if (problems.length > 0) {
    throw bootErrors.E_CONFIG({ detail: `configuration: ${problems.length} problem(s)\n  ${problems.join('\n  ')}` })
  }
  return config as Config<S>
}

function ruleOf(schema: z.ZodType, error: z.ZodError): string {
  return schema.description ?? error.issues.map((issue) => issue.message).join(', ')
}

/** A whole number between two bounds, both allowed. */
export function integer(min: number, max: number, fallback?: number) {
  const rule = `a whole number from ${min} to ${max}`
  const schema = z
    .string()
    .regex(/^\d+$/, rule)
    .transform(Number)
    .refine((value) => value >= min && value <= max, rule)
  return (fallback === undefined ? schema : schema.default(fallback)).describe(rule)
}

export function fraction(fallback: number) {
  const rule = 'a number from 0 to 1'
  return z
    .string()
    .regex(/^(0(\.\d+)?|1(\.0+)?)$/, rule)
    .transform(Number)
    .default(fallback)
    .describe(rule)
}

/** `1` or `0`. */
export function flag(fallback = false) {
  return z
    .enum(['0', '1'])
    .transform((value) => value === '1')
    .default(fallback)
    .describe('1 or 0')
}

/** Refuses what a password with a special character makes of an address, too: part of it would be taken for the host. */
export function url(...protocols: string[]) {
  const rule = `an address that begins with ${protocols.map((protocol) => `${protocol}://`).join(' or ')}, with user and password percent-encoded`
  return z
    .string()
    .refine((value) => {
      if (!URL.canParse(value)) return false
      const { protocol, username, password, pathname, search, hash } = new URL(value)
      return (
        protocols.includes(protocol.slice(0, -1)) &&
        !`${pathname}${search}${hash}`.includes('@') &&
        isEncoded(username + password)
      )
    }, rule)
    .describe(rule)
}

function isEncoded(text: string): boolean {
  try {
    decodeURIComponent(text)
    return true
  } catch {
    return false
  }
}
