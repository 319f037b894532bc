import type { EventPublisher } from '@escala/kit/events/events'
import type { Logger } from '@escala/kit/log/log'

export const topicOf = (code: string) => `link:${code}`

/** Publishes a link's clicks. Never rejects: the click is counted, and the next one brings the number up to date. */
export async function announceClicks(events: EventPublisher, log: Logger, code: string, clicks: number): Promise<void> {
  try {
    await events.publish(topicOf(code), { type: 'clicks', data: { clicks } })
  } catch (err) {
    log.warn({ err, code }, 'clicks not announced')
  }
}
