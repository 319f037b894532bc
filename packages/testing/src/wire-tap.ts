import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

/** What the servers got because of one piece of work. */
export interface Traffic {
  /** Commands, by name, in order: a script is one, whatever it calls. */
  commands: string[]
  /** How often everything stood still until Redis had answered; commands that leave together, to whichever Redis, are one. */
  waits: number
  /** Statements that were executed, by the name that they were prepared under; `unnamed: ` and its beginning, or its first word, where it has none. */
  statements: string[]
}

export interface WireTap {
  /** Adresses to use instead of the servers' own. */
  databaseUrl: string
  redisUrl: string
  cacheRedisUrl: string
  /** One at a time. What is still under way when `work` has its result is counted too, but nothing waits for it. */
  count<T>(work: () => Promise<T>): Promise<Traffic & { result: T }>
  stop(): Promise<void>
}

interface Servers {
  databaseUrl: string
  redisUrl: string
  cacheRedisUrl: string
}

/**
 * Sits between a replica of this process and its servers, and reads along. While it counts, Redis's answers are held back
 * until all are there and nothing else is under way; then they go out together. So a wait is a link of the chain of
 * commands that need each other's answers, however fast or slow the machine is.
 * Connections that listen (XREAD, SUBSCRIBE) are not counted: they wait for others, for no request. Nor are heartbeats (PING).
 */
export async function startWireTap(servers: Servers): Promise<WireTap> {
  let traffic: Traffic | undefined
  let isDone = false
  let activity = 0
  let unanswered = 0 // commands and statements
  const held: { release(): void; isAwaited: boolean }[] = []

  const openRedis: Open = (toServer, toClient) => {
    let isListener = false
    const requests = frames(respEnd)
    const replies = frames(respEnd)
    return {
      fromClient(chunk) {
        for (const frame of requests(chunk)) {
          const command = /^\*\d+\r\n\$\d+\r\n(\w+)/.exec(frame.toString('latin1'))?.[1]?.toUpperCase() ?? '?'
          if (command === 'XREAD' || command.endsWith('SUBSCRIBE')) isListener = true
          if (isListener) continue
          unanswered++
          if (command !== 'PING') traffic?.commands.push(command)
        }
        toServer(chunk)
      },
      fromServer(chunk) {
        if (isListener) return toClient(chunk)
        const answers = [...replies(chunk)]
        unanswered -= answers.length
        const isAwaited = answers.length === 0 || answers.some((answer) => answer.toString('latin1') !== '+PONG\r\n')
        if (traffic) held.push({ release: () => toClient(chunk), isAwaited })
        else toClient(chunk)
      },
    }
  }

  const openPostgres: Open = (toServer, toClient) => {
    let isStarting = true
    let name = ''
    let text = ''
    const requests = frames((data, at) => {
      // Only the very first message has no type.
      const start = isStarting ? at : at + 1
      return data.length < start + 4 ? undefined : start + data.readUInt32BE(start)
    })
    const replies = frames((data, at) => (data.length < at + 5 ? undefined : at + 1 + data.readUInt32BE(at + 1)))
    return {
      fromClient(chunk) {
        for (const frame of requests(chunk)) {
          const type = isStarting ? 'startup' : String.fromCharCode(frame[0] ?? 0)
          if (isStarting) isStarting = false
          if (type === 'P') text = frame.toString('utf8', 5).split('\0')[1] ?? ''
          if (type === 'B') name = frame.toString('utf8', 5).split('\0')[1] || `unnamed: ${text.slice(0, 40)}`
          if (type === 'E') traffic?.statements.push(name)
          if (type === 'Q') traffic?.statements.push(/\w+/.exec(frame.toString('utf8', 5))?.[0] ?? '?')
          if (type === 'startup' || type === 'Q' || type === 'S') unanswered++
        }
        toServer(chunk)
      },
      fromServer(chunk) {
        for (const frame of replies(chunk)) if (frame[0] === 0x5a) unanswered-- // ready for the next
        toClient(chunk)
      },
    }
  }

  /** Everything that can happen without an answer of Redis has happened. */
  const untilStill = async () => {
    for (let before = -1; before !== activity || unanswered > 0; ) {
      before = activity
      await wait(3)
      for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
    }
  }

  const seen = () => {
    activity++
  }
  const taps = await Promise.all([
    listen(servers.databaseUrl, openPostgres, seen),
    listen(servers.redisUrl, openRedis, seen),
    listen(servers.cacheRedisUrl, openRedis, seen),
  ])

  return {
    databaseUrl: taps[0].url,
    redisUrl: taps[1].url,
    cacheRedisUrl: taps[2].url,
    async count(work) {
      await untilStill()
      const counted: Traffic = { commands: [], waits: 0, statements: [] }
      traffic = counted
      isDone = false
      const result = work().finally(() => {
        isDone = true
      })
      for (;;) {
        await untilStill()
        if (held.some(({ isAwaited }) => isAwaited) && !isDone) counted.waits++
        if (held.length === 0 && isDone) break
        for (const { release } of held.splice(0)) release()
      }
      traffic = undefined
      return { ...counted, result: await result }
    },
    async stop() {
      await Promise.all(taps.map((tap) => tap.stop()))
    },
  }
}

type Pass = (chunk: Buffer) => void
type Open = (toServer: Pass, toClient: Pass) => { fromClient: Pass; fromServer: Pass }

async function listen(target: string, open: Open, seen: () => void) {
  const url = new URL(target)
  const { hostname, port } = url
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname)
    const pair = [client, upstream]
    const { fromClient, fromServer } = open(
      (chunk) => void upstream.write(chunk),
      (chunk) => void client.write(chunk),
    )
    for (const [from, to, pass] of [
      [client, upstream, fromClient],
      [upstream, client, fromServer],
    ] as const) {
      sockets.add(from)
      from.setNoDelay(true)
      from.on('data', (chunk) => {
        seen()
        pass(chunk)
      })
      from.on('error', () => undefined)
      from.on('close', () => {
        sockets.delete(from)
        to.destroySoon()
      })
    }
    return pair
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  url.hostname = '127.0.0.1'
  url.port = String((server.address() as AddressInfo).port)
  return {
    url: url.href,
    async stop() {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

/** Cuts a stream of bytes into messages; `end` says where the one at `at` ends, `undefined`: not here yet. */
function frames(end: (data: Buffer, at: number) => number | undefined) {
  let rest: Buffer = Buffer.alloc(0)
  return function* (chunk: Buffer) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    for (;;) {
      const next = end(rest, 0)
      if (next === undefined || next > rest.length) return
      const frame = rest.subarray(0, next)
      rest = rest.subarray(next)
      yield frame
    }
  }
}

/** Redis's protocol, both ways: the end of the value that begins at `at`. */
function respEnd(data: Buffer, at: number): number | undefined {
  const lineEnd = data.indexOf('\r\n', at)
  if (lineEnd < 0) return undefined
  const type = String.fromCharCode(data[at] ?? 0)
  const length = Number(data.toString('latin1', at + 1, lineEnd))
  const next = lineEnd + 2
  if ('$!='.includes(type)) return length < 0 ? next : next + length + 2
  if (!'*~>%'.includes(type)) return next
  let end: number | undefined = next
  for (let i = 0; i < length * (type === '%' ? 2 : 1) && end !== undefined; i++) end = respEnd(data, end)
  return end
}
