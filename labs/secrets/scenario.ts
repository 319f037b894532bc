import { setTimeout as wait } from 'node:timers/promises'
import { type Client, createClient } from '@escala/testing/client'
import type { Replica } from '@escala/testing/cluster'
import { check, defineLab } from '../lab.ts'
import { secretMadeAtBoot } from './naive.ts'

interface Size {
  reads: number
  /** While secrets are replaced: each of them is restarted three times. */
  rotating: number
}

const [first, second] = ['first secret '.padEnd(32, '1'), 'second secret '.padEnd(32, '2')]

export const lab = defineLab<Size>({
  slug: 'secrets',
  problem: 'Cookies that one replica signs are rejected by the others, and by all of them after a restart.',
  replicas: { min: 2, max: 6 },
  sizes: { full: { reads: 300, rotating: 3 }, test: { reads: 30, rotating: 2 } },
  halves: {
    problem: {
      title: (replicas) => `with a secret generated at boot, ${replicas} replicas reject each other's cookies`,
      async run({ cluster: start, size, replicas, progress }) {
        const cluster = await start({ replicas: 1, env: secretMadeAtBoot() })
        const others = Array.from({ length: replicas - 1 }, () => cluster.addReplica({ env: secretMadeAtBoot() }))
        await Promise.all(others)
        const client = await loggedIn(cluster.url)
        const loggedOut = await countLoggedOut(client, size.reads, progress)
        const elsewhere = Math.round(size.reads * (1 - 1 / replicas))
        await cluster.rollingRestart({ env: secretMadeAtBoot() })
        return [
          check('reads answered 401', loggedOut, { between: [elsewhere * 0.75, size.reads] }),
          check('reads answered 401 after a rolling restart', await countLoggedOut(client, size.reads), {
            equals: size.reads,
          }),
        ]
      },
    },
    fix: {
      title: (replicas) => `with one injected secret, ${replicas} replicas share log-ins, even while it is replaced`,
      async run({ cluster: start, size, progress }) {
        const cluster = await start({ env: { SESSION_SECRETS: first } })
        const client = await loggedIn(cluster.url)
        const loggedOut = await countLoggedOut(client, size.reads, progress)
        await cluster.scale(size.rotating)

        // The order matters: every replica must know the new secret before one signs with it.
        const rotation = readMeanwhile(client)
        await cluster.rollingRestart({ env: { SESSION_SECRETS: `${first},${second}` } })
        await cluster.rollingRestart({ env: { SESSION_SECRETS: `${second},${first}` } })
        const during = await rotation.stop()
        const late = await loggedIn(cluster.url)
        const drop = readMeanwhile(late)
        await cluster.rollingRestart({ env: { SESSION_SECRETS: second } })
        const dropped = await drop.stop()

        const stranger = await cluster.addReplica({
          env: { SESSION_SECRETS: 'a secret that nobody else knows!' },
          waitUntilReady: false,
        })
        const short = await cluster.addReplica({ env: { SESSION_SECRETS: 'too short' }, waitUntilReady: false })
        return [
          check('reads answered 401', loggedOut, { equals: 0 }),
          check('reads while a second secret was added and took over', during.reads, { atLeast: 30 }),
          check('of them answered 401 then', during.loggedOut, { equals: 0 }),
          check('reads of a new log-in while the old secret was dropped', dropped.reads, { atLeast: 30 }),
          check('of them answered 401 meanwhile', dropped.loggedOut, { equals: 0 }),
          check('a replica without a common secret', await refusal(stranger), {
            equals: 'E_SECRETS_DIFFER',
          }),
          check('a replica with a short secret', await refusal(short), {
            equals: 'E_CONFIG',
          }),
        ]
      },
    },
  },
})

async function loggedIn(url: string): Promise<Client> {
  const client = createClient(url)
  const { email, password } = await client.signUp()
  await client.logIn(email, password)
  return client
}

async function countLoggedOut(client: Client, reads: number, progress?: (done: number, total: number) => void) {
  let loggedOut = 0
  for (let i = 1; i <= reads; i++) {
    if ((await client.get('/v1/session')).status === 401) loggedOut++
    progress?.(i, reads)
  }
  return loggedOut
}

function readMeanwhile(client: Client) {
  const seen = { reads: 0, loggedOut: 0 }
  let stopped = false
  const loop = (async () => {
    while (!stopped) {
      if ((await client.get('/v1/session')).status === 401) seen.loggedOut++
      seen.reads++
      await wait(10)
    }
  })()
  return {
    async stop() {
      stopped = true
      await loop
      return seen
    },
  }
}

/** With which error a replica ended that should not start. */
async function refusal(replica: Replica): Promise<string> {
  const code = await replica.exited()
  return code === 0 ? 'none' : (/E_[A-Z_]+/.exec(replica.logs())?.[0] ?? `exit code ${code}`)
}
