import { randomBytes } from 'node:crypto'
import { type Client, createClient, expectStatus } from '@escala/testing/client'
import { check, defineLab, type LabContext } from '../lab.ts'

interface Size {
  /** Reads of the poster while the replica that accepted it is running, and again when it is gone. */
  reads: number
  bytes: number
}

const show = { name: 'Gig', startsAt: '2030-01-01T20:00:00Z', priceCents: 1000, currency: 'EUR', capacity: 100 }

export const lab = defineLab<Size>({
  slug: 'uploads',
  sample: true,
  problem: 'An uploaded picture is found by one read and missing for the next.',
  sizes: { full: { reads: 300, bytes: 500_000 }, test: { reads: 60, bytes: 300_000 } },
  halves: {
    problem: {
      title: (replicas) => `with files on the disk of each of ${replicas} replicas, most reads of a poster are 404`,
      async run(context) {
        const { size, replicas } = context
        const { before, after } = await putAndRead(context, new URL('./naive.ts', import.meta.url))
        const elsewhere = Math.round(size.reads * (1 - 1 / replicas) * 0.75)
        return [
          check('reads', before.reads, { equals: size.reads }),
          check('answered 404', before.missing, { between: [elsewhere, size.reads] }),
          check('404 once the replica that accepted it is gone', after.missing, { equals: size.reads }),
        ]
      },
    },
    fix: {
      title: (replicas) => `with a store that ${replicas} replicas share, every read of a poster finds it`,
      async run(context) {
        const { before, after } = await putAndRead(context)
        return [
          check('reads', before.reads, { equals: context.size.reads }),
          check('answered 404', before.missing, { equals: 0 }),
          check('404 once the replica that accepted it is gone', after.missing, { equals: 0 }),
          check('failed, or with other bytes', before.failed + after.failed, { equals: 0 }),
          check('replicas that answered', before.replicas.size, { equals: context.replicas }),
        ]
      },
    },
  },
})

async function putAndRead({ cluster: start, size, progress }: LabContext<Size>, parts?: URL) {
  const cluster = await start({ parts })
  const organiser = createClient(cluster.url)
  await organiser.logInAsOrganiser()
  const { id } = expectStatus(await organiser.post('/v1/shows', show), 201).body
  const url = new URL(`/v1/shows/${id}/poster`, cluster.url)

  const image = Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), randomBytes(size.bytes)])
  const taker = await put(url, organiser, image)
  const before = await read(url, image, size.reads, (done) => progress(done, 2 * size.reads))
  await cluster.replicas.find((replica) => replica.id === taker)?.kill()
  const after = await read(url, image, size.reads, (done) => progress(size.reads + done, 2 * size.reads))
  return { before, after }
}

async function put(url: URL, { cookies }: Client, image: Buffer): Promise<string | null> {
  const cookie = [...cookies].map((pair) => pair.join('=')).join('; ')
  const answer = await fetch(url, { method: 'PUT', body: image, headers: { cookie, 'content-type': 'image/png' } })
  if (answer.status !== 200) throw new Error(`the poster was not taken: ${answer.status} ${await answer.text()}`)
  return answer.headers.get('x-replica-id')
}

async function read(url: URL, image: Buffer, reads: number, progress: (done: number) => void) {
  const seen = { reads: 0, missing: 0, failed: 0, replicas: new Set<string | null>() }
  while (seen.reads < reads) {
    const answer = await fetch(url)
    const body = Buffer.from(await answer.arrayBuffer())
    if (answer.status === 404) seen.missing++
    else if (answer.status !== 200 || !body.equals(image)) seen.failed++
    seen.replicas.add(answer.headers.get('x-replica-id'))
    progress(++seen.reads)
  }
  return seen
}
