import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { createPaymentsCheck } from './payments.ts'

test.each([
  [404, true],
  [400, true],
  [405, true],
  [401, false],
  [429, false],
  [500, false],
])('a provider that answers its check with %i is well: %s', async (status, isWell) => {
  const server = createServer((_req, res) => res.writeHead(status).end()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const check = createPaymentsCheck({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
  expect(
    await check().then(
      () => true,
      () => false,
    ),
  ).toBe(isWell)
  server.closeAllConnections()
  server.close()
})
