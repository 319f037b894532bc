import { createPasswords } from '@escala/kit/passwords/passwords.ts'
import type { Postgres } from '@escala/kit/postgres/postgres.ts'
import { v7 } from 'uuid'
import { flagsRole } from './modules.ts'
import { everyReplicaVerifiesArgon2id } from './password-forms.ts'

const accounts = [
  { email: 'organiser@example.com', name: 'Olga Organiser', role: flagsRole },
  { email: 'customer@example.com', name: 'Carlos Customer', role: null },
]

/** Makes the first accounts, or gives those that exist this password. */
export async function seedAccounts(
  postgres: Postgres,
  password: string,
): Promise<{ email: string; role: string | null }[]> {
  // Replicas of an older version, which may be running while this one is rolled out, must be able to log these accounts in.
  const mayWriteArgon2id = await everyReplicaVerifiesArgon2id(postgres)
  const passwords = createPasswords({ mayWriteArgon2id: () => mayWriteArgon2id })
  for (const { email, name, role } of accounts) {
    await postgres.query(
      `INSERT INTO users (id, email, name, password_hash, role) VALUES ($1, $2, $3, $4, $5)
       ON CONFLICT (lower(email)) DO UPDATE SET password_hash = excluded.password_hash, role = excluded.role`,
      [v7(), email, name, await passwords.hash(password), role],
    )
  }
  return accounts.map(({ email, role }) => ({ email, role }))
}

/** Whether a command asks for accounts for development: `--seed`, or `--seed=1`, as Compose makes of `SEED=1`. */
export function wantsSeed(args: string[]): boolean {
  return args.includes('--seed') || args.includes('--seed=1')
}
