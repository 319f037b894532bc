import { withPasswords } from '@escala/kit/config/base'
import { readConfig } from '@escala/kit/config/config'
import { runProcess } from '@escala/kit/lifecycle/process'
import { compose, workerConfigSettings } from './compose.ts'
import { workerOrders } from './config.ts'

await runProcess(async () => compose(readConfig(withPasswords(process.env), workerConfigSettings, workerOrders)))
