import type { ClientAnswer } from './client.ts'

export interface TrafficReport {
  total: number
  /** Answers that were not what was asked for: how many of each status; 0 with its reason stands for no answer. */
  failures: Record<string, number>
  failed: number
  slowestMs: number
}

export interface Traffic {
  /** Requests sent so far. */
  sent(): number
  /** What has been answered so far. */
  report(): TrafficReport
  /** Sends no more, and waits for what is under way. */
  stop(): Promise<TrafficReport>
}

/**
 * Sends `perSecond` requests evenly, whether the ones before are answered or not, as many clients together would.
 * `send` gets the number of the request; every status of 400 and above counts as failed.
 */
export function startTraffic(perSecond: number, send: (index: number) => Promise<ClientAnswer>): Traffic {
  const failures: Record<string, number> = {}
  const underWay = new Set<Promise<void>>()
  const startedAt = performance.now()
  let sent = 0
  let total = 0
  let slowestMs = 0

  const one = async (index: number) => {
    const begun = performance.now()
    const { status, error, body } = await send(index)
    total++
    slowestMs = Math.max(slowestMs, Math.round(performance.now() - begun))
    if (status > 0 && status < 400) return
    const kind = [status, error ?? body?.code].filter((part) => part !== undefined).join(' ')
    failures[kind] = (failures[kind] ?? 0) + 1
  }
  const timer = setInterval(() => {
    const due = ((performance.now() - startedAt) * perSecond) / 1000
    while (sent < due) {
      const request: Promise<void> = one(sent++).finally(() => underWay.delete(request))
      underWay.add(request)
    }
  }, 10)
  const report = () => ({
    total,
    failures,
    failed: Object.values(failures).reduce((sum, count) => sum + count, 0),
    slowestMs,
  })
  return {
    sent: () => sent,
    report,
    async stop() {
      clearInterval(timer)
      await Promise.all(underWay)
      return report()
    },
  }
}
