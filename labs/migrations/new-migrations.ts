import type { MigrationFolder } from '@escala/kit/postgres/migrations'

/** What the next version brings: it doubles every price. */
export const newMigrations: MigrationFolder = { name: 'next', url: new URL('./sql/', import.meta.url) }
