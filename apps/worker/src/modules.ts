import { accountsWorker } from '@escala/accounts/worker.ts'
import type { WorkerModule } from '@escala/kit/module.ts'
import { ticketsWorker } from '@escala/tickets/worker.ts'

/** The domains that this worker works for. `npm run sample:delete` removes the ticket shop from here. */
export const workerModules: WorkerModule[] = [accountsWorker, ticketsWorker]

/** The lanes of every module's job types. */
export const workerLanes = (): Record<string, string> => Object.assign({}, ...workerModules.map(({ lanes }) => lanes))
