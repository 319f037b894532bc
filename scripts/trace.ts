import { existsSync, fstatSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { failUsage, readCommandLine } from '../infra/local/command-line.ts'
import { folder, pm2Home } from '../infra/local/instance.ts'
import { parseLine, prettyTrace, traceOf } from '../infra/local/trace.ts'

const usage = `usage: npm run trace -- ORDER_ID|REQUEST_ID [--json] [FILE …]

Prints the lines of one order or request from every program's log, in order of time. It reads the files that are named, or
what is piped into it, or otherwise the logs of \`npm start\`. With --json, prints the lines as they were logged.
  docker compose logs --no-log-prefix | npm run trace -- ID`

const { positionals, values } = readCommandLine(usage, { json: { type: 'boolean', default: false } }, 1000)
const [id = '', ...files] = positionals
if (!/^[\w-]{8,64}$/.test(id)) failUsage(usage, id === '' ? 'no id' : `not the id of an order or a request: ${id}`)

const texts = files.length > 0 ? files.map(read) : isPiped() ? [readFileSync(0, 'utf8')] : logFiles().map(read)
const lines = texts.flatMap((text) => text.split('\n')).flatMap((line) => parseLine(line) ?? [])
const found = traceOf(lines, id)
for (const line of found) console.log(values.json ? line.text : prettyTrace(line))
if (found.length === 0) {
  console.error(`none of ${lines.length} lines is about ${id}`)
  process.exitCode = 1
}

/** A terminal, /dev/null and whatever a supervisor gives are not meant to be read. */
function isPiped(): boolean {
  try {
    const input = fstatSync(0)
    return input.isFIFO() || input.isFile()
  } catch {
    return false
  }
}

function logFiles(): string[] {
  const folders = [join(pm2Home, 'logs'), join(folder, 'nginx')].filter((path) => existsSync(path))
  return folders.flatMap((path) =>
    readdirSync(path)
      .filter((name) => /\.log(\.\d+)?$/.test(name)) // the older ones, too
      .map((name) => join(path, name)),
  )
}

function read(path: string): string {
  return readFileSync(path, 'utf8')
}
