import { workerModule } from '@escala/kit/module.ts'
import { accountsData } from './data.ts'

export const accountsWorker = workerModule({
  ...accountsData,
  settings: {},
  jobs: () => ({}),
  schedules: [],
})
