import { withPasswords } from '@escala/kit/config/base'
import { readConfig } from '@escala/kit/config/config'
import { runProcess } from '@escala/kit/lifecycle/process'
import { apiConfigSettings, compose } from './compose.ts'
import { apiOrders } from './config.ts'

await runProcess(async () => compose(readConfig(withPasswords(process.env), apiConfigSettings, apiOrders)))
