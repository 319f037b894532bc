import { setTimeout as wait } from 'node:timers/promises'
import { type Compose, type ContainerState, createCompose } from './compose.ts'

export interface ComposeDeployOptions {
  compose?: Compose
  /** How long a new container may take to become healthy. */
  readyMs?: number
  /**
   * Between a new replica's readiness and the end of an old one. NGINX may have tried the new one while it was not
   * listening yet, and leaves it alone for `fail_timeout` (5 s); until then the old one is needed.
   */
  settleMs?: number
  report?: (line: string) => void
}

/**
 * Replaces what `docker compose` runs by what this checkout builds, one container after the other: start a new one, wait
 * until it is healthy, drain an old one. `false`: a step failed, its reason was reported, and the old containers that
 * were not replaced yet go on serving. The migrations run first, so they must suit the old version too.
 */
export async function deployCompose(options: ComposeDeployOptions = {}): Promise<boolean> {
  const { compose = createCompose(), readyMs = 60_000, settleMs = 6500, report = console.log } = options
  try {
    const running = (await compose.containers('api')).filter((container) => container.status === 'running')
    if (running.length === 0) throw new Error('nothing runs yet: docker compose up -d --build --scale api=3')
    report('building')
    await compose.command('build')
    report('migrating')
    await compose.command('run', '--rm', '--no-deps', '-T', 'migrate')
    await replaceAll(compose, 'api', { readyMs, settleMs, report })
    await replaceAll(compose, 'worker', { readyMs, settleMs: 0, report })
    report('deployed')
    return true
  } catch (error) {
    report(error instanceof Error ? error.message : String(error))
    return false
  }
}

interface Step {
  readyMs: number
  settleMs: number
  report: (line: string) => void
}

async function replaceAll(compose: Compose, service: string, { readyMs, settleMs, report }: Step): Promise<void> {
  const old = await compose.containers(service)
  for (const [index, previous] of old.entries()) {
    const place = `${service} ${index + 1} of ${old.length}`
    const next = await startOne(compose, service, old.length + 1)
    report(`${place}: ${next.name} started`)
    try {
      await healthy(compose, next, readyMs)
    } catch (error) {
      const logs = await compose.docker('logs', '--tail', '20', next.id).catch(() => '')
      await compose.docker('rm', '-f', '-v', next.id)
      throw new Error(
        `${place}: ${next.name} ${(error as Error).message}; it was removed, and ${old.length - index} old ones go on\n${logs.trim()}`,
      )
    }
    await wait(settleMs)
    await compose.docker('stop', previous.id) // with the service's own grace period
    await compose.docker('rm', '-v', previous.id)
    report(`${place}: ${next.name} is ready, ${previous.name} has drained`)
  }
}

async function startOne(compose: Compose, service: string, count: number): Promise<ContainerState> {
  const before = new Set((await compose.containers(service)).map((container) => container.id))
  const up = ['up', '-d', '--no-deps', '--no-build', '--no-recreate', '--scale', `${service}=${count}`, service]
  await compose.command(...up)
  const started = (await compose.containers(service)).find((container) => !before.has(container.id))
  if (started === undefined) throw new Error(`${service}: compose started no new container`)
  return started
}

/** Throws with the rest of a sentence when the container ends, restarts, is unhealthy, or takes too long. */
async function healthy(compose: Compose, { id }: ContainerState, readyMs: number): Promise<void> {
  const format = '{{.State.Status}} {{.RestartCount}} {{.State.Health.Status}}'
  const deadline = Date.now() + readyMs
  for (;;) {
    const [status, restarts, health] = (await compose.docker('inspect', '-f', format, id)).trim().split(' ')
    if (health === 'healthy') return
    if (status !== 'running' || restarts !== '0') throw new Error('ended instead of becoming ready')
    if (health === 'unhealthy') throw new Error('is unhealthy')
    if (Date.now() > deadline) throw new Error(`was not ready after ${readyMs / 1000} s`)
    await wait(500)
  }
}
