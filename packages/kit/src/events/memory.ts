import { type Events, hasGap, isAfter, type LiveEvent, type SubscribeOptions } from './events.ts'

interface Channel {
  history: LiveEvent[]
  listeners: Set<SubscribeOptions>
}

/** Within this process: who listens on another replica hears nothing. */
export function createMemoryEvents({ maxHistory = 1000 }: { maxHistory?: number } = {}): Events {
  const channels = new Map<string, Channel>()
  let last = '0-0'

  const open = (name: string): Channel => {
    const channel = channels.get(name) ?? { history: [], listeners: new Set() }
    channels.set(name, channel)
    return channel
  }
  const nextId = () => {
    const [ms = 0, number = 0] = last.split('-').map(Number)
    const now = Date.now()
    last = now > ms ? `${now}-0` : `${ms}-${number + 1}`
    return last
  }

  return {
    scope: 'process',
    async publish(name, { type, data }) {
      const { history, listeners } = open(name)
      const event = { id: nextId(), type, data }
      history.push(event)
      if (history.length > maxHistory) history.shift()
      for (const listener of listeners) listener.onEvent(event)
      return event.id
    },
    async subscribe(name, options) {
      const { history, listeners } = open(name)
      const { afterId } = options
      if (afterId !== undefined) {
        if (hasGap(afterId, history[0]?.id, history.at(-1)?.id)) options.onGap(history.at(-1)?.id ?? '0-0')
        else for (const event of history) if (isAfter(event.id, afterId)) options.onEvent(event)
      }
      listeners.add(options)
      return { id: history.at(-1)?.id ?? '0-0', stop: () => void listeners.delete(options) }
    },
    async stop() {
      channels.clear()
    },
  }
}
