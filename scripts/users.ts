import { setRole } from '@escala/accounts/accounts'
import { roles } from '@escala/api/modules'
import { connectDatabase, explain } from './database.ts'

// npm run users -- ROLE EMAIL | none EMAIL
const [role = '', email] = process.argv.slice(2)

if (![...roles, 'none'].includes(role) || !email) {
  console.error(`usage: npm run users -- ROLE EMAIL, with DATABASE_URL set. ROLE: ${[...roles, 'none'].join(', ')}`)
  process.exit(2)
}

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
