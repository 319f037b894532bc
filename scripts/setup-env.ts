import { randomBytes } from 'node:crypto'
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import { readCommandLine } from '../infra/local/command-line.ts'

const usage = `usage: npm run setup:env

Writes the secrets that docker-compose.yml asks for to .env, readable by you alone. An existing file stays as it is, except
that missing secrets are added.`

readCommandLine(usage, {})
const file = new URL('../.env', import.meta.url)
const secret = () => randomBytes(32).toString('base64url')

const required = [
  'POSTGRES_PASSWORD',
  'DATABASE_OWNER_PASSWORD',
  'DATABASE_PASSWORD',
  'REDIS_PASSWORD',
  'SESSION_SECRETS',
]

if (existsSync(file)) {
  const text = readFileSync(file, 'utf8')
  const known = parseEnv(text)
  const missing = required.filter((name) => !known[name])
  if (missing.length > 0) {
    const lines = missing.map((name) => `${name}=${secret()}\n`).join('')
    appendFileSync(file, `${text.endsWith('\n') ? '' : '\n'}${lines}`)
  }
  console.log(`.env is already there; ${missing.length > 0 ? `added ${missing.join(', ')}` : 'it stays as it is'}`)
} else {
  const lines = [
    '# Written by npm run setup:env. docker compose reads it; the environment goes before it. Keep it out of version control.',
    '# SESSION_SECRETS is a list: the first signs, all verify. To replace one, add the new one behind and deploy; move it to the',
    '# front and deploy; remove the old one a session later.',
    ...required.map((name) => `${name}=${secret()}`),
    '# For development: SEED=1 makes organiser@example.com, who may do everything, and customer@example.com.',
    '# SEED=1',
    `SEED_PASSWORD=${randomBytes(9).toString('base64url')}`,
    '# PORT=8080',
    '# API_REPLICAS=3',
    '# RATE_LIMIT_PER_MINUTE=600',
    '',
  ]
  writeFileSync(file, lines.join('\n'), { mode: 0o600, flag: 'wx' })
  console.log('.env written, readable by you alone')
}
