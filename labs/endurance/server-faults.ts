import type { Cluster, ServerName } from '@escala/testing/cluster'
import type { FaultProxy } from '@escala/testing/fault-proxy'
import { withClient } from '@escala/testing/test-database'
import type { Begin, Fault, FaultOptions, Undo } from './fault.ts'
import type { Random } from './random.ts'

/** What goes wrong with Redis, Postgres and the network to them. */

export const emptyRedis: Fault = {
  name: 'the state Redis crashes and comes back empty',
  seconds: [0, 0],
  begin: async (cluster) => {
    await cluster.server('redis').crash({ empty: true })
    return undefined
  },
}

export function ofRedis(
  name: string,
  server: 'redis' | 'cacheRedis',
  proxy: (cluster: Cluster) => FaultProxy,
): Fault[] {
  return [
    ...ofNetwork(name, proxy),
    { name: `${name} is paused`, seconds: [0.5, 6], begin: pauseServer(server) },
    { name: `${name} crashes`, seconds: [0, 0], begin: crash(server) },
  ]
}

export function ofPostgres({ switchOver }: Pick<FaultOptions, 'switchOver'>): Fault[] {
  const changePlaces: Fault = {
    name: 'Postgres and its standby swap roles',
    seconds: [0.5, 6],
    begin: switchPostgres,
  }
  return [
    ...ofNetwork('Postgres', ({ postgresProxy }) => postgresProxy),
    { name: 'Postgres ends every connection', seconds: [0, 0], begin: endConnections },
    { name: 'Postgres is paused', seconds: [0.5, 6], begin: pauseServer('postgres') },
    { name: 'Postgres crashes', seconds: [0, 0], begin: crash('postgres') },
    ...(switchOver ? [changePlaces] : []),
  ]
}

// A server ends connections whose peer does not confirm anything: here sooner than in production, since there are more faults.
const keepAliveMs = 8000

function ofNetwork(name: string, proxyOf: (cluster: Cluster) => FaultProxy): Fault[] {
  const buryLater = (proxy: FaultProxy) => void setTimeout(() => proxy.bury(), keepAliveMs).unref()
  const broken =
    (spoil: (proxy: FaultProxy, roll: Random) => unknown): Begin =>
    async (cluster, roll) => {
      const proxy = proxyOf(cluster)
      await spoil(proxy, roll)
      return async () => {
        await proxy.heal()
        buryLater(proxy) // those that lost bytes are dead, and only their client knows
      }
    }
  const silent: Begin = (cluster) => {
    const proxy = proxyOf(cluster)
    proxy.silence()
    buryLater(proxy)
    return undefined
  }
  return [
    { name: `${name} refuses connections`, seconds: [0.5, 5], begin: broken((proxy) => proxy.refuse()) },
    { name: `${name} hangs`, seconds: [0.5, 5], begin: broken((proxy) => proxy.hang()) },
    { name: `${name} resets connections`, seconds: [0.2, 3], begin: broken((proxy) => proxy.reset()) },
    { name: `${name} is slow`, seconds: [1, 5], begin: broken((proxy, roll) => proxy.delay(roll.whole(20, 400))) },
    { name: `${name} loses one answer`, seconds: [0.1, 0.3], begin: broken((proxy) => proxy.dropNextReply()) },
    { name: `connections to ${name} go silent`, seconds: [0, 0], begin: silent },
  ]
}

export const crash =
  (server: ServerName): Begin =>
  async (cluster) => {
    await cluster.server(server).crash()
    return undefined
  }

export const pauseServer =
  (server: ServerName): Begin =>
  async (cluster) => {
    await cluster.server(server).pause()
    return () => cluster.server(server).resume()
  }

async function endConnections({ databaseUrl }: Cluster): Promise<Undo> {
  await withClient(databaseUrl, (client) =>
    client.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()`,
    ),
  )
  return undefined
}

/** Until it is undone, the address leads to the former primary, which takes reads only. */
async function switchPostgres({ postgresPair, postgresProxy }: Cluster): Promise<Undo> {
  await postgresPair.switchOver()
  return () => postgresProxy.lead(postgresPair.primaryUrl())
}
