import { hostname } from 'node:os'
import { join } from 'node:path'
import { defaultReplicaId } from '@escala/kit/config/base'
import { withSession } from '@escala/kit/postgres/session'
import { freeRange, isAlive, tail } from '@escala/servers/processes'
import { statusOf, until } from '@escala/servers/waiting'
import type { Pm2 } from '../pm2/pm2.ts'
import { pm2Home } from './instance.ts'

/** All processes that know this database have ended: their places are free at once, not after three missed heartbeats. */
export async function forgetProcesses(url = ''): Promise<void> {
  await withSession({ url, applicationName: 'start' }, (session) => session.query('DELETE FROM replicas'))
}

/** Frees the places of processes of this machine that were killed, at once and not after three missed heartbeats. */
export async function forgetDead(url = ''): Promise<void> {
  await withSession({ url, applicationName: 'start' }, async (session) => {
    const { rows } = await session.query<{ id: string }>('SELECT DISTINCT id FROM replicas')
    const dead = rows.map(({ id }) => id).filter((id) => pidOf(id) > 0 && !isAlive(pidOf(id)))
    if (dead.length > 0) await session.query('DELETE FROM replicas WHERE id = ANY($1)', [dead])
  })
}

/** Returns the process of an id that was made here and not set; otherwise 0. */
function pidOf(id: string): number {
  const pid = Number(id.slice(id.lastIndexOf('-') + 1))
  return id === defaultReplicaId(hostname(), pid) ? pid : 0
}

/** Resolves when every process is ready, or when there is no time left for it. */
export async function untilReady(pm2: Pm2, ended: AbortSignal): Promise<void> {
  for (const { name, internalPort } of await pm2.list()) {
    const logs = () =>
      [`${name}-error.log`, `${name}-out.log`].map((file) => tail(join(pm2Home, 'logs', file))).join('\n')
    const ready = async () => ended.aborted || (await statusOf(`http://127.0.0.1:${internalPort}/readyz`)) === 200
    await until(ready, 30_000, () => `${name} does not get ready; the end of its logs:\n${logs()}`)
  }
}

/** The first of the replicas' ports: 3000, or higher if those, or the internal ports 1000 above, are in use. */
export async function freePorts(replicas: number): Promise<number> {
  for (let first = 3000; first < 20_000; first++) {
    first = await freeRange(first, replicas)
    if ((await freeRange(first + 1000, replicas)) === first + 1000) return first
  }
  throw new Error('no free ports for the replicas')
}
