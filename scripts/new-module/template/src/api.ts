import { apiModule } from '@escala/kit/module'
import { placeholdersRoutes } from './routes.ts'

export const placeholdersApi = apiModule({
  name: 'placeholders',
  settings: {},
  routes: placeholdersRoutes,
})
