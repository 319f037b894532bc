import { workerModule } from '@escala/kit/module'
import { placeholdersData } from './data.ts'
import { createdJob } from './jobs.ts'

export const placeholdersWorker = workerModule({
  name: 'placeholders',
  settings: {},
  migrations: placeholdersData.migrations,
  jobs: (parts) => ({ 'placeholders.created': createdJob(parts) }),
  schedules: [],
})
