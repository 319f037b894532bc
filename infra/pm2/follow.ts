import { watch } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import type { Pm2 } from './pm2.ts'

export interface FollowOptions {
  pm2: Pm2
  /** PM2_HOME: PM2 writes a file into its folder `pids` for each process that comes, and removes it when that has gone. */
  home: string
  /** What is known already: `127.0.0.1:3000`. */
  addresses: string[]
  /** Gets all of them whenever there are others than before. */
  changed(addresses: string[]): Promise<void>
  /** Called when a process has come or gone, such as one that PM2 starts again after it was killed. */
  moved?(): Promise<void>
  failed(error: unknown): void
}

// PM2 writes its files some at a time.
const settleMs = 300

/** Where the replicas are that PM2 has online, by their ports. */
export async function replicaAddresses(pm2: Pm2): Promise<string[]> {
  const online = (await pm2.list('api')).filter(({ status }) => status === 'online')
  const ports = new Set(online.map(({ internalPort }) => internalPort - 1000))
  return [...ports].sort((a, b) => a - b).map((port) => `127.0.0.1:${port}`)
}

/** Reports replicas that `pm2 scale` adds or removes, until it is stopped. */
export function followReplicas({ pm2, home, addresses, changed, moved, failed }: FollowOptions): {
  stop(): Promise<void>
} {
  let known = addresses.join()
  let stopped = false
  let timer: NodeJS.Timeout | undefined
  let looking = Promise.resolve()
  let moving = Promise.resolve()

  const look = async () => {
    // A process has its file when it starts; it is online when it has said that it is ready.
    while (!stopped && (await pm2.list('api')).some(({ status }) => status === 'launching')) await wait(settleMs)
    const found = await replicaAddresses(pm2)
    if (stopped || found.length === 0 || found.join() === known) return
    await changed(found)
    known = found.join()
  }
  const watcher = watch(join(home, 'pids'), () => {
    clearTimeout(timer)
    timer = setTimeout(() => {
      moving = moving.then(moved).catch(failed)
      looking = looking.then(look).catch(failed)
    }, settleMs)
  })
  watcher.on('error', failed)
  return {
    async stop() {
      stopped = true
      watcher.close()
      clearTimeout(timer)
      await Promise.all([looking, moving])
    },
  }
}
