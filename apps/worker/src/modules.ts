import { loadHalves, mergeOnce, type WorkerModule } from '@escala/kit/module'
import { modules } from '../../modules.ts'

/** The jobs and schedules of the domains. */
export const workerModules: WorkerModule[] = await loadHalves(modules, 'worker')

/** The lanes of every module's job types. */
export const workerLanes = (): Record<string, string> =>
  mergeOnce(
    'lane of',
    workerModules.map(({ lanes = {} }) => lanes),
  )
