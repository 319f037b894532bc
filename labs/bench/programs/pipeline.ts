import pg from 'pg'

/**
 * Sends statements over a few connections without waiting for the response to the one before; those of one turn of the event loop
 * leave in one write. Nothing else: a connection that ends, or a slow statement, takes all behind it along.
 */
export async function createPipeline({
  connectionString,
  connections,
}: {
  connectionString?: string
  connections: number
}) {
  const clients = Array.from({ length: connections }, () => new pg.Client({ connectionString, pipeline: true }))
  await Promise.all(clients.map((client) => client.connect()))
  for (const client of clients) writeOncePerTurn(client)
  let next = 0
  return {
    query: (statement: pg.QueryConfig) =>
      (clients[next++ % connections] as pg.Client).query<Record<string, unknown>>(statement),
  }
}

function writeOncePerTurn(client: pg.Client): void {
  const { stream } = (client as unknown as { connection: { stream: { cork(): void; uncork(): void } } }).connection
  const cork = stream.cork.bind(stream)
  let isCorked = false
  stream.cork = () => {
    cork()
    if (isCorked) return
    isCorked = true
    cork()
    setImmediate(() => {
      isCorked = false
      stream.uncork()
    })
  }
}
