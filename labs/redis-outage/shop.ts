import { type Client, type ClientAnswer, createClient, expectStatus } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { until } from '../recovery.ts'
import { addShow, createOrganiser, listOrders, order } from '../shop.ts'
import { type Asked, putPoster } from './requests.ts'

export interface Shop extends Asked {
  /** Visitors' clients: a session from before the outage stays in use as long as it lives. */
  logIn(): Promise<void>
  acceptedOrders(): number
}

/** Everything that the routes are asked about. */
export async function openShop(cluster: Cluster, accounts: number): Promise<Shop> {
  const { url, replicas, workers } = cluster
  const visitor = createClient(url)
  const organiser = await createOrganiser(cluster)
  const show = await addShow(organiser, 100_000)
  expectStatus(await putPoster(`${url}${show}/poster`, organiser), 200)
  const [buyer, leaver] = [createClient(url), createClient(url)]
  const known = [await buyer.signUp(), await leaver.signUp()] as const
  const others = await Promise.all(Array.from({ length: accounts }, () => visitor.signUp()))
  let turn = 0
  let accepted = 0

  const logInAgain = async (client: Client, logIn: () => Promise<unknown>) => {
    if ((await client.get('/v1/session')).status !== 200) await logIn()
  }
  const shop: Shop = {
    url,
    replicas,
    workers,
    visitor,
    buyer,
    organiser,
    leaver,
    show,
    order: '',
    account() {
      const { email, password } = others[turn++ % others.length] as (typeof others)[number]
      return { email, password }
    },
    accepted(answer: ClientAnswer) {
      if (answer.status === 201) accepted++
      return answer
    },
    acceptedOrders: () => accepted,
    async logIn() {
      await Promise.all([
        logInAgain(buyer, () => buyer.logIn(known[0].email, known[0].password)),
        logInAgain(leaver, () => leaver.logIn(known[1].email, known[1].password)),
        logInAgain(organiser, organiser.logInAsOrganiser),
      ])
    },
  }
  await shop.logIn()
  // Redis knows every script, as one does that has been in use.
  expectStatus(await buyer.put(`/v1/cart/items/${show.replace('/v1/shows/', '')}`, { quantity: 1 }), 200)
  expectStatus(await leaver.delete('/v1/session'), 204)
  shop.order = `/v1/orders/${expectStatus(await order(buyer, show), 201).body.id}`
  return shop
}

/** Paid, and cancelled: from then on a cancellation returns the order as it is. */
export async function cancelled({ buyer, order: path }: Shop): Promise<void> {
  await until('the order is confirmed', async () => (await buyer.get(path)).body.status === 'confirmed')
  expectStatus(await buyer.delete(path), 200)
  await until('the order is cancelled', async () =>
    (await listOrders(buyer)).every(({ status }) => status === 'cancelled'),
  )
}
