import { kitErrors } from '../errors/errors.ts'
import type { Flag, Flags, FlagValue } from './flags.ts'

/** The part that all adapters share: what is declared, and what is known. */
export function createFlagValues(declared: Flag[]) {
  const flags = new Map<string, Flag>()
  for (const flag of declared) {
    if (flags.has(flag.name)) throw new Error(`the flag ${flag.name} is declared twice`)
    flags.set(flag.name, flag)
  }
  let values = new Map<string, FlagValue>()
  const currentOf = (flag: Flag) => values.get(flag.name) ?? flag.default

  return {
    get<Value extends FlagValue>({ name }: Flag<Value>): Value {
      const flag = flags.get(name)
      if (flag === undefined) throw new Error(`the flag ${name} is not declared`)
      return currentOf(flag) as Value
    },
    all: () => [...flags.values()].map((flag) => ({ flag, value: currentOf(flag) })),
    check(name: string, value: FlagValue) {
      const flag = flags.get(name)
      if (flag === undefined) throw kitErrors.E_UNKNOWN_FLAG({ detail: `there are: ${[...flags.keys()].join(', ')}` })
      const type = typeof flag.default
      const isRight = typeof value === type && (type !== 'number' || Number.isFinite(value))
      if (!isRight) throw kitErrors.E_VALIDATION({ fields: { value: `a ${type}` } })
    },
    /** Rows of other versions of the code may be of flags, or of types, that this one does not know: they do not count. */
    replace(stored: { name: string; value: unknown }[]) {
      const known = stored.filter(({ name, value }) => typeof value === typeof flags.get(name)?.default)
      values = new Map(known.map(({ name, value }) => [name, value as FlagValue]))
    },
  } satisfies Partial<Flags> & Record<string, unknown>
}
