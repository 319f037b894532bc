import { setTimeout as wait } from 'node:timers/promises'
import { type ClientAnswer, createClient } from '@escala/testing/client'
import type { ClusterOptions } from '@escala/testing/cluster'
import { startTraffic } from '@escala/testing/traffic'
import { check, defineLab, type LabContext } from '../lab.ts'
import { naiveConf } from './naive.ts'

interface Size {
  perSecond: number
  /** How long the replica hangs. */
  hangMs: number
  /** How long a client waits before it gives up. */
  patienceMs: number
  /** Of NGINX, in the fixed half; the kit's own are 12 and 5 seconds. */
  readTimeoutMs: number
  failTimeoutMs: number
}

export const lab = defineLab<Size>({
  slug: 'dead-replicas',
  problem: 'One replica hangs, and a third of all requests hangs with it.',
  sizes: {
    full: { perSecond: 60, hangMs: 20_000, patienceMs: 15_000, readTimeoutMs: 3000, failTimeoutMs: 5000 },
    test: { perSecond: 60, hangMs: 4000, patienceMs: 2000, readTimeoutMs: 1000, failTimeoutMs: 1000 },
  },
  halves: {
    problem: {
      title: (replicas) =>
        `with NGINX's defaults, one hung replica of ${replicas} takes its share of the requests with it`,
      async run(context) {
        const { sent, failed } = await hangOne(context, { conf: naiveConf })
        const share = (100 * (failed.reads + failed.writes)) / sent
        return [
          check('requests while one replica hangs', sent, { atLeast: context.size.perSecond }),
          // Its share, and more: a request that hangs is not in flight elsewhere.
          check('without a response in time, in %', share, {
            between: [60 / context.replicas, 135 / context.replicas],
          }),
        ]
      },
    },
    fix: {
      title: (replicas) => `with short timeouts and max_fails, one hung replica of ${replicas} costs a write or two`,
      async run(context) {
        const { size } = context
        const settings = {
          proxy_read_timeout: `${size.readTimeoutMs}ms`,
          fail_timeout: `${size.failTimeoutMs / 1000}s`,
        }
        const { sent, failed, retried, back, met } = await hangOne(context, { settings }, 3 * size.patienceMs)
        // Each `fail_timeout` NGINX tries the replica again, with whatever request comes next.
        const probes = Math.ceil(size.hangMs / (size.failTimeoutMs + size.readTimeoutMs)) + 1
        return [
          check('requests while one replica hangs', sent, { atLeast: size.perSecond }),
          check('reads that failed', failed.reads, { equals: 0 }),
          check('writes that got a 504 after the first timeout', failed.lateWrites, { atMost: probes }),
          // Three until it is left alone, and those that came when the others were just as busy.
          check('requests that reached the hung replica', met, { between: [1, 2 * (3 + probes)] }),
          check('of these writes, failed again when retried', retried.failed, { equals: 0 }),
          check('the replica responds again once it is resumed', back, { equals: true }),
        ]
      },
    },
  },
})

async function hangOne(
  { size, progress, ...context }: LabContext<Size>,
  nginx: ClusterOptions['nginx'],
  patienceMs = size.patienceMs,
) {
  const cluster = await context.cluster({ nginx })
  const client = createClient(cluster.url, { timeoutMs: patienceMs })
  const failed = { reads: 0, writes: 0, lateWrites: 0 }
  const retried = { failed: 0 }
  const seen = new Set<string | undefined>()
  const answered = ({ status }: ClientAnswer) => status > 0 && status < 500
  // Both end in the application itself: no session, and no such route.
  const read = () => client.get('/v1/session')
  const write = () => client.post('/v1/nothing')

  await Promise.all([read(), read(), read()])
  const [hung] = cluster.replicas
  await hung?.pause()
  const begun = Date.now()
  const traffic = startTraffic(size.perSecond, async (index) => {
    const isWrite = index % 5 === 0
    const sentAt = Date.now()
    const answer = await (isWrite ? write() : read())
    seen.add(answer.replicaId)
    if (answered(answer)) return answer
    if (!isWrite) failed.reads++
    else {
      failed.writes++
      if (sentAt - begun > size.readTimeoutMs) failed.lateWrites++
      if (!answered(await write())) retried.failed++
    }
    return answer
  })
  while (Date.now() - begun < size.hangMs) {
    await wait(100)
    progress(Math.min(Date.now() - begun, size.hangMs), size.hangMs)
  }
  const { total: sent } = await traffic.stop()

  await hung?.resume()
  seen.clear()
  const deadline = Date.now() + size.failTimeoutMs + 5000
  while (!seen.has(hung?.id) && Date.now() < deadline) seen.add((await read()).replicaId)
  // NGINX's own words: reads that hung there were answered by another one.
  const lines = (await cluster.accessLog()).split('\n')
  const met = lines.filter((line) => /"replicaStatus":"[^"]*504/.test(line)).length
  return { sent, failed, retried, back: seen.has(hung?.id), met }
}
