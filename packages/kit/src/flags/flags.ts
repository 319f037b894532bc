import type { Scope } from '../scope.ts'

export type FlagValue = boolean | number | string

/** A switch that an operator can change while everything runs. Its values have the type of its default. */
export interface Flag<Value extends FlagValue = FlagValue> {
  name: string
  default: Value
  /** What changes with it, for the operator. */
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
  /**
   * Returns the value, synchronously, from this process's memory; at most one heartbeat old, or as old as the last contact while Postgres is
   * unreachable. Throws if the flag was never declared (a programming error).
   */
  get<Value extends FlagValue>(flag: Flag<Value>): Value
  /** Returns every declared flag with its value. */
  all(): { flag: Flag; value: FlagValue }[]
  /**
   * Stores the value; every replica sees it within a heartbeat. Throws `E_UNKNOWN_FLAG`, or `E_VALIDATION` for a value of another type,
   * without any change; `E_POSTGRES_UNAVAILABLE` if it is unknown whether the value was stored.
   */
  set(name: string, value: FlagValue): Promise<void>
  /** Resolves once the values have been read, however long that takes; rejects if `stop` is called first. */
  start(): Promise<void>
  stop(): Promise<void>
}
