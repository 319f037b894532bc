import { createRedisRateLimits } from '@escala/kit/rate-limits/redis'
import { createRedisSessions } from '@escala/kit/sessions/redis'
import { Redis } from 'ioredis'
import { startApp } from './app.ts'

const redis = new Redis(process.env.REDIS_URL ?? 'redis://127.0.0.1:6379', { commandTimeout: 300 })
redis.on('error', (error) => console.error(error.message))

await startApp(createRedisSessions({ redis }), createRedisRateLimits({ redis }))
