import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const docs = join(import.meta.dirname, '../docs')
const pages = readdirSync(docs).filter((name) => /^\d\d-.*\.md$/.test(name))

test.each(pages)('%s: all its requests within one minute are fewer than the limit that it starts with', (page) => {
  const commands = [...readFileSync(join(docs, page), 'utf8').matchAll(/^\$ .*$/gm)].map(([line]) => line)
  const started = commands.find((line) => /\bnpm start\b/.test(line))
  const limit = Number(/RATE_LIMIT_PER_MINUTE=(\d+)/.exec(started ?? '')?.[1] ?? 600)
  const requests = commands
    .filter((line) => line.includes('curl'))
    .map((line) =>
      Number(/seq (\d+)/.exec(line)?.[1] ?? /for \w+ in ([^;$]+);/.exec(line)?.[1]?.trim().split(' ').length ?? 1),
    )
  expect(requests.length).toBeGreaterThan(3)
  expect(requests.reduce((sum, count) => sum + count, 0)).toBeLessThan(limit)
})

test('the configuration of NGINX is quoted whole, and as it is', () => {
  const lines = (text: string) => text.split('\n').flatMap((line) => line.replace(/(^|\s)#.*$/, '').trim() || [])
  const page = readFileSync(join(docs, '02-nginx.md'), 'utf8')
  const quoted = [...page.matchAll(/^```nginx\n([\s\S]*?)^```/gm)].map(([, block = '']) => block).join('')
  const template = readFileSync(join(docs, '../infra/nginx/escala.conf.template'), 'utf8')
  expect(lines(quoted)).toEqual(lines(template))
})
