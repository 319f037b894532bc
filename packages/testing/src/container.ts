import { PassThrough } from 'node:stream'
import type Docker from 'dockerode'

/** The engine, and the labels that identify what belongs to this run. */
export interface Labelled {
  docker: Docker
  labels: Record<string, string>
}

export interface ContainerOptions {
  image: string
  command: string[]
  env: Record<string, string>
  /** Inner port → port on 127.0.0.1: a restart keeps them. */
  ports: Record<number, number>
  /** Folder of this machine → folder inside, read-only. */
  mounts: Record<string, string>
  /** Default: Docker's own, which knows no names. */
  network?: { name: string; alias: string }
}

export interface Container {
  docker: Docker
  id: string
  /** Also after it has ended, again. */
  start(): Promise<void>
  /** Within Docker's own network. */
  address(): string
  pid(): number
  /** Id and title of each. */
  processes(): Promise<[number, string][]>
  running(): boolean
  exited(): Promise<number>
  /** Does nothing to a container that has ended. */
  signal(signal: NodeJS.Signals): Promise<void>
  pause(): Promise<void>
  resume(): Promise<void>
  /** Kills it, if need be, and forgets it. */
  remove(): Promise<void>
  logs(): string
}

/** Where Testcontainers waits until a container serves, a replica may be meant to fail: this one starts it and reports the outcome. */
export async function createContainer({ docker, labels }: Labelled, options: ContainerOptions): Promise<Container> {
  const { image, command, env, ports, mounts, network } = options
  const container = await docker.createContainer({
    Image: image,
    Cmd: command,
    Env: Object.entries(env).map((pair) => pair.join('=')),
    Labels: labels,
    ExposedPorts: Object.fromEntries(Object.keys(ports).map((port) => [`${port}/tcp`, {}])),
    ...(network && { NetworkingConfig: { EndpointsConfig: { [network.name]: { Aliases: [network.alias] } } } }),
    HostConfig: {
      Init: true,
      ...(network && { NetworkMode: network.name }),
      ExtraHosts: ['host.docker.internal:host-gateway'],
      Binds: Object.entries(mounts).map(([source, target]) => `${source}:${target}:ro`),
      PortBindings: Object.fromEntries(
        Object.entries(ports).map(([inner, outer]) => [
          `${inner}/tcp`,
          [{ HostIp: '127.0.0.1', HostPort: String(outer) }],
        ]),
      ),
    },
  })
  let output = ''
  let running = false
  let exited = Promise.resolve(0)
  let state = { address: '', pid: 0 }

  const start = async () => {
    const sink = new PassThrough()
    sink.on('data', (chunk) => (output += chunk))
    const stream = await container.attach({ stream: true, stdout: true, stderr: true })
    docker.modem.demuxStream(stream, sink, sink)
    await container.start()
    running = true
    exited = container.wait().then(({ StatusCode }) => {
      running = false
      return StatusCode
    })
    const { NetworkSettings, State } = await container.inspect()
    const [network] = Object.values(NetworkSettings.Networks)
    state = { address: network?.IPAddress ?? '', pid: State.Pid }
  }

  return {
    docker,
    id: container.id,
    start,
    address: () => state.address,
    pid: () => state.pid,
    async processes() {
      const { Processes } = await container.top({ ps_args: '-eo pid,args' })
      return Processes.map(([id, ...title]: string[]) => [Number(id), title.join(' ')])
    },
    running: () => running,
    exited: () => exited,
    async signal(signal) {
      if (!running) return
      await container.kill({ signal }).catch((error) => {
        if (error.statusCode !== 409) throw error // it has ended just now
      })
    },
    pause: () => container.pause(),
    resume: () => container.unpause(),
    remove: () => container.remove({ force: true, v: true }),
    logs: () => output,
  }
}

/** Runs a command inside of a container to its end. */
export async function runIn({ docker, id }: Container, command: string[]): Promise<{ code: number; output: string }> {
  const exec = await docker.getContainer(id).exec({ Cmd: command, AttachStdout: true, AttachStderr: true })
  const stream = await exec.start({})
  let output = ''
  const sink = new PassThrough()
  sink.on('data', (chunk) => (output += chunk))
  docker.modem.demuxStream(stream, sink, sink)
  await new Promise((resolve) => stream.once('end', resolve))
  const { ExitCode } = await exec.inspect()
  return { code: ExitCode ?? 1, output }
}
