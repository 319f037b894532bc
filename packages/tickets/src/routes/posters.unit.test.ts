import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { maxBytes } from './posters.ts'

it('a poster may be as large as NGINX lets through', () => {
  const nginx = readFileSync(new URL('../../../../infra/nginx/escala.conf.template', import.meta.url), 'utf8')
  expect(nginx).toContain(`client_max_body_size ${maxBytes / 1024 / 1024}m;`)
})
