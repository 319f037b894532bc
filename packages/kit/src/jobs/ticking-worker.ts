import { createLog } from '../log/log.ts'
import { createRedis } from '../redis/redis.ts'
import { createBullmqConsumer } from './bullmq.ts'
import { createBullmqSchedules } from './bullmq-schedules.ts'
import { laneName, schedulesLane } from './queue.ts'

// A worker of its own process for `schedules.test.ts`, where its clock can be wrong.
const [url = '', prefix = ''] = process.argv.slice(2)
const log = createLog({ service: 'worker', replicaId: 'ticking', version: '0', level: 'info' })
const redis = createRedis({ url, role: 'request', log, timeoutMs: 2000 })
createBullmqConsumer({
  redis: createRedis({ url, role: 'blocking', log }),
  log,
  prefix,
  handlers: { sweep: async () => {}, work: async () => {} },
})
await createBullmqSchedules({
  redis,
  prefix,
  name: laneName({}, schedulesLane),
  log,
  own: [{ id: 'sweep', type: 'sweep', every: { ms: 60_000 } }],
  declared: async () => ['sweep'],
}).start()
