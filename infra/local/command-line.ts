import { type ParseArgsConfig, parseArgs } from 'node:util'

type Options = NonNullable<ParseArgsConfig['options']>
type Read<O extends Options> = ReturnType<
  typeof parseArgs<{ options: O & { help: { type: 'boolean'; short: 'h' } }; allowPositionals: true }>
>

/**
 * Reads the arguments of a command. With `--help`, prints the usage and exits with 0; with an unknown option, one without its value or
 * more than `maxPositionals` other arguments (default: none), prints the mistake and the usage, and exits with 2.
 */
export function readCommandLine<const O extends Options>(usage: string, options: O, maxPositionals = 0): Read<O> {
  const read = parse(usage, options)
  if ((read.values as { help?: boolean }).help) {
    console.log(usage)
    process.exit(0)
  }
  const surplus = read.positionals[maxPositionals]
  if (surplus !== undefined) failUsage(usage, `unexpected argument: ${surplus}`)
  return read
}

function parse<O extends Options>(usage: string, options: O): Read<O> {
  const all = { ...options, help: { type: 'boolean', short: 'h' } } as const
  try {
    return parseArgs({ allowPositionals: true, options: all }) as Read<O>
  } catch (error) {
    const [problem = ''] = (error as Error).message.split('. To specify') // Node's advice on options that begin with a dash
    return failUsage(usage, problem)
  }
}

/** Prints what is wrong with the arguments, then the usage, and exits with 2. */
export function failUsage(usage: string, problem: string): never {
  console.error(`${problem}\n\n${usage}`)
  process.exit(2)
}
