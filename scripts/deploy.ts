import { readCommandLine } from '../infra/local/command-line.ts'
import { readRunning } from '../infra/local/instance.ts'
import { outliveOutput } from '../infra/local/output.ts'

const usage = `usage: npm run deploy [-- --compose]

Replaces every replica with the code and the settings of now, without a failed request: each new one is ready before an old
one drains. A version that does not become ready leaves the old one serving.
  (nothing)   replaces what npm start runs from this folder
  --compose   replaces what docker compose runs`

const { values } = readCommandLine(usage, { compose: { type: 'boolean', default: false } })
outliveOutput() // a roll-out must not end in the middle
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
