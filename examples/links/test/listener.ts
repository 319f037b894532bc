import { type ClientRequest, get } from 'node:http'

export interface Listener {
  /** One value for each event, in the order of arrival. */
  seen: number[]
  /** Which replica it is connected to; `undefined` while it is not. */
  replicaId(): string | undefined
  stop(): void
}

/** What a browser's EventSource does: connects again after `retry` milliseconds, with the id of the last event. */
export function listen<Event>(url: string, headers: Record<string, string>, value: (event: Event) => number): Listener {
  const seen: number[] = []
  let [lastId, retryMs, stopped] = ['', 1000, false]
  let replicaId: string | undefined
  let request: ClientRequest
  let timer: NodeJS.Timeout

  const take = (block: string) => {
    const fields = new Map(block.split('\n').map((line) => line.split(/: ?(.*)/s) as [string, string]))
    const [id, retry, data] = ['id', 'retry', 'data'].map((name) => fields.get(name))
    if (retry !== undefined) retryMs = Number(retry)
    if (id !== undefined) lastId = id
    if (data !== undefined) seen.push(value(JSON.parse(data)))
  }
  const connect = () => {
    let ended = false
    const again = () => {
      if (ended || stopped) return
      ended = true
      replicaId = undefined
      timer = setTimeout(connect, retryMs)
    }
    const all = { ...headers, ...(lastId !== '' && { 'last-event-id': lastId }) }
    request = get(url, { headers: all, agent: false }, (res) => {
      if (res.statusCode === 200) replicaId = String(res.headers['x-replica-id'])
      let text = ''
      res.setEncoding('utf8')
      res.on('data', (chunk: string) => {
        const blocks = (text + chunk).split('\n\n')
        text = blocks.pop() ?? ''
        for (const block of blocks) take(block)
      })
      res.on('error', again)
      res.on('close', again)
    })
    request.on('error', again)
  }
  connect()
  return {
    seen,
    replicaId: () => replicaId,
    stop() {
      stopped = true
      clearTimeout(timer)
      request.destroy()
    },
  }
}
