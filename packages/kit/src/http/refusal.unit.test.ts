import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { createLog } from '../log/log.ts'
import { createRefusal } from './refusal.ts'

test('a replica without a place returns a problem that no cache keeps', async () => {
  const log = createLog({ service: 'test', replicaId: 'test', version: '', level: 'silent' })
  const server = createServer(createRefusal(log)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`, { method: 'POST' })
    expect(response.status).toBe(503)
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'application/problem+json',
      'cache-control': 'private, no-store',
      'retry-after': '1',
      'x-content-type-options': 'nosniff',
    })
    expect(await response.json()).toMatchObject({
      code: 'E_NO_REPLICA',
      requestId: response.headers.get('x-request-id'),
    })
  } finally {
    server.close()
  }
})
