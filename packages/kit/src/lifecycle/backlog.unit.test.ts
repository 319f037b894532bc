import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { expect, it } from 'vitest'

const most = process.platform === 'linux' ? Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8')) : 0

// Beyond the backlog a connection attempt is repeated after a second, which is as long as NGINX waits for one.
it.runIf(most >= 1000)('a replica that is busy for a moment keeps a burst of new connections waiting', async () => {
  const program = `
    import { createHttpServer } from '${new URL('http-server.ts', import.meta.url)}'
    const server = createHttpServer((_, res) => res.end(), { host: '127.0.0.1', port: 0 })
    await server.start()
    console.log(server.port())`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = await once(child.stdout, 'data')
  child.kill('SIGSTOP')
  const sockets = Array.from({ length: 900 }, () => connect(Number(line), '127.0.0.1'))
  try {
    const connected = Promise.all(sockets.map((socket) => once(socket, 'connect')))
    expect(await Promise.race([connected.then(() => 'all'), wait(5000, 'not all')])).toBe('all')
  } finally {
    for (const socket of sockets) socket.on('error', () => undefined).destroy()
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
})
