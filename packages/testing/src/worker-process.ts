import { readConfig } from '@escala/kit/config/config'
import { runProcess } from '@escala/kit/lifecycle/process'
import { compose, workerConfigSettings } from '../../../apps/worker/src/compose.ts'

// The worker's main.ts, with a lab's parts in the place of the kit's.
const { LAB_PARTS = '', ...env } = process.env
const { workerParts = {} } = await import(LAB_PARTS)

await runProcess(async () => compose(readConfig(env, workerConfigSettings), workerParts))
