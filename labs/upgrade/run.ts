import { setTimeout as wait } from 'node:timers/promises'
import { type Client, createClient, expectStatus } from '@escala/testing/client'
import { type Cluster, type Replica, startCluster } from '@escala/testing/cluster'
import { startShopTraffic } from '../mixed-versions/traffic.ts'
import { countDeadLetters, runMigrateStep, versionsOf } from '../roll-out.ts'
import { addShow, createBuyer, createOrganiser, elsewhere, order, untilQuiet } from '../shop.ts'
import type { Checkout } from './released.ts'

export interface UpgradeOptions {
  released: Checkout
  /** The root of the version to upgrade to. */
  current: string
  ordersPerSecond: number
  /** How long both versions run side by side. */
  mixedMs: number
  /** Accounts that log in before the upgrade, each with something in the cart. */
  users: number
  progress(line: string): void
}

/**
 * Upgrades a running system of three replicas and a worker under load: migrates, puts a replica and a worker of this version beside the
 * old ones, then replaces the rest. Resolves with what clients saw.
 */
export async function upgrade(options: UpgradeOptions) {
  const { released, current, ordersPerSecond, mixedMs, progress } = options
  await using cluster = await startCluster({
    checkout: released.folder,
    workers: 1,
    env: { VERSION: released.version, MAX_PROCESSES: '10', REFUSE_MS: '2000' },
    workerEnv: { VERSION: released.version, MAX_PROCESSES: '10' },
  })
  progress(`three replicas and a worker of ${released.version} are ready`)
  const old = { replicas: [...cluster.replicas], workers: [...cluster.workers] }
  const before = await useOldVersion(cluster, options.users)
  const traffic = await startShopTraffic(cluster, ordersPerSecond)
  await cluster.payments.behave({ failures: 4 }) // some jobs wait for their next attempt while the versions change

  await runMigrateStep(current, cluster.databaseUrl)
  progress('migrated')
  const added = { checkout: current, env: { VERSION: 'current' } }
  const [replica] = await Promise.all([cluster.addReplica(added), cluster.addWorker(added)])
  progress('a replica and a worker of this version run beside them')
  await wait(mixedMs / 2)
  const mixed = {
    versions: await versionsOf(cluster),
    loggedOut: await countLoggedOut(before.users, [...old.replicas, replica]),
    loggedOutOfOld: await countLoggedOut(await logInAt(replica, before.users.slice(0, 3)), old.replicas),
  }
  await wait(mixedMs / 2)

  for (const leaving of old.replicas) {
    if (cluster.replicas.length < 4) await cluster.addReplica(added)
    await cluster.remove(leaving)
  }
  await Promise.all(old.workers.map((worker) => worker.terminate()))
  progress('the old ones are gone')
  await wait(mixedMs / 2)
  const seen = await traffic.stop()
  const orders = seen.orders.accepted
  const end = await untilQuiet({ cluster, buyer: traffic.buyer, orders, quietMs: 30_000, progress: () => undefined })
  return {
    seen,
    mixed,
    end: {
      ...end,
      loggedOut: await countLoggedOut(before.users, cluster.replicas),
      lostCarts: await countLostCarts(before.users),
      repeated: (await order(before.buyer, before.show, before.key)).body?.id === before.orderId,
      deadLetters: await countDeadLetters(cluster),
      versions: await versionsOf(cluster),
    },
    logs: cluster.logs(),
  }
}

interface User {
  client: Client
  email: string
  password: string
}

/** What a system of the old version leaves behind: sessions, carts, an order with its key. */
async function useOldVersion(cluster: Cluster, count: number) {
  const organiser = await createOrganiser(cluster)
  const show = await addShow(organiser, 1000)
  organiser.close()
  const users: User[] = []
  for (let index = 0; index < count; index++) {
    const client = createClient(cluster.url, { localAddress: `127.0.0.${index + 2}` })
    const { email, password } = await client.signUp()
    await client.logIn(email, password)
    const id = show.split('/').at(-1)
    expectStatus(await client.put(`/v1/cart/items/${id}`, { quantity: 2 }), 200)
    users.push({ client, email, password })
  }
  const buyer = await createBuyer(cluster)
  const key = 'from-before-the-upgrade'
  const { id: orderId } = expectStatus(await order(buyer, show, key), 201).body
  return { users, show, buyer, key, orderId }
}

async function countLoggedOut(users: User[], replicas: Replica[]): Promise<number> {
  const reads = users.flatMap(({ client }) => [
    client.get('/v1/session'),
    ...replicas.map(({ url }) => elsewhere(client, url).get('/v1/session')),
  ])
  return (await Promise.all(reads)).filter(({ status }) => status !== 200).length
}

async function logInAt(replica: Replica, users: User[]): Promise<User[]> {
  return await Promise.all(
    users.map(async ({ email, password }) => {
      const client = createClient(replica.url)
      await client.logIn(email, password)
      return { client, email, password }
    }),
  )
}

async function countLostCarts(users: User[]): Promise<number> {
  const carts = await Promise.all(users.map(({ client }) => client.get('/v1/cart')))
  return carts.filter(({ body }) => body?.items?.[0]?.quantity !== 2).length
}
