import { type ApiModule, type DataModule, loadHalves } from '@escala/kit/module'
import { kitMigrations, type MigrationFolder, migrationsOf } from '@escala/kit/postgres/migrations'
import { modules } from '../../modules.ts'

/** What the domains serve. */
export const apiModules: ApiModule[] = await loadHalves(modules, 'api')

/** Their tables, errors and first rows. */
export const dataModules: DataModule[] = await loadHalves(modules, 'data')

/** The role whose users may turn flags over HTTP. */
export const flagsRole = 'organiser'

/** Every role that users can be given. */
export const roles: string[] = [...new Set([flagsRole, ...apiModules.flatMap((module) => module.roles ?? [])])]

/** What the database must have before this code may serve. */
export const migrationFolders: MigrationFolder[] = [kitMigrations, ...dataModules.map(migrationsOf)]
