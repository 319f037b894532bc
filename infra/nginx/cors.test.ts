import { exposedHeaders } from '@escala/kit/http/cors'
import { renderNginx } from '@escala/servers/nginx-config'
import { expect, it } from 'vitest'
import { createTestNginx, small } from './test-nginx.ts'

const nginx = createTestNginx()
const start = (corsOrigins?: string) =>
  nginx.fresh(nginx.addresses(), {
    conf: (listen) =>
      renderNginx({
        ...{ listen, tempFolder: nginx.folder(), settings: small, corsOrigins },
        upstream: { kind: 'addresses', addresses: nginx.addresses() },
      }),
  })
const headersFor = async (origin?: string) => {
  const { headers } = await nginx.send('GET', '/livez', { headers: origin === undefined ? {} : { origin } })
  const names = ['allow-origin', 'allow-credentials', 'expose-headers'].map((name) => `access-control-${name}`)
  return [...names, 'vary'].map((name) => headers.get(name))
}

it("NGINX's own errors can be read by pages of every listed origin, and by no others", async () => {
  const listed = ['https://app.example.com', 'http://localhost:5173', 'https://b.example']
  await start(listed.join())
  for (const origin of listed) expect(await headersFor(origin)).toEqual([origin, 'true', exposedHeaders, 'Origin'])
  const others = [
    ...['https://evil.example', 'https://app.example.com.evil.example', 'https://app.example.co', 'http://b.example'],
    ...[
      'null',
      'example.com',
      'https://app.example.com,http://localhost:5173',
      ',https://evil.example,|https://evil.example',
    ],
    ...['https://app.example.com|', '.*', 'https://appxexample.com'],
  ]
  for (const origin of [...others, undefined])
    expect([origin, ...(await headersFor(origin))]).toEqual([origin, null, null, null, 'Origin'])
})

it('without a list nothing is added', async () => {
  await start()
  for (const origin of ['https://app.example.com', '', undefined])
    expect(await headersFor(origin)).toEqual([null, null, null, null])
})
