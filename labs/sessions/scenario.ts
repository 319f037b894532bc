import { request } from 'node:http'
import { type Client, createClient } from '@escala/testing/client'
import { check, defineLab, type LabContext } from '../lab.ts'

interface Size {
  /** After one log-in, and again after the death of a replica. */
  reads: number
}

export const lab = defineLab<Size>({
  slug: 'sessions',
  problem: 'A logged-in user is logged out at random as soon as there is a second replica.',
  sizes: { full: { reads: 300 }, test: { reads: 30 } },
  halves: {
    problem: {
      title: (replicas) => `with in-memory sessions on ${replicas} replicas, a logged-in user is logged out`,
      async run(context) {
        const { size, replicas } = context
        const { before, after } = await logInAndRead(context, new URL('./naive.ts', import.meta.url))
        const elsewhere = Math.round(size.reads * (1 - 1 / replicas))
        return [
          check('reads', before.reads, { equals: size.reads }),
          check('answered 401', before.loggedOut, { between: [elsewhere * 0.75, size.reads] }),
          check('answered 401 once the replica of the log-in is dead', after.loggedOut, { equals: size.reads }),
        ]
      },
    },
    fix: {
      title: (replicas) => `with Redis sessions on ${replicas} replicas, a logged-in user stays logged in`,
      async run(context) {
        const { before, after, planted, early } = await logInAndRead(
          context,
          new URL('./slow-save.ts', import.meta.url),
        )
        return [
          check('reads', before.reads, { equals: context.size.reads }),
          check('answered 401', before.loggedOut, { equals: 0 }),
          check('answered 401 once the replica of the log-in is dead', after.loggedOut, { equals: 0 }),
          check('cookies from before a log-in that were logged in with it', planted, { equals: 0 }),
          check('log-ins that were answered before they were saved', early, { equals: 0 }),
          check('other failures', before.failed + after.failed, { equals: 0 }),
          check('replicas that answered', before.replicas.size, { equals: context.replicas }),
        ]
      },
    },
  },
})

async function logInAndRead({ cluster: start, size, progress }: LabContext<Size>, parts: URL) {
  const cluster = await start({ parts })
  const client = createClient(cluster.url)
  const { email, password } = await client.signUp()
  await client.logIn(email, password)
  const old = createClient(cluster.url, { headers: { cookie: `sid=${client.cookies.get('sid')}` } })
  const { replicaId } = await client.logIn(email, password)
  const planted = (await old.get('/v1/session')).status === 200 ? 1 : 0
  const early = (await logInAndReadAtOnce(cluster.replicas[0]?.url ?? '', { email, password })) === 200 ? 0 : 1

  const before = await readSession(client, size.reads, (done) => progress(done, 2 * size.reads))
  await cluster.replicas.find((replica) => replica.id === replicaId)?.kill()
  const after = await readSession(client, size.reads, (done) => progress(size.reads + done, 2 * size.reads))
  return { before, after, planted, early }
}

/** Sends the next request as soon as the log-in's headers are there, past NGINX, which may hold them back. */
async function logInAndReadAtOnce(url: string, credentials: object): Promise<number | undefined> {
  const cookie = await new Promise<string>((resolve, reject) => {
    const req = request(new URL('/v1/session', url), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
    })
    req.on('response', (res) => {
      const lines = res.headers['set-cookie'] ?? []
      resolve(lines.map((line) => line.split(';')[0]).join('; '))
      res.resume()
    })
    req.on('error', reject)
    req.end(JSON.stringify(credentials))
  })
  return (await fetch(new URL('/v1/session', url), { headers: { cookie } })).status
}

async function readSession(client: Client, reads: number, progress: (done: number) => void) {
  const seen = { reads: 0, loggedOut: 0, failed: 0, replicas: new Set<string | undefined>() }
  while (seen.reads < reads) {
    const { status, replicaId } = await client.get('/v1/session')
    if (status === 401) seen.loggedOut++
    else if (status !== 200) seen.failed++
    seen.replicas.add(replicaId)
    progress(++seen.reads)
  }
  return seen
}
