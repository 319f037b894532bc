import { readConfig } from '@escala/kit/config/config.ts'
import { runProcess } from '@escala/kit/lifecycle/process.ts'
import { compose, workerConfigSettings } from './compose.ts'

await runProcess(async () => compose(readConfig(process.env, workerConfigSettings)))
