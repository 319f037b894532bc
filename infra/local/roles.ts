import { withSession } from '@escala/kit/postgres/session'
import pg from 'pg'

export interface Roles {
  /** Owns the database: for migrations. */
  ownerUrl: string
  /** Reads and writes rows, and nothing else: for what serves. */
  servingUrl: string
}

/** Makes the two roles as the superuser, or gives those that are there these passwords. What the superuser owned so far goes to the owner. */
export async function createRoles(superuserUrl: string, passwords: { owner: string; serving: string }): Promise<Roles> {
  await withSession({ url: superuserUrl, applicationName: 'roles' }, async (session) => {
    await session.query(`SET lock_timeout = '10s'`) // a table whose owner changes may be in use
    for (const [role, password] of Object.entries({ escala_owner: passwords.owner, escala: passwords.serving })) {
      const { rowCount } = await session.query('SELECT FROM pg_roles WHERE rolname = $1', [role])
      const verb = rowCount ? 'ALTER' : 'CREATE'
      await session.query(`${verb} ROLE ${role} LOGIN NOSUPERUSER PASSWORD ${pg.escapeLiteral(password)}`)
    }
    await session.query('ALTER DATABASE postgres OWNER TO escala_owner')
    await session.query(giveAway)
  })
  return {
    ownerUrl: as(superuserUrl, 'escala_owner', passwords.owner),
    servingUrl: as(superuserUrl, 'escala', passwords.serving),
  }
}

// A table takes its indexes and the sequences of its columns along.
const giveAway = `DO $$ DECLARE object record; BEGIN
  FOR object IN
    SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, oid::regclass::text AS name FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relowner = current_user::regrole AND relkind IN ('r', 'p', 'v', 'm', 'S')
      AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype IN ('a', 'i') AND classid = 'pg_class'::regclass)
    UNION ALL
    SELECT 'FUNCTION', oid::regprocedure::text FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace AND proowner = current_user::regrole
  LOOP
    EXECUTE format('ALTER %s %s OWNER TO escala_owner', object.kind, object.name);
  END LOOP;
END $$`

function as(address: string, user: string, password: string): string {
  const url = new URL(address)
  url.username = user
  url.password = encodeURIComponent(password)
  return url.href
}
