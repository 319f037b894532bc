import { setRole } from '@escala/api/accounts.ts'
import { connectDatabase, explain } from './database.ts'

// npm run users -- organiser EMAIL | customer EMAIL
const [role, email] = process.argv.slice(2)

if ((role !== 'organiser' && role !== 'customer') || !email) {
  console.error('usage: npm run users -- organiser EMAIL   (or: customer EMAIL), with DATABASE_URL set')
  process.exit(2)
}

const { postgres } = connectDatabase('users')
try {
  const found = await setRole(postgres, email, role)
  if (found) console.log(`${email} is ${role === 'organiser' ? 'an organiser' : 'a customer'} now`)
  else console.error(`there is no account with the address ${email}`)
  process.exitCode = found ? 0 : 1
} catch (error) {
  console.error(explain(error))
  process.exitCode = 1
} finally {
  await postgres.stop()
}
