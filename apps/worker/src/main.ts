import { baseOrders, withPasswords } from '@escala/kit/config/base.ts'
import { readConfig } from '@escala/kit/config/config.ts'
import { runProcess } from '@escala/kit/lifecycle/process.ts'
import { compose, workerConfigSettings } from './compose.ts'

await runProcess(async () => compose(readConfig(withPasswords(process.env), workerConfigSettings, baseOrders)))
