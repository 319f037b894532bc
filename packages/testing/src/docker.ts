import { randomUUID } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { renderNginx } from '@escala/servers/nginx-config'
import { untilReloaded } from '@escala/servers/nginx-workers'
import { freePort, isFree } from '@escala/servers/processes'
import { PostgreSqlContainer } from '@testcontainers/postgresql'
import type Docker from 'dockerode'
import {
  GenericContainer,
  getContainerRuntimeClient,
  getReaper,
  LABEL_TESTCONTAINERS_SESSION_ID,
  Wait,
} from 'testcontainers'
import { createContainer, type Labelled, runIn } from './container.ts'
import {
  type Balancer,
  connectionsPerAddress,
  type Driver,
  type Network,
  type NginxOptions,
  type ReplicaSpec,
} from './driver.ts'
import { type Replica, waitUntilReady } from './replica.ts'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const labs = join(root, 'labs')
const harness = join(root, 'packages/testing')
const nginxFolder = join(root, 'infra/nginx')
const image = 'escala-lab'
const images = { postgres: 'postgres:18', redis: 'redis:8', nginx: 'nginx:1.30' }
const entries = {
  api: { own: 'apps/api/src/main.ts', withParts: 'packages/testing/src/api-process.ts' },
  worker: { own: 'apps/worker/src/main.ts', withParts: 'packages/testing/src/worker-process.ts' },
}

/**
 * Servers and replicas as containers: the images of production, with the labs mounted beside. What they share runs here or is
 * published here, and they reach it through proxies of this process. Testcontainers' reaper removes what a killed run leaves.
 */
export async function dockerDriver(): Promise<Driver> {
  const client = await getContainerRuntimeClient()
  const docker: Docker = client.container.dockerode
  const labelled: Labelled = {
    docker,
    labels: { [LABEL_TESTCONTAINERS_SESSION_ID]: (await getReaper(client)).sessionId },
  }
  return {
    name: 'docker',
    versions: `containers (${Object.values(images).join(', ')}, Node ${process.versions.node} for the client)`,
    here: { listen: await bridgeAddress(docker), reachedAs: 'host.docker.internal' },
    async prepare() {
      await GenericContainer.fromDockerfile(root, 'infra/docker/Dockerfile')
        .withTarget('app')
        .withBuildkit()
        .build(image, { deleteOnExit: false })
    },
    async startPostgres(_folder, settings) {
      const options = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
      const container = await new PostgreSqlContainer(images.postgres)
        .withDatabase('postgres')
        .withUsername('postgres')
        .withCommand(['postgres', ...options])
        .start()
      return { url: container.getConnectionUri(), stop: async () => void (await container.stop()) }
    },
    async startRedis(_folder, settings) {
      const options = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
      const container = await new GenericContainer(images.redis)
        .withExposedPorts(6379)
        .withCommand(['redis-server', ...options])
        .withWaitStrategy(Wait.forLogMessage(/Ready to accept connections/))
        .start()
      return {
        url: `redis://${container.getHost()}:${container.getMappedPort(6379)}`,
        stop: async () => void (await container.stop()),
      }
    },
    startNginx: (folder, replicas, options, network) => startNginx(labelled, folder, replicas, options, network),
    async startNetwork() {
      const network = await docker.createNetwork({ Name: `escala-lab-${randomUUID()}`, Labels: labelled.labels })
      return { name: (await network.inspect()).Name, stop: () => network.remove() }
    },
    startReplica: (_folder, spec) => startReplica(labelled, spec),
  }
}

/** Where containers find this machine: Docker's own bridge on Linux; with Docker Desktop the loopback will do. */
async function bridgeAddress(docker: Docker): Promise<string> {
  const { IPAM } = await docker.getNetwork('bridge').inspect()
  const gateway: string | undefined = IPAM?.Config?.[0]?.Gateway
  return gateway && (await isFree(0, gateway)) ? gateway : '127.0.0.1'
}

