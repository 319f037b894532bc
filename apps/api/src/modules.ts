import { accountsApi } from '@escala/accounts/api.ts'
import { accountsData } from '@escala/accounts/data.ts'
import type { ApiModule, DataModule } from '@escala/kit/module.ts'
import { kitMigrations, type MigrationFolder, migrationsOf } from '@escala/kit/postgres/migrations.ts'
import { ticketsApi } from '@escala/tickets/api.ts'
import { ticketsData } from '@escala/tickets/data.ts'

/** The domains that this API serves. `npm run sample:delete` removes the ticket shop from here. */
export const apiModules: ApiModule[] = [accountsApi, ticketsApi]

/** Their tables, errors and first rows. */
export const dataModules: DataModule[] = [accountsData, ticketsData]

/** The role whose users may turn flags over HTTP. */
export const flagsRole = 'organiser'

/** Every role that users can be given. */
export const roles: string[] = [...new Set([flagsRole, ...apiModules.flatMap((module) => module.roles ?? [])])]

/** What the database must have before this code may serve. */
export const migrationFolders: MigrationFolder[] = [kitMigrations, ...dataModules.map(migrationsOf)]
