import { failUsage, readCommandLine } from './command-line.ts'

/** `--port 8080` and the like, also where npm has taken them for its own (`npm start --port=8080`). Exits as `readCommandLine` does. */
export function readOptions<Numbers extends Record<string, { min: number; max: number; standard: number }>>(
  command: string,
  usage: string,
  numbers: Numbers,
): { [Name in keyof Numbers]: number } & { fresh: boolean; inspect: boolean } {
  const options = Object.fromEntries(Object.keys(numbers).map((name) => [name, { type: 'string' as const }]))
  try {
    const flags = { fresh: { type: 'boolean', default: false }, inspect: { type: 'boolean', default: false } } as const
    const { values } = readCommandLine(usage, { ...options, ...flags })
    const read = Object.entries(numbers).map(([name, { min, max, standard }]) => {
      const value = Number((values as Record<string, unknown>)[name] ?? process.env[`npm_config_${name}`] ?? standard)
      if (Number.isInteger(value) && value >= min && value <= max) return [name, value]
      throw new Error(`--${name} takes a whole number from ${min} to ${max}`)
    })
    return {
      ...(Object.fromEntries(read) as { [Name in keyof Numbers]: number }),
      fresh: values.fresh === true || process.env.npm_config_fresh === 'true',
      inspect: values.inspect === true || process.env.npm_config_inspect === 'true',
    }
  } catch (error) {
    failUsage(usage, `${command}: ${(error as Error).message}`)
  }
}
