import { existsSync, fstatSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { folder, pm2Home } from '../infra/local/instance.ts'
import { parseLine, prettyTrace, traceOf } from '../infra/local/trace.ts'

const usage = `usage: npm run trace -- ORDER_ID|REQUEST_ID [--json] [FILE …]

Prints the lines of one order or request from every program's log, in order of time. It reads the files that are named, or
what is piped into it, or else the logs of \`npm start\`:
  docker compose logs --no-log-prefix | npm run trace -- ID`

const args = process.argv.slice(2)
const [id, ...files] = args.filter((arg) => !arg.startsWith('--'))
const options = args.filter((arg) => arg.startsWith('--'))
if (id === undefined || !/^[\w-]{8,64}$/.test(id) || options.some((option) => option !== '--json')) {
  console.error(usage)
  process.exit(2)
}

const texts = files.length > 0 ? files.map(read) : isPiped() ? [readFileSync(0, 'utf8')] : logFiles().map(read)
const lines = texts.flatMap((text) => text.split('\n')).flatMap((line) => parseLine(line) ?? [])
const found = traceOf(lines, id)
for (const line of found) console.log(options.length > 0 ? line.text : prettyTrace(line))
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
