import { setRole } from '@escala/accounts/accounts'
import { roles } from '@escala/api/modules'
import { failUsage, readCommandLine } from '../infra/local/command-line.ts'
import { connectDatabase, explain } from './database.ts'

const known = [...roles, 'none']
const usage = `usage: npm run users -- ROLE EMAIL

Gives the account with this address a role, in place of the one that it has. ROLE: ${known.join(', ')}.
Uses DATABASE_URL, or the system that runs from this checkout.`

const [role = '', email = ''] = readCommandLine(usage, {}, 2).positionals
if (!known.includes(role)) failUsage(usage, role === '' ? 'no role and no address' : `unknown role: ${role}`)
if (email === '') failUsage(usage, 'no address')

const { postgres } = connectDatabase('users')
try {
  const found = await setRole(postgres, email, role === 'none' ? null : role)
  if (found) console.log(role === 'none' ? `${email} has no role now` : `${email} has the role ${role} now`)
  else console.error(`there is no account with the address ${email}`)
  process.exitCode = found ? 0 : 1
} catch (error) {
  console.error(explain(error))
  process.exitCode = 1
} finally {
  await postgres.stop()
}
