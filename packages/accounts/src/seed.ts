import { createPasswords } from '@escala/kit/passwords/passwords'
import { everyReplicaVerifiesArgon2id } from '@escala/kit/passwords/roll-out'
import type { Postgres, Statement } from '@escala/kit/postgres/postgres'
import { v7 } from 'uuid'

interface Seeded {
  email: string
  role: string | null
}

const seedUser: Statement = {
  name: 'users.seed',
  text: `INSERT INTO users (id, email, name, password_hash, role) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (lower(email)) DO UPDATE SET password_hash = excluded.password_hash, role = excluded.role`,
}

/**
 * Adds the accounts for development, one with `role` and one without any, or gives those that exist this password.
 * Returns them.
 */
export async function seedAccounts(postgres: Postgres, password: string, role: string): Promise<Seeded[]> {
  const accounts = [
    { email: 'organiser@example.com', name: 'Olga Organiser', role },
    { email: 'customer@example.com', name: 'Carlos Customer', role: null },
  ]
  // Replicas of an older version, which may be running while this one is rolled out, must be able to log these accounts in.
  const mayWriteArgon2id = await everyReplicaVerifiesArgon2id(postgres)
  const passwords = createPasswords({ mayWriteArgon2id: () => mayWriteArgon2id })
  for (const { email, name, role } of accounts) {
    await postgres.query(seedUser, [v7(), email, name, await passwords.hash(password), role])
  }
  return accounts.map(({ email, role }) => ({ email, role }))
}
