import { fileURLToPath } from 'node:url'
import { run } from '@escala/servers/processes'

const root = fileURLToPath(new URL('../..', import.meta.url))

export interface ContainerState {
  id: string
  name: string
  status: string
  /** `starting`, `healthy` or `unhealthy`; empty where the service has no check. */
  health: string
  restarts: number
}

export interface Compose {
  /** Runs one command of `docker compose` and gives back what it printed; throws with that when it fails. */
  command(...args: string[]): Promise<string>
  docker(...args: string[]): Promise<string>
  /** The containers of a service that are there, running or not. */
  containers(service: string): Promise<ContainerState[]>
}

/** Docker Compose on this checkout's docker-compose.yml, in the project and with the variables that `env` names. */
export function createCompose(env: Record<string, string | undefined> = process.env): Compose {
  const docker = async (...args: string[]) => {
    const { code, output } = await run('docker', args, { cwd: root, env })
    if (code !== 0) throw new Error(`docker ${args.join(' ')} failed:\n${output.trim()}`)
    return output
  }
  const command = (...args: string[]) => docker('compose', '--progress', 'quiet', ...args)
  const format =
    '{{.Id}} {{.Name}} {{.State.Status}} {{.RestartCount}} {{if .State.Health}}{{.State.Health.Status}}{{end}}'
  return {
    docker,
    command,
    async containers(service) {
      const ids = (await command('ps', '-aq', service)).split('\n').filter(Boolean)
      if (ids.length === 0) return []
      const lines = (await docker('inspect', '-f', format, ...ids)).trim().split('\n')
      return lines.map((line) => {
        const [id = '', name = '', status = '', restarts = '0', health = ''] = line.split(' ')
        return { id, name: name.replace('/', ''), status, restarts: Number(restarts), health }
      })
    },
  }
}
