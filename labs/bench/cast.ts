import type { LocalServer } from '@escala/servers/local-server'
import { createClient, expectStatus } from '@escala/testing/client'
import { createProduct, logIn, type Product } from './product.ts'
import type { Program, Stage } from './stage.ts'

const sessions = 20

/** Something that answers, behind an NGINX of its own and people who are logged in. */
export interface Actor {
  url: string
  cookies: string[]
  databaseUrl: string
  /** Whose processor time its requests cost. */
  pids: Record<string, number>
}

/** What is compared, each started when it is first needed and left running, so that all of a measure meet the same machine. */
export interface Cast {
  kit(): Promise<Actor & { product: Product; userId: string }>
  /** The version that `--beside` names, or `undefined` without it. */
  before(): Promise<Actor | undefined>
  /** Express and named statements: no session, no limit, no log. */
  bare(): Promise<Actor>
  /** The same, with reads that do not wait for each other. */
  pipelined(): Promise<Actor>
  /** Each package wired as its README says. */
  naive(): Promise<Actor>
  /** Node.js alone. */
  raw(): Promise<Actor>
  /** Bare, by an NGINX without connections that are kept. */
  closing(): Promise<Actor>
}

export function createCast(stage: Stage, beside: string | undefined): Cast {
  const pidsOf = (node: { pid: number }, nginx: LocalServer, redis?: LocalServer) => ({
    node: node.pid,
    nginx: nginx.pid,
    ...(redis && { redis: redis.pid }),
    postgres: stage.postgres.pid,
  })
  const serve = async (name: string, checkout?: string) => {
    const product = await createProduct(stage, name, checkout)
    const replica = await product.start('api')
    const nginx = await stage.startNginx(name, replica.address)
    const { id: userId, cookies } = await logIn(replica.url, sessions)
    const pids = pidsOf(replica, nginx, product.redis)
    return { product, userId, url: nginx.url, cookies, databaseUrl: product.databaseUrl, pids }
  }
  const kit = once(() => serve('kit'))
  /** On the kit's own rows. */
  const program = async (name: string, file: string, env?: Record<string, string>): Promise<[Program, Actor]> => {
    const { product, userId, databaseUrl } = await kit()
    const { redis, secret: SESSION_SECRETS } = product
    const given = { DATABASE_URL: databaseUrl, REDIS_URL: redis.url, SESSION_SECRETS, USER_ID: userId, ...env }
    const node = await stage.startProgram(name, file, given)
    const nginx = await stage.startNginx(name, node.address)
    return [node, { url: nginx.url, cookies: [], databaseUrl, pids: pidsOf(node, nginx, redis) }]
  }
  const actor = (...options: Parameters<typeof program>) => once(async () => (await program(...options))[1])
  const bare = once(() => program('bare', 'bare.ts'))
  return {
    kit,
    before: once(async () => (beside === undefined ? undefined : await serve('before', beside))),
    bare: async () => (await bare())[1],
    pipelined: actor('pipelined', 'bare.ts', { PIPELINE: '1' }),
    naive: once(async () => {
      const [node, naive] = await program('naive', 'naive.ts')
      return { ...naive, cookies: await logInNaively(node, (await kit()).userId) }
    }),
    raw: actor('raw', 'raw.ts'),
    closing: once(async () => {
      const [node, actor] = await bare()
      // HTTP 1.0 has no keep-alive: what one proxy_set_header too many does to a location, in any version of NGINX.
      const nginx = await stage.startNginx('closing', node.address, { proxy_http_version: '1.0' })
      return { ...actor, url: nginx.url, pids: pidsOf(node, nginx) }
    }),
  }
}

async function logInNaively({ url }: Program, userId: string): Promise<string[]> {
  const cookies: string[] = []
  for (let at = 0; at < sessions; at++) {
    const client = createClient(url)
    expectStatus(await client.post(`/log-in/${userId}`), 200)
    cookies.push([...client.cookies].map((pair) => pair.join('=')).join('; '))
    client.close()
  }
  return cookies
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined
  return () => {
    made ??= make()
    return made
  }
}
