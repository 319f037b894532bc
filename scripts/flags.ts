import { setTimeout as wait } from 'node:timers/promises'
import { apiModules } from '@escala/api/modules'
import { AppError } from '@escala/kit/errors/app-error'
import { createPostgresFlags } from '@escala/kit/flags/postgres'
import { failUsage, readCommandLine } from '../infra/local/command-line.ts'
import { connectDatabase, explain } from './database.ts'

const usage = `usage: npm run flags [-- NAME VALUE]

Without arguments: shows every flag. With a name and a value (on, off, a number or a text): sets it; every replica sees it
within a heartbeat. Uses DATABASE_URL, or the system that runs from this checkout.`

const [name, text] = readCommandLine(usage, {}, 2).positionals
if (name !== undefined && text === undefined) failUsage(usage, `no value for ${name}`)

const { postgres, log } = connectDatabase('flags')
const flags = createPostgresFlags({ declared: apiModules.flatMap((module) => module.flags ?? []), postgres, log })
try {
  await postgres.query('SELECT') // a replica waits for an unreachable database; a person gets an error
  await inTime(flags.start())
  if (name !== undefined && text !== undefined) await flags.set(name, parse(name, text))
  for (const { flag, value } of flags.all()) {
    const standard = value === flag.default ? '' : ` (default ${JSON.stringify(flag.default)})`
    console.log(`${flag.name} = ${JSON.stringify(value)}${standard}  ${flag.description}`)
  }
} catch (error) {
  const wrong = error instanceof AppError && error.fields?.value
  console.error(wrong ? `${name} takes ${wrong}` : explain(error))
  process.exitCode = 1
} finally {
  await flags.stop()
  await postgres.stop()
}

/** `on`, `off`, a number or a text, by what the flag's default is. */
function parse(name: string, text: string) {
  const type = typeof flags.all().find(({ flag }) => flag.name === name)?.flag.default
  if (type === 'number') return Number(text)
  if (type !== 'boolean') return text
  return { on: true, true: true, off: false, false: false }[text] ?? text
}

/** A replica waits for its flags as long as it takes. */
async function inTime(starting: Promise<void>): Promise<void> {
  const tooLate = wait(10_000, undefined, { ref: false }).then(() => {
    throw new Error(
      'the flags could not be read within 10 s. Look whether the database can be reached, then run this again',
    )
  })
  starting.catch(() => undefined)
  await Promise.race([starting, tooLate])
}
