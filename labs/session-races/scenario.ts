import { setTimeout as wait } from 'node:timers/promises'
import { type Client, createClient, expectStatus } from '@escala/testing/client'
import { withClient } from '@escala/testing/test-database'
import { check, defineLab, type LabContext } from '../lab.ts'

interface Size {
  /** Visitors with a cart of 50 items each, written in parallel. */
  visitors: number
  /** Users who log out on four of their five devices. */
  users: number
}

const items = 50

export const lab = defineLab<Size>({
  slug: 'session-races',
  sample: true,
  problem: 'Parallel requests of one user overwrite each other, and a slow request undoes a log-out.',
  sizes: { full: { visitors: 20, users: 25 }, test: { visitors: 6, users: 5 } },
  halves: {
    problem: {
      title: (replicas) =>
        `with the cart in the session, parallel writes on ${replicas} replicas are lost and a log-out is undone`,
      async run(context) {
        const { size } = context
        const seen = await race(context, new URL('./naive.ts', import.meta.url))
        return [
          check('items put into carts', seen.put, { equals: size.visitors * items }),
          check('items lost', seen.lost, { atLeast: size.visitors }),
          check('items lost when the visitor logs in', seen.lostAtLogIn, { atLeast: 1 }),
          check('log-outs', seen.logOuts, { equals: size.users * 4 }),
          check('log-outs that a slow request undid', seen.undone, { atLeast: size.users * 4 * 0.8 }),
        ]
      },
    },
    fix: {
      title: (replicas) =>
        `with the cart outside the session, ${replicas} replicas lose no write, and a logged-out user stays logged out`,
      async run(context) {
        const { size } = context
        const seen = await race(context, new URL('./fixed.ts', import.meta.url))
        return [
          check('items put into carts', seen.put, { equals: size.visitors * items }),
          check('items lost', seen.lost, { equals: 0 }),
          check('items lost when the visitor logs in', seen.lostAtLogIn, { equals: 0 }),
          check('log-outs', seen.logOuts, { equals: size.users * 4 }),
          check('log-outs that a slow request undid', seen.undone, { equals: 0 }),
          check('other devices still logged in', seen.otherDevices, { equals: size.users }),
        ]
      },
    },
  },
})

async function race({ cluster: start, size, progress }: LabContext<Size>, parts: URL) {
  const { url, databaseUrl } = await start({ parts })
  const shows = await addShows(databaseUrl)
  const seen = { put: 0, lost: 0, lostAtLogIn: 0, logOuts: 0, undone: 0, otherDevices: 0 }
  const total = size.visitors + size.users
  let done = 0

  for (let i = 0; i < size.visitors; i++) {
    const visitor = createClient(url)
    const [first = '', ...others] = shows
    await put(visitor, first) // begins the session
    await Promise.all(others.map((show) => put(visitor, show)))
    seen.put += items
    seen.lost += items - (await countItems(visitor))
    progress(++done, total)
  }
  seen.lostAtLogIn = items - (await shopAndLogIn(url, shows))

  for (let i = 0; i < size.users; i++) {
    const { undone, isOtherLoggedIn } = await logOutOfFour(url)
    seen.logOuts += 4
    seen.undone += undone
    seen.otherDevices += isOtherLoggedIn ? 1 : 0
    progress(++done, total)
  }
  return seen
}

/** As many as a cart takes; their paths in any cart. */
function addShows(databaseUrl: string): Promise<string[]> {
  return withClient(databaseUrl, async (client) => {
    const { rows } = await client.query(
      `INSERT INTO shows (id, name, starts_at, price_cents, currency, capacity, available)
       SELECT gen_random_uuid(), 'Lab Night', now() + interval '1 day', 1000, 'EUR', 10, 10
       FROM generate_series(1, $1) RETURNING id`,
      [items],
    )
    return rows.map(({ id }) => `/v1/cart/items/${id}`)
  })
}

async function put(client: Client, show: string): Promise<void> {
  expectStatus(await client.put(show, { quantity: 1 }), 200)
}

async function countItems(client: Client): Promise<number> {
  return expectStatus(await client.get('/v1/cart'), 200).body.items.length
}

/** A visitor logs in while the browser still sends what was put into the cart before. Returns the items at the end. */
async function shopAndLogIn(url: string, [first = '', ...others]: string[]): Promise<number> {
  const visitor = createClient(url)
  const { email, password } = await visitor.signUp()
  await put(visitor, first)
  const visitorCookie = { cookie: `sid=${visitor.cookies.get('sid')}` }
  const logIn = visitor.logIn(email, password)
  const beforeLogIn = createClient(url, { headers: visitorCookie })
  // Refused once the log-in has ended the visitor's session: the browser sends it again, with the cookie it has by then.
  const putOrRepeat = async (show: string) => {
    const { status } = await beforeLogIn.put(show, { quantity: 1 })
    if (status === 200) return
    await logIn
    await put(visitor, show)
  }
  await Promise.all([logIn, ...others.map(putOrRepeat)])
  return countItems(visitor)
}

/** On each of four devices a slow request is under way when the user logs out there; the fifth stays logged in. */
async function logOutOfFour(url: string) {
  const { email, password } = await createClient(url).signUp()
  const devices = await Promise.all(
    Array.from({ length: 5 }, async () => {
      const device = createClient(url)
      await device.logIn(email, password)
      return device
    }),
  )
  const [other, ...four] = devices as [Client, ...Client[]]
  const undone = await Promise.all(
    four.map(async (device) => {
      const cookie = `sid=${device.cookies.get('sid')}`
      const slow = createClient(url, { headers: { cookie } }).post('/v1/visits')
      await wait(30)
      expectStatus(await device.delete('/v1/session'), 204)
      await slow
      return (await createClient(url, { headers: { cookie } }).get('/v1/session')).status === 200
    }),
  )
  const isOtherLoggedIn = (await other.get('/v1/session')).status === 200
  return { undone: undone.filter(Boolean).length, isOtherLoggedIn }
}
