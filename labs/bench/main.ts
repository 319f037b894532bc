import { writeFile } from 'node:fs/promises'
import { createCleanUps } from '@escala/testing/clean-ups'
import { createLifetime } from '../../infra/local/lifetime.ts'
import { runProgram } from '../program.ts'
import { createCast } from './cast.ts'
import { full, quick } from './measure.ts'
import { measures } from './measures/all.ts'
import { readOptions, usage } from './options.ts'
import {
  describeCheckout,
  describeMachine,
  describeVersions,
  type Report,
  showEnd,
  showSection,
  warnOfOthers,
} from './report.ts'
import { startStage } from './stage.ts'

// npm run bench [-- --quick] [--beside FOLDER] [--json FILE] [MEASURE …]
//
// What the kit costs. Exits with 0 when everything could be measured, whatever it found; the last line counts the budgets.

const lifetime = createLifetime()
const cleanUps = createCleanUps()

async function main(): Promise<number> {
  const names = measures.map(({ name }) => name)
  const options = readOptions(process.argv.slice(2), names)
  if (options.help) {
    console.log(usage(names))
    return 0
  }
  const startedAt = performance.now()
  const busy = warnOfOthers()
  if (busy) console.log(busy)
  const stage = await startStage(cleanUps)
  const report: Report = {
    machine: describeMachine(),
    versions: describeVersions(stage),
    quick: options.quick,
    beside: options.beside && describeCheckout(options.beside),
    seconds: 0,
    sections: [],
  }
  console.log(`${report.versions}; ${report.machine}`)
  console.log('median [least – most] of the rounds; a ratio is taken within each round')
  const bench = {
    stage,
    cast: createCast(stage, options.beside),
    size: options.quick ? quick : full,
    beside: options.beside,
    signal: lifetime.ended,
  }
  for (const { name, title, run } of measures) {
    if (!options.chosen.includes(name)) continue
    lifetime.ended.throwIfAborted()
    const section = { measure: name, title, ...(await run(bench)) }
    report.sections.push(section)
    console.log(showSection(section))
  }
  report.seconds = (performance.now() - startedAt) / 1000
  console.log(showEnd(report))
  if (options.json) await writeFile(options.json, `${JSON.stringify(report, undefined, 2)}\n`)
  return 0
}

await runProgram(lifetime, main, cleanUps.run)
