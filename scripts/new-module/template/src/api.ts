import { apiModule } from '@escala/kit/module'
import { listItems } from './items.ts'
import { placeholdersRoutes } from './routes.ts'

export const placeholdersApi = apiModule({
  name: 'placeholders',
  settings: {},
  // What a user reads in an export. Nothing is left to erase with the account: the rows go with the user's (ON DELETE CASCADE).
  personalData: () => ({
    export: async (sql, userId) => ({ newest: await listItems(sql, userId) }),
    erase: async () => {},
  }),
  routes: placeholdersRoutes,
})
