import pg from 'pg'
import type { Session } from './session.ts'

/**
 * Lets a role use every table, and change none of them: for a role that serves and is not the one that migrates. To be called
 * after each migration, as the owner of the tables. What was granted before stays.
 */
export async function grantServing(session: Session, role: string): Promise<void> {
  const name = pg.escapeIdentifier(role)
  await session.query(`
    GRANT USAGE ON SCHEMA public TO ${name};
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ${name};
    GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO ${name};
    REVOKE INSERT, UPDATE, DELETE ON migrations FROM ${name};`)
}
