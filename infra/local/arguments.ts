import { parseArgs } from 'node:util'

/** `--port 8080` and the like, also where npm has taken them for its own (`npm start --port=8080`). Prints the usage and exits when there is something that it does not know. */
export function readOptions<Numbers extends Record<string, { min: number; max: number; standard: number }>>(
  command: string,
  usage: string,
  numbers: Numbers,
): { [Name in keyof Numbers]: number } & { fresh: boolean } {
  const options = Object.fromEntries(Object.keys(numbers).map((name) => [name, { type: 'string' as const }]))
  try {
    const { values } = parseArgs({
      options: { ...options, fresh: { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h' } },
    })
    if (values.help) {
      console.log(usage)
      process.exit(0)
    }
    const read = Object.entries(numbers).map(([name, { min, max, standard }]) => {
      const value = Number((values as Record<string, unknown>)[name] ?? process.env[`npm_config_${name}`] ?? standard)
      if (Number.isInteger(value) && value >= min && value <= max) return [name, value]
      throw new Error(`--${name} takes a whole number from ${min} to ${max}`)
    })
    return {
      ...(Object.fromEntries(read) as { [Name in keyof Numbers]: number }),
      fresh: values.fresh === true || process.env.npm_config_fresh === 'true',
    }
  } catch (error) {
    console.error(`${command}: ${(error as Error).message}\n\n${usage}`)
    process.exit(1)
  }
}
