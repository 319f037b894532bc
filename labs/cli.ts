import { existsSync, readdirSync } from 'node:fs'
import { environment } from '@escala/testing/environment'
import { failUsage, readCommandLine } from '../infra/local/command-line.ts'
import { createLifetime } from '../infra/local/lifetime.ts'
import { type Check, type HalfName, halfNames, type Lab, refuses, runHalf, titleOf } from './lab.ts'
import { nearest } from './nearest.ts'
import { runProgram } from './program.ts'

// A lab that is stopped halfway must leave nothing behind.
const lifetime = createLifetime()
const folder = new URL('./', import.meta.url)
const slugs = readdirSync(folder).filter((name) => existsSync(new URL(`${name}/scenario.ts`, folder)))

async function load(slug: string): Promise<Lab> {
  return (await import(new URL(`${slug}/scenario.ts`, folder).href)).lab
}

async function list(): Promise<void> {
  const width = Math.max(...slugs.map((slug) => slug.length))
  for (const slug of slugs) console.log(`  ${slug.padEnd(width)}  ${(await load(slug)).problem}`)
  console.log('\nRun one with: npm run lab SLUG [-- --replicas N]')
}

async function run(slug: string, replicas: number): Promise<boolean> {
  const lab = await load(slug)
  console.log(`${slug}: ${lab.problem}`)
  const { driver } = await environment()
  console.log(`servers: ${driver.versions}`)
  if (driver.name === 'docker' && lab.localOnly) {
    console.log(`skipped: ${lab.localOnly} Run it with LABS=local.`)
    return true
  }
  const seen = {} as Record<HalfName, Check[]>
  for (const name of halfNames) {
    console.log(`\n${name}: ${titleOf(lab.halves[name], replicas)}`)
    const startedAt = Date.now()
    const progress = createProgress()
    let text = ''
    seen[name] = await runHalf(lab, name, {
      size: 'full',
      replicas,
      progress,
      print: (more) => {
        text += `\n${more}\n`
      },
      signal: lifetime.ended,
      onFailure: (logs) => lifetime.ended.aborted || console.log(logs),
    })
    progress.end(`done in ${((Date.now() - startedAt) / 1000).toFixed(1)} s`)
    if (text) console.log(text.trimEnd())
  }
  console.log(`\n${table(seen)}`)
  const ok = halfNames.every((name) => seen[name].every((check) => check.ok))
  console.log(ok ? '\nBoth halves did what the page says:' : '\nNot what the page says:', `docs/problems/${slug}.md`)
  return ok
}

/** On a terminal one line that changes; else a line every few seconds. */
function createProgress() {
  let lastAt = 0
  const progress = (done: number, total: number) => {
    const everyMs = process.stdout.isTTY ? 50 : 3000
    if (Date.now() - lastAt < everyMs && done < total) return
    lastAt = Date.now()
    const text = `  ${done} of ${total}`
    process.stdout.write(process.stdout.isTTY ? `\r\x1b[K${text}` : `${text}\n`)
  }
  return Object.assign(progress, {
    end: (text: string) => process.stdout.write(process.stdout.isTTY ? `\r\x1b[K  ${text}\n` : `  ${text}\n`),
  })
}

function table(seen: Record<HalfName, Check[]>): string {
  const names = [...new Set(halfNames.flatMap((half) => seen[half].map((check) => check.name)))]
  const cell = (half: HalfName, name: string) => {
    const check = seen[half].find((candidate) => candidate.name === name)
    return check ? `${check.ok ? '✓' : '✗'} ${check.value} (expected: ${check.expected})` : ''
  }
  const rows = [
    ['what a client saw', 'naive', 'fixed'],
    ...names.map((name) => [name, cell('problem', name), cell('fix', name)]),
  ]
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const lines = rows.map((row) =>
    row
      .map((text, column) => text.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  )
  lines.splice(1, 0, widths.map((width) => '─'.repeat(width)).join('  '))
  return lines.join('\n')
}

const usage = `usage: npm run lab                           lists the problems, one line each
       npm run lab SLUG [-- --replicas N]      runs both halves of one of them at full size, on N replicas (3)

Exits with 0 only if both halves did what the problem's page says.`

async function main(): Promise<number> {
  const { values, positionals } = readCommandLine(usage, { replicas: { type: 'string' } }, 1)
  const [slug] = positionals
  // npm takes `--replicas=5` for an option of its own when there is no `--` before it.
  const replicas = values.replicas ?? process.env.npm_config_replicas ?? '3'
  if (slug === undefined && values.replicas !== undefined) failUsage(usage, '--replicas goes with the name of a lab')
  if (slug === undefined) {
    await list()
    return 0
  }
  if (!slugs.includes(slug)) {
    console.error(`There is no lab ${slug}. Did you mean ${nearest(slug, slugs)}?`)
    return 2
  }
  const refusal = refuses(await load(slug), replicas)
  if (refusal) {
    console.error(refusal)
    return 2
  }
  return (await run(slug, Number(replicas))) ? 0 : 1
}

await runProgram(lifetime, main)