async function startReplica(labelled: Labelled, spec: ReplicaSpec): Promise<Replica> {
  const { id, role, parts, network } = spec
  const [port, internalPort] = await Promise.all([freePort(), freePort()])
  const entry = parts ? entries[role].withParts : entries[role].own
  const inImage = (url: URL) => url.href.replace(new URL('../../..', import.meta.url).href, 'file:///app/')
  const container = await createContainer(labelled, {
    image,
    command: ['node', entry],
    env: {
      HOST: '0.0.0.0',
      INTERNAL_HOST: '0.0.0.0',
      PORT: '3000',
      INTERNAL_PORT: '4000',
      ...(parts ? { LAB_PARTS: inImage(parts) } : {}),
      ...spec.env,
    },
    ports: { 3000: port, 4000: internalPort },
    mounts: { [labs]: '/app/labs', [harness]: '/app/packages/testing' },
    network: network && { name: network.name, alias: role },
  })
  await container.start()

  const replica: Replica = {
    id,
    role,
    url: role === 'api' ? `http://127.0.0.1:${port}` : '',
    internalUrl: `http://127.0.0.1:${internalPort}`,
    get address() {
      return `${container.address()}:3000`
    },
    get pid() {
      return container.pid()
    },
    running: container.running,
    exited: container.exited,
    async kill() {
      await container.signal('SIGKILL')
      await container.exited()
    },
    pause: container.pause,
    resume: container.resume,
    async terminate() {
      await container.signal('SIGTERM')
      return await container.exited()
    },
    async restart() {
      await replica.kill()
      await container.start()
      await waitUntilReady(replica)
    },
    remove: container.remove,
    logs: container.logs,
  }
  return replica
}

async function startNginx(
  labelled: Labelled,
  folder: string,
  replicas: Replica[],
  { settings, conf, discovery }: NginxOptions,
  network: Network | undefined,
): Promise<Balancer> {
  const port = await freePort()
  const render = async (list: Replica[]) => {
    // Without `resolve` a name is an address like any other: looked up when NGINX starts.
    const addresses = discovery === 'once' ? ['api:3000'] : list.map((replica) => replica.address)
    const listen = '0.0.0.0:8080'
    const upstream =
      discovery === 'resolve'
        ? { kind: 'names' as const, name: 'api', port: 3000 } // what docker-compose.yml has
        : { kind: 'addresses' as const, addresses }
    const text = conf?.(listen, addresses) ?? renderNginx({ listen, upstream, connectionsPerAddress, settings })
    await writeFile(join(folder, 'nginx.conf'), text.replaceAll(nginxFolder, '/etc/nginx/escala'))
  }
  await mkdir(folder, { recursive: true })
  await render(replicas)
  const command = ['nginx', '-p', '/tmp/', '-c', '/etc/nginx/lab/nginx.conf']
  const container = await createContainer(labelled, {
    image: images.nginx,
    command: [...command, '-g', 'daemon off;'],
    env: {},
    ports: { 8080: port },
    mounts: { [folder]: '/etc/nginx/lab', [nginxFolder]: '/etc/nginx/escala' },
    network: network && { name: network.name, alias: 'nginx' },
  })
  await container.start()
  const url = `http://127.0.0.1:${port}`
  await untilAnswering(url, container)
  return {
    url,
    async use(list) {
      if (discovery) return // by itself, or never
      await render(list)
      const test = await runIn(container, [...command, '-t'])
      if (test.code !== 0) throw new Error(`NGINX refuses its configuration:\n${test.output}`)
      const workers = async () => new Map((await container.processes()).filter(([, title]) => title.includes('worker')))
      await untilReloaded(workers, () => container.signal('SIGHUP'))
    },
    logs: container.logs,
    accessLog: async () => (await runIn(container, ['cat', '/tmp/access.log'])).output,
    stop: container.remove,
  }
}

async function untilAnswering(url: string, container: { running(): boolean; logs(): string }): Promise<void> {
  while (container.running()) {
    const answered = await fetch(`${url}/livez`).then(
      () => true,
      () => false,
    )
    if (answered) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  throw new Error(`NGINX ended while starting:\n${container.logs()}`)
}
