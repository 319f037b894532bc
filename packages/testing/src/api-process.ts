import { readConfig } from '@escala/kit/config/config'
import { runProcess } from '@escala/kit/lifecycle/process'
import { apiConfigSettings, compose } from '../../../apps/api/src/compose.ts'

// The API's main.ts, with a lab's parts in the place of the kit's.
const { LAB_PARTS = '', ...env } = process.env
const { apiParts = {} } = await import(LAB_PARTS)

await runProcess(async () => compose(readConfig(env, apiConfigSettings), apiParts))
