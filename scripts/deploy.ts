import { parseArgs } from 'node:util'
import { readRunning } from '../infra/local/instance.ts'
import { outliveOutput } from '../infra/local/output.ts'

// npm run deploy                 replaces what `npm start` runs from this folder
// npm run deploy -- --compose    replaces what docker compose runs
outliveOutput() // a roll-out must not end in the middle
const { values } = parseArgs({ options: { compose: { type: 'boolean', default: false } } })
const running = readRunning()

if (values.compose) {
  const { deployCompose } = await import('../infra/docker/deploy.ts')
  process.exit((await deployCompose()) ? 0 : 1)
}
if (running?.url === undefined) {
  console.error('npm start does not run from this folder. For containers: npm run deploy -- --compose')
  process.exit(1)
}
const { deployPm2 } = await import('../infra/pm2/deploy.ts')
process.exit((await deployPm2({ running })) ? 0 : 1)
