import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { type NginxOptions, renderNginx } from './nginx-config.ts'

const addresses = {
  kind: 'addresses',
  addresses: ['127.0.0.1:3000', '127.0.0.1:3001'],
} satisfies NginxOptions['upstream']

describe('renderNginx', () => {
  it('lists the addresses that it is given', () => {
    const config = renderNginx({ listen: '127.0.0.1:8080', upstream: addresses })
    expect(config).toContain('server 127.0.0.1:3000 max_fails=3 fail_timeout=5s;')
    expect(config).toContain('server 127.0.0.1:3001 max_fails=3 fail_timeout=5s;')
    expect(config).toContain('server 127.0.0.1:3001 max_fails=0 backup;')
    expect(config).toContain('listen 127.0.0.1:8080 backlog=4096;')
    expect(config).not.toContain('resolve')
  })

  it('asks for the addresses of a name again and again', () => {
    const config = renderNginx({ listen: '8080', upstream: { kind: 'names', name: 'api', port: 3000 } })
    expect(config).toContain('resolver 127.0.0.11 valid=1s')
    expect(config).toContain('server api:3000 resolve max_fails=3 fail_timeout=5s;')
  })

  it('leaves no placeholder', () => {
    expect(renderNginx({ listen: '8080', upstream: { kind: 'names', name: 'api', port: 3000 } })).not.toMatch(/\$\{/)
  })

  it('names the page that explains the errors, and takes no text that would end the string', () => {
    const options = { listen: '8080', upstream: addresses }
    expect(renderNginx(options)).toContain('default "https://github.com/escala/escala/blob/main/docs/errors.md";')
    const own = 'https://api.example.com/errors?lang=en'
    expect(renderNginx({ ...options, problemBaseUrl: own })).toContain(`default "${own}";`)
    for (const problemBaseUrl of [
      'https://a.example/"; return 200 "',
      'https://a.example/$host',
      'https://a.example/#x',
      'ftp://a.example',
    ]) {
      expect(() => renderNginx({ ...options, problemBaseUrl })).toThrow('PROBLEM_BASE_URL: an address')
    }
  })

  it('has the origins that the API lists, and takes no text that would end the string', () => {
    const options = { listen: '8080', upstream: addresses }
    const listed = 'https://app.example.com,http://localhost:5173'
    expect(renderNginx({ ...options, corsOrigins: listed })).toContain(`map ",${listed},|$http_origin" $cors_origin {`)
    expect(renderNginx({ ...options, corsOrigins: '' })).toContain('map ",,|$http_origin" $cors_origin {')
    for (const corsOrigins of ['https://a.example/', 'https://a.example" ', '*', 'https://a.example|https://b.example'])
      expect(() => renderNginx({ ...options, corsOrigins })).toThrow('CORS_ORIGINS: at most 20 origins')
  })

  it('changes single directives, at their general place', () => {
    const config = renderNginx({
      listen: '8080',
      upstream: { kind: 'names', name: 'api', port: 3000 },
      settings: { proxy_read_timeout: '300ms', least_conn: undefined, fail_timeout: '1s' },
    })
    expect(config).toContain('proxy_read_timeout 300ms;')
    expect(config.slice(config.indexOf('upstream api {'), config.indexOf('upstream next_api {'))).not.toContain(
      'least_conn;',
    )
    expect(config).toContain('fail_timeout=1s')
  })

  it('refuses a directive that it does not know', () => {
    const upstream = { kind: 'names', name: 'api', port: 3000 } as const
    expect(() => renderNginx({ listen: '8080', upstream, settings: { prox_read_timeout: '1s' } })).toThrow(
      'prox_read_timeout',
    )
  })

  it('includes the headers in every location that proxies', () => {
    const config = renderNginx({ listen: '8080', upstream: { kind: 'names', name: 'api', port: 3000 } })
    const proxies = config.split(/proxy_pass http:\/\/[\w$]+;/).slice(0, -1)
    expect(proxies).toHaveLength(4)
    for (const before of proxies) expect(before).toMatch(/proxy-headers\.conf;\n *$/)
    expect(config.match(/^ *proxy_set_header/gm)).toBeNull()
  })
})

it('asks for names with the very lines of docker-compose.yml', () => {
  const compose = readFileSync(new URL('../../../docker-compose.yml', import.meta.url), 'utf8')
  const config = renderNginx({ listen: '8080', upstream: { kind: 'names', name: 'api', port: 3000 } })
  for (const name of ['API_SERVERS', 'NEXT_SERVERS']) {
    const line = new RegExp(`^ *${name}: (.*)$`, 'm').exec(compose)?.[1]
    expect(config).toContain(`    ${line}\n`)
  }
})

it('is explained whole, and as it is, by the walkthrough', () => {
  const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8')
  const directives = (text: string) =>
    text
      .split('\n')
      .map((line) => line.replace(/(^|;) *# .*/, '$1').trim())
      .filter(Boolean)
  const quoted = [...read('../../../docs/02-nginx.md').matchAll(/^```nginx\n(.*?)^```/gms)].map((match) => match[1])
  expect(directives(quoted.join('\n'))).toEqual(directives(read('../../../infra/nginx/escala.conf.template')))
})
