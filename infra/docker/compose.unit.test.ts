import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const file = readFileSync(new URL('../../docker-compose.yml', import.meta.url), 'utf8')
const [head = '', rest = ''] = file.split(/^services:$/m)
const services = Object.fromEntries(
  [...(rest.split(/^networks:$/m)[0] ?? '').matchAll(/^ {2}([a-z-]+):\n((?: {4}.*\n|\n|\s*#.*\n)*)/gm)].map(
    ([, name = '', text = '']) => [name, text],
  ),
)
/** What a service inherits, written out. */
const whole = (text: string): string =>
  text.replace(/<<: \*([a-z-]+)/g, (_, anchor) => whole(head.split(`&${anchor}\n`)[1]?.split(/\n\n/)[0] ?? ''))

test.each(Object.keys(services))('%s: bounds, rotated logs, no privileges, an image with a version', (name) => {
  const text = whole(services[name] ?? '')
  for (const bound of [/memory: '?[^,]+/, /cpus: '[^']+'/, /pids: \d+/, /max-size: \d+m/, /max-file: '\d+'/]) {
    expect(text).toMatch(bound)
  }
  for (const part of ['cap_drop: [ALL]', 'no-new-privileges:true', 'read_only: true']) expect(text).toContain(part)
  expect(text).toMatch(/image: \S+:v?[\d.]+|build:/)
})

test.each([
  ['state', 'escala'],
  ['cache', 'cache'],
])('Redis for %s: the commands of docs/redis.md, which a test of the worker holds to what is sent', (role, user) => {
  const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8')
  const [, documented] = new RegExp(`^user ${user} on >PASSWORD (.*)$`, 'm').exec(read('../../docs/redis.md')) ?? []
  const [, used] = new RegExp(`${role}\\) rules='(.*)'`).exec(read('redis.sh')) ?? []
  expect(used).toBe(documented)
  const ofDefault = /^user default .*$/m
  expect(ofDefault.exec(read('redis.sh'))?.[0]).toBe(ofDefault.exec(read('../../docs/redis.md'))?.[0])
})

test('every placeholder of NGINX’s configuration has a value, and its processes do not grow with the cores of the machine', () => {
  const template = readFileSync(new URL('../nginx/escala.conf.template', import.meta.url), 'utf8')
  for (const [, name] of template.matchAll(/\$\{([A-Z_]+)\}/g)) {
    expect(services.nginx).toMatch(new RegExp(`envsubst '[^']*\\$\\$${name}\\b`))
    expect(services.nginx).toMatch(new RegExp(`^ {6}${name}: .`, 'm'))
  }
  expect(services.nginx).toContain(`WORKER_PROCESSES: \${NGINX_WORKERS:-2}`)
})

test('what has to be written can be written after a restart, too', () => {
  // Folders that are there in the images; runc before 1.2 makes any other one unwritable when a container starts again.
  const known = ['/tmp', '/var/run/postgresql', '/data', '/var/lib/grafana']
  const folders = [...file.matchAll(/tmpfs: \[(.*)\]/g)].flatMap(([, list = '']) =>
    list.split(/, /).map((entry) => entry.replace(/'|:.*/g, '')),
  )
  expect(folders.length).toBeGreaterThan(5)
  expect(folders.filter((folder) => !known.includes(folder) && !folder.startsWith('/tmp/'))).toEqual([])
})

test('the defaults are those of production', () => {
  expect(Object.keys(services)).toHaveLength(10)
  expect(services.api).toContain(`replicas: \${API_REPLICAS:-3}`)
  expect(services.api).toContain(`EXPOSE_REPLICA: \${EXPOSE_REPLICA:-0}`)
  expect(services.migrate).toContain(`'--seed=\${SEED:-0}'`)
  expect(services.migrate).toContain(`DATABASE_TIMEOUT_MS: \${DATABASE_TIMEOUT_MS:-}`) // the limits that it sets follow from that
  for (const [name, text] of Object.entries(services)) {
    if (name !== 'migrate' && name !== 'postgres') expect(text).not.toMatch(/OWNER_PASSWORD|owner-password/)
  }
  expect(file).not.toMatch(/:\/\/[^@\s]*\$\{[A-Z_]*PASSWORD/) // no password within a URL
})
