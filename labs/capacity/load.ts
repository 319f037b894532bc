import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

export interface LoadOptions {
  url: string
  /** Each has one keep-alive connection and one request under way. */
  clients: number
  warmUpMs: number
  measuredMs: number
}

export interface Load {
  /** Measured over the better half of the time, because other work on the machine can only reduce it. */
  perSecond: number
  medianMs: number
  /** Answers other than 200, and connections that ended, at any time. */
  failed: number
  /** The largest `X-Peak` that a replica reported. */
  peak: number
}

/** Many clients in one process that cost little: requests are one buffer, and of an answer without a body only the head is read. */
export async function load({ url, clients, warmUpMs, measuredMs }: LoadOptions): Promise<Load> {
  const { hostname, port, pathname, host } = new URL(url)
  const request = Buffer.from(`GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
  const answers: { at: number; ms: number }[] = []
  let measuring = false
  let stopped = false
  let failed = 0
  let peak = 0

  const run = (socket: Socket) => {
    let sentAt = performance.now()
    let buffered = ''
    const send = () => {
      sentAt = performance.now()
      socket.write(request)
    }
    socket.setNoDelay().setEncoding('latin1')
    socket.on('data', (chunk: string) => {
      buffered += chunk
      if (!buffered.includes('\r\n\r\n')) return
      if (!buffered.startsWith('HTTP/1.1 200')) failed++
      else if (measuring) answers.push({ at: performance.now(), ms: performance.now() - sentAt })
      peak = Math.max(peak, Number(/x-peak: (\d+)/i.exec(buffered)?.[1] ?? 0))
      buffered = ''
      if (!stopped) send()
    })
    socket.on('error', () => {})
    socket.on('close', () => stopped || failed++)
    send()
  }

  const sockets = Array.from({ length: clients }, () => connect(Number(port), hostname))
  await Promise.all(sockets.map((socket) => once(socket, 'connect')))
  sockets.forEach(run)
  await wait(warmUpMs)
  measuring = true
  await wait(measuredMs)
  stopped = true
  for (const socket of sockets) socket.destroy()
  const latencies = answers.map(({ ms }) => ms).sort((a, b) => a - b)
  const half = answers.length >> 1
  const perSecond = 1000 * Math.max(slope(answers.slice(0, half)), slope(answers.slice(half)))
  return { perSecond, medianMs: latencies[latencies.length >> 1] ?? 0, failed, peak }
}

/** Answers per ms, as the slope of the line through them: they come in bursts, and a mere count depends on where the window cuts those. */
function slope(answers: { at: number }[]): number {
  const first = answers[0]?.at ?? 0
  const meanIndex = (answers.length - 1) / 2
  const meanAt = answers.reduce((sum, { at }) => sum + at - first, 0) / answers.length
  let covariance = 0
  let variance = 0
  answers.forEach(({ at }, index) => {
    covariance += (at - first - meanAt) * (index - meanIndex)
    variance += (at - first - meanAt) ** 2
  })
  return covariance / variance
}
