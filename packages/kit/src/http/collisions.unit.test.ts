import { expect, test } from 'vitest'
import { refuseCollisions } from './collisions.ts'

const get = (path: string) => ({ method: 'get' as const, path })
const refused = (...paths: string[]) => {
  try {
    refuseCollisions(paths.map(get), ['/docs', '/docs/', '/v1/openapi.json'])
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
  expect(refused(...paths)).toBe(detail)
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
  expect(refused(...paths)).toBeUndefined()
})

test('another method is another route', () => {
  refuseCollisions([get('/things/:id'), { method: 'post', path: '/things/new' }], [])
})
