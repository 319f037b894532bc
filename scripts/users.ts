import { setRole } from '@escala/api/accounts.ts'
import { baseSettings } from '@escala/kit/config/base.ts'
import { readConfig } from '@escala/kit/config/config.ts'
import { createLog } from '@escala/kit/log/log.ts'
import { createPostgres } from '@escala/kit/postgres/postgres.ts'

// npm run users -- organiser EMAIL | customer EMAIL
const [role, email] = process.argv.slice(2)

if ((role !== 'organiser' && role !== 'customer') || !email) {
  console.error('usage: npm run users -- organiser EMAIL   (or: customer EMAIL), with DATABASE_URL set')
  process.exit(2)
}

const log = createLog({ service: 'users', replicaId: 'users', version: '', level: 'warn' })
let url: string
try {
  url = readConfig(process.env, { DATABASE_URL: baseSettings.DATABASE_URL }).DATABASE_URL
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error))
  process.exit(1)
}
const postgres = createPostgres({ url, log, applicationName: 'users', maxConnections: 1, timeoutMs: 5000 })
try {
  const found = await setRole(postgres, email, role)
  if (found) console.log(`${email} is ${role === 'organiser' ? 'an organiser' : 'a customer'} now`)
  else console.error(`there is no account with the address ${email}`)
  process.exitCode = found ? 0 : 1
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error))
  process.exitCode = 1
} finally {
  await postgres.stop()
}
