import { setTimeout as wait } from 'node:timers/promises'
import { createClient } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import type { NginxOptions } from '@escala/testing/driver'
import { startTraffic } from '@escala/testing/traffic'
import { check, defineLab, type LabContext } from '../lab.ts'
import { naive } from './naive.ts'

interface Size {
  perSecond: number
  /** How long a replica that leaves refuses what still comes; see the lab `deploys`. */
  refuseMs: number
  /** How long NGINX leaves a replica alone that it asked before it listened. */
  failTimeoutMs: number
  /** By then each new replica must have been asked. */
  servedMs: number
  /** By then no request may be sent to a replica that has gone. */
  droppedMs: number
  /** How long it is watched after that. */
  watchMs: number
}

export const lab = defineLab<Size>({
  slug: 'discovery',
  problem: 'After scaling or a deploy, NGINX keeps sending requests to addresses that no longer exist.',
  sizes: {
    full: { perSecond: 60, refuseMs: 2000, failTimeoutMs: 5000, servedMs: 6500, droppedMs: 5000, watchMs: 10_000 },
    // The refusing period must be long enough for three refusals, after which NGINX leaves a replica alone, and that must last
    // until the name server has forgotten it.
    test: { perSecond: 40, refuseMs: 1000, failTimeoutMs: 3000, servedMs: 5000, droppedMs: 3000, watchMs: 2500 },
  },
  halves: {
    problem: {
      title: (replicas) =>
        `with names resolved once, ${replicas} new replicas get nothing, and without the old ${replicas} every request fails`,
      async run(context) {
        const seen = await replaceAll(context, naive)
        return [
          check('new replicas', context.replicas, { equals: context.replicas }),
          check(`of them used within ${context.size.servedMs} ms`, seen.asked, { equals: 0 }),
          check('requests once the old ones had gone', seen.afterwards.total, { atLeast: context.size.perSecond / 2 }),
          check('of them failed, in %', (100 * seen.afterwards.failed) / seen.afterwards.total, { equals: 100 }),
          check(`attempts to reach addresses dead for ${context.size.droppedMs} ms`, seen.deadAttempts, { atLeast: 1 }),
        ]
      },
    },
    fix: {
      title: (replicas) =>
        `with names resolved every second, ${replicas} new replicas take over, and clients do not notice`,
      async run(context) {
        const seen = await replaceAll(context, { discovery: 'resolve' })
        return [
          check('new replicas', context.replicas, { equals: context.replicas }),
          check(`of them used within ${context.size.servedMs} ms`, seen.asked, { equals: context.replicas }),
          check('requests in all', seen.all.total, { atLeast: context.size.perSecond }),
          check('of them failed', JSON.stringify(seen.all.failures), { equals: '{}' }),
          check('requests once the old ones had gone', seen.afterwards.total, { atLeast: context.size.perSecond / 2 }),
          check(`attempts to reach addresses dead for ${context.size.droppedMs} ms`, seen.deadAttempts, { equals: 0 }),
        ]
      },
    },
  },
})

/** As many new replicas as there are; when they have had their time, the old ones leave, and it is watched what NGINX does. */
async function replaceAll({ cluster: start, size, replicas, progress }: LabContext<Size>, nginx: NginxOptions) {
  const settings = { fail_timeout: `${size.failTimeoutMs / 1000}s` }
  const cluster = await start({ env: { REFUSE_MS: String(size.refuseMs) }, nginx: { ...nginx, settings } })
  const client = createClient(cluster.url)
  const answered = new Set<string | undefined>()
  const traffic = startTraffic(size.perSecond, async () => {
    const answer = await client.get('/v1/openapi.json')
    answered.add(answer.replicaId)
    return answer
  })
  const old = [...cluster.replicas]
  await cluster.scale(2 * replicas)
  progress(1, 4)
  const fresh = cluster.replicas.slice(replicas)
  const asked = () => fresh.filter(({ id }) => answered.has(id)).length
  for (const deadline = Date.now() + size.servedMs; asked() < fresh.length && Date.now() < deadline; ) await wait(20)
  const askedInTime = asked()
  progress(2, 4)

  const dead = old.map(({ address }) => address)
  for (const replica of old) await cluster.remove(replica)
  const gone = traffic.report()
  progress(3, 4)
  await wait(size.droppedMs)
  const before = (await attempts(cluster)).length
  await wait(size.watchMs)
  const all = await traffic.stop()
  const late = (await attempts(cluster)).slice(before)
  client.close()
  progress(4, 4)
  return {
    asked: askedInTime,
    all,
    afterwards: { total: all.total - gone.total, failed: all.failed - gone.failed },
    deadAttempts: late.filter((address) => dead.includes(address)).length,
  }
}

/** Every address that NGINX has tried, in order. */
async function attempts(cluster: Cluster): Promise<string[]> {
  const lines = (await cluster.accessLog()).split('\n').filter((line) => line.endsWith('}'))
  return lines.flatMap((line) => (JSON.parse(line) as { replica: string }).replica.split(/, | : /))
}
