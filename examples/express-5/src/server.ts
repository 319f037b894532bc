import { once } from 'node:events'
import { createLog } from '@escala/kit/log/log'
import { createRedisRateLimits } from '@escala/kit/rate-limits/redis'
import { createRedis } from '@escala/kit/redis/redis'
import { createRedisSessions } from '@escala/kit/sessions/redis'
import { startApp } from './app.ts'

const log = createLog({ service: 'express-5', replicaId: 'redis', version: '1' })
const url = process.env.REDIS_URL ?? 'redis://127.0.0.1:6379'
const redis = createRedis({ url, role: 'request', log })
await once(redis, 'ready')

await startApp(createRedisSessions({ redis }), createRedisRateLimits({ redis }))
