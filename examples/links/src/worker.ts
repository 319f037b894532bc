import { workerModule } from '@escala/kit/module'
import { aggregateJob } from './aggregate.ts'
import { clickJob } from './clicks.ts'
import { linksData } from './data.ts'

export const linksWorker = workerModule({
  name: 'links',
  settings: {},
  migrations: linksData.migrations,
  jobs: (parts) => ({ 'link.click': clickJob(parts), 'links.aggregate': aggregateJob(parts) }),
  schedules: [{ id: 'links-nightly', type: 'links.aggregate', every: { cron: '20 0 * * *' } }],
})
