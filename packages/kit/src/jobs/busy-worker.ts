import { createLog } from '../log/log.ts'
import { createRedis } from '../redis/redis.ts'
import { createBullmqConsumer } from './bullmq.ts'

// A worker of its own process for `jobs.test.ts`: each of its jobs computes for four times as long as its lock lasts.
const [url = '', prefix = ''] = process.argv.slice(2)
const log = createLog({ service: 'worker', replicaId: 'busy', version: '0', level: 'info' })
createBullmqConsumer({
  redis: createRedis({ url, role: 'blocking', log }),
  log,
  prefix,
  concurrency: 1,
  lockMs: 300,
  stalledMs: 100,
  handlers: {
    async compute(job) {
      const endsAt = performance.now() + 1200
      while (performance.now() < endsAt);
      job.log.info('computed')
    },
  },
})
