import type { Scope } from '../scope.ts'

export type FlagValue = boolean | number | string

/** A switch that an operator can turn while everything runs. Declared in code: what it may be is what its default is. */
export interface Flag<Value extends FlagValue = FlagValue> {
  name: string
  default: Value
  /** What changes when it does. */
  description: string
}

type Definitions = Record<string, { default: FlagValue; description: string }>
type Widened<Value> = Value extends boolean ? boolean : Value extends number ? number : string

/** Gives each flag its name: `const shopFlags = defineFlags({ salesOpen: { default: true, description: '…' } })`. */
export function defineFlags<D extends Definitions>(
  definitions: D,
): { [Name in keyof D]: Flag<Widened<D[Name]['default']>> } {
  const entries = Object.entries(definitions).map(([name, definition]) => [name, { name, ...definition }])
  return Object.fromEntries(entries)
}

export interface Flags {
  scope: Scope
  /** At once, from this process's memory. Throws for a flag that was not declared to this part: a mistake in the code. */
  get<Value extends FlagValue>(flag: Flag<Value>): Value
  all(): { flag: Flag; value: FlagValue }[]
  /** Throws `E_UNKNOWN_FLAG` or `E_VALIDATION`, for a value of another type, and nothing has changed; or `E_POSTGRES_UNAVAILABLE`: it may have. */
  set(name: string, value: FlagValue): Promise<void>
  /** Resolves when the values are known, however long that takes; rejects when `stop` comes first. */
  start(): Promise<void>
  stop(): Promise<void>
}
