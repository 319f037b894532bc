import { withPasswords } from '@escala/kit/config/base.ts'
import { readConfig } from '@escala/kit/config/config.ts'
import { runProcess } from '@escala/kit/lifecycle/process.ts'
import { apiConfigSettings, compose } from './compose.ts'
import { apiOrders } from './config.ts'

await runProcess(async () => compose(readConfig(withPasswords(process.env), apiConfigSettings, apiOrders)))
