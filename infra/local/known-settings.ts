import { apiSettings } from '../../apps/api/src/config.ts'
import { apiModules } from '../../apps/api/src/modules.ts'
import { workerSettings } from '../../apps/worker/src/config.ts'
import { workerModules } from '../../apps/worker/src/modules.ts'

/** The variables of the API, of the worker and of every module. */
export const knownSettings: string[] = [
  apiSettings,
  workerSettings,
  ...[...apiModules, ...workerModules].map((module) => module.settings),
].flatMap(Object.keys)
