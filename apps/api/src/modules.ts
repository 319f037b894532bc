import type { ApiModule, DataModule } from '@escala/kit/http/module.ts'
import { ticketsApi } from '@escala/tickets/api.ts'
import { ticketsData } from '@escala/tickets/data.ts'

/** The domains that this API serves. `npm run sample:delete` removes the ticket shop from here. */
export const apiModules: ApiModule[] = [ticketsApi]

/** Their tables, errors and first rows. */
export const dataModules: DataModule[] = [ticketsData]
