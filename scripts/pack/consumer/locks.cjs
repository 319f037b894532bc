// A program in CommonJS: three replicas want one lock, over Redis.
const assert = require('node:assert')
const { createRedisLocks } = require('@escala/kit/locks/redis')
const { Redis } = require('ioredis')

async function main() {
  const log = { warn: console.error, error: console.error }
  const replicas = [1, 2, 3].map(() => new Redis(process.env.REDIS_URL))
  const locks = replicas.map((redis) => createRedisLocks({ redis, log }))
  const leases = await Promise.all(locks.map((one) => one.acquire('report', { leaseMs: 5000 })))
  const held = leases.filter((lease) => lease !== undefined)
  assert.equal(held.length, 1)
  await held[0].release()
  const next = await locks[1].acquire('report', { leaseMs: 5000 })
  assert(next.fence > held[0].fence)
  await next.release()
  for (const redis of replicas) redis.disconnect()
  console.log(`locks on ${process.version}`)
}

void main()
