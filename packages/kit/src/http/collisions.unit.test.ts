import { expect, test } from 'vitest'
import { refuseCollisions } from './collisions.ts'

const get = (path: string) => ({ method: 'get' as const, path })
const refused = (paths: string[], routers: string[] = []) => {
  try {
    const reserved = ['/docs', '/docs/', '/v1/openapi.json']
    refuseCollisions(
      paths.map(get),
      reserved,
      routers.map((path) => ({ path })),
    )
  } catch (error) {
    return (error as Error & { detail: string }).detail
  }
}

test.each([
  [['/things/:id', '/things/new'], 'GET /things/:id hides GET /things/new: declare the latter first'],
  [['/things/:id', '/things/:name'], 'GET /things/:id hides GET /things/:name: declare the latter first'],
  [['/things', '/things'], 'GET /things hides GET /things: declare the latter first'],
  [['/files/*path', '/files/a/b'], 'GET /files/*path hides GET /files/a/b: declare the latter first'],
  [['/:code'], 'GET /:code hides /docs: give it another path'],
  [['/:code/'], 'GET /:code/ hides /docs/: give it another path'],
  [['/*all'], 'GET /*all hides /docs: give it another path'],
  [['/files/*path', '/files/:id'], 'GET /files/*path hides GET /files/:id: declare the latter first'],
  [['/r/:id', '/r/:id.csv'], 'GET /r/:id hides GET /r/:id.csv: declare the latter first'],
  [['/v1/:document'], 'GET /v1/:document hides /v1/openapi.json: give it another path'],
])('%j is refused', (paths, detail) => {
  expect(refused(paths)).toBe(detail)
})

test.each([
  [['/things/new', '/things/:id']],
  [['/things/:id', '/things/:id/parts']],
  [['/files/*path', '/files']],
  [['/files/*path', '/files/']],
  [['/a/:b/c', '/a/:b/d']],
  [['/files/:id', '/files/*path']],
  [['/r/:id.csv', '/r/:id']],
  [['/files/*path/meta', '/files/:id']],
  [['/x/:a', '/x{/:id}']],
])('%j is accepted', (paths) => {
  expect(refused(paths)).toBeUndefined()
})

test('another method is another route', () => {
  refuseCollisions([get('/things/:id'), { method: 'post', path: '/things/new' }], [])
})

test.each<[string[], string[], string]>([
  [
    ['/v1/links/:id'],
    ['/v1/links'],
    'the router /v1/links and GET /v1/links/:id collide: give one of them another path',
  ],
  [['/v1/links'], ['/v1/links'], 'the router /v1/links and GET /v1/links collide: give one of them another path'],
  [[], ['/docs/own'], 'the router /docs/own and /docs collide: give one of them another path'],
  [[], ['/v1'], 'the router /v1 and /v1/openapi.json collide: give one of them another path'],
  [[], ['/own', '/own/part'], 'the router /own/part and /own collide: give one of them another path'],
])('beside the routes %j, the routers %j are refused', (paths, routers, detail) => {
  expect(refused(paths, routers)).toBe(detail)
})

test('a router may be below a route, and beside what only begins like it', () => {
  expect(refused(['/v1/links', '/v1/links/exports', '/v1/links/:id'], ['/v1/links/export'])).toBeUndefined()
})
