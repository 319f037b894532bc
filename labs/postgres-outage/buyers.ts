import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import type { Client, ClientAnswer } from '@escala/testing/client'
import { order } from '../shop.ts'

// The last: a copy came while the server was still busy with the one that had been given up.
const right = ['201', '503 E_POSTGRES_UNAVAILABLE', '409 E_IDEMPOTENCY_IN_PROGRESS']

/** What a client may see in an outage, as far as it was something else; and how long it waited. */
export function createSeen() {
  const wrong = new Set<string>()
  let slowestMs = 0
  let refused = 0
  return {
    async see(request: Promise<ClientAnswer>, ...alsoRight: string[]): Promise<ClientAnswer> {
      const askedAt = performance.now()
      const answer = await request
      slowestMs = Math.max(slowestMs, performance.now() - askedAt)
      const told = [answer.status, answer.error ?? (answer.status < 400 ? undefined : answer.body?.code)]
      const text = told.filter((part) => part !== undefined).join(' ')
      if (![...right, ...alsoRight].includes(text)) wrong.add(text)
      if (answer.status === 503) refused++
      return answer
    },
    wrong: () => [...wrong].join(', ') || 'none',
    slowestMs: () => slowestMs,
    refused: () => refused,
  }
}

/** Each orders one ticket after the other, each until it is accepted, under one key. */
export function keepOrdering(client: Client, show: string, buyers: number) {
  const seen = createSeen()
  let accepted = 0
  let running = true
  const buy = async () => {
    while (running) {
      const key = randomUUID()
      while ((await seen.see(order(client, show, key))).status !== 201) await wait(50)
      accepted++
      await wait(500) // less than the worker can confirm: a queue of its own is no outage
    }
  }
  const all = Promise.all(Array.from({ length: buyers }, buy))
  return {
    seen,
    accepted: () => accepted,
    async stop() {
      running = false
      await all
      client.close()
    },
  }
}
