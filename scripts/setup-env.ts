import { randomBytes } from 'node:crypto'
import { existsSync, writeFileSync } from 'node:fs'

// `npm run setup:env`: the secrets that docker-compose.yml asks for, made here and nowhere else.
const file = new URL('../.env', import.meta.url)
const secret = () => randomBytes(32).toString('base64url')

if (existsSync(file)) {
  console.log('.env is already there and stays as it is')
} else {
  const lines = [
    '# Written by npm run setup:env. docker compose reads it; the environment goes before it. Keep it out of version control.',
    `POSTGRES_PASSWORD=${secret()}`,
    `DATABASE_PASSWORD=${secret()}`,
    `REDIS_PASSWORD=${secret()}`,
    '# A list: the first signs, all verify. To replace one, add the new one behind and deploy; move it to the front and deploy; remove the old one a session later.',
    `SESSION_SECRETS=${secret()}`,
    '# For development: SEED=1 makes organiser@example.com, who may do everything, and customer@example.com.',
    '# SEED=1',
    `SEED_PASSWORD=${randomBytes(9).toString('base64url')}`,
    '# PORT=8080',
    '# API_REPLICAS=3',
    '# RATE_LIMIT_PER_MINUTE=600',
    '',
  ]
  writeFileSync(file, lines.join('\n'), { mode: 0o600, flag: 'wx' })
  console.log('.env written, readable by you alone; the password of the seeded accounts is its SEED_PASSWORD')
}
